// Anthropic's own client with its accumulator, and the AI SDK's provider for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { call, city, demo, script, scripted } from "./given.mjs";

const client = ({ baseURL, apiKey }) => new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ""), apiKey, maxRetries: 0 });
const asked = (fields, more = {}) => ({ model: scripted.model, max_tokens: 100, messages: script(fields), ...more });
const tools = [{ name: "get_weather", description: "Get the weather.", input_schema: city }];

test("the accumulator makes the message of a stream", async () => {
  const stream = client(scripted).messages.stream(asked({ say: ["Grüße", " 🚰"], prompt_tokens: 3 }));
  const texts = [];
  stream.on("text", (text) => texts.push(text));
  const message = await stream.finalMessage();
  assert.deepEqual(texts, ["Grüße", " 🚰"]);
  assert.equal(message.content[0].text, "Grüße 🚰");
  assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [3, 2]);
  assert.equal(message.stop_reason, "end_turn");
  assert.match(stream.request_id, /^req_/);
});

test("a whole message, and one that is stopped", async () => {
  const message = await client(scripted).messages.create(asked({ say: ["a", " END", "b"] }, { stop_sequences: ["END"] }));
  assert.deepEqual([message.stop_reason, message.stop_sequence], ["stop_sequence", "END"]);
});

test("tool calls come in pieces and to the character", async () => {
  const stream = client(scripted).messages.stream(asked({ tool_calls: [call] }, { tools }));
  const message = await stream.finalMessage();
  const [made] = message.content;
  assert.deepEqual([made.type, made.name, made.input], ["tool_use", "get_weather", { city: "Röm" }]);
  assert.equal(message.stop_reason, "tool_use");
});

test("a count is what a message then uses", async () => {
  const prompt = { model: demo.model, messages: [{ role: "user", content: "Hello" }], tools };
  const { input_tokens } = await client(demo).messages.countTokens(prompt);
  const { usage } = await client(demo).messages.create({ ...prompt, max_tokens: 2 });
  assert.equal(input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
});

const failures = [
  ["a prompt that is too long", { prompt_tokens: 100000 }, Anthropic.BadRequestError, "invalid_request_error"],
  ["a model without room", { count: 3, fail_after: 0, code: "overloaded" }, Anthropic.RateLimitError, "rate_limit_error"],
  ["a model that fails", { count: 3, fail_after: 0 }, Anthropic.InternalServerError, "api_error"],
  ["a model that fails in the stream", { count: 9, fail_after: 3, rate: 50 }, Anthropic.APIError, "api_error"],
];
for (const [name, fields, kind, type] of failures) {
  test(`${name} raises`, async () => {
    await assert.rejects(client(scripted).messages.stream(asked(fields)).finalMessage(), (error) => {
      assert.ok(error instanceof kind, String(error));
      assert.equal(error.type ?? error.error?.error?.type, type);
      return true;
    });
  });
}

test("a wrong key and a wrong model raise", async () => {
  const wrong = client({ ...scripted, apiKey: "sk-wrong" });
  await assert.rejects(wrong.messages.create(asked({ say: ["x"] })), Anthropic.AuthenticationError);
  await assert.rejects(client(scripted).messages.create(asked({ say: ["x"] }, { model: "claude-0" })), Anthropic.NotFoundError);
});

const provider = ({ baseURL, apiKey, model }) => createAnthropic({ baseURL, apiKey })(model);
const said = (fields) => ({ messages: script(fields), maxRetries: 0 });
const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sunny in ${city}` });

test("AI SDK: a stream has the text, the usage and the finish reason", async () => {
  const result = streamText({ model: provider(scripted), ...said({ say: ["Grüße", " 🚰"], prompt_tokens: 3 }) });
  const texts = [];
  for await (const text of result.textStream) texts.push(text);
  assert.equal(texts.join(""), "Grüße 🚰");
  assert.equal(await result.finishReason, "stop");
  assert.equal((await result.usage).totalTokens, 5);
});

test("AI SDK: a tool is called with its arguments, and its result goes back", async () => {
  const result = streamText({
    model: provider(scripted),
    ...said({ tool_calls: [call] }),
    tools: { get_weather: weather },
    stopWhen: stepCountIs(1),
  });
  const [made] = await result.toolCalls;
  assert.deepEqual([made.toolName, made.input], ["get_weather", { city: "Röm" }]);
  assert.equal((await result.toolResults)[0].output, "sunny in Röm");
  assert.equal(await result.finishReason, "tool-calls");
});

test("AI SDK: a loop of two steps on the demo model", async () => {
  const result = await generateText({
    model: provider(demo),
    prompt: "What is the weather in Rome?",
    tools: { get_weather: weather },
    maxOutputTokens: 60,
    temperature: 0,
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  assert.equal(result.steps.length, 2);
  assert.equal(result.steps[0].toolCalls[0].toolName, "get_weather");
  assert.ok(result.text.length > 0);
});

test("AI SDK: structured output of the demo model is of the schema", async () => {
  const schema = z.object({ name: z.enum(["Ada", "Bob"]), adult: z.boolean() });
  const { output } = await generateText({
    model: provider(demo),
    prompt: "Give me a person as JSON.",
    output: Output.object({ schema }),
    maxOutputTokens: 60,
    temperature: 0,
  });
  assert.equal(typeof output.adult, "boolean");
});

for (const [what, fields, status] of [
  ["a prompt that is too long", { prompt_tokens: 100000 }, 400],
  ["a model without room", { count: 3, fail_after: 0, code: "overloaded" }, 429],
  ["a model that fails", { count: 3, fail_after: 0 }, 502],
  ["a model that fails in the stream", { count: 9, fail_after: 3, rate: 50 }, undefined],
]) {
  test(`AI SDK: ${what} is an error`, async () => {
    const errors = [];
    const result = streamText({ model: provider(scripted), ...said(fields), onError: ({ error }) => errors.push(error) });
    await result.consumeStream();
    assert.equal(errors.length, 1);
    if (status !== undefined) assert.equal(errors[0].statusCode, status);
    else assert.match(JSON.stringify(errors[0]) + String(errors[0]?.message ?? ""), /failed|api_error/);
  });
}
