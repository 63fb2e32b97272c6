// JSON that is still coming, written with line breaks and indents. Pure.

/**
 * Return whether a text looks like JSON from its first character on: an object or an array that
 * begins like one. An answer in Markdown may begin with a bracket, but not with these.
 */
export function looksLikeJson(text: string): boolean {
  return /^\s*(\{\s*("|\}|$)|\[\s*(\{|\[|"|-?\d|\]|$))/.test(text.slice(0, 200));
}

/** Writes JSON out as it comes, however it is cut. What is no JSON stays as it is. */
export class JsonWriter {
  #out: string[] = [];
  #depth = 0;
  #inText = false;
  #escaped = false;
  /** A bracket was opened, and nothing stands in it yet. */
  #opened = false;

  /** Return what `text` adds to the output. */
  push(text: string): string {
    this.#out = [];
    for (const char of text) this.#char(char);
    return this.#out.join("");
  }

  #char(char: string): void {
    if (this.#inText) {
      this.#out.push(char);
      if (this.#escaped) this.#escaped = false;
      else if (char === "\\") this.#escaped = true;
      else if (char === '"') this.#inText = false;
      return;
    }
    if (char === " " || char === "\n" || char === "\r" || char === "\t") return;
    if (char === "}" || char === "]") {
      this.#depth = Math.max(0, this.#depth - 1);
      if (!this.#opened) this.#line();
      this.#opened = false;
      this.#out.push(char);
      return;
    }
    if (this.#opened) {
      this.#line();
      this.#opened = false;
    }
    this.#out.push(char);
    if (char === '"') this.#inText = true;
    else if (char === "{" || char === "[") {
      // Deep nesting is not indented further, so that a line cannot grow without end.
      this.#depth += 1;
      this.#opened = true;
    } else if (char === ",") this.#line();
    else if (char === ":") this.#out.push(" ");
  }

  #line(): void {
    this.#out.push("\n", "  ".repeat(Math.min(this.#depth, 20)));
  }
}

/** Return a whole text of JSON with line breaks and indents. */
export function pretty(text: string): string {
  return new JsonWriter().push(text);
}
