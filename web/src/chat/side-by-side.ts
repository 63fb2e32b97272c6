// Several answers in one event stream, by POST /v1/sluice/multiplex.

import { call, NetworkError } from "../api/client.ts";
import { eventsOf } from "../api/sse.ts";
import type { Answer } from "./answer.ts";
import type { Body } from "./request.ts";
import { failureOf } from "./run.ts";
import type { Wire } from "./wire.ts";

export interface Member {
  answer: Answer;
  body: Body;
}

type MemberEvent = Parameters<Answer["apply"]>[0] & {
  stream_id?: string;
  done?: boolean;
  status?: number;
};

export class SideBySide {
  #key: string;
  #members: Map<string, Member>;
  #wire: Wire;
  #abort = new AbortController();

  constructor(key: string, members: Member[], wire: Wire) {
    this.#key = key;
    this.#members = new Map(members.map((it, at) => [`lane-${at + 1}`, it]));
    this.#wire = wire;
  }

  /** Ask, and return when all answers have ended. It never throws: the answers say what failed. */
  async start(): Promise<void> {
    const path = "/v1/sluice/multiplex";
    const requests = [...this.#members].map(([name, { body }]) => ({
      stream_id: name,
      endpoint: "/v1/responses",
      body,
    }));
    for (const { answer } of this.#members.values()) {
      answer.sentAt = performance.now();
      answer.changed("shape");
    }
    const exchange = this.#wire.begin("POST", path, { requests });
    try {
      const signal = this.#abort.signal;
      const response = await call(this.#key, path, { body: { requests }, signal });
      exchange.answered(response.status, response.headers);
      await this.#read(response);
      this.#end(new NetworkError("The answer broke off."));
    } catch (error) {
      exchange.failed(error);
      this.#end(error);
    }
  }

  /** Stop all: by their ids where the deployment can, else by closing the connection. */
  async stop(): Promise<void> {
    const ids = [...this.#members.values()]
      .filter(({ answer }) => answer.running)
      .map(({ answer }) => answer.responseId);
    const cancels = ids.map((id) => {
      if (!id) return Promise.reject(new Error("It has not begun."));
      const at = `/v1/sluice/streams/${encodeURIComponent(id)}/cancel`;
      return call(this.#key, at, { method: "POST" });
    });
    const all = await Promise.allSettled(cancels);
    if (all.some((it) => it.status === "rejected")) this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    try {
      for await (const { data } of eventsOf(response, (text) => this.#wire.received(text))) {
        if (data !== "[DONE]") this.#applied(JSON.parse(data) as MemberEvent);
      }
    } catch {
      throw new NetworkError("The connection was lost.");
    }
  }

  #applied(event: MemberEvent): void {
    const answer = this.#members.get(event.stream_id ?? "")?.answer;
    if (!answer?.running) return;
    const change = answer.apply(event, performance.now());
    if (answer.failure && event.status) answer.failure.status = event.status;
    answer.changed(change);
  }

  /** End what still runs. */
  #end(error: unknown): void {
    for (const { answer } of this.#members.values()) {
      if (!answer.running) continue;
      if (this.#abort.signal.aborted)
        answer.fail({ message: "Stopped." }, performance.now(), "cancelled");
      else answer.fail(failureOf(error), performance.now(), "interrupted");
      answer.changed("shape");
    }
  }
}
