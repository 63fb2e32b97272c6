import assert from "node:assert/strict";
import { test } from "node:test";

import { Answer, figuresOf, percentile } from "../../web/src/chat/answer.ts";

const EVENTS = [
  { type: "response.created", response: { id: "resp_1", model: "m", status: "in_progress" } },
  { type: "response.output_item.added", output_index: 0, item: { type: "reasoning" } },
  { type: "response.reasoning_text.delta", output_index: 0, delta: "Hm." },
  { type: "response.reasoning_summary_text.delta", output_index: 0, delta: "Hm." },
  { type: "response.output_item.done", output_index: 0, item: {} },
  { type: "response.output_item.added", output_index: 1, item: { type: "message" } },
  { type: "response.output_text.delta", output_index: 1, delta: "Hel" },
  { type: "response.output_text.delta", output_index: 1, delta: "lo" },
  { type: "response.output_item.done", output_index: 1, item: {} },
  {
    type: "response.output_item.added",
    output_index: 2,
    item: { type: "function_call", name: "f", call_id: "c" },
  },
  { type: "response.function_call_arguments.delta", output_index: 2, delta: "{" },
  { type: "response.output_item.done", output_index: 2, item: { arguments: "{}" } },
  {
    type: "response.completed",
    response: { status: "completed", usage: { input_tokens: 3, output_tokens: 5 } },
  },
].map((event, sequence_number) => ({ ...event, sequence_number }));

function applied(events: typeof EVENTS): Answer {
  const answer = new Answer("m");
  answer.sentAt = 100;
  events.forEach((event, at) => answer.apply(event, 200 + 10 * at));
  return answer;
}

test("the events make an answer", () => {
  const answer = applied(EVENTS);
  assert.equal(answer.status, "completed");
  assert.deepEqual(
    answer.items.map((it) => [it.kind, it.text, it.done]),
    [
      ["reasoning", "Hm.", true],
      ["text", "Hello", true],
      ["call", "{}", true],
    ],
  );
  assert.equal(answer.text, "Hello");
  assert.equal(figuresOf(answer).ttft, 120);
});

test("events that come again after any cut change nothing", () => {
  const wanted = applied(EVENTS).items.map((it) => it.text);
  for (let cut = 0; cut <= EVENTS.length; cut += 1) {
    const from = Math.max(0, cut - 3);
    const answer = applied([...EVENTS.slice(0, cut), ...EVENTS.slice(from)]);
    assert.deepEqual(
      answer.items.map((it) => it.text),
      wanted,
      `cut at ${cut}`,
    );
    assert.equal(answer.status, "completed");
  }
});

test("what is kept is loaded as it was, and goes on from its beginning", () => {
  const half = applied(EVENTS.slice(0, 7));
  const loaded = Answer.load(structuredClone(half.save()));
  assert.equal(loaded.running, true);
  loaded.restart();
  EVENTS.forEach((event, at) => loaded.apply(event, at));
  assert.equal(loaded.text, "Hello");
  assert.deepEqual(loaded.gaps, []); // they would be those of the log
});

test("after a lost connection no gap is counted, and those before it stay", () => {
  const answer = applied(EVENTS.slice(0, 8));
  const gaps = [...answer.gaps];
  assert.ok(gaps.length > 0);
  answer.pause();
  EVENTS.slice(8).forEach((event) => answer.apply(event, 1000));
  assert.deepEqual(answer.gaps, gaps);
});

test("a cancelled answer keeps its text, although the terminal event has none", () => {
  const answer = applied(EVENTS.slice(0, 7));
  answer.apply(
    {
      type: "response.failed",
      sequence_number: 100_007,
      response: { status: "cancelled" },
    } as never,
    900,
  );
  assert.deepEqual([answer.status, answer.text, answer.failure], ["cancelled", "Hel", null]);
});

test("percentiles", () => {
  assert.equal(percentile([], 0.5), null);
  assert.equal(percentile([3, 1, 2], 0.5), 2);
  assert.equal(
    percentile(
      Array.from({ length: 100 }, (_, at) => at + 1),
      0.95,
    ),
    95,
  );
});
