// JSON that is still coming, written with line breaks and indents. Pure.

/**
 * Return whether a text begins like JSON; null while that cannot be told. An answer in Markdown may
 * begin with a bracket, as of a link, a task or a citation, but not like this.
 */
export function looksLikeJson(text: string, done: boolean): boolean | null {
  const start = text.trimStart().slice(0, 20);
  if (!done && /^([{[]\s*|)$/.test(start)) return null;
  return /^(\{\s*["}]|\[\s*(\{|"|\[\s*[[{"\d]))/.test(start);
}

/** Writes JSON out as it comes, however it is cut. What is not JSON stays as it is. */
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
