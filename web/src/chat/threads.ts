// The conversations of a session: which are there, which is open, and what may be done with them.

import { ApiError, call, json, keptAnswers, usage, type StreamState } from "../api/client.ts";
import { COMPARISON, type Session } from "../ui/session.ts";
import { Answer, type SavedAnswer } from "./answer.ts";
import * as kept from "./conversations.ts";
import type { Conversation, Parameters, Turn } from "./conversations.ts";
import { joined } from "./joined.ts";
import { bodyOf } from "./request.ts";
import { failureOf, Run, running } from "./run.ts";
import { Wire } from "./wire.ts";

const DEFAULTS = "sluice-parameters";
const OPEN = "sluice-open";
const SAVE_MS = 1500;

/** What a turn has beside what is kept: the answer that is drawn, and what went over the network. */
export interface Live {
  answer: Answer | null;
  wire: Wire;
}

export class Threads {
  list: Conversation[] = [];
  /** Whether this browser keeps conversations; private windows may not. */
  keeps = true;
  /** Said to screen readers. */
  announcement = "";
  /** Why the last request was not sent. */
  problem = "";
  #open: Conversation | null = null;
  #session: Session;
  #live = new Map<string, Live>();
  #changed: () => void;
  #off: () => void;

  constructor(session: Session, changed: () => void) {
    this.#session = session;
    this.#changed = changed;
    this.#off = kept.onChange((id) => void this.#reread(id));
  }

  close(): void {
    this.#off();
  }

  get open(): Conversation | null {
    return this.#open;
  }

  /** This tab remembers which one it is, so that a reload shows it again. */
  set open(conversation: Conversation | null) {
    this.#open = conversation;
    if (conversation) sessionStorage.setItem(OPEN, conversation.id);
    else sessionStorage.removeItem(OPEN);
  }

