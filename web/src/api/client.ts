// Calls of the API that serves this page. It has the same origin, so no call needs CORS.

/** An error that the API answered. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly param: string | null;
  readonly requestId: string | null;
  /** Seconds after which a repeat may succeed, or null. */
  readonly retryAfter: number | null;

  constructor(status: number, message: string, more: Partial<ApiError> = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = more.code ?? "";
    this.param = more.param ?? null;
    this.requestId = more.requestId ?? null;
    this.retryAfter = more.retryAfter ?? null;
  }
}

/** The network failed: nothing was answered, or the answer broke off. */
export class NetworkError extends Error {
  constructor(message = "The server cannot be reached. Check the network, then try again.") {
    super(message);
    this.name = "NetworkError";
  }
}

export interface Call {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Make one call, and return its answer once it has a status of success. */
export async function call(key: string, path: string, options: Call = {}): Promise<Response> {
  const headers: Record<string, string> = { authorization: `Bearer ${key}`, ...options.headers };
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method: options.method ?? (body === undefined ? "GET" : "POST"),
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      ...(body === undefined ? {} : { body }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new NetworkError();
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** Make one call, and return the JSON of its answer. */
export async function json<T>(key: string, path: string, options: Call = {}): Promise<T> {
  const response = await call(key, path, options);
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new NetworkError("The answer broke off.");
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  let error: { message?: unknown; code?: unknown; param?: unknown } = {};
  try {
    error = (JSON.parse(text) as { error?: typeof error }).error ?? {};
  } catch {
    // Not ours: the edge's own pages are HTML.
  }
  const after = Number.parseFloat(response.headers.get("retry-after") ?? "");
  return new ApiError(
    response.status,
    typeof error.message === "string" ? error.message : `The server answered ${response.status}.`,
    {
      code: typeof error.code === "string" ? error.code : "",
      param: typeof error.param === "string" ? error.param : null,
      requestId: response.headers.get("x-request-id"),
      retryAfter: Number.isFinite(after) ? after : null,
    },
  );
}

export interface Prices {
  prompt_price: string;
  completion_price: string;
  cached_price?: string;
  reasoning_price?: string;
}

export interface Model {
  id: string;
  root?: string;
  /** USD a million tokens. */
  sluice?: Prices;
}

export interface Kept {
  persistence: "off" | "asked" | "all";
  response_days?: number;
  log_hours?: number;
}

export interface Limit {
  limit: number | string | null;
  left: number | string | null;
  spent?: number | string;
  resets_at?: number | null;
}

export interface KeyUsage {
  key: { id: string; name: string; expires_at: number | null; models: string[] | null };
  limits: Record<string, Limit | null>;
  streams: { limit: number; running: number };
  totals: { requests: number; prompt_tokens: number; completion_tokens: number; cost: string };
  since: string;
  until: string;
  complete_until: string | null;
  data: UsageRow[];
  next: string | null;
}

export interface UsageRow {
  day: string;
  model: string;
  /** All that ended, the refused ones included. */
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
  cost: string;
  /** Requests by how they ended; an outcome that did not occur is absent. */
  outcomes: Record<string, number>;
}

export interface StreamState {
  id: string;
  created_at: number;
  model: string;
  status: string;
  metadata: Record<string, string>;
}

export async function models(key: string): Promise<{ data: Model[]; sluice?: Kept }> {
  return json(key, "/v1/models");
}

export async function usage(key: string, query = ""): Promise<KeyUsage> {
  return json(key, `/v1/usage${query}`);
}

/** Return the kept answers of a key that this page made, the newest first; some 500 at most. */
export async function keptAnswers(key: string): Promise<StreamState[]> {
  const found: StreamState[] = [];
  let after = "";
  for (let page = 0; page < 5; page += 1) {
    const query = `limit=100${after && `&after=${encodeURIComponent(after)}`}`;
    const list = await json<{ data: StreamState[]; has_more: boolean; last_id: string | null }>(
      key,
      `/v1/sluice/streams?${query}`,
    );
    found.push(...list.data.filter((it) => it.metadata["app"] === APP));
    if (!list.has_more || !list.last_id) break;
    after = list.last_id;
  }
  return found;
}

/** The value of `metadata.app` of answers that this page made. */
export const APP = "playground";
