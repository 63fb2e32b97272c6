import assert from "node:assert/strict";
import { test } from "node:test";

import { closed, visible } from "../../web/src/render/partial.ts";

test("the word at the end, which may grow beyond its line, waits for its end", () => {
  for (const [text, wanted] of [
    ["", ""],
    ["stream", ""],
    ["two wor", "two "],
    ["two words", "two "],
    ["two words ", "two "], // a sign that belongs to the word may follow, as in French
    ["mot !", ""],
    ["two words a", "two words "],
    ["line\n", "line\n"],
    ["line\nword", "line\n"],
    ["a **bo", "a "],
    ["a well-kno", "a "],
    ["ends.\n\nNew", "ends.\n\n"],
    ["an emoji 👩‍👩‍👧", "an emoji "],
    ["two ab\ud83c", "two "],
  ] as const) {
    assert.equal(visible(text), wanted, JSON.stringify(text));
  }
});

test("a text without spaces is held back by a few characters", () => {
  assert.equal(visible("今日はとても"), "今日はとて");
  assert.equal(visible("今日は。"), "今日");
  assert.equal(visible("今日は。明"), "今日は。");
  assert.equal(visible("コーヒーがっ"), "コーヒー");
  assert.equal(visible("안녕하세요"), "안녕하세");
  const thai = "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอน";
  for (let at = 24; at <= thai.length; at += 1) {
    const shown = visible(thai.slice(0, at));
    assert.ok(thai.startsWith(shown) && at - shown.length < 24, `${at}: ${shown}`);
  }
});

test("a word that is longer than a line is shown as it comes", () => {
  assert.equal(visible("x".repeat(160)), "");
  assert.equal(visible("x".repeat(161)), "x".repeat(161));
  assert.equal(visible(`a ${"x".repeat(170)}`).length, 172);
});

test("code is shown as it comes, but for half a character and half a fence", () => {
  for (const [text, wanted] of [
    ["```", ""],
    ["```py", ""],
    ["text\n```pyth", "text\n"],
    ["text\n``", "text\n"],
    ["```py\ndef f", "```py\ndef f"],
    ["```py\nx\n``", "```py\nx\n"],
    ["```py\nx\ud83c", "```py\nx"],
    ["````\n```\nx y", "````\n```\nx y"],
    ["```\nx\n```\nwo", "```\nx\n```\n"],
    ["- a b\n  ```sh", "- a b\n"],
    ["1. a b\n   ```sh\n   pip inst", "1. a b\n   ```sh\n   pip inst"],
    ["``` no ` fence", "``` no ` "],
    ["~~~\n[x y", "~~~\n[x y"],
  ] as const) {
    assert.equal(visible(text), wanted, JSON.stringify(text));
  }
});

test("marks wait for what they mark", () => {
  for (const [text, wanted] of [
    ["a b\n- ", "a b\n"],
    ["- a\n  1. ", "- a\n"],
    ["- [x] ", ""],
    ["## ", ""],
    ["> - ", ""],
    ["- a b", "- a "],
    ["see [the notes", "see "],
    ["see ([the notes", "see "],
    ["see [the notes](https://exa", "see "],
    ["see [the notes](https://example.com/) n", "see [the notes](https://example.com/) "],
    ["an ![image of", "an "],
    ["the `code of", "the "],
    ["the `code of` it", "the `code of` "],
    ["note [1] is", "note [1] "],
    [`a [${"long ".repeat(12)}b`, `a [${"long ".repeat(12)}`],
    [`a \`${"long ".repeat(12)}b`, `a \`${"long ".repeat(12)}`],
  ] as const) {
    assert.equal(visible(text), wanted, JSON.stringify(text));
  }
});

test("a table waits for the line below its head, and then for each row", () => {
  const head = "| a | b |\n|---|---|\n";
  for (const [text, wanted] of [
    ["| a | b |", ""],
    ["t u\n\n| a | b |\n|--", "t u\n\n"],
    [head, head],
    [`${head}| 1 |`, head],
    [`${head}| 1 | 2 |\n`, `${head}| 1 | 2 |\n`],
    [`${head}| ${"long ".repeat(32)}x`, `${head}| ${"long ".repeat(32)}`],
    ["| no table\nat all b", "| no table\nat all "],
  ] as const) {
    assert.equal(visible(text), wanted, JSON.stringify(text));
  }
});

test("markup that is half there is closed, and what is no markup stays", () => {
  for (const [text, wanted] of [
    ["a **bo", "a **bo**"],
    ["a **bold ", "a **bold** "],
    ["a **", "a "],
    ["a **b*", "a **b**"],
    ["an *em", "an *em*"],
    ["`co", "`co`"],
    ["a `", "a "],
    ["see [the notes](https://exa", "see the notes"],
    ["a **b** and `c` and [d](e)", "a **b** and `c` and [d](e)"],
    ["2 * 3 = 6", "2 * 3 = 6"],
    ["- item\n- **two", "- item\n- **two**"],
    ["\\*\\*not", "\\*\\*not"],
    ["```\na **b", "```\na **b"],
    ["1. a\n   ```sh\n   x `y\n   ```\n2. b *c ", "1. a\n   ```sh\n   x `y\n   ```\n2. b *c* "],
  ] as const) {
    assert.equal(closed(text), wanted, text);
  }
});
