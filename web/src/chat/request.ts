// The body of a request for an answer, and the same request for other programs. Pure.

import { APP, type Prices } from "../api/client.ts";
import type { Usage } from "./answer.ts";
import type { Conversation, Parameters, Turn } from "./conversations.ts";

export type Body = Record<string, unknown>;

/** Why a text of the parameters cannot be sent. */
export class ParameterError extends Error {}

function read(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ParameterError(`${what} must be JSON: ${(error as Error).message}`);
  }
}

/**
 * Return the members that parameters make. Tools may be written as the Responses API or as chat
 * completions have them.
 */
export function parametersOf(parameters: Parameters): Body {
  const body: Body = { model: parameters.model };
  if (parameters.instructions.trim()) body["instructions"] = parameters.instructions;
  if (parameters.temperature !== null) body["temperature"] = parameters.temperature;
  if (parameters.topP !== null) body["top_p"] = parameters.topP;
  if (parameters.maxTokens !== null) body["max_output_tokens"] = parameters.maxTokens;
  if (parameters.effort) body["reasoning"] = { effort: parameters.effort };
  if (parameters.format === "json_object") body["text"] = { format: { type: "json_object" } };
  if (parameters.format === "json_schema") {
    const schema = read(parameters.schema || "{}", "The schema");
    body["text"] = { format: { type: "json_schema", name: "answer", schema, strict: true } };
  }
  if (parameters.tools.trim()) {
    const tools = read(parameters.tools, "Tools");
    if (!Array.isArray(tools)) throw new ParameterError("Tools must be a list of functions.");
    body["tools"] = tools.map((tool: Body) =>
      tool["function"]
        ? { type: "function", ...(tool["function"] as Body) }
        : { type: "function", ...tool },
    );
  }
  return body;
}

function inputOf(turn: Turn): Body[] {
  const items: Body[] = turn.outputs.map(({ callId, output }) => ({
    type: "function_call_output",
    call_id: callId,
    output,
  }));
  if (turn.text) items.push({ role: "user", content: turn.text });
  return items;
}

/**
 * Return the body for the last turn of a conversation. Where responses are kept, it goes on from
 * the one before; else, and behind an answer that is not kept whole, it has the whole history.
 */
export function bodyOf(conversation: Conversation, turn: Turn, keeps: boolean): Body {
  const body = { ...parametersOf(conversation.parameters), stream: true };
  const before = conversation.turns.slice(0, conversation.turns.indexOf(turn));
  const previous = before.at(-1)?.answer;
  const chained =
    keeps &&
    previous?.responseId &&
    (previous.status === "completed" || previous.status === "incomplete");
  const input = chained ? inputOf(turn) : [...before.flatMap(history), ...inputOf(turn)];
  const single = input.length === 1 && input[0]?.["role"] === "user";
  return {
    ...body,
    input: single ? input[0]?.["content"] : input,
    ...(chained ? { previous_response_id: previous.responseId } : {}),
    ...(keeps
      ? { store: true, background: true, metadata: { app: APP, conversation: conversation.id } }
      : { store: false }),
  };
}

function history(turn: Turn): Body[] {
  const items = inputOf(turn);
  for (const item of turn.answer?.items ?? []) {
    if (item.kind === "text" || item.kind === "refusal") {
      if (item.text) items.push({ role: "assistant", content: item.text });
    } else if (item.kind === "call") {
      items.push({
        type: "function_call",
        call_id: item.callId ?? "",
        name: item.name ?? "",
        arguments: item.text || "{}",
      });
    }
  }
  return items;
}

