// Cuts Markdown into blocks as it comes, so that only the last one has to be drawn again. Pure.

import { Lexer, Tokenizer, type Token, type Tokens, type TokensList } from "marked";

import { closed, visible } from "./partial.ts";

/** A block that has no markup that is worth reading: more than this is shown as it is. */
const LONGEST = 16_000;

/** The most quotations and lists in each other that are read; the marks of more are text. */
const DEEPEST = 20;
/** The most marks of a text whose inline markup is read: the time for it grows with their square. */
const MARKS = 1_000;

export interface Block {
  /** "plain" is a text that is too long to be read as Markdown. */
  kind: "code" | "markdown" | "plain";
  raw: string;
  /** The language of code. */
  language: string;
  /** The text of code, or of a plain block. */
  text: string;
  /** What `marked` makes HTML of. */
  token: Token | null;
}

/**
 * The blocks of a text that grows. Blocks before `settled` do not change any more, so a view draws
 * them once. However the text is cut, the blocks at its end are the same.
 */
export class Blocks {
  settled: Block[] = [];
  open: Block[] = [];
  #tail = "";
  /** What of the tail is shown, with its markup closed. */
  #shown = "";
  #return = false;
  #links: TokensList["links"] = {};

  /** Add text. `done` says that nothing follows. */
  push(text: string, done: boolean): void {
    this.#tail += this.#normal(text);
    const shown = done ? this.#tail : closed(visible(this.#tail));
    const lexer = new Lexer({ gfm: true, tokenizer: new Shallow() });
    lexer.tokens.links = this.#links;
    if (!done && shown === this.#shown) return;
    this.#shown = "";
    if (this.#plain(shown, done)) return;
    const tokens = lexer.blockTokens(shown, lexer.tokens);
    this.#links = lexer.tokens.links;
    const last = done ? tokens.length : lastOpen(tokens, shown);
    let settled = 0;
    for (const token of tokens.slice(0, last)) settled += token.raw.length;
    // Inline markup is read once for a settled block, and again for the open one.
    const open = tokens.slice(last);
    for (const { src, tokens: inline } of lexer.inlineQueue) {
      if ((src.match(/[*_~`[\]<]/g)?.length ?? 0) <= MARKS) lexer.inlineTokens(src, inline);
      else inline.push({ type: "text", raw: src, text: src, escaped: false });
    }
    lexer.inlineQueue = [];
    this.settled.push(...tokens.slice(0, last).flatMap(blockOf));
    this.open = open.flatMap(blockOf);
    this.#tail = this.#tail.slice(settled);
    this.#shown = shown.slice(settled);
  }

  /** Take a tail that is too long for one block as plain text. Return whether it was. */
  #plain(shown: string, done: boolean): boolean {
    if (shown.length <= LONGEST || FENCE.test(shown)) return false;
    // The longest run without an empty line decides: many short blocks are read as ever.
    const end = shown.search(/\n[ \t]*\n/);
    if (end >= 0 && end <= LONGEST) return false;
    while (this.#tail.length > LONGEST) {
      let cut = this.#tail.lastIndexOf("\n", LONGEST) + 1;
      if (cut < LONGEST / 2) cut = this.#tail.lastIndexOf(" ", LONGEST) + 1;
      if (cut < LONGEST / 2) cut = LONGEST;
      if (/[\ud800-\udbff]/.test(this.#tail.charAt(cut - 1))) cut -= 1;
      this.settled.push(plain(this.#tail.slice(0, cut)));
      this.#tail = this.#tail.slice(cut);
    }
    const left = done ? this.#tail : visible(this.#tail);
    this.open = left ? [plain(left)] : [];
    return true;
  }

  #normal(text: string): string {
    // A return at the end of a piece may belong to a line feed at the start of the next one.
    const given = this.#return && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") this.#return = text.endsWith("\r");
    return given.replace(/\r\n?/g, "\n").replaceAll("\u0000", "\ufffd");
  }
}

/** Reads quotations and lists to a bounded depth: a model can open thousands in one line. */
class Shallow extends Tokenizer {
  #depth = 0;

  override blockquote(src: string): Tokens.Blockquote | undefined {
    return this.#deeper(() => super.blockquote(src));
  }
  override list(src: string): Tokens.List | undefined {
    return this.#deeper(() => super.list(src));
  }
  #deeper<T>(read: () => T): T | undefined {
    if (this.#depth === DEEPEST) return undefined;
    this.#depth += 1;
    try {
      return read();
    } finally {
      this.#depth -= 1;
    }
  }
}

const FENCE = /^ {0,3}(`{3,}|~{3,})/;

function plain(text: string): Block {
  return { kind: "plain", raw: text, language: "", text, token: null };
}

/** Return the language that the line above code names, in small letters. */
export function languageOf(line: string): string {
  return (line.trim().split(/\s/)[0] ?? "").toLowerCase();
}

function blockOf(token: Token): Block[] {
  if (token.type === "space" || token.type === "def") return [];
  if (token.type === "code") {
    return [
      {
        kind: "code",
        raw: token.raw,
        language: languageOf(String(token["lang"] ?? "")),
        text: String(token["text"]),
        token,
      },
    ];
  }
  return [{ kind: "markdown", raw: token.raw, language: "", text: "", token }];
}

/**
 * Return the index of the first token that what follows may still change. A line that is not
 * complete may become part of the block before it.
 */
function lastOpen(tokens: Token[], text: string): number {
  const line = text.lastIndexOf("\n") + 1;
  let open = 0;
  let at = 0;
  tokens.forEach((token, index) => {
    if (token.type !== "space" && at < line) open = index;
    at += token.raw.length;
  });
  return open;
}
