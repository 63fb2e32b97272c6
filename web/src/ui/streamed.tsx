// Parts of an answer that are drawn beside Preact, because they change with every token.

import { useLayoutEffect, useRef } from "preact/hooks";

import type { Answer, Item } from "../chat/answer.ts";
import { CodeView } from "../render/code.ts";
import { forget, inFrame } from "../render/frames.ts";
import { JsonWriter, looksLikeJson } from "../render/json.ts";

interface View {
  update(text: string, done: boolean): void;
}

type Markdown = new (root: HTMLElement) => View;
let markdown: Markdown | null = null;
let loading: Promise<Markdown> | null = null;

/** Load what draws Markdown: more than half of the page's code, and the first page has no use of it. */
export function loadMarkdown(): Promise<Markdown> {
  loading ??= import("../render/markdown.ts").then(
    ({ MarkdownView }) => (markdown = MarkdownView),
    () => {
      loading = null; // it is tried again with the next answer
      return PlainView;
    },
  );
  return loading;
}

/** A text without its markup drawn. */
class PlainView implements View {
  #root: HTMLElement;

  constructor(root: HTMLElement) {
    this.#root = document.createElement("div");
    this.#root.className = "block plain";
    this.#root.dir = "auto";
    root.append(this.#root);
  }

  update(text: string): void {
    this.#root.textContent = text;
  }
}

class JsonView implements View {
  #code = new CodeView();
  #writer = new JsonWriter();
  #seen = 0;
  #out = "";

  constructor(root: HTMLElement) {
    root.append(this.#code.element);
  }

  update(text: string, done: boolean): void {
    this.#out += this.#writer.push(text.slice(this.#seen));
    this.#seen = text.length;
    this.#code.update(this.#out, "json", done);
  }
}

/** The text of an item, as Markdown or as JSON; `json` null is whichever it looks like. */
export function Streamed({
  answer,
  item,
  json,
}: {
  answer: Answer;
  item: Item;
  json: boolean | null;
}) {
  const root = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = root.current;
    if (!element) return;
    element.replaceChildren();
    let view: View | null = null;
    let Drawing = markdown;
    let left = false;
    const draw = (): void => {
      const done = item.done || !answer.running;
      element.classList.toggle("live", !done);
      if (!view) {
        const chosen = json ?? looksLikeJson(item.text, done);
        if (chosen === null) return;
        if (!chosen && !Drawing) {
          void loadMarkdown().then((loaded) => {
            Drawing = loaded;
            if (!left) draw();
          });
          return;
        }
        view = chosen || !Drawing ? new JsonView(element) : new Drawing(element);
      }
      view.update(item.text, done);
    };
    draw();
    const off = answer.listen(() => {
      // The end is drawn before what stands below it, so that nothing of that moves.
      if (item.done || !answer.running) draw();
      else inFrame(draw, draw);
    });
    return () => {
      left = true;
      off();
      forget(draw);
    };
  }, [answer, item, json]);
  return <div ref={root} class="prose" />;
}
