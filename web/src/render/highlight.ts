// Highlighted code, as lines of segments. Loaded when the first code comes.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = {
  bash, c, cpp, css, diff, dockerfile, go, ini, java, javascript, json, markdown, python, ruby,
  rust, sql, typescript, xml, yaml,
}; // prettier-ignore

/** A piece of a line: its text, and the names of its classes. */
export type Segment = [text: string, classes: string];

/** Collects highlight.js's tokens by line. The page makes elements of them, and no HTML. */
class Lines {
  lines: Segment[][] = [[]];
  #scopes: string[] = [];

  addText(text: string): void {
    if (text === "") return;
    const classes = this.#scopes.map((it) => `hljs-${it.split(".")[0]}`).join(" ");
    text.split("\n").forEach((part, index) => {
      if (index > 0) this.lines.push([]);
      if (part !== "") this.lines.at(-1)?.push([part, classes]);
    });
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
    const outer = this.#scopes.map((it) => `hljs-${it.split(".")[0]}`).join(" ");
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

/** Return the lines of a code; null if the language is unknown. */
export function highlight(code: string, language: string): Segment[][] | null {
  if (!hljs.getLanguage(language)) return null;
  const result = hljs.highlight(code, { language, ignoreIllegals: true });
  return (result as unknown as { _emitter: Lines })._emitter.lines;
}
