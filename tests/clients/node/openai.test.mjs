// openai-node, as it comes.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { call, city, demo, script, scripted } from "./given.mjs";

const client = ({ baseURL, apiKey }, options = {}) => new OpenAI({ baseURL, apiKey, maxRetries: 0, ...options });
const tools = [{ type: "function", function: { name: "get_weather", parameters: city, strict: true } }];
const model = scripted.model;

test("a stream has the text, the usage and the finish reason", async () => {
  const messages = script({ say: ["Grüße", " 🚰"], prompt_tokens: 3 });
  const stream = await client(scripted).chat.completions.create({
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, "Grüße 🚰");
  assert.equal(chunks.at(-1).usage.total_tokens, 5);
  assert.equal(chunks.at(-2).choices[0].finish_reason, "stop");
});

test("a whole answer has its request id", async () => {
  const answer = await client(scripted).chat.completions.create({ model, messages: script({ say: ["one"] }) });
  assert.equal(answer.choices[0].message.content, "one");
  assert.match(answer._request_id, /^req_/);
});

test("a whole answer has usage with details", async () => {
  const answer = await client(scripted).chat.completions.create({ model, messages: script({ say: ["one"] }) });
  assert.equal(answer.usage.completion_tokens, 1);
  assert.equal(answer.usage.prompt_tokens_details.cached_tokens, 0);
});

test("tool calls come in pieces and to the character", async () => {
  const stream = client(scripted).chat.completions.stream({ model, messages: script({ tool_calls: [call] }), tools });
  const final = await stream.finalChatCompletion();
  const [made] = final.choices[0].message.tool_calls;
  assert.deepEqual([made.function.name, made.function.arguments], ["get_weather", '{"city": "Röm"}']);
  assert.equal(final.choices[0].finish_reason, "tool_calls");
});

test("runTools makes its loop on the demo model", async () => {
  let asked;
  const runner = client(demo).chat.completions.runTools({
    model: demo.model,
    messages: [{ role: "user", content: "What is the weather in Rome?" }],
    max_tokens: 60,
    tool_choice: { type: "function", function: { name: "get_weather" } },
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          parameters: city,
          parse: JSON.parse,
          function: (given) => {
            asked = given.city;
            return "sunny";
          },
        },
      },
    ],
  });
  await runner.done();
  assert.equal(typeof asked, "string");
});

test("structured output of the demo model is of the schema", async () => {
  const person = z.object({ name: z.enum(["Ada", "Bob"]), adult: z.boolean() });
  const answer = await client(demo).chat.completions.parse({
    model: demo.model,
    messages: [{ role: "user", content: "Give me a person as JSON." }],
    response_format: zodResponseFormat(person, "person"),
    max_tokens: 60,
  });
  assert.ok(["Ada", "Bob"].includes(answer.choices[0].message.parsed.name));
});

const failures = [
  ["a prompt that is too long", { prompt_tokens: 100000 }, OpenAI.BadRequestError, "context_length_exceeded"],
  ["a model without room", { count: 3, fail_after: 0, code: "overloaded" }, OpenAI.RateLimitError, "rate_limit_exceeded"],
  ["a model that fails", { count: 3, fail_after: 0 }, OpenAI.InternalServerError, "upstream_error"],
  ["a model that fails in the stream", { count: 9, fail_after: 3, rate: 50 }, OpenAI.APIError, "upstream_error"],
];
for (const [name, fields, kind, code] of failures) {
  test(`${name} raises`, async () => {
    await assert.rejects(
      async () => {
        const stream = await client(scripted).chat.completions.create({ model, messages: script(fields), stream: true });
        for await (const _ of stream);
      },
      (error) => error instanceof kind && error.code === code,
    );
  });
}

test("a wrong key and a wrong model raise", async () => {
  const messages = script({ say: ["one"] });
  const wrong = client({ ...scripted, apiKey: "sk-wrong" });
  await assert.rejects(wrong.chat.completions.create({ model, messages }), OpenAI.AuthenticationError);
  await assert.rejects(client(scripted).chat.completions.create({ model: "gpt-9", messages }), OpenAI.NotFoundError);
});

test("models are listed", async () => {
  const names = [];
  for await (const found of client(scripted).models.list()) names.push(found.id);
  assert.deepEqual(names, [model]);
});

const asked = (fields) => ({ model, input: script(fields) });

test("responses: a stream is accumulated, with reasoning, text and usage", async () => {
  const stream = client(scripted).responses.stream(asked({ think: ["Hm."], say: ["Grüße", " 🚰"], prompt_tokens: 3 }));
  const texts = [];
  stream.on("response.output_text.delta", ({ delta }) => texts.push(delta));
  const response = await stream.finalResponse();
  assert.deepEqual(texts, ["Grüße", " 🚰"]);
  assert.equal(response.output_text, "Grüße 🚰");
  assert.deepEqual(
    response.output.map(({ type, status }) => [type, status]),
    [
      ["reasoning", "completed"],
      ["message", "completed"],
    ],
  );
  assert.equal(response.usage.input_tokens, 3);
});

test("responses: a whole response, and one that is cut", async () => {
  const whole = await client(scripted).responses.create(asked({ say: ["one"] }));
  assert.deepEqual([whole.output_text, whole.status, whole.store], ["one", "completed", true]);
  assert.match(whole._request_id, /^req_/);
  const cut = await client(scripted).responses.create({ ...asked({ count: 9 }), max_output_tokens: 2 });
  assert.deepEqual([cut.status, cut.incomplete_details.reason], ["incomplete", "max_output_tokens"]);
});

