import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import hljs from "highlight.js/lib/core";

import { Highlighter, knows, type Segment } from "../../web/src/render/highlight.ts";
import { cutBy } from "./cuts.ts";
import { SAMPLES } from "./samples.ts";

const STYLE = readFileSync(join(import.meta.dirname, "../../web/src/style.css"), "utf8");
/** The colour of each class, in the order in which the rules win. */
const COLOURS = [...STYLE.matchAll(/((?:\.hljs-\w+,?\s*)+)\{\s*color: ([^;]+);/g)].flatMap(
  ([, names = "", colour]) => [...names.matchAll(/hljs-\w+/g)].map(([name]) => [name, colour]),
);
const colourOf = (classes: string): string =>
  COLOURS.findLast(([name]) => classes.split(" ").includes(name ?? ""))?.[1] ?? "";

/** Return the colour of each character, by line. */
const coloursOf = (lines: Segment[][] | null): string[][] =>
  (lines ?? []).map((line) =>
    line.flatMap(([text, classes]) => Array.from(text, () => colourOf(classes))),
  );

const textOf = (lines: Segment[][] | null): string =>
  (lines ?? []).map((line) => line.map(([text]) => text).join("")).join("\n");

for (const [language, code] of Object.entries(SAMPLES)) {
  test(`${language}: what has a colour keeps it while the code grows`, () => {
    const highlighter = new Highlighter(language);
    let before: string[][] = [];
    for (let at = 1; at <= code.length; at += 1) {
      const lines = highlighter.lines(code.slice(0, at), false);
      assert.equal(textOf(lines), code.slice(0, at));
      const now = coloursOf(lines);
      before.forEach((line, row) =>
        line.forEach((colour, column) => {
          if (colour)
            assert.equal(now[row]?.[column], colour, `${JSON.stringify(code.slice(0, at))} ${row}`);
        }),
      );
      before = now;
    }
    assert.ok(before.flat().filter(Boolean).length > code.length / 20, "hardly anything has");
  });

  test(`${language}: long code is the same in pieces`, () => {
    const long = code.repeat(Math.ceil(7000 / code.length));
    const whole = hljs.highlight(long, { language, ignoreIllegals: true });
    const wanted = (whole as unknown as { _emitter: { lines: Segment[][] } })._emitter.lines;
    const highlighter = new Highlighter(language);
    let text = "";
    cutBy(1, long).forEach((piece, at) => {
      text += piece;
      if (at % 8 === 0) highlighter.lines(text, false);
    });
    assert.deepEqual(highlighter.lines(long, true), wanted);
    assert.ok(highlighter.settled > wanted.length / 3, `${highlighter.settled} are settled`);
  });
}

test("a code that never ends a text is not read again and again", () => {
  const highlighter = new Highlighter("javascript");
  const code = `const a = \`${"text\n".repeat(9000)}`;
  assert.ok(highlighter.lines(code.slice(0, 9000), false));
  assert.equal(highlighter.lines(code, false), null);
  assert.equal(highlighter.lines(code, true)?.length, 9001);
  assert.equal(highlighter.lines(code.repeat(2), true), null);
});

test("a code with a very long line has no colours, whose time would grow with its square", () => {
  const line = (length: number): string => `a = "${"x".repeat(length - 6)}"`;
  assert.equal(coloursOf(new Highlighter("python").lines(line(500), true)).flat().length, 500);
  assert.equal(new Highlighter("python").lines(`b = 1\n${line(501)}`, true), null);
  assert.equal(new Highlighter("python").lines(`b = 1\n${line(501)}`, false), null);
  assert.ok(new Highlighter("json").lines(`{"a": "${"x".repeat(3900)}"}`, true));
  assert.equal(new Highlighter("json").lines(`{"a": "${"x".repeat(4000)}"}`, true), null);
});

test("the classes of deeply nested code are bounded", () => {
  const lines = new Highlighter("rust").lines("/*\n".repeat(3000), false) ?? [];
  assert.equal(lines.length, 3001);
  const most = Math.max(...lines.flat().map(([, classes]) => classes.split(" ").length));
  assert.equal(most, 8);
});

test("the names by which models call a language are known", () => {
  for (const name of ["py", "js", "jsx", "ts", "tsx", "sh", "shell", "console", "html", "c++", "yml", "toml", "c#"])
    assert.ok(knows(name), name); // prettier-ignore
  assert.ok(!knows("klingon"));
});
