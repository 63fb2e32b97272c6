import assert from "node:assert/strict";
import { test } from "node:test";

import { barsOf, days, restOf, rounded, served } from "../../web/src/ui/bars.ts";

const row = (day: string, model: string, tokens: number, cost = "0") => ({
  day,
  model,
  requests: 1,
  prompt_tokens: tokens,
  completion_tokens: 1,
  cost,
  outcomes: {},
});
const NEXT_DAY = Date.parse("2026-11-30T00:00:00Z") / 1000;
const window = (spent: number | string) => ({
  limit: null,
  left: null,
  spent,
  resets_at: NEXT_DAY,
});

test("days are those of UTC, and not too many", () => {
  assert.deepEqual(days("2026-02-27", "2026-03-01"), ["2026-02-27", "2026-02-28", "2026-03-01"]);
  assert.equal(days("2020-01-01", "2026-01-01").length, 62);
  assert.deepEqual(days("2026-01-02", "2026-01-01"), []);
});

test("requests are counted without those that were refused", () => {
  assert.equal(served({ requests: 20, outcomes: { complete: 13, cut: 1, refused: 6 } }), 14);
  assert.equal(served({ requests: 3, outcomes: { complete: 3 } }), 3);
});

test("a chart ends at the next round number", () => {
  const values = [0, 1, 7, 10, 11, 101, 22_300, 99_999];
  assert.deepEqual(values.map(rounded), [1, 1, 8, 10, 20, 200, 30_000, 100_000]);
});

test("bars have the tokens of each day by model", () => {
  const rows = [row("2026-11-28", "b", 4), row("2026-11-28", "a", 9), row("2026-11-29", "b", 1)];
  const { bars, names } = barsOf(rows, ["2026-11-28", "2026-11-29"], (it) => it.model);
  assert.deepEqual(names, ["a", "b"]);
  assert.deepEqual(
    bars.map((bar) => bar.parts.map((it) => it.value)),
    [
      [10, 5],
      [0, 2],
    ],
  );
});

test("the counters of today have what its rows do not have yet", () => {
  const limits = { tokens_per_day: window(100), cost_per_day: window("0.5") };
  const old = row("2026-11-28", "a", 1000, "3");
  assert.deepEqual(restOf({ limits, data: [old] }), { day: "2026-11-29", tokens: 100, cost: 0.5 });
  const half = row("2026-11-29", "a", 59, "0.25");
  assert.deepEqual(restOf({ limits, data: [old, half] }), {
    day: "2026-11-29",
    tokens: 40,
    cost: 0.25,
  });
  assert.equal(restOf({ limits, data: [row("2026-11-29", "a", 99)] }), null);
  assert.equal(restOf({ limits: {}, data: [] }), null);
});
