import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Answer } from "../../web/src/chat/answer.ts";
import { billed } from "../../web/src/chat/billed.ts";

const { fetch } = globalThis;
afterEach(() => {
  globalThis.fetch = fetch;
});

/** Return an answer that was stopped, and the paths that are asked for. */
function stopped(...states: (object | null)[]): { answer: Answer; asked: string[] } {
  const asked: string[] = [];
  globalThis.fetch = ((path: string) => {
    asked.push(path);
    const state = states.shift();
    return Promise.resolve(state ? Response.json(state) : new Response("", { status: 503 }));
  }) as typeof globalThis.fetch;
  const answer = Answer.load({ ...new Answer("m").save(), status: "cancelled", responseId: "r" });
  return { answer, asked };
}

const usage = (prompt_tokens: number, completion_tokens: number): object => {
  return { usage: { prompt_tokens, completion_tokens } };
};

test("a stopped answer gets its tokens when they are settled", async () => {
  const { answer, asked } = stopped(usage(0, 0), null, usage(16, 20), usage(9, 9));
  assert.equal(await billed("k", answer, [0, 0, 0, 0]), true);
  assert.deepEqual(answer.usage, { input_tokens: 16, output_tokens: 20 });
  assert.deepEqual(asked, Array(3).fill("/v1/sluice/streams/r?wait=0"));
});

test("tokens that never come leave none", async () => {
  const { answer } = stopped(null, usage(0, 0));
  assert.equal(await billed("k", answer, [0, 0]), false);
  assert.equal(answer.usage, null);
});

test("nothing is asked of an answer that has its tokens, or that was not stopped", async () => {
  const { answer, asked } = stopped();
  answer.usage = { input_tokens: 1, output_tokens: 1 };
  assert.equal(await billed("k", answer, [0]), false);
  answer.usage = null;
  answer.status = "failed";
  assert.equal(await billed("k", answer, [0]), false);
  assert.deepEqual(asked, []);
});
