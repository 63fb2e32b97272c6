// A block of code that may still be coming. A line that has not changed is not drawn again.

import type { Segment } from "./highlight.ts";

/** The longest code that is highlighted while it comes, and at its end, in characters. */
const LIVE = 12_000;
const WHOLE = 60_000;

let loaded: typeof import("./highlight.ts") | null = null;
let loading: Promise<unknown> | null = null;

export class CodeView {
  readonly element: HTMLElement;
  #code: HTMLElement;
  #label: HTMLElement;
  #keys: string[] = [];
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
    this.#text = text;
    this.#language = language;
    this.#done = done;
    this.#label.textContent = language || "code";
    this.element.querySelector("pre")?.setAttribute("aria-label", `Code, ${language || "plain"}`);
    this.#draw();
  }

  #draw(): void {
    const text = this.#text;
    const wanted = this.#language !== "" && text.length <= (this.#done ? WHOLE : LIVE);
    if (wanted && !loaded) {
      loading ??= import("./highlight.ts").then((module) => (loaded = module)).catch(() => null);
      void loading.then(() => loaded && this.#draw());
    }
    const lines = (wanted && loaded?.highlight(text, this.#language)) || this.#plain(text);
    lines.forEach((line, index) => this.#line(index, line, index === lines.length - 1));
    while (this.#keys.length > lines.length) {
      this.#keys.pop();
      this.#code.lastElementChild?.remove();
    }
  }

  #plain(text: string): Segment[][] {
    return text.split("\n").map((line): Segment[] => (line ? [[line, ""]] : []));
  }

  #line(index: number, line: Segment[], last: boolean): void {
    const end = last ? "" : "\n"; // the caret stands behind the last line
    const key = line.map(([text, classes]) => `${classes}\u0000${text}`).join("\u0001") + end;
    if (this.#keys[index] === key) return;
    // Code that is too long to be highlighted while it comes keeps the colours that it has.
    const plain = line.length === 1 && line[0]?.[1] === "";
    const there = this.#code.children[index];
    if (plain && there && there.textContent === `${line[0]?.[0]}${end}`) return;
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
