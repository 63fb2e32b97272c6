// Draws an answer in Markdown as it comes. A block that is complete is drawn once; of the last
// block, only the nodes that differ are replaced.

import DOMPurify from "dompurify";
import { Parser, Renderer, type Tokens } from "marked";

import { Blocks, languageOf, type Block } from "./blocks.ts";
import { CodeView } from "./code.ts";

const TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "input",
  "li", "ol", "p", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul", "pre",
]; // prettier-ignore
const ATTRIBUTES = ["align", "checked", "class", "disabled", "href", "start", "type"];

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

class SafeRenderer extends Renderer {
  /** HTML in an answer is shown as the text that it is. */
  override html({ text }: Tokens.HTML | Tokens.Tag): string {
    return escape(text);
  }
  /** An image would tell its server who reads the answer, so it is a link. */
  override image({ href, text }: Tokens.Image): string {
    return `<a href="${escape(href)}" class="image">image: ${escape(text || href)}</a>`;
  }
  /** Code within a list or a quotation, in whose place a view of code is put. */
  override code({ text, lang }: Tokens.Code): string {
    return `<pre class="${escape(languageOf(lang ?? ""))}">${escape(text)}</pre>`;
  }
}

const renderer = new SafeRenderer();
// The configuration differs from that of other users of DOMPurify, of which there are none here.
const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A") {
    const href = node.getAttribute("href") ?? "";
    if (!/^(https?:\/\/|mailto:)/i.test(href)) node.removeAttribute("href");
    else {
      node.setAttribute("target", "_blank");
      node.setAttribute("rel", "noopener noreferrer nofollow");
      node.setAttribute("title", href);
    }
  }
  if (node.nodeName === "INPUT") {
    // GFM's task lists have nothing else.
    node.setAttribute("type", "checkbox");
    node.setAttribute("disabled", "");
    node.setAttribute("aria-label", "Task");
  }
  if (DIRECTED.has(node.nodeName)) node.setAttribute("dir", "auto");
});
const DIRECTED = new Set(["P", "LI", "H1", "H2", "H3", "H4", "H5", "H6", "BLOCKQUOTE", "TD", "TH"]);

interface Drawn {
  raw: string;
  node: HTMLElement;
  code: CodeView | null;
  /** Code within the block, in its order. */
  inner: CodeView[];
}

export class MarkdownView {
  #root: HTMLElement;
  #blocks = new Blocks();
  #seen = 0;
  #text = "";
  #done = false;
  #drawn: Drawn[] = [];
  /** How many of the drawn blocks do not change any more. */
  #settled = 0;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  /** Draw the text, which begins with the text of the call before. */
  update(text: string, done: boolean): void {
    if (text === this.#text && done === this.#done) return;
    if (this.#done || text.length < this.#seen) this.#restart();
    this.#blocks.push(text.slice(this.#seen), done);
    this.#seen = text.length;
    this.#text = text;
    this.#done = done;
    const { settled, open } = this.#blocks;
    for (; this.#settled < settled.length; this.#settled += 1)
      this.#block(this.#settled, settled[this.#settled] as Block, true);
    open.forEach((block, index) => this.#block(settled.length + index, block, false));
    const all = settled.length + open.length;
    while (this.#drawn.length > all) this.#drawn.pop()?.node.remove();
  }

  #restart(): void {
    this.#root.replaceChildren();
    this.#blocks = new Blocks();
    this.#seen = this.#settled = 0;
    this.#text = "";
    this.#done = false;
    this.#drawn = [];
  }

  #block(index: number, block: Block, done: boolean): void {
    const there = this.#drawn[index];
    if (block.kind === "code") {
      const code = there?.code ?? new CodeView();
      code.update(block.text, block.language, done);
      this.#put(index, { raw: block.raw, node: code.element, code, inner: [] });
      return;
    }
    if (there && there.raw === block.raw && !there.code && !(done && there.inner.length)) return;
    const made = document.createElement("div");
    made.className = `block ${block.kind}`;
    const inner = there?.inner ?? [];
    if (block.kind === "plain" || !block.token) {
      made.dir = "auto";
      made.textContent = block.text;
    } else {
      made.append(fragmentOf(block));
      placeCode(made, inner, done);
    }
    if (there && !there.code && there.node.className === made.className) {
      there.raw = block.raw;
      morph(there.node, made);
    } else this.#put(index, { raw: block.raw, node: real(made) as HTMLElement, code: null, inner });
  }

  #put(index: number, item: Drawn): void {
    const there = this.#drawn[index];
    if (there?.node === item.node) {
      there.raw = item.raw;
      return;
    }
    if (there) there.node.replaceWith(item.node);
    else this.#root.append(item.node);
    this.#drawn[index] = item;
  }
}

function fragmentOf(block: Block): DocumentFragment {
  const html = block.token ? Parser.parse([block.token], { renderer, gfm: true }) : "";
  return purifier.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
}

/** The views of code that stand in the place of a `pre`. */
const views = new WeakMap<Node, HTMLElement>();

/** Update the views of the code within a new block; `inner` has those of the block before. */
function placeCode(made: HTMLElement, inner: CodeView[], done: boolean): void {
  made.querySelectorAll("pre").forEach((pre, index) => {
    const view = (inner[index] ??= new CodeView());
    view.update(pre.textContent ?? "", pre.className, done);
    views.set(pre, view.element);
  });
}

/** Return a new node with the views of its code. */
function real(node: Node): Node {
  const view = views.get(node);
  if (view) return view;
  if (node instanceof Element)
    for (const pre of node.querySelectorAll("pre")) pre.replaceWith(real(pre));
  return node;
}

/** Make `to` of `from`, and keep every node that is the same. */
function morph(from: Element, to: Element): void {
  const old = [...from.childNodes];
  const wanted = [...to.childNodes];
  wanted.forEach((node, index) => {
    const there = old[index];
    if (!there) from.append(real(node));
    else if (there === views.get(node) || there.isEqualNode(node))
      return; // it stays
    else if (there instanceof Text && node instanceof Text) grow(there, node.data);
    else if (
      there instanceof Element &&
      node instanceof Element &&
      there.cloneNode(false).isEqualNode(node.cloneNode(false))
    )
      morph(there, node);
    else there.replaceWith(real(node));
  });
  for (const node of old.slice(wanted.length)) node.remove();
}

/** Set a text. What was there before stays selected if it was. */
function grow(text: Text, value: string): void {
  if (value.startsWith(text.data)) text.appendData(value.slice(text.data.length));
  else text.data = value;
}
