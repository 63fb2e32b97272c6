import assert from "node:assert/strict";
import { test } from "node:test";

import type { Token, Tokens } from "marked";

import { Blocks, type Block } from "../../web/src/render/blocks.ts";
import { cutsOf, random } from "./cuts.ts";

const PARTS = [
  "A paragraph with **bold** and `code`.",
  "Two lines\nof one paragraph",
  "# A heading",
  "Set by\n======",
  "- one\n- two\n  - deeper\n\n- loose",
  "1. first\n2. second\n\n   its paragraph",
  "```python\ndef f():\n\n    return 1\n```",
  "~~~\nplain ``` inside\n~~~",
  "| a | b |\n|---|--:|\n| 1 | 2 |",
  "> quoted\n> more\n\n> another",
  "---",
  "<div>\n<b>html</b>\n</div>",
  "    indented code",
  "Ends with a backslash\\\nand goes on  \nhere",
  "emoji 👩‍👩‍👧‍👦 and 🎉, مرحبا",
  "`unclosed and **unclosed",
  "#not a heading\n-not a list\n1.not one",
];

function texts(): string[] {
  const found = [...PARTS];
  const next = random(7);
  for (let at = 0; at < 40; at += 1) {
    const parts = Array.from(
      { length: 2 + Math.floor(next() * 5) },
      () => PARTS[Math.floor(next() * PARTS.length)] as string,
    );
    found.push(parts.join(["\n\n", "\n", "\n\n\n"][Math.floor(next() * 3)]));
  }
  return found;
}

const shown = (blocks: Block[]): string[] =>
  blocks.map((it) => `${it.kind}|${it.language}|${it.raw.trimEnd()}`);

function whole(pieces: string[]): Blocks {
  const blocks = new Blocks();
  for (const piece of pieces) blocks.push(piece, false);
  blocks.push("", true);
  return blocks;
}

test("the blocks at the end are the same, however the text is cut", () => {
  for (const text of texts()) {
    const wanted = shown(whole([text]).settled);
    for (const [seed, pieces] of cutsOf(text)) {
      assert.deepEqual(
        shown(whole(pieces).settled),
        wanted,
        `seed ${seed} of ${JSON.stringify(text)}`,
      );
    }
  }
});

test("a block that is settled does not change, and its text is read once", () => {
  const blocks = new Blocks();
  let count = 0;
  for (let at = 0; at < 400; at += 1) {
    blocks.push(`Paragraph ${at} has some words.\n\n`, false);
    assert.ok(blocks.settled.length >= count);
    assert.ok(blocks.open.length <= 1);
    count = blocks.settled.length;
  }
  assert.equal(count, 399);
});

test("a text without breaks becomes plain blocks of bounded size", () => {
  const blocks = whole(Array.from({ length: 100 }, () => "*[`".repeat(2000)));
  assert.equal(
    blocks.settled.map((it) => it.raw).join("").length +
      blocks.open.map((it) => it.raw).join("").length,
    600_000,
  );
  assert.ok([...blocks.settled, ...blocks.open].every((it) => it.raw.length <= 16_000));
});

for (const marks of [">", "> ", "1. ", "- > ", "1. - > "])
  test(`quotations and lists of ${JSON.stringify(marks)} have a bounded depth`, () => {
    const depth = (tokens: readonly Token[] = []): number =>
      Math.max(
        0,
        ...tokens.map((it) => {
          const inner = it.type === "list" ? (it as Tokens.List).items : [it as Tokens.Generic];
          const own = it.type === "list" || it.type === "blockquote" ? 1 : 0;
          return own + Math.max(0, ...inner.map((one) => depth(one.tokens)));
        }),
      );
    const text = marks.repeat(3000);
    const { settled } = whole([text.slice(0, 1000), text.slice(1000), "\n\nnext"]);
    const tokens = settled.flatMap((it) => it.token ?? []);
    assert.equal(depth(tokens), 20);
    assert.equal(settled.at(-1)?.raw, "next");
  });

test("the inline markup of a text that is nearly all marks is not read", () => {
  const kinds = (text: string): string[] => {
    const tokens = whole([text]).settled.map((it) => it.token as Tokens.Paragraph);
    return [...new Set(tokens.flatMap((it) => it.tokens.map((one) => one.type)))];
  };
  assert.deepEqual(kinds("**a** ".repeat(200)), ["strong", "text"]);
  assert.deepEqual(kinds("**a** ".repeat(300)), ["text"]);
});
