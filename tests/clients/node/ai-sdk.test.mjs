// Vercel's AI SDK, with its provider for OpenAI-compatible services and with its own OpenAI provider,
// for chats and in its default mode, which is the Responses API.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { call, demo, script, scripted } from "./given.mjs";

const providers = {
  "openai-compatible": ({ baseURL, apiKey, model }) =>
    createOpenAICompatible({ name: "sluice", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true })(model),
  openai: ({ baseURL, apiKey, model }) => createOpenAI({ baseURL, apiKey }).chat(model),
  "openai responses": ({ baseURL, apiKey, model }) => createOpenAI({ baseURL, apiKey })(model),
};
const said = (fields) => ({ messages: script(fields), maxRetries: 0 });
const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sunny in ${city}` });

for (const [name, provider] of Object.entries(providers)) {
  test(`${name}: a stream has the text, the usage and the finish reason`, async () => {
    const result = streamText({ model: provider(scripted), ...said({ say: ["Grüße", " 🚰"], prompt_tokens: 3 }) });
    const texts = [];
    for await (const text of result.textStream) texts.push(text);
    assert.equal(texts.join(""), "Grüße 🚰");
    assert.equal(await result.finishReason, "stop");
    assert.equal((await result.usage).totalTokens, 5);
  });

  test(`${name}: a tool is called with its arguments, and its result goes back`, async () => {
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

  test(`${name}: a loop of two steps on the demo model`, async () => {
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

  test(`${name}: structured output of the demo model is of the schema`, async () => {
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
    test(`${name}: ${what} is an error`, async () => {
      const errors = [];
      const result = streamText({ model: provider(scripted), ...said(fields), onError: ({ error }) => errors.push(error) });
      await result.consumeStream();
      assert.equal(errors.length, 1);
      if (status !== undefined) assert.equal(errors[0].statusCode, status);
      else assert.match(JSON.stringify(errors[0]) + String(errors[0]?.message ?? ""), /failed|upstream/);
    });
  }
}

test("openai responses: reasoning comes apart from the text, as its summary", async () => {
  const result = streamText({
    model: providers["openai responses"](scripted),
    ...said({ think: ["Hm", "."], say: ["So"] }),
    providerOptions: { openai: { forceReasoning: true, reasoningSummary: "auto", store: false } },
  });
  await result.consumeStream();
  assert.deepEqual([await result.reasoningText, await result.text], ["Hm.", "So"]);
});

for (const store of [undefined, false]) {
  test(`openai responses: a conversation goes on with \`store: ${store}\``, async () => {
    const model = providers["openai responses"](scripted);
    const providerOptions = { openai: { store } };
    const first = await generateText({ model, ...said({ say: ["one"] }), providerOptions });
    // By default this provider refers to texts of earlier responses by their ids.
    const messages = [...script({ say: ["one"] }), ...first.response.messages, ...script({ say: ["two"] })];
    const { text } = await generateText({ model, messages, maxRetries: 0, providerOptions });
    assert.equal(text, "two");
  });
}

test("openai responses: a conversation goes on by the id of the response before", async () => {
  const model = providers["openai responses"](scripted);
  const first = await generateText({ model, ...said({ say: ["one"] }) });
  const previousResponseId = first.providerMetadata.openai.responseId;
  const providerOptions = { openai: { previousResponseId } };
  const { text } = await generateText({ model, ...said({ say: ["two"] }), providerOptions });
  assert.equal(text, "two");
});

// The compatible provider drops annotations.
const citing = async (url, init) => {
  const sources = [{ id: "doc", title: "One", url: "https://example.com/1" }];
  return fetch(url, { ...init, body: JSON.stringify({ ...JSON.parse(init.body), sluice: { sources } }) });
};
for (const [name, form] of [
  ["openai", (provider) => provider.chat(scripted.model)],
  ["openai responses", (provider) => provider(scripted.model)],
]) {
  test(`${name}: citations are the sources of the answer`, async () => {
    const { baseURL, apiKey } = scripted;
    const model = form(createOpenAI({ baseURL, apiKey, fetch: citing }));
    const result = streamText({ model, ...said({ say: ["So it ", "is [d", "oc]."] }) });
    assert.equal(await result.text, "So it is [doc].");
    const found = (await result.sources).map(({ sourceType, url, title }) => [sourceType, url, title]);
    assert.deepEqual(found, [["url", "https://example.com/1", "One"]]);
  });
}
