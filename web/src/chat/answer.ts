// One answer, as the events of the Responses API make it. Pure: no network, no page, no clock.

export type Status =
  | "waiting"
  | "streaming"
  | "reconnecting"
  | "completed"
  | "incomplete"
  | "failed"
  | "cancelled"
  | "interrupted";

export interface Item {
  kind: "reasoning" | "text" | "refusal" | "call";
  /** What has come of it: text, or a call's arguments. */
  text: string;
  done: boolean;
  name?: string;
  callId?: string;
  /** Milliseconds of the page's clock. */
  from?: number;
  to?: number;
}

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  input_tokens_details?: { cached_tokens?: number };
  output_tokens_details?: { reasoning_tokens?: number };
}

export interface Failure {
  message: string;
  code?: string;
  status?: number;
  /** When a repeat may succeed, in milliseconds of Unix time. */
  retryAt?: number;
  requestId?: string | null;
}

/** What is kept of an answer: everything but its listeners. */
export interface SavedAnswer {
  model: string;
  status: Status;
  items: Item[];
  responseId: string | null;
  requestId: string | null;
  usage: Usage | null;
  failure: Failure | null;
  ended: string | null;
  ttft: number | null;
  duration: number | null;
  gaps: number[];
  resumed: number;
}

export type Change = "text" | "shape" | null;

/** Gaps between pieces that are kept for the figures. */
const MOST_GAPS = 50_000;

interface Event {
  type?: string;
  sequence_number?: number;
  output_index?: number;
  delta?: string;
  item?: { type?: string; name?: string; call_id?: string; arguments?: string };
  response?: {
    id?: string;
    model?: string;
    status?: string;
    usage?: Usage | null;
    error?: { code?: string; message?: string } | null;
    incomplete_details?: { reason?: string } | null;
    sluice?: { ended?: string };
  };
  code?: string;
  message?: string;
  error?: { code?: string; message?: string };
}

const KINDS: Record<string, Item["kind"]> = {
  message: "text",
  reasoning: "reasoning",
  function_call: "call",
};

/** Where an answer stands. Whoever changes it calls `changed`, and its listeners draw it. */
export class Answer {
  model: string;
  status: Status = "waiting";
  items: Item[] = [];
  responseId: string | null = null;
  requestId: string | null = null;
  /** The last `sequence_number`; -1 before the first event. */
  sequence = -1;
  usage: Usage | null = null;
  failure: Failure | null = null;
  /** Why it is not complete: max_output_tokens, content_filter, budget, deadline. */
  ended: string | null = null;
  ttft: number | null = null;
  duration: number | null = null;
  /** Milliseconds between pieces, in their order. */
  gaps: number[] = [];
  /** How often the connection was lost and the rest was fetched. */
  resumed = 0;
  sentAt = 0;
  #last: number | null = null;
  /** Whether events come as the model makes them. Those of a log come faster. */
  #live = true;
  #byIndex = new Map<number, Item>();
  #listeners = new Set<(change: Change) => void>();

  constructor(model: string) {
    this.model = model;
  }

  static load(saved: SavedAnswer): Answer {
    return Object.assign(new Answer(saved.model), structuredClone(saved));
  }

  save(): SavedAnswer {
    const { model, status, items, responseId, requestId, usage } = this;
    const { failure, ended, ttft, duration, gaps, resumed } = this;
    return structuredClone({
      model, status, items, responseId, requestId, usage,
      failure, ended, ttft, duration, gaps, resumed,
    }); // prettier-ignore
  }

  get running(): boolean {
    return RUNNING.has(this.status);
  }

  /** The text of the answer, without reasoning and calls. */
  get text(): string {
    return this.items
      .filter((item) => item.kind === "text" || item.kind === "refusal")
      .map((item) => item.text)
      .join("\n\n");
  }

  get calls(): Item[] {
    return this.items.filter((item) => item.kind === "call");
  }

