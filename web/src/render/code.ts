// A block of code that may still be coming. A line that has not changed is not drawn again.

import type { Highlighter, Segment } from "./highlight.ts";

type Highlighting = typeof import("./highlight.ts");
let loaded: Highlighting | null = null;
let loading: Promise<Highlighting | null> | null = null;
/** How long to wait before the highlighting is loaded again, if it could not be. */
const AGAIN_MS = 5000;

/** Load what highlights code; null if it cannot be loaded now. */
function load(): Promise<Highlighting | null> {
  loading ??= import("./highlight.ts").then(
    (module) => (loaded = module),
    () => {
      setTimeout(() => (loading = null), AGAIN_MS);
      return null;
    },
  );
  return loading;
}

export class CodeView {
  readonly element: HTMLElement;
  #code: HTMLElement;
  #label: HTMLElement;
  #keys: string[] = [];
  #highlighter: Highlighter | null = null;
  #awaits = false;
  #text = "";
  #language = "";
  #done = false;

  constructor() {
    this.element = document.createElement("figure");
    this.element.className = "code";
    const head = document.createElement("figcaption");
    this.#label = document.createElement("span");
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "quiet";
    copy.textContent = "Copy";
    copy.setAttribute("aria-label", "Copy this code");
    copy.addEventListener("click", () => {
      void copyText(this.#text).then((copied) => {
        copy.textContent = copied ? "Copied" : "Not copied";
        setTimeout(() => (copy.textContent = "Copy"), 1500);
      });
    });
    head.append(this.#label, copy);
    const pre = document.createElement("pre");
    pre.tabIndex = 0;
    this.#code = document.createElement("code");
    pre.append(this.#code);
    this.element.append(head, pre);
  }

  update(text: string, language: string, done: boolean): void {
    if (text === this.#text && language === this.#language && done === this.#done) return;
    if (language !== this.#language) this.#highlighter = null;
    this.#text = text;
    this.#language = language;
    this.#done = done;
    this.#label.textContent = language || "code";
    this.element.querySelector("pre")?.setAttribute("aria-label", `Code, ${language || "plain"}`);
    this.#draw();
  }

  #draw(): void {
    const settled = this.#highlighter?.settled ?? 0;
    const highlighted = this.#highlight();
    const lines = highlighted ?? this.#plain(this.#text);
    for (let at = highlighted ? settled : 0; at < lines.length; at += 1)
      this.#line(at, lines[at] ?? [], at === lines.length - 1, highlighted !== null);
    while (this.#keys.length > lines.length) {
      this.#keys.pop();
      this.#code.lastElementChild?.remove();
    }
  }

  /** Return the lines with their colours; null if there are none, or not yet. */
  #highlight(): Segment[][] | null {
    if (this.#language === "") return null;
    if (!loaded) {
      if (this.#awaits) return null;
      this.#awaits = true;
      void load().then((module) => {
        this.#awaits = false;
        if (module) this.#draw();
      });
      return null;
    }
    if (!loaded.knows(this.#language)) return null;
    this.#highlighter ??= new loaded.Highlighter(this.#language);
    return this.#highlighter.lines(this.#text, this.#done);
  }

  #plain(text: string): Segment[][] {
    return text.split("\n").map((line): Segment[] => (line ? [[line, ""]] : []));
  }

  #line(index: number, line: Segment[], last: boolean, highlighted: boolean): void {
    const end = last ? "" : "\n"; // the caret stands behind the last line
    const key = line.map(([text, classes]) => `${classes}\u0000${text}`).join("\u0001") + end;
    if (this.#keys[index] === key) return;
    const there = this.#code.children[index];
    if (there && !highlighted) {
      // Code that is too long to be highlighted while it comes keeps the colours that it has.
      const text = (line[0]?.[0] ?? "") + end;
      const shown = there.textContent ?? "";
      if (text.startsWith(shown)) {
        if (text.length > shown.length) there.append(text.slice(shown.length));
        this.#keys[index] = key;
        return;
      }
    }
    this.#keys[index] = key;
    const made = document.createElement("span");
    made.className = "line";
    for (const [text, classes] of line) {
      if (!classes) made.append(text);
      else {
        const part = document.createElement("span");
        part.className = classes;
        part.textContent = text;
        made.append(part);
      }
    }
    made.append(end);
    if (there) there.replaceWith(made);
    else this.#code.append(made);
  }
}

/** Copy a text; return whether the browser did. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
