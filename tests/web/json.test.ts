import assert from "node:assert/strict";
import { test } from "node:test";

import { JsonWriter, looksLikeJson, pretty } from "../../web/src/render/json.ts";
import { cutsOf } from "./cuts.ts";

const VALUES: unknown[] = [
  {}, [], [[]], { a: {} }, { a: [1, -2.5e3, true, null, "x, y: {z}"], "b\"\\": { c: "\u2028\n" } }, "text", 7,
]; // prettier-ignore

test("it is JSON.stringify's form, however it is cut", () => {
  for (const value of VALUES) {
    const wanted = JSON.stringify(value, null, 2);
    for (const text of [JSON.stringify(value), JSON.stringify(value, null, 3)]) {
      for (const [seed, pieces] of cutsOf(text)) {
        const writer = new JsonWriter();
        assert.equal(
          pieces.map((it) => writer.push(it)).join(""),
          wanted,
          `seed ${seed} of ${text}`,
        );
      }
    }
  }
});

test("deep nesting stays bounded", () => {
  assert.ok(pretty("[".repeat(5000)).length < 5000 * 45);
});

test("what looks like JSON, and what is Markdown", () => {
  for (const text of ['{"a', " [[1", "[{", '\n["', "{}"])
    assert.equal(looksLikeJson(text, false), true, text);
  for (const text of ["[link](x)", "[ ] task", "[1] says", "{template}", "1", "text"]) {
    assert.equal(looksLikeJson(text, false), false, text);
  }
  for (const text of ["", " ", "{", "[ "]) {
    assert.equal(looksLikeJson(text, false), null, text);
    assert.equal(looksLikeJson(text, true), false, text);
  }
});