  listen(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(change: Change): void {
    if (change) for (const listener of this.#listeners) listener(change);
  }

  /** Forget what has come, because all of it comes again. */
  restart(): void {
    this.items = [];
    this.#byIndex.clear();
    this.sequence = -1;
    this.gaps = [];
    this.pause();
  }

  /** The rest comes from a log, so gaps are not the model's any more. */
  pause(): void {
    this.#live = false;
  }

  /** Take one event at a time in milliseconds. Return what it changed. */
  apply(event: Event, now: number): Change {
    const number = event.sequence_number;
    if (typeof number === "number") {
      if (number <= this.sequence) return null; // it came before the connection was lost
      this.sequence = number;
    }
    const type = event.type ?? "";
    if (type.endsWith(".delta") && typeof event.delta === "string") return this.#delta(event, now);
    switch (type) {
      case "response.created":
      case "response.queued":
      case "response.in_progress":
        this.responseId = event.response?.id ?? this.responseId;
        this.model = event.response?.model ?? this.model;
        if (this.status !== "streaming" && this.status !== "waiting") this.status = "streaming";
        return "shape";
      case "response.output_item.added":
        this.#add(event, now);
        return "shape";
      case "response.output_item.done": {
        const item = this.#byIndex.get(event.output_index ?? -1);
        if (item) {
          item.done = true;
          item.to = now;
          if (item.kind === "call" && event.item?.arguments) item.text = event.item.arguments;
        }
        return "shape";
      }
      case "response.completed":
      case "response.incomplete":
      case "response.failed":
        this.#end(event.response ?? {}, now);
        return "shape";
      case "error": {
        const error = event.error ?? event;
        this.fail({ message: error.message ?? "The answer failed.", code: error.code ?? "" }, now);
        return "shape";
      }
    }
    return null;
  }

  fail(failure: Failure, now: number, status: Status = "failed"): void {
    this.failure = failure;
    this.#close(status, now);
  }

  #delta(event: Event, now: number): Change {
    const item = this.#byIndex.get(event.output_index ?? -1);
    if (!item) return null;
    const type = event.type ?? "";
    if (type === "response.refusal.delta") item.kind = "refusal";
    // A summary repeats the reasoning's text.
    if (type === "response.reasoning_summary_text.delta") return null;
    item.text += event.delta ?? "";
    if (this.#live) {
      if (this.#last !== null && this.gaps.length < MOST_GAPS) this.gaps.push(now - this.#last);
      this.#last = now;
    }
    this.ttft ??= this.sentAt ? now - this.sentAt : null;
    if (this.status !== "streaming") {
      this.status = "streaming";
      return "shape";
    }
    return "text";
  }

  #add(event: Event, now: number): void {
    const kind = KINDS[event.item?.type ?? ""];
    if (!kind) return;
    const item: Item = { kind, text: "", done: false, from: now };
    if (kind === "call") {
      item.name = event.item?.name ?? "";
      item.callId = event.item?.call_id ?? "";
    }
    this.items.push(item);
    this.#byIndex.set(event.output_index ?? this.items.length - 1, item);
  }

  #end(response: NonNullable<Event["response"]>, now: number): void {
    this.responseId = response.id ?? this.responseId;
    this.model = response.model ?? this.model;
    this.usage = response.usage ?? this.usage;
    this.ended = response.sluice?.ended ?? response.incomplete_details?.reason ?? null;
    const status = response.status ?? "failed";
    if (status === "failed" && response.error) {
      this.failure = {
        message: response.error.message ?? "The answer failed.",
        code: response.error.code ?? "",
      };
    }
    this.#close(FINAL.has(status as Status) ? (status as Status) : "failed", now);
  }

  #close(status: Status, now: number): void {
    this.status = status;
    for (const item of this.items) {
      item.done = true;
      item.to ??= now;
    }
    if (this.sentAt) this.duration = now - this.sentAt;
  }
}

const RUNNING = new Set<Status>(["waiting", "streaming", "reconnecting"]);
const FINAL = new Set<Status>(["completed", "incomplete", "failed", "cancelled"]);

/** The figures of an answer, in milliseconds and tokens a second. */
export interface Figures {
  ttft: number | null;
  duration: number | null;
  rate: number | null;
  p50: number | null;
  p95: number | null;
}

export function figuresOf(answer: SavedAnswer | Answer): Figures {
  const tokens = answer.usage?.output_tokens ?? 0;
  const generated =
    answer.duration !== null && answer.ttft !== null ? answer.duration - answer.ttft : null;
  return {
    ttft: answer.ttft,
    duration: answer.duration,
    // A time without a connection is not the model's.
    rate: generated && tokens > 1 && !answer.resumed ? ((tokens - 1) / generated) * 1000 : null,
    p50: percentile(answer.gaps, 0.5),
    p95: percentile(answer.gaps, 0.95),
  };
}

/** Return the smallest value that a share of the values does not exceed; null for none. */
export function percentile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}
