// Serves the built page with the headers of the distribution, and an API whose answers a test
// writes. What a model says, and how fast, is then the test's choice; nothing of the page is.

import { createReadStream, existsSync, readFileSync } from "node:fs";
import {
  createServer,
  request as sendOn,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const HEADERS = JSON.parse(readFileSync(join(ROOT, "web/headers.json"), "utf8")) as Record<
  string,
  string
>;
const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

export interface Script {
  /** The pieces of the answer, in their order. */
  pieces: string[];
  /** Milliseconds between two pieces; 0 sends all at once. */
  pause?: number;
  /** Pieces that go out together. */
  batch?: number;
  /** What the model thinks first. */
  reasoning?: string[];
  /** A tool that it calls in the end. */
  call?: { name: string; arguments: string[] };
  /** After so many events of the first request, the connection waits for `cut`, which breaks it. */
  cut?: number;
  /** An answer with a status in place of the stream. */
  error?: { status: number; body: unknown; headers?: Record<string, string> };
  persistence?: "off" | "asked";
}

interface Member {
  stream_id: string;
  body: Record<string, unknown>;
}

/** An API that gives the answer of `script`, and counts what it was asked. */
export class ScriptedApi {
  script: Script = { pieces: ["Hello."] };
  /** What it says of the key's usage. */
  usage: object = USAGE;
  posts: Record<string, unknown>[] = [];
  resumed: string[] = [];
  cancelled = 0;
  url = "";
  #server: Server;
  #log = new Map<string, string[]>();
  #ended = new Set<string>();
  /** The `Idempotency-Key` of each multiplexed request. */
  #begun = new Set<string>();
  #break = (): void => {};
  #broken = new Promise<void>((resolve) => {
    this.#break = resolve;
  });
  #dist: string;

  constructor(dist: string) {
    this.#dist = dist;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const { pathname } = url;
    if (pathname === "/" || pathname.startsWith("/assets/")) return this.#file(pathname, response);
    if (pathname === "/v1/models") {
      return send(response, 200, {
        object: "list",
        data: [
          {
            id: "scripted",
            object: "model",
            sluice: { prompt_price: "0.5", completion_price: "1.5" },
          },
        ],
        sluice: {
          persistence: this.script.persistence ?? "asked",
          response_days: 30,
          log_hours: 24,
        },
      });
    }
    if (pathname === "/v1/usage") return send(response, 200, this.usage);
    if (pathname === "/v1/sluice/streams") {
      return send(response, 200, { object: "list", data: [], has_more: false, last_id: null });
    }
    if (pathname.endsWith("/cancel")) {
      this.cancelled += 1;
      for (const id of this.#log.keys()) this.#ended.add(id);
      return send(response, 200, {});
    }
    if (pathname === "/v1/sluice/multiplex") {
      const { requests } = JSON.parse(await read(request)) as { requests: Member[] };
      this.posts.push(...requests.map((it) => it.body));
      return this.#multiplex(response, requests, String(request.headers["idempotency-key"] ?? ""));
    }
    if (request.method === "DELETE") return send(response, 200, { deleted: true });
    if (request.method === "GET" && pathname.startsWith("/v1/sluice/streams/")) {
      return send(response, 200, { usage: { prompt_tokens: 12, completion_tokens: 3 } });
    }
    if (request.method === "GET" && pathname.startsWith("/v1/responses/")) {
      const id = pathname.split("/").at(-1) ?? "";
      const after = Number(url.searchParams.get("starting_after") ?? -1);
      this.resumed.push(url.search);
      return this.#stream(response, id, after, Number.POSITIVE_INFINITY);
    }
    if (request.method === "POST" && pathname === "/v1/responses") {
      const body = JSON.parse(await read(request)) as Record<string, unknown>;
      this.posts.push(body);
      if (this.script.error) {
        const { status, body: error, headers } = this.script.error;
        return send(response, status, error, headers);
      }
      const id = `resp_${String(this.posts.length).padStart(4, "0")}`;
      this.#log.set(id, this.#events(id));
      return this.#stream(response, id, -1, this.script.cut ?? Number.POSITIVE_INFINITY);
    }
    send(response, 404, { error: { message: "Not here.", code: "not_found" } });
  }

  /** Send the events of all members by turns. A repeat of a request gets the same answers. */
  async #multiplex(response: ServerResponse, requests: Member[], once: string): Promise<void> {
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "x-request-id": "req_multiplex",
    });
    response.flushHeaders();
    const first = !this.#begun.has(once);
    this.#begun.add(once);
    const streams = requests.map(({ stream_id }) => {
      const id = `resp_${this.#begun.size}_${stream_id}`;
      const events = this.#log.get(id) ?? this.#events(id);
      this.#log.set(id, events);
      return events.map((event) => event.replace(/\}\n\n$/, `,"stream_id":"${stream_id}"}\n\n`));
    });
    const cut = first ? (this.script.cut ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
    for (let at = 0; at < Math.max(...streams.map((it) => it.length)); at += 1) {
      if (at >= cut) {
        await this.#broken;
        return void response.destroy();
      }
      response.write(streams.map((it) => it[at] ?? "").join(""));
      if (this.script.pause) await new Promise((resolve) => setTimeout(resolve, this.script.pause));
    }
    for (const { stream_id } of requests)
      response.write(`data: {"stream_id":"${stream_id}","done":true}\n\n`);
    response.end("data: [DONE]\n\n");
  }

  #file(path: string, response: ServerResponse): void {
    const file = join(this.#dist, normalize(path === "/" ? "/index.html" : path));
    if (!existsSync(file)) return void response.writeHead(403).end();
    response.writeHead(200, {
      ...HEADERS,
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    });
    createReadStream(file).pipe(response);
  }

  /** Return the events of the whole answer, each as it goes over the wire. */
  #events(id: string): string[] {
    const { pieces, reasoning, call } = this.script;
    const events: string[] = [];
    const add = (type: string, more: object): void => {
      const data = JSON.stringify({ type, sequence_number: events.length, ...more });
      events.push(`event: ${type}\ndata: ${data}\n\n`);
    };
    const response = { id, model: "scripted", status: "in_progress", output: [] };
    let index = 0;
    add("response.created", { response });
    add("response.in_progress", { response });
    const item = (kind: object, delta: string, texts: string[], done: object = {}): void => {
      add("response.output_item.added", { output_index: index, item: kind });
      for (const text of texts) add(delta, { output_index: index, delta: text });
      add("response.output_item.done", { output_index: index, item: { ...kind, ...done } });
      index += 1;
    };
    if (reasoning) item({ type: "reasoning" }, "response.reasoning_text.delta", reasoning);
    if (pieces.length > 0) item({ type: "message" }, "response.output_text.delta", pieces);
    if (call) {
      const whole = { arguments: call.arguments.join("") };
      const kind = { type: "function_call", name: call.name, call_id: "call_1" };
      item(kind, "response.function_call_arguments.delta", call.arguments, whole);
    }
    const usage = {
      input_tokens: 12,
      output_tokens: pieces.length,
      total_tokens: 12 + pieces.length,
    };
    add("response.completed", { response: { ...response, status: "completed", usage } });
    return events;
  }

  /** Break the connection that the script's `cut` holds. */
  cut(): void {
    this.#break();
  }

  async #stream(response: ServerResponse, id: string, after: number, cut: number): Promise<void> {
    const events = this.#log.get(id);
    if (!events)
      return send(response, 404, { error: { message: "Unknown.", code: "response_not_found" } });
    response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": `req_${id}` });
    const batch = this.script.batch ?? 1;
    for (let at = after + 1; at < events.length; at += batch) {
      if (this.#ended.has(id)) {
        const failed = {
          type: "response.failed",
          sequence_number: 100_000,
          response: { id, status: "cancelled", output: [] },
        };
        response.end(`event: response.failed\ndata: ${JSON.stringify(failed)}\n\ndata: [DONE]\n\n`);
        return;
      }
      if (at >= cut) {
        // A browser may drop what it has not handed to the page when a connection breaks.
        await this.#broken;
        return void response.destroy();
      }
      response.write(events.slice(at, at + batch).join(""));
      if (this.script.pause) await new Promise((resolve) => setTimeout(resolve, this.script.pause));
      else if (response.writableNeedDrain)
        await new Promise((resolve) => response.once("drain", resolve));
    }
    response.end("data: [DONE]\n\n");
  }
}

