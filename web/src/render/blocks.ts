// Cuts Markdown into blocks as it comes, so that only the last one has to be drawn again. Pure.

import { Lexer, type Token, type TokensList } from "marked";

/** A block that has no markup that is worth reading: more than this is shown as it is. */
const LONGEST = 16_000;

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
  #return = false;
  #links: TokensList["links"] = {};

  /** Add text. `done` says that nothing follows. */
  push(text: string, done: boolean): void {
    this.#tail += this.#normal(text);
    const shown = done ? this.#tail : closed(visible(this.#tail));
    const lexer = new Lexer({ gfm: true });
    lexer.tokens.links = this.#links;
    if (this.#plain(shown)) return;
    const tokens = lexer.blockTokens(shown, lexer.tokens);
    this.#links = lexer.tokens.links;
    const last = done ? tokens.length : lastOpen(tokens, shown);
    let settled = 0;
    for (const token of tokens.slice(0, last)) settled += token.raw.length;
    // Inline markup is read once for a settled block, and again for the open one.
    const open = tokens.slice(last);
    for (const queued of lexer.inlineQueue) lexer.inlineTokens(queued.src, queued.tokens);
    lexer.inlineQueue = [];
    this.settled.push(...tokens.slice(0, last).flatMap(blockOf));
    this.open = open.flatMap(blockOf);
    this.#tail = this.#tail.slice(settled);
  }

  /** Take a tail that is too long for one block as plain text. Return whether it was. */
  #plain(shown: string): boolean {
    if (shown.length <= LONGEST || FENCE.test(shown)) return false;
    // The longest run without an empty line decides: many short blocks are read as ever.
    const end = shown.search(/\n[ \t]*\n/);
    if (end >= 0 && end <= LONGEST) return false;
    while (this.#tail.length > LONGEST) {
      let cut = this.#tail.lastIndexOf("\n", LONGEST) + 1;
      if (cut < LONGEST / 2) cut = this.#tail.lastIndexOf(" ", LONGEST) + 1;
      if (cut < LONGEST / 2) cut = LONGEST;
      if (isHigh(this.#tail.charCodeAt(cut - 1))) cut -= 1;
      this.settled.push(plain(this.#tail.slice(0, cut)));
      this.#tail = this.#tail.slice(cut);
    }
    this.open = this.#tail ? [plain(this.#tail)] : [];
    return true;
  }

  #normal(text: string): string {
    // A return at the end of a piece may belong to a line feed at the start of the next one.
    const given = this.#return && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") this.#return = text.endsWith("\r");
    return given.replace(/\r\n?/g, "\n").replaceAll("\u0000", "\ufffd");
  }
}

const FENCE = /^ {0,3}(`{3,}|~{3,})/;

function plain(text: string): Block {
  return { kind: "plain", raw: text, language: "", text, token: null };
}

function blockOf(token: Token): Block[] {
  if (token.type === "space" || token.type === "def") return [];
  if (token.type === "code") {
    const language =
      String(token["lang"] ?? "")
        .trim()
        .split(/\s/)[0] ?? "";
    return [
      {
        kind: "code",
        raw: token.raw,
        language: language.toLowerCase(),
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

/** Return the part of a text that can be shown: without half a character or half a fence. */
export function visible(text: string): string {
  let end = text.length;
  if (end > 0 && isHigh(text.charCodeAt(end - 1))) end -= 1;
  const line = text.lastIndexOf("\n", end - 1) + 1;
  if (/^ {0,3}(`{1,3}|~{1,3})$/.test(text.slice(line, Math.min(end, line + 8)))) {
    if (end - line <= 6) end = line;
  }
  return end === text.length ? text : text.slice(0, end);
}

/**
 * Return a text whose last inline markup is closed, as if its end had come: what is half there would
 * show its marks first, and move the words behind them when it is complete.
 */
export function closed(text: string): string {
  const start = text.lastIndexOf("\n\n") + 1;
  const last = text.slice(start);
  if (/`{3}|~{3}/.test(text) || last.length > 4_000) return text;
  const rest = last.replace(/\\./g, "..").replace(/`[^`]*`/g, (span) => ".".repeat(span.length));
  const tick = rest.indexOf("`");
  if (tick >= 0) return tick === rest.length - 1 ? text.slice(0, -1) : `${text}\``;
  const link = /\[([^\]\n]*)\]\([^)\s]*$/.exec(rest);
  if (link)
    return (
      text.slice(0, start + link.index) +
      last.slice(link.index + 1, link.index + 1 + (link[1]?.length ?? 0))
    );
  const bare = /\*+$/.exec(rest);
  const marks = (bare ? rest.slice(0, bare.index) : rest).match(/\*\*|(?<=\S)\*|\*(?=\S)/g) ?? [];
  const strong = marks.filter((it) => it === "**").length % 2 === 1;
  const emphasis = marks.filter((it) => it === "*").length % 2 === 1;
  const cut = bare ? text.slice(0, -bare[0].length) : text;
  if (!strong && !emphasis) return cut;
  const end = cut.trimEnd();
  return end + (emphasis ? "*" : "") + (strong ? "**" : "") + cut.slice(end.length);
}

function isHigh(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
