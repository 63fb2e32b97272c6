// What of a text can be shown while more of it comes. Pure.
//
// What is shown keeps its place: the last word of a line would move to the next line if it grew
// beyond the end of its own, so it is held back until its end has come. The same holds for marks
// whose meaning what follows decides. Each kind of them has a bound, after which it is shown.

/** The longest word that is held back, in characters: no line has so many. */
const WORD = 160;
/** The longest of the others: code within a line and a link's text, a row, a table's head. */
const SPAN = 60;
const ROW = 160;
const TABLE_HEAD = 600;
/** The longest line that opens code, with its language. */
const FENCE_LINE = 80;

/** Scripts that are written without spaces, in which a line may end after any character. */
const EAST = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]`;
/** Letters that must not begin a line. */
const SMALL = "[ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々〻]";
/** A place where a line may end: no sign that must not begin a line follows, even after a space. */
const BREAK = new RegExp(
  String.raw`\n|[ \t](?=[^\s!?;:/.,)\]}»”’%…])|(?<=${EAST}|[ー。、，．：；！？」』）】〉》])(?=(?!${SMALL})[\p{L}\p{N}]|[「『（【〈《])`,
  "gu",
);
/** Scripts whose words only a dictionary tells apart. */
const UNSPACED = /[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]$/u;

/** Return the part of a text that can be shown while more comes. */
export function visible(text: string): string {
  const whole = text.slice(0, text.length - half(text));
  const line = whole.lastIndexOf("\n") + 1;
  // Half of a fence, or the line that opens code: it has no language before its end.
  if (whole.length - line <= FENCE_LINE && FENCE_BEGUN.test(whole.slice(line)))
    return whole.slice(0, line);
  // Lines of code do not wrap, so nothing in them can move.
  if (inCode(whole)) return whole;
  return withoutTableBegun(withoutMarks(withoutSpan(toBreak(whole))));
}

const FENCE_BEGUN =
  /^[ \t]*(?:[-*+][ \t]+|\d{1,9}[.)][ \t]+)*(?:`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*)$/;
/** A line that opens or closes code, at the beginning of a line or within a list. */
const FENCE = /^[ \t]*(?:[-*+>][ \t]+|\d{1,9}[.)][ \t]+)*(`{3,}|~{3,})(.*)$/gm;

/** Return how many characters at the end are the first half of one. */
function half(text: string): number {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? 1 : 0;
}

/** Return whether a text ends within a fence of code. */
function inCode(text: string): boolean {
  let open = "";
  for (const [, marks = "", rest = ""] of text.matchAll(FENCE)) {
    if (!open) open = marks.startsWith("~") || !rest.includes("`") ? marks : "";
    else if (marks.startsWith(open) && rest.trim() === "") open = "";
  }
  return open !== "";
}

/** Return a text without the word at its end, which may grow. */
function toBreak(text: string): string {
  const from = Math.max(0, text.length - WORD);
  const tail = text.slice(from);
  let end = -1;
  for (const found of tail.matchAll(BREAK)) end = found.index + found[0].length;
  if (UNSPACED.test(tail)) end = Math.max(end, lastWords(tail, Math.max(0, end)));
  if (end < 0) return from > 0 ? text : "";
  return text.slice(0, from + end);
}

/** Return where the last two words of a text without spaces begin; what follows may join them. */
function lastWords(text: string, from: number): number {
  const words = [...new Intl.Segmenter("th", { granularity: "word" }).segment(text.slice(from))];
  return from + (words.at(-2)?.index ?? 0);
}

/**
 * Return a text without code or a link's text that is open at its end: they have no marks when they
 * are complete, and code has a margin that would come between its words.
 */
function withoutSpan(text: string): string {
  const start = paragraph(text);
  if (text.length - start > LONGEST) return text;
  const rest = withoutCode(text.slice(start));
  const tick = rest.indexOf("`");
  const begun = tick >= 0 ? tick : (/!?\[[^\]\n]*$/.exec(rest)?.index ?? -1);
  if (begun < 0 || rest.length - begun > SPAN) return text;
  return toBreak(`${text.slice(0, start + begun)}x`);
}

/** Return where the last paragraph begins: behind an empty line, or behind code. */
function paragraph(text: string): number {
  const start = text.lastIndexOf("\n\n") + 1;
  const fence = [...text.slice(start).matchAll(FENCE)].at(-1);
  return fence ? start + fence.index + fence[0].length : start;
}

/** The longest paragraph whose markup is looked at. */
const LONGEST = 4_000;

/** Return a text of the same length without escaped marks and without code. */
function withoutCode(text: string): string {
  return text.replace(/\\./g, "..").replace(/`[^`]*`/g, (span) => ".".repeat(span.length));
}

/** Return a text without a list's or heading's marks at its end that have no word yet. */
function withoutMarks(text: string): string {
  const line = text.lastIndexOf("\n") + 1;
  return MARKS.test(text.slice(line, line + FENCE_LINE)) ? text.slice(0, line) : text;
}

const MARKS = /^[ \t]*(?:(?:[-*+>]|\d{1,9}[.)]|#{1,6})[ \t]+)*(?:\[[ xX]\][ \t]+)?$/;

/**
 * Return a text without the head of a table at its end, which is a paragraph until the line below
 * it has come, and without half a row, whose cells would move those of the rows above.
 */
function withoutTableBegun(text: string): string {
  const start = text.lastIndexOf("\n\n") + 2;
  const from = start > 1 ? start : 0;
  if (text[from] !== "|") return text;
  const lines = text.slice(from).split("\n");
  const last = lines.at(-1) ?? "";
  if (lines.length <= 2 && /^[\s|:-]*$/.test(lines[1] ?? ""))
    return text.length - from <= TABLE_HEAD ? text.slice(0, from) : text;
  return last.startsWith("|") && last.length <= ROW
    ? text.slice(0, text.length - last.length)
    : text;
}

/**
 * Return a text whose last inline markup is closed, as if its end had come: what is half there would
 * show its marks first, and move the words behind them when it is complete.
 */
export function closed(text: string): string {
  const start = paragraph(text);
  const last = text.slice(start);
  if (last.length > LONGEST || inCode(text)) return text;
  const rest = withoutCode(last);
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
