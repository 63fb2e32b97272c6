// Highlighted code, as lines of segments. Loaded when the first code comes.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import kotlin from "highlight.js/lib/languages/kotlin";
import markdown from "highlight.js/lib/languages/markdown";
import php from "highlight.js/lib/languages/php";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import swift from "highlight.js/lib/languages/swift";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = {
  bash, c, cpp, csharp, css, diff, dockerfile, go, ini, java, javascript, json, kotlin, markdown,
  php, python, ruby, rust, sql, swift, typescript, xml, yaml,
}; // prettier-ignore

/** The longest code that is highlighted again with each piece that comes, in characters. */
const LIVE = 12_000;
/** The longest code that is highlighted in one piece when it is complete. */
const WHOLE = 60_000;
/** The longest line in code that is highlighted: some languages' rules take its square in time. */
const LINE = 500;
/** The same of JSON, whose lines are texts of answers, too. */
const LINE_OF_JSON = 4_000;
/** The most classes of a piece; what nests deeper has those of the outermost. */
const DEEPEST = 8;
/** Code longer than this is divided where it can be. */
const PIECE = 2_000;

/** A piece of a line: its text, and the names of its classes. */
export type Segment = [text: string, classes: string];

/** Collects highlight.js's tokens by line. The page makes elements of them, and no HTML. */
class Lines {
  lines: Segment[][] = [[]];
  #scopes: string[] = [];

  addText(text: string): void {
    if (text === "") return;
    const classes = this.#classes();
    text.split("\n").forEach((part, index) => {
      if (index > 0) this.lines.push([]);
      if (part !== "") this.lines.at(-1)?.push([part, classes]);
    });
  }
  #classes(): string {
    const outer = this.#scopes.slice(0, DEEPEST);
    return outer.map((it) => `hljs-${it.split(".")[0]}`).join(" ");
  }
  startScope(scope: string): void {
    this.#scopes.push(scope);
  }
  endScope(): void {
    this.#scopes.pop();
  }
  openNode(scope: string): void {
    this.startScope(scope);
  }
  closeNode(): void {
    this.endScope();
  }
  __addSublanguage(emitter: Lines): void {
    const outer = this.#classes();
    emitter.lines.forEach((line, index) => {
      if (index > 0) this.lines.push([]);
      for (const [text, classes] of line) {
        this.lines.at(-1)?.push([text, [outer, classes].filter(Boolean).join(" ")]);
      }
    });
  }
  finalize(): void {}
  toHTML(): string {
    return "";
  }
}

for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);
// highlight.js names this option for replacements of its own HTML.
hljs.configure({ __emitter: Lines } as unknown as Parameters<typeof hljs.configure>[0]);

hljs.registerAliases(["console", "shell"], { languageName: "bash" });

/** Return whether code in a language can be highlighted. */
export function knows(language: string): boolean {
  return hljs.getLanguage(language) !== undefined;
}

interface Result {
  _emitter: Lines;
  /** The mode in which the code ends; only the language itself has no parent. */
  _top: { parent?: object };
}

function run(code: string, language: string): Result {
  return hljs.highlight(code, { language, ignoreIllegals: true }) as unknown as Result;
}

/**
 * Highlights a code that grows. Lines that end outside of every string, comment and block are read
 * once, so the work for each piece does not grow with the code. A line that is complete keeps its
 * colours; in the last line, a token has none before its end, because it may become another one.
 */
export class Highlighter {
  #language: string;
  /** Lines that are not read again, and the code of which they are. */
  #settled: Segment[][] = [];
  #code = "";
  #tried = 0;

  constructor(language: string) {
    this.#language = language;
  }

  /** Return how many of the lines will not change. */
  get settled(): number {
    return this.#settled.length;
  }

  /** Return the lines of a code that begins with the code of the call before; null if too long. */
  lines(code: string, done: boolean): Segment[][] | null {
    if (!code.startsWith(this.#code)) {
      this.#settled = [];
      this.#code = "";
      this.#tried = 0;
    }
    let open = code.slice(this.#code.length);
    const longest = this.#language === "json" ? LINE_OF_JSON : LINE;
    if (open.split("\n").some((line) => line.length > longest)) return null;
    for (; open.length > this.#tried + PIECE; open = code.slice(this.#code.length)) {
      if (!this.#settle(open)) break;
    }
    if (open.length > (done ? WHOLE : LIVE)) return null;
    const lines = run(open, this.#language)._emitter.lines;
    if (!done) growing(lines, this.#language);
    return [...this.#settled, ...lines];
  }

  /** Settle the complete lines at the beginning of `open`. Return whether it could be done. */
  #settle(open: string): boolean {
    const end = open.lastIndexOf("\n", this.#tried + PIECE) + 1;
    this.#tried += PIECE;
    if (end === 0 || this.#tried > LIVE) return open.length > this.#tried + PIECE;
    const piece = open.slice(0, end);
    const { _emitter, _top } = run(piece, this.#language);
    if (_top.parent) return true; // within something: more lines may end outside
    this.#settled.push(..._emitter.lines.slice(0, -1));
    this.#code += piece;
    this.#tried = 0;
    return true;
  }
}

/** All of a line before the token in which it ends. */
const END = /.*[\s(){}[\],;]/;
/** The same in a shell, whose `${NAME:-other}` is one. */
const END_SHELL = /.*(?:[\s()}[\],;]|(?<!\$)\{)/;

/** A class of a text; what stands within its braces is none. */
const TEXT = /^hljs-(?:string|comment)(?!.*hljs-subst)/;

/** Take the colours of the token that the last line ends in; within a text it has the text's. */
function growing(lines: Segment[][], language: string): void {
  const line = lines.at(-1) ?? [];
  const end = hljs.getLanguage(language)?.name === "Bash" ? END_SHELL : END;
  const from = end.exec(line.map(([part]) => part).join(""))?.[0].length ?? 0;
  const shown: Segment[] = [];
  let outer = "";
  let at = 0;
  for (const [part, classes] of line) {
    const kept = part.slice(0, Math.max(0, from - at));
    const rest = part.slice(kept.length);
    if (kept) {
      shown.push([kept, classes]);
      outer = TEXT.test(classes) ? classes : "";
    }
    if (rest) shown.push([rest, TEXT.test(classes) ? outer : ""]);
    at += part.length;
  }
  lines[lines.length - 1] = shown;
}
