// Server-sent events, as text arrives. The form is that of the HTML standard, section 9.2.

export interface ServerEvent {
  /** The event's name; "message" if it has none. */
  event: string;
  data: string;
}

/**
 * Yield the events of a response. `received` gets its text as it comes. Throws an Error if the
 * connection breaks; what has come before is yielded first.
 */
export async function* eventsOf(
  response: Response,
  received: (text: string) => void,
): AsyncGenerator<ServerEvent> {
  if (!response.body) return;
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const piece = await reader.read();
      if (piece.done) return;
      const text = decoder.decode(piece.value, { stream: true });
      received(text);
      yield* parser.push(text);
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

/** The longest line that is read, in characters: a response with its whole output is one line. */
const LONGEST = 32 * 1024 * 1024;

/** Makes events of the text of a stream, however the text is cut. */
export class EventParser {
  #rest = "";
  #scanned = 0;
  #event = "";
  #data: string[] = [];

  /** Return the events that `text` completes. Throws an Error for a line that is too long. */
  push(text: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    this.#rest += text;
    let start = 0;
    for (;;) {
      // What was scanned before has no end of line.
      const at = this.#rest.indexOf("\n", Math.max(start, this.#scanned));
      if (at < 0) break;
      const end = this.#rest[at - 1] === "\r" && at > start ? at - 1 : at;
      const event = this.#line(this.#rest.slice(start, end));
      if (event) found.push(event);
      start = at + 1;
    }
    this.#rest = this.#rest.slice(start);
    this.#scanned = this.#rest.length;
    if (this.#rest.length > LONGEST) throw new Error("An event of the stream is too long.");
    return found;
  }

  #line(line: string): ServerEvent | null {
    if (line === "") {
      const event = { event: this.#event || "message", data: this.#data.join("\n") };
      const complete = this.#data.length > 0;
      this.#event = "";
      this.#data = [];
      return complete ? event : null;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment: the stream lives
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    return null;
  }
}
