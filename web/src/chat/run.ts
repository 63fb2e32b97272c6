// Sends a request, applies its events to an answer, and fetches the rest when the network was lost.

import { ApiError, call, NetworkError } from "../api/client.ts";
import { eventsOf } from "../api/sse.ts";
import type { Answer, Failure } from "./answer.ts";
import { Backoff } from "./backoff.ts";
import { billed } from "./billed.ts";
import type { Body } from "./request.ts";
import type { Wire } from "./wire.ts";

export interface Sent {
  key: string;
  body: Body;
  /** Whether the deployment keeps the answer, so that its rest can be fetched. */
  keeps: boolean;
  wire: Wire;
  /** Called when the id of the answer is known, and at its end. */
  save: () => void;
}

/** The answers of this tab that run. */
export const running = new Map<Answer, Run>();

export class Run {
  #answer: Answer;
  #sent: Sent;
  #abort = new AbortController();
  #stopping = false;
  /** The deployment has been told to stop. */
  #told = false;
  #once = crypto.randomUUID();

  constructor(answer: Answer, sent: Sent) {
    this.#answer = answer;
    this.#sent = sent;
  }

  /** Ask for the answer, and return at its end. It never throws: the answer says what failed. */
  async start(): Promise<void> {
    this.#answer.sentAt = performance.now();
    this.#answer.changed("shape");
    await this.#follow(false);
  }

  /** Fetch an answer that this page has asked for before it was loaded again. */
  async resume(): Promise<void> {
    this.#answer.restart();
    this.#answer.status = "reconnecting";
    this.#answer.changed("shape");
    await this.#follow(true);
  }

  /** Fetch the rest of an answer that came over another connection, which was lost. */
  async takeOver(): Promise<void> {
    this.#lost();
    await this.#follow(true);
  }

  /** Stop the model. What has come stays. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#sent.keeps) await this.#tell();
    // Without kept answers, there is no call that cancels.
    else this.#abort.abort();
  }

  /** Tell the deployment to stop. What fails now is done when the next event comes. */
  async #tell(): Promise<void> {
    const id = this.#answer.responseId;
    if (!id || this.#told) return;
    this.#told = true;
    try {
      const path = `/v1/responses/${encodeURIComponent(id)}/cancel`;
      await call(this.#sent.key, path, { method: "POST" });
    } catch (error) {
      if (!(error instanceof ApiError)) this.#told = false;
      // 400: it has just ended by itself, and its end is on the way.
      else if (error.status !== 400) this.#abort.abort();
    }
  }

  #lost(): void {
    const answer = this.#answer;
    if (answer.status !== "reconnecting") answer.resumed += 1;
    answer.status = "reconnecting";
    answer.pause();
    answer.changed("shape");
  }

  async #follow(resumed: boolean): Promise<void> {
    const answer = this.#answer;
    running.set(answer, this);
    const backoff = new Backoff();
    let again = resumed;
    try {
      while (answer.running) {
        const before = answer.sequence;
        try {
          await this.#read(await this.#open(again));
          if (!answer.running) break;
          // A stream that ends without its last event was cut.
          throw new NetworkError("The answer broke off.");
        } catch (error) {
          if (this.#abort.signal.aborted) {
            answer.fail({ message: "Stopped." }, performance.now(), "cancelled");
            break;
          }
          const wait = this.#retryable(error);
          if (wait === null || backoff.over) {
            answer.fail(
              failureOf(error),
              performance.now(),
              error instanceof ApiError ? "failed" : "interrupted",
            );
            break;
          }
          if (answer.sequence > before) backoff.reset();
          this.#lost();
          await backoff.wait(this.#abort.signal, wait);
          again = true;
        }
      }
    } finally {
      running.delete(answer);
      answer.changed("shape");
      this.#sent.save();
      const { key, keeps, save } = this.#sent;
      if (keeps) void billed(key, answer).then((has) => has && save());
    }
  }

  /** Return the milliseconds to wait before the rest is asked for, 0 for any; null for never. */
  #retryable(error: unknown): number | null {
    if (!this.#sent.keeps) return null;
    if (error instanceof NetworkError) return 0;
    const seen = this.#answer.responseId !== null;
    if (error instanceof ApiError && seen && (error.status === 429 || error.status >= 500)) {
      return 1000 * Math.min(error.retryAfter ?? 1, 30);
    }
    return null;
  }

  #open(again: boolean): Promise<Response> {
    const { body, keeps } = this.#sent;
    const signal = this.#abort.signal;
    const id = this.#answer.responseId;
    if (again && id) {
      const after = this.#answer.sequence >= 0 ? `&starting_after=${this.#answer.sequence}` : "";
      return this.#recorded("GET", `/v1/responses/${encodeURIComponent(id)}?stream=true${after}`, {
        signal,
      });
    }
    // A repeat with the same Idempotency-Key gets the answer that the first one began.
    const headers: Record<string, string> = keeps ? { "idempotency-key": this.#once } : {};
    return this.#recorded("POST", "/v1/responses", { body, signal, headers });
  }

  async #recorded(
    method: string,
    path: string,
    options: Parameters<typeof call>[2],
  ): Promise<Response> {
    const exchange = this.#sent.wire.begin(method, path, options?.body);
    try {
      const response = await call(this.#sent.key, path, { ...options, method });
      exchange.answered(response.status, response.headers);
      this.#answer.requestId ??= response.headers.get("x-request-id");
      return response;
    } catch (error) {
      exchange.failed(error);
      throw error;
    }
  }

  async #read(response: Response): Promise<void> {
    try {
      for await (const { data } of eventsOf(response, (text) => this.#sent.wire.received(text))) {
        if (data !== "[DONE]") this.#applied(data);
        if (!this.#answer.running) return;
      }
    } catch (error) {
      throw error instanceof NetworkError ? error : new NetworkError("The connection was lost.");
    }
  }

  #applied(data: string): void {
    const had = this.#answer.responseId;
    let event: Parameters<Answer["apply"]>[0];
    try {
      event = JSON.parse(data) as typeof event;
    } catch {
      throw new NetworkError("An event of the stream is not JSON.");
    }
    this.#answer.changed(this.#answer.apply(event, performance.now()));
    if (!had && this.#answer.responseId) this.#sent.save();
    if (this.#stopping && this.#answer.running) void this.#tell();
  }
}

/** Return what a person is told of an error. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ApiError) {
    return {
      message: error.message,
      code: error.code,
      status: error.status,
      requestId: error.requestId,
      ...(error.retryAfter === null ? {} : { retryAt: Date.now() + 1000 * error.retryAfter }),
    };
  }
  return { message: error instanceof Error ? error.message : "The answer failed." };
}
