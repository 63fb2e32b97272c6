// openai-node, as it comes.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
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