  get #stores(): boolean {
    return this.#session.kept.persistence !== "off";
  }

  /** Read what this browser has, then what the deployment has. */
  async load(): Promise<void> {
    // A question may have been asked before the browser's database has answered.
    const stored = await kept.list(this.#session.owner);
    this.list = joined(this.list, stored);
    const last = sessionStorage.getItem(OPEN);
    if (last && !this.open) void this.show(last);
    this.#changed();
    if (!this.#stores) return;
    try {
      await this.#merge(await keptAnswers(this.#session.key));
    } catch {
      // The list is what this browser has.
    }
    this.#changed();
  }

  /** Add conversations that only the deployment has: of another browser, or after a deletion here. */
  async #merge(states: StreamState[]): Promise<void> {
    const found = new Map<string, StreamState[]>();
    for (const state of states) {
      const id = state.metadata["conversation"];
      if (id && /^[\w-]{1,64}$/.test(id)) found.set(id, [...(found.get(id) ?? []), state]);
    }
    const known = new Set(this.list.map((it) => it.id));
    for (const [id, answers] of found) {
      if (known.has(id)) continue;
      const [newest] = answers;
      const oldest = answers.at(-1);
      if (!newest || !oldest) continue;
      this.list.push({
        id,
        owner: this.#session.owner,
        title: `Conversation of ${new Date(1000 * oldest.created_at).toLocaleString()}`,
        createdAt: 1000 * oldest.created_at,
        updatedAt: 1000 * newest.created_at,
        parameters: { ...this.defaults(), model: newest.model },
        turns: [],
        remote: answers.map((it) => it.id).toReversed(),
      });
    }
    this.list.sort((a, b) => b.updatedAt - a.updatedAt);
  }

  defaults(): Parameters {
    const first = this.#session.models[0]?.id ?? "";
    const plain: Parameters = {
      model: first, instructions: "", temperature: null, topP: null, maxTokens: null,
      effort: "", format: "text", schema: "", tools: "",
    }; // prettier-ignore
    try {
      const saved = JSON.parse(localStorage.getItem(DEFAULTS) ?? "{}") as Partial<Parameters>;
      const model = this.#session.models.some((it) => it.id === saved.model) ? saved.model : first;
      return { ...plain, temperature: saved.temperature ?? null, model: model ?? first };
    } catch {
      return plain;
    }
  }

  live(turn: Turn): Live {
    let found = this.#live.get(turn.id);
    if (!found) {
      found = { answer: turn.answer ? Answer.load(turn.answer) : null, wire: new Wire() };
      this.#live.set(turn.id, found);
    }
    return found;
  }

  get busy(): boolean {
    const last = this.open?.turns.at(-1);
    return Boolean(last && this.#live.get(last.id)?.answer?.running);
  }

  start(): void {
    this.open = null;
    this.problem = "";
    this.#changed();
  }

  async show(id: string): Promise<void> {
    const conversation = this.list.find((it) => it.id === id);
    if (!conversation) return;
    this.open = conversation;
    this.problem = "";
    this.#changed();
    if (conversation.remote.length > 0) await this.#fetch(conversation);
    this.#resumeAll(conversation);
    this.#changed();
  }

  /** Go on with answers that ran when the page was left. */
  #resumeAll(conversation: Conversation): void {
    for (const turn of conversation.turns) {
      const live = this.live(turn);
      const { answer } = live;
      if (!answer?.running || running.has(answer)) continue;
      if (!answer.responseId || !this.#stores) {
        answer.fail(
          { message: "The page was left before the answer was complete." },
          performance.now(),
          "interrupted",
        );
        this.#keep(conversation, turn, answer);
        continue;
      }
      void this.#run(conversation, turn, live, {}, true);
    }
  }

  /** Read the texts of kept answers from the deployment. */
  async #fetch(conversation: Conversation): Promise<void> {
    const { key } = this.#session;
    interface Stored {
      id: string;
      model: string;
      status: SavedAnswer["status"];
      created_at: number;
      previous_response_id: string | null;
      output: {
        type: string;
        content?: { text?: string; refusal?: string }[];
        name?: string;
        call_id?: string;
        arguments?: string;
      }[];
      usage: SavedAnswer["usage"];
    }
    const found: Turn[] = [];
    let next = conversation.remote.at(-1) ?? null;
    try {
      // Backwards from the last answer: what was asked again has other branches.
      while (next && found.length < 100) {
        const id: string = next.startsWith("resp_") ? next : `resp_${next}`;
        const [stored, input] = await Promise.all([
          json<Stored>(key, `/v1/responses/${id}`),
          json<{
            data: {
              type?: string;
              role?: string;
              content?: unknown;
              call_id?: string;
              output?: string;
            }[];
          }>(key, `/v1/responses/${id}/input_items?order=asc&limit=100`),
        ]);
        const answer = new Answer(stored.model);
        answer.responseId = stored.id;
        answer.status = stored.status;
        answer.usage = stored.usage;
        for (const item of stored.output) {
          const text = (item.content ?? []).map((part) => part.text ?? part.refusal ?? "").join("");
          if (item.type === "message") answer.items.push({ kind: "text", text, done: true });
          if (item.type === "reasoning") answer.items.push({ kind: "reasoning", text, done: true });
          if (item.type === "function_call") {
            answer.items.push({
              kind: "call", text: item.arguments ?? "", done: true,
              name: item.name ?? "", callId: item.call_id ?? "",
            }); // prettier-ignore
          }
        }
        const asked = input.data.filter((it) => it.role === "user");
        found.unshift({
          id: crypto.randomUUID(),
          text: asked.length > 0 ? textOf(asked.at(-1)?.content) : "",
          outputs: input.data
            .filter((it) => it.type === "function_call_output")
            .map((it) => ({ callId: it.call_id ?? "", output: String(it.output ?? "") })),
          answer: answer.save(),
          sentAt: 1000 * stored.created_at,
        });
        next = stored.previous_response_id;
      }
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) {
        this.problem = failureOf(error).message;
        return;
      }
      // An earlier answer has expired: what is left is shown.
    }
    if (found.length === 0) {
      await this.#forget(conversation);
      return;
    }
    conversation.turns = found;
    conversation.remote = [];
    conversation.title = kept.titleOf(found[0]?.text ?? "");
    await kept.put(conversation);
  }

  /** Send a text, or results of tools, and stream the answer. */
  async send(
    text: string,
    parameters: Parameters,
    outputs: Turn["outputs"] = [],
  ): Promise<boolean> {
    const now = Date.now();
    const conversation = this.open ?? {
      id: crypto.randomUUID(), owner: this.#session.owner, title: kept.titleOf(text),
      createdAt: now, updatedAt: now, parameters, turns: [], remote: [],
    }; // prettier-ignore
    const turn: Turn = { id: crypto.randomUUID(), text, outputs, answer: null, sentAt: now };
    return this.#ask({ ...conversation, parameters }, [...conversation.turns, turn]);
  }

  /** Ask for an answer again; with `text`, for another question in its place. */
  async again(turn: Turn, text = turn.text): Promise<boolean> {
    const conversation = this.open;
    if (!conversation || this.busy) return false;
    const before = conversation.turns.slice(0, conversation.turns.indexOf(turn));
    const fresh: Turn = {
      ...turn,
      id: crypto.randomUUID(),
      text,
      answer: null,
      sentAt: Date.now(),
    };
    const title = before.length === 0 && text ? kept.titleOf(text) : conversation.title;
    return this.#ask({ ...conversation, title }, [...before, fresh]);
  }

  async #ask(changed: Conversation, turns: Turn[]): Promise<boolean> {
    const turn = turns.at(-1);
    if (!turn) return false;
    let body: Record<string, unknown>;
    try {
      body = bodyOf({ ...changed, turns }, turn, this.#stores);
    } catch (error) {
      this.problem = (error as Error).message;
      this.#changed();
      return false;
    }
    this.problem = "";
    const conversation = this.list.find((it) => it.id === changed.id) ?? changed;
    Object.assign(conversation, changed, { turns, updatedAt: Date.now() });
    this.open = conversation;
    this.list = [conversation, ...this.list.filter((it) => it !== conversation)];
    const live: Live = { answer: new Answer(conversation.parameters.model), wire: new Wire() };
    this.#live.set(turn.id, live);
    this.#remember(conversation.parameters);
    void this.#run(conversation, turn, live, body, false);
    return true;
  }

  async #run(
    conversation: Conversation,
    turn: Turn,
    live: Live,
    body: Record<string, unknown>,
    resumed: boolean,
  ): Promise<void> {
    const answer = live.answer as Answer;
    const run = new Run(answer, {
      key: this.#session.key,
      body,
      keeps: this.#stores,
      wire: live.wire,
      save: () => this.#keep(conversation, turn, answer),
    });
    running.set(answer, run);
    this.#keep(conversation, turn, answer);
    this.#say(resumed ? "The rest of the answer is coming." : "The answer is coming.");
    const timer = setInterval(() => this.#keep(conversation, turn, answer), SAVE_MS);
    await (resumed ? run.resume() : run.start());
    clearInterval(timer);
    if (answer.failure?.status === 429 && !answer.failure.retryAt) await this.#renewal(answer);
    const words = answer.text.split(/\s+/).filter(Boolean).length;
    this.#say(
      answer.status === "completed"
        ? `The answer is complete: ${words} words.`
        : answer.status === "cancelled"
          ? "Stopped."
          : `The answer ended: ${answer.failure?.message ?? answer.status}.`,
    );
  }

  /** A budget that is used up has no `retry-after`: the usage says when it is renewed. */
  async #renewal(answer: Answer): Promise<void> {
    const span = /\b(minute|day|month)\b/.exec(answer.failure?.message ?? "")?.[1];
    const about = await usage(this.#session.key).catch(() => null);
    const ends = Object.entries(about?.limits ?? {})
      .filter(([name, it]) => it?.limit !== null && span && name.endsWith(`_per_${span}`))
      .map(([, it]) => it?.resets_at ?? 0);
    if (answer.failure && ends.length > 0) answer.failure.retryAt = 1000 * Math.max(...ends);
    answer.changed("shape");
  }

  stop(): void {
    const last = this.open?.turns.at(-1);
    const answer = last && this.#live.get(last.id)?.answer;
    if (answer) void running.get(answer)?.stop();
  }

  #say(text: string): void {
    this.announcement = text;
    this.#changed();
  }

  #keep(conversation: Conversation, turn: Turn, answer: Answer): void {
    turn.answer = answer.save();
    // What has been deleted, or asked again, meanwhile is not kept.
    if (!this.list.includes(conversation) || !conversation.turns.includes(turn)) return;
    void kept.put(conversation).then((there) => {
      if (there !== this.keeps) {
        this.keeps = there;
        this.#changed();
      }
    });
  }

  async #reread(id: string): Promise<void> {
    const read = await kept.get(id); // the list may change meanwhile, so it is looked at afterwards
    const here = this.list.find((it) => it.id === id);
    const runs = here?.turns.some((turn) => {
      const answer = this.#live.get(turn.id)?.answer;
      return answer && running.has(answer);
    });
    if (runs) return; // this tab knows better
    if (!read) {
      this.list = this.list.filter((it) => it.id !== id);
      if (this.open?.id === id) this.open = null;
    } else if (read.owner === this.#session.owner) {
      if (here) {
        for (const turn of here.turns) this.#live.delete(turn.id);
        Object.assign(here, read);
      } else this.list.push(read);
      this.list.sort((a, b) => b.updatedAt - a.updatedAt);
      if (this.open?.id === id) this.#resumeAll(this.open);
    }
    this.#changed();
  }

  #remember({ model, temperature }: Parameters): void {
    try {
      localStorage.setItem(DEFAULTS, JSON.stringify({ model, temperature }));
    } catch {
      // A private window keeps nothing.
    }
  }

  /** Delete a conversation here and at the deployment. Return what could not be deleted. */
  async remove(conversation: Conversation): Promise<string> {
    const ids = [
      ...conversation.remote.map((id) => (id.startsWith("resp_") ? id : `resp_${id}`)),
      ...conversation.turns.flatMap((turn) => this.live(turn).answer?.responseId ?? []),
    ];
    if (this.open === conversation) this.stop();
    const problem = this.#stores ? await this.#erase(ids) : "";
    if (!problem) await this.#forget(conversation);
    this.#changed();
    return problem;
  }

  async #forget(conversation: Conversation): Promise<void> {
    this.list = this.list.filter((it) => it !== conversation);
    if (this.open === conversation) this.open = null;
    await kept.remove(conversation.id);
  }

  async #erase(ids: string[]): Promise<string> {
    for (const id of ids) {
      const path = `/v1/responses/${encodeURIComponent(id)}`;
      try {
        await call(this.#session.key, path, { method: "DELETE" });
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) continue;
        if (!(error instanceof ApiError && error.status === 400)) return failureOf(error).message;
        // It runs: it is cancelled first.
        try {
          await call(this.#session.key, `${path}/cancel`, { method: "POST" });
          await call(this.#session.key, path, { method: "DELETE" });
        } catch (again) {
          if (!(again instanceof ApiError && again.status === 404)) return failureOf(again).message;
        }
      }
    }
    return "";
  }

  /** Delete everything of this key that this page has kept, here and at the deployment. */
  async removeAll(): Promise<string> {
    let problem = "";
    this.#session.comparison?.stop();
    if (this.#stores) {
      try {
        problem = await this.#erase(comparedIds());
        while (!problem) {
          const states = await keptAnswers(this.#session.key);
          if (states.length === 0) break;
          problem = await this.#erase(states.map((it) => `resp_${it.id}`));
        }
      } catch (error) {
        problem = failureOf(error).message;
      }
    }
    if (!problem) {
      for (const conversation of this.list) await this.#forget(conversation);
      this.#session.comparison?.clear();
      sessionStorage.removeItem(COMPARISON);
      localStorage.removeItem(DEFAULTS);
    }
    this.#changed();
    return problem;
  }
}

/** Return the ids of the answers that this tab has compared. */
function comparedIds(): string[] {
  interface Saved {
    lanes?: { answer: SavedAnswer | null }[];
  }
  const saved = JSON.parse(sessionStorage.getItem(COMPARISON) ?? "{}") as Saved;
  return (saved.lanes ?? []).flatMap((it) => it.answer?.responseId ?? []);
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part: { text?: string }) => part.text ?? "").join("");
}
