import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "../../web/src/api/sse.ts";
import { cutsOf } from "./cuts.ts";

const STREAM =
  ': keepalive\n\nevent: a\ndata: {"x":1}\n\n' +
  "data: one\r\ndata: two\r\n\r\nid: 4\nretry: 5\ndata:no space\n\nevent: empty\n\ndata\n\ndata: [DONE]\n\ndata: unfinished";

test("events are the same, however the stream is cut", () => {
  const wanted = [
    { event: "a", data: '{"x":1}' },
    { event: "message", data: "one\ntwo" },
    { event: "message", data: "no space" },
    { event: "message", data: "" },
    { event: "message", data: "[DONE]" },
  ];
  for (const [seed, pieces] of cutsOf(STREAM)) {
    const parser = new EventParser();
    assert.deepEqual(
      pieces.flatMap((it) => parser.push(it)),
      wanted,
      `seed ${seed}`,
    );
  }
});

test("a line that never ends is refused, and costs linear time", () => {
  const parser = new EventParser();
  assert.throws(() => {
    for (let at = 0; at < 40; at += 1) parser.push("x".repeat(1024 * 1024));
  }, /too long/);
});