test("responses: a conversation is compacted, and its output goes back", async () => {
  const compacted = await client(scripted).responses.compact({ model, input: script({ say: ["one"] }) });
  assert.deepEqual([compacted.object, compacted.output.map(({ type }) => type)], ["response.compaction", ["message", "compaction"]]);
  const input = [...compacted.output, ...script({ say: ["two"] })];
  assert.equal((await client(scripted).responses.create({ model, input })).output_text, "two");
});

test("responses: several tool calls come in pieces, and their outputs go back", async () => {
  const functions = ["get_weather", "other"].map((name) => ({ type: "function", name, parameters: city, strict: true }));
  const calls = [call, { ...call, name: "other" }];
  const stream = client(scripted).responses.stream({ ...asked({ tool_calls: calls }), tools: functions });
  const { output } = await stream.finalResponse();
  assert.deepEqual(
    output.map((made) => [made.type, made.name, made.arguments]),
    functions.map(({ name }) => ["function_call", name, '{"city": "Röm"}']),
  );
  const outputs = output.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "sunny" }));
  const input = [...script({ tool_calls: calls }), ...output, ...outputs, ...script({ say: ["It is."] })];
  const last = await client(scripted).responses.create({ model, input, tools: functions });
  assert.equal(last.output_text, "It is.");
});

test("responses: structured output of the demo model is of the schema", async () => {
  const person = z.object({ name: z.enum(["Ada", "Bob"]), adult: z.boolean() });
  const response = await client(demo).responses.parse({
    model: demo.model,
    input: "Give me a person as JSON.",
    text: { format: zodTextFormat(person, "person") },
    max_output_tokens: 60,
  });
  assert.ok(["Ada", "Bob"].includes(response.output_parsed.name));
});

for (const [name, fields, kind, code] of failures.slice(0, 3)) {
  test(`responses: ${name} raises`, async () => {
    await assert.rejects(
      client(scripted).responses.stream(asked(fields)).finalResponse(),
      (error) => error instanceof kind && error.code === code,
    );
  });
}

test("responses: a model that fails in the stream has a failed response", async () => {
  const response = await client(scripted).responses.stream(asked(failures[3][1])).finalResponse();
  assert.deepEqual([response.status, response.error.code], ["failed", "server_error"]);
  assert.equal(response.output_text, " word word word");
});

test("responses: a prompt is counted as it is then used", async () => {
  const prompt = { model: demo.model, input: "Hello", instructions: "Be brief." };
  const { input_tokens } = await client(demo).responses.inputTokens.count(prompt);
  const { usage } = await client(demo).responses.create({ ...prompt, max_output_tokens: 16 });
  assert.equal(input_tokens, usage.input_tokens);
});

const cited = { sluice: { sources: [{ id: "doc", title: "One", url: "https://example.com/1" }] } };
const citing = script({ say: ["So it ", "is [d", "oc]."] });

test("a chat has its citations, whole and streamed", async () => {
  const whole = await client(scripted).chat.completions.create({ model, messages: citing, ...cited });
  const { content, annotations } = whole.choices[0].message;
  const [{ url_citation: citation }] = annotations;
  assert.equal(content.slice(citation.start_index, citation.end_index), "[doc]");
  assert.equal(citation.url, "https://example.com/1");
  const stream = await client(scripted).chat.completions.create({ model, messages: citing, stream: true, ...cited });
  const found = [];
  for await (const chunk of stream) found.push(...(chunk.choices[0]?.delta.annotations ?? []));
  assert.deepEqual(found, annotations);
});

test("a response has its citations in its events and at its end", async () => {
  const input = citing[0].content;
  const stream = client(scripted).responses.stream({ model, input, store: false, ...cited });
  const added = [];
  for await (const event of stream) {
    if (event.type === "response.output_text.annotation.added") added.push(event.annotation);
  }
  const { output } = await stream.finalResponse();
  const [{ annotations, text }] = output[0].content;
  assert.deepEqual(annotations, added);
  assert.equal(text.slice(added[0].start_index, added[0].end_index), "[doc]");
});

test("conversations: a response goes on with one, and its items are read", async () => {
  const openai = client(scripted);
  const items = [{ role: "user", content: JSON.stringify({ say: ["x"] }) }];
  const made = await openai.conversations.create({ items, metadata: { topic: "t" } });
  const response = await openai.responses.create({ ...asked({ say: ["one"] }), conversation: made.id });
  assert.equal(response.conversation.id, made.id);
  const texts = [];
  for await (const item of openai.conversations.items.list(made.id, { order: "asc", limit: 2 }))
    texts.push(item.content[0].text);
  assert.deepEqual([texts.length, texts.at(-1)], [3, "one"]);
  assert.equal((await openai.conversations.delete(made.id)).deleted, true);
  await assert.rejects(openai.conversations.retrieve(made.id), OpenAI.NotFoundError);
});

test("stored chats: one is listed, read, changed and deleted", async () => {
  const { completions } = client(scripted).chat;
  const metadata = { run: crypto.randomUUID() };
  const made = await completions.create({ model, messages: script({ say: ["one"] }), store: true, metadata });
  const found = [];
  for await (const chat of completions.list({ metadata })) found.push(chat.id);
  assert.deepEqual(found, [made.id]);
  assert.equal((await completions.retrieve(made.id)).choices[0].message.content, "one");
  assert.deepEqual((await completions.update(made.id, { metadata: { a: "b" } })).metadata, { a: "b" });
  const messages = await completions.messages.list(made.id);
  assert.equal(messages.data[0].role, "user");
  assert.equal((await completions.delete(made.id)).deleted, true);
});