/** Return the cost of tokens in USD, as text; null without prices. */
export function costOf(prices: Prices | undefined, usage: Usage | null): string | null {
  if (!prices || !usage) return null;
  const cached = Math.min(usage.input_tokens_details?.cached_tokens ?? 0, usage.input_tokens);
  const reasoning = Math.min(
    usage.output_tokens_details?.reasoning_tokens ?? 0,
    usage.output_tokens,
  );
  const { prompt_price: prompt, completion_price: completion } = prices;
  const cost =
    (Number(prompt) * (usage.input_tokens - cached) +
      Number(prices.cached_price ?? prompt) * cached +
      Number(completion) * (usage.output_tokens - reasoning) +
      Number(prices.reasoning_price ?? completion) * reasoning) /
    1e6;
  return cost === 0 ? "$0" : `$${cost < 0.01 ? cost.toPrecision(2) : cost.toFixed(4)}`;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The same request for programs. None has the key: it is read from OPENAI_API_KEY. */
export const SNIPPETS: Record<string, (url: string, body: Body) => string> = {
  curl: (url, body) =>
    [
      `curl -N ${quoted(url)} \\`,
      '  -H "Authorization: Bearer $OPENAI_API_KEY" \\',
      "  -H 'Content-Type: application/json' \\",
      `  -d ${quoted(JSON.stringify(body, null, 2))}`,
    ].join("\n"),
  Python: (url, body) =>
    (url.endsWith(RESPONSES)
      ? [
          "from openai import OpenAI",
          "",
          `client = OpenAI(base_url=${JSON.stringify(baseOf(url))})  # the key: OPENAI_API_KEY`,
          "stream = client.responses.create(",
          ...Object.entries(body).map(([name, value]) => `    ${name}=${python(value, 1)},`),
          ")",
          "for event in stream:",
          '    if event.type == "response.output_text.delta":',
          '        print(event.delta, end="", flush=True)',
        ]
      : [
          "import json",
          "import os",
          "",
          "import httpx",
          "",
          `body = ${python(body, 0)}`,
          `headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}`,
          `url = ${JSON.stringify(url)}`,
          'with httpx.stream("POST", url, headers=headers, json=body, timeout=None) as response:',
          "    for line in response.iter_lines():",
          '        if line.startswith("data: {"):',
          '            event = json.loads(line.removeprefix("data: "))',
          '            if event.get("type") == "response.output_text.delta":',
          '                print(event["stream_id"], repr(event["delta"]))',
        ]
    ).join("\n"),
  Node: (url, body) =>
    (url.endsWith(RESPONSES)
      ? [
          'import OpenAI from "openai";',
          "",
          `const client = new OpenAI({ baseURL: ${JSON.stringify(baseOf(url))} }); // the key: OPENAI_API_KEY`,
          `const stream = await client.responses.create(${JSON.stringify(body, null, 2)});`,
          "for await (const event of stream) {",
          '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);',
          "}",
        ]
      : [
          'import { createInterface } from "node:readline";',
          'import { Readable } from "node:stream";',
          "",
          `const body = ${JSON.stringify(body, null, 2)};`,
          `const response = await fetch(${JSON.stringify(url)}, {`,
          '  method: "POST",',
          "  headers: {",
          "    authorization: `Bearer ${process.env.OPENAI_API_KEY}`,",
          '    "content-type": "application/json",',
          "  },",
          "  body: JSON.stringify(body),",
          "});",
          "for await (const line of createInterface({ input: Readable.fromWeb(response.body) })) {",
          '  if (!line.startsWith("data: {")) continue;',
          '  const event = JSON.parse(line.slice("data: ".length));',
          '  if (event.type === "response.output_text.delta") console.log(event.stream_id, event.delta);',
          "}",
        ]
    ).join("\n"),
};

/** The path of the call that OpenAI's SDKs have; of others, the snippets send plain requests. */
const RESPONSES = "/v1/responses";
const baseOf = (url: string): string => url.slice(0, -"/responses".length);

/** Return a value of JSON as an expression of Python. */
export function python(value: unknown, depth: number): string {
  const pad = "    ".repeat(depth);
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") {
    // JSON's escapes are Python's, but for characters that JSON leaves as they are.
    return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029]/g, (char) => {
      return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
    });
  }
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value)
    ? value.map((item) => python(item, depth + 1))
    : Object.entries(value).map(
        ([name, item]) => `${JSON.stringify(name)}: ${python(item, depth + 1)}`,
      );
  if (parts.length === 0) return `${open}${close}`;
  const inner = "    ".repeat(depth + 1);
  return `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${pad}${close}`;
}
