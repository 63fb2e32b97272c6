// Several answers in one event stream, by POST /v1/sluice/multiplex. If the connection is lost, the
// rest of each answer is fetched by itself.

import { ApiError, call, NetworkError } from "../api/client.ts";
import { eventsOf } from "../api/sse.ts";
import type { Answer } from "./answer.ts";
import { Backoff } from "./backoff.ts";
import { billed } from "./billed.ts";
import type { Body } from "./request.ts";
import { failureOf, Run, running, type Sent } from "./run.ts";

const PATH = "/v1/sluice/multiplex";

export interface Member {
  answer: Answer;
  body: Body;
}

export interface Together extends Omit<Sent, "body"> {
  members: Member[];
  /** Names the request, so that a repeat gets the answers that the first one began. */
  once: string;
}

/** Return members with the names of their streams. */
export function named(members: Member[]): [string, Member][] {
  return members.map((it, at) => [`lane-${at + 1}`, it]);
}

/** Return the request for some members. */
export function requestOf(members: [string, Member][]): { path: string; body: Body } {
  const requests = [...members].map(([name, { body }]) => {
    return { stream_id: name, endpoint: "/v1/responses", body };
  });
  return { path: PATH, body: { requests } };
}

type MemberEvent = Parameters<Answer["apply"]>[0] & {
  stream_id?: string;
  done?: boolean;
  status?: number;
};

export class SideBySide {
  #sent: Together;
  #members: Map<string, Member>;
  #abort = new AbortController();
  #stopping = false;
  #told = new Set<Answer>();
  #rest: Promise<void>[] = [];

  constructor(sent: Together) {
    this.#sent = sent;
    this.#members = new Map(named(sent.members));
  }

  /** Ask, and return when all answers have ended. It never throws: the answers say what failed. */
  async start(): Promise<void> {
    for (const answer of this.#running()) {
      answer.sentAt = performance.now();
      answer.changed("shape");
    }
    await this.#ask();
  }

  /** Fetch the answers that run, and that the page has asked for before it was loaded again. */
  async resume(): Promise<void> {
    for (const member of this.#members.values()) {
      const { answer } = member;
      if (!answer.running) continue;
      if (answer.responseId) this.#rest.push(this.#run(member).resume());
      else {
        answer.restart();
        answer.status = "reconnecting";
        answer.changed("shape");
      }
    }
    await this.#ask();
  }

  /** Stop all. What has come stays. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running().map((it) => running.get(it)?.stop() ?? this.#tell(it)));
  }

  #running(): Answer[] {
    return [...this.#members.values()].map((it) => it.answer).filter((it) => it.running);
  }

  #run({ answer, body }: Member): Run {
    const run = new Run(answer, { ...this.#sent, body });
    running.set(answer, run);
    return run;
  }

  async #ask(): Promise<void> {
    const { keeps, save } = this.#sent;
    const backoff = new Backoff();
    for (;;) {
      // The others have their own connections.
      const asked = [...this.#members].filter(([, { answer }]) => {
        return answer.running && !running.has(answer);
      });
      if (asked.length === 0) break;
      const error = await this.#exchange(asked).then(
        () => new NetworkError("The answer broke off."),
        (it: unknown) => it,
      );
      const cut = asked.map(([, it]) => it).filter((it) => it.answer.running);
      if (cut.length === 0) break;
      if (
        !keeps ||
        this.#abort.signal.aborted ||
        backoff.over ||
        !(error instanceof NetworkError)
      ) {
        for (const { answer } of cut) this.#end(answer, error);
        break;
      }
      for (const member of cut) {
        if (member.answer.responseId) this.#rest.push(this.#run(member).takeOver());
        else {
          member.answer.status = "reconnecting";
          member.answer.changed("shape");
        }
      }
      if (cut.some((it) => !it.answer.responseId)) await backoff.wait(this.#abort.signal);
    }
    save();
    await Promise.all(this.#rest);
  }

  /** Send the request for some members, and apply what comes. */
  async #exchange(asked: [string, Member][]): Promise<void> {
    const { key, keeps, once, wire } = this.#sent;
    const { path, body } = requestOf(asked);
    const exchange = wire.begin("POST", path, body);
    let response: Response;
    try {
      response = await call(key, path, {
        body,
        headers: keeps ? { "idempotency-key": once } : {},
        signal: this.#abort.signal,
      });
    } catch (error) {
      exchange.failed(error);
      throw error;
    }
    exchange.answered(response.status, response.headers);
    try {
      for await (const { data } of eventsOf(response, (text) => wire.received(text))) {
        if (data !== "[DONE]") this.#applied(JSON.parse(data) as MemberEvent);
      }
    } catch {
      throw new NetworkError("The connection was lost.");
    }
  }

  #applied(event: MemberEvent): void {
    const answer = this.#members.get(event.stream_id ?? "")?.answer;
    if (!answer?.running) return;
    const had = answer.responseId;
    const change = answer.apply(event, performance.now());
    if (answer.failure && event.status) answer.failure.status = event.status;
    // Each member is a request of its own, whose id its response has.
    answer.requestId ??= answer.responseId?.replace(/^resp_/, "req_") ?? null;
    answer.changed(change);
    const { key, keeps, save } = this.#sent;
    if (!answer.running || (!had && answer.responseId)) save();
    if (!answer.running && keeps) void billed(key, answer).then((has) => has && save());
    if (this.#stopping && answer.running) void this.#tell(answer);
  }

  /** Tell the deployment to stop. What fails now is done when the next event comes. */
  async #tell(answer: Answer): Promise<void> {
    const id = answer.responseId;
    if (this.#told.has(answer)) return;
    if (!id) {
      // Nothing can be cancelled yet: its first event has the id.
      if (!this.#sent.keeps) this.#abort.abort();
      return;
    }
    this.#told.add(answer);
    const path = `/v1/sluice/streams/${encodeURIComponent(id)}/cancel`;
    try {
      await call(this.#sent.key, path, { method: "POST" });
    } catch (error) {
      if (!this.#sent.keeps) this.#abort.abort();
      else if (!(error instanceof ApiError)) this.#told.delete(answer);
      else if (error.status !== 400) this.#abort.abort();
    }
  }

  #end(answer: Answer, error: unknown): void {
    const now = performance.now();
    if (this.#abort.signal.aborted) answer.fail({ message: "Stopped." }, now, "cancelled");
    else answer.fail(failureOf(error), now, error instanceof ApiError ? "failed" : "interrupted");
    answer.changed("shape");
  }
}
