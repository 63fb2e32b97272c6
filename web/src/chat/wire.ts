// What went over the network for an answer, as it came. Bounded, and never kept.

import type { Body } from "./request.ts";

const MOST = 400_000;

export interface Exchange {
  answered(status: number, headers: Headers): void;
  failed(error: unknown): void;
}

export class Wire {
  /** The text of requests and responses; the key is in none. */
  text = "";
  /** Characters that were left out. */
  dropped = 0;
  /** The request that programs can send, too. */
  request: { path: string; body: Body } | null = null;
  #listeners = new Set<() => void>();

  begin(method: string, path: string, body: unknown): Exchange {
    if (body) this.request = { path, body: body as Body };
    this.#add(`${this.text ? "\n\n" : ""}> ${method} ${path}\n`);
    return {
      answered: (status, headers) => {
        const names = [
          "x-request-id",
          "x-sluice-stream",
          "x-sluice-log",
          "openai-processing-ms",
          "retry-after",
        ];
        const lines = names
          .filter((name) => headers.has(name))
          .map((name) => `< ${name}: ${headers.get(name)}\n`);
        this.#add(`< ${status}\n${lines.join("")}\n`);
      },
      failed: (error) => this.#add(`! ${error instanceof Error ? error.message : "failed"}\n`),
    };
  }

  received(text: string): void {
    this.#add(text);
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #add(text: string): void {
    const room = MOST - this.text.length;
    this.text += room >= text.length ? text : text.slice(0, Math.max(0, room));
    this.dropped += Math.max(0, text.length - Math.max(0, room));
    for (const listener of this.#listeners) listener();
  }
}