/** A line to a deployment that a test can cut: all connections break, and no new one is answered. */
export class Line {
  url = "";
  #cut = false;
  #server: Server;

  constructor(origin: string) {
    const { hostname, port, host } = new URL(origin);
    this.#server = createServer((request, response) => {
      const headers = { ...request.headers, host };
      if (headers.origin) headers.origin = origin;
      const { method, url } = request;
      const on = sendOn({ hostname, port, path: url, method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      on.on("error", () => response.destroy());
      response.on("close", () => on.destroy());
      request.pipe(on);
    });
    this.#server.on("connection", (socket) => this.#cut && socket.destroy());
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  cut(): void {
    this.#cut = true;
    this.#server.closeAllConnections();
  }

  mend(): void {
    this.#cut = false;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const DAY_S = 86_400;
const TODAY_S = DAY_S * Math.floor(Date.now() / 1000 / DAY_S);
const NEXT_MINUTE_S = 60 * Math.floor(Date.now() / 60_000) + 60;
const dayOf = (ago: number): string =>
  new Date(1000 * (TODAY_S - ago * DAY_S)).toISOString().slice(0, 10);
const TOMORROW_S = TODAY_S + DAY_S;
/** The usage of a key, whose counters of today are 7,000 tokens ahead of its rows. */
export const USAGE = {
  object: "usage",
  key: { id: "scriptedkey1", name: "reading room", expires_at: null, models: null },
  limits: {
    requests_per_minute: { limit: 60, spent: 12, left: 48, resets_at: NEXT_MINUTE_S },
    tokens_per_minute: { limit: null, spent: 840, left: null, resets_at: NEXT_MINUTE_S },
    tokens_per_day: { limit: 50_000, spent: 31_600, left: 18_400, resets_at: TOMORROW_S },
    cost_per_day: { limit: null, spent: "0.0431", left: null, resets_at: TOMORROW_S },
    tokens_per_month: {
      limit: null,
      spent: 136_430,
      left: null,
      resets_at: TOMORROW_S + 30 * DAY_S,
    },
    cost_per_month: { limit: "20", spent: "7.5", left: "12.5", resets_at: TOMORROW_S + 30 * DAY_S },
  },
  streams: { limit: 8, running: 1 },
  totals: { requests: 212, prompt_tokens: 40_120, completion_tokens: 96_310, cost: "0.164525" },
  since: dayOf(6),
  until: "",
  complete_until: new Date().toISOString().slice(0, 13) as string | null,
  data: [5, 4, 3, 2, 1, 0].flatMap((ago) =>
    ["scripted", "sluice-demo"].map((model, at) => ({
      day: dayOf(ago),
      model,
      requests: 10 + ((ago * 7) % 11) * (at + 1),
      prompt_tokens: 1200 + ((ago * 977) % 2600),
      completion_tokens: 3100 + ((ago * 1999 + at * 1733) % 7000),
      cost: "0.013",
      outcomes: {},
    })),
  ),
  has_more: false,
  next: null,
};

function send(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response
    .writeHead(status, { "content-type": "application/json", ...headers })
    .end(JSON.stringify(body));
}

async function read(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
