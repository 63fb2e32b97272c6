// One question to two models, or with two settings, at the same time. This tab keeps the last one,
// so that a reload shows it again and fetches the rest.

import { call } from "../api/client.ts";
import { COMPARISON, keyOf, type Session } from "../ui/session.ts";
import { Answer, type SavedAnswer } from "./answer.ts";
import type { Parameters } from "./conversations.ts";
import { parametersOf, type Body } from "./request.ts";
import { named, requestOf, SideBySide, type Member } from "./side-by-side.ts";
import { Wire } from "./wire.ts";

const SAVE_MS = 1500;

export interface Lane {
  parameters: Parameters;
  answer: Answer | null;
  /** The request of the answer. */
  body: Body;
}

interface Saved {
  owner: string;
  question: string;
  once: string;
  lanes: (Omit<Lane, "answer"> & { answer: SavedAnswer | null })[];
}

export class Comparison {
  lanes: Lane[];
  /** What was asked last. */
  question = "";
  wire = new Wire();
  /** Said to screen readers. */
  announcement = "";
  #session: Session;
  #once = "";
  #together: SideBySide | null = null;
  #changed: () => void = () => {};

  constructor(session: Session) {
    this.#session = session;
    this.lanes = [0, 1].map((index) => {
      return { parameters: defaults(session, index), answer: null, body: {} };
    });
    this.#load();
  }

  /** Call `changed` when something changed that is not within an answer. */
  listen(changed: () => void): () => void {
    this.#changed = changed;
    return () => (this.#changed = () => {});
  }

  get keeps(): boolean {
    return this.#session.kept.persistence !== "off";
  }

  get busy(): boolean {
    return this.lanes.some((it) => it.answer?.running);
  }

  set(index: number, change: Partial<Parameters>): void {
    const lane = this.lanes[index];
    if (lane) lane.parameters = { ...lane.parameters, ...change };
    this.#changed();
  }

  send(question: string): void {
    if (this.keeps) this.#erase();
    this.question = question;
    this.wire = new Wire();
    this.#once = crypto.randomUUID();
    for (const lane of this.lanes) {
      lane.answer = new Answer(lane.parameters.model);
      lane.body = {
        ...parametersOf(lane.parameters),
        input: question,
        stream: true,
        store: false,
      };
    }
    void this.#run((it) => it.start());
  }

  /** Forget the question and its answers. */
  clear(): void {
    this.stop();
    this.#together = null;
    this.question = "";
    for (const lane of this.lanes) lane.answer = null;
    sessionStorage.removeItem(COMPARISON);
    this.#changed();
  }

  /** Delete what the deployment keeps to resume the answers. */
  #erase(): void {
    for (const { answer } of this.lanes) {
      const id = answer?.responseId;
      if (!id) continue;
      // What is not deleted now expires by itself.
      call(this.#session.key, `/v1/responses/${encodeURIComponent(id)}`, {
        method: "DELETE",
      }).catch(() => undefined);
    }
  }

  stop(): void {
    void this.#together?.stop();
  }

  async #run(act: (together: SideBySide) => Promise<void>): Promise<void> {
    const together = new SideBySide({
      key: this.#session.key,
      keeps: this.keeps,
      once: this.#once,
      wire: this.wire,
      save: () => this.#save(),
      members: this.#members(),
    });
    this.#together = together;
    this.#save();
    this.#say("Both answers are coming.");
    const timer = setInterval(() => this.#save(), SAVE_MS);
    await act(together);
    clearInterval(timer);
    if (this.#together !== together) return;
    this.#save();
    const whole = this.lanes.every((it) => it.answer?.status === "completed");
    this.#say(whole ? "Both answers are complete." : "Both answers have ended.");
  }

  #members(): Member[] {
    return this.lanes.flatMap(({ answer, body }) => (answer ? [{ answer, body }] : []));
  }

  #say(text: string): void {
    this.announcement = text;
    this.#changed();
  }

  #load(): void {
    let saved: Saved;
    try {
      saved = JSON.parse(sessionStorage.getItem(COMPARISON) ?? "null") as Saved;
    } catch {
      return;
    }
    if (saved?.owner !== this.#session.owner || saved.lanes.length !== this.lanes.length) return;
    this.question = saved.question;
    this.#once = saved.once;
    this.lanes = saved.lanes.map((it) => ({ ...it, answer: it.answer && Answer.load(it.answer) }));
    this.wire.request = requestOf(named(this.#members()));
    if (!this.busy) return;
    if (this.keeps) void this.#run((it) => it.resume());
    else {
      const message = "The page was left before the answer was complete.";
      for (const { answer } of this.lanes) {
        if (answer?.running) answer.fail({ message }, performance.now(), "interrupted");
      }
    }
  }

  #save(): void {
    // What has been deleted, or whose key was forgotten, is not kept.
    if (!this.question || keyOf() !== this.#session.key) return;
    const saved: Saved = {
      owner: this.#session.owner,
      question: this.question,
      once: this.#once,
      lanes: this.lanes.map((it) => ({ ...it, answer: it.answer && it.answer.save() })),
    };
    try {
      sessionStorage.setItem(COMPARISON, JSON.stringify(saved));
    } catch {
      // It is too long for this browser: a reload does not show it.
    }
  }
}

/** Return a session's comparison, which goes on while another page is looked at. */
export function comparisonOf(session: Session): Comparison {
  return (session.comparison ??= new Comparison(session));
}

function defaults(session: Session, index: number): Parameters {
  const model = session.models[Math.min(index, session.models.length - 1)]?.id ?? "";
  return {
    model, instructions: "", temperature: index === 0 ? 0 : 1, topP: null, maxTokens: null,
    effort: "", format: "text", schema: "", tools: "",
  }; // prettier-ignore
}
