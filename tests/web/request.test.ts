import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import type { Conversation, Turn } from "../../web/src/chat/conversations.ts";
import { bodyOf, costOf, parametersOf, python, SNIPPETS } from "../../web/src/chat/request.ts";

const PLAIN = {
  model: "m", instructions: "", temperature: null, topP: null, maxTokens: null,
  effort: "", format: "text" as const, schema: "", tools: "",
}; // prettier-ignore

function turn(text: string, status?: string, responseId: string | null = "resp_1"): Turn {
  const answer = status
    ? { model: "m", status, items: [{ kind: "text", text: `to ${text}`, done: true }], responseId }
    : null;
  return { id: text, text, outputs: [], answer, sentAt: 0 } as unknown as Turn;
}
function conversation(...turns: Turn[]): Conversation {
  return {
    id: "c",
    owner: "o",
    title: "",
    createdAt: 0,
    updatedAt: 0,
    parameters: PLAIN,
    turns,
    remote: [],
  };
}

test("a kept conversation goes on from the answer before", () => {
  const turns = [turn("one", "completed"), turn("two")];
  assert.deepEqual(bodyOf(conversation(...turns), turns[1] as Turn, true), {
    model: "m", stream: true, input: "two", previous_response_id: "resp_1", store: true, background: true,
    metadata: { app: "playground", conversation: "c" },
  }); // prettier-ignore
});

test("behind an answer that cannot be gone on from, the history is sent", () => {
  for (const [status, keeps] of [
    ["cancelled", true],
    ["failed", true],
    ["completed", false],
  ] as const) {
    const turns = [turn("one", status), turn("two")];
    const body = bodyOf(conversation(...turns), turns[1] as Turn, keeps);
    assert.deepEqual(body["input"], [
      { role: "user", content: "one" },
      { role: "assistant", content: "to one" },
      { role: "user", content: "two" },
    ]);
    assert.ok(!("previous_response_id" in body));
  }
});

test("parameters that cannot be sent are told", () => {
  assert.throws(() => parametersOf({ ...PLAIN, tools: "[" }), /Tools must be JSON/);
  assert.throws(() => parametersOf({ ...PLAIN, tools: "{}" }), /a list of functions/);
  assert.throws(
    () => parametersOf({ ...PLAIN, format: "json_schema", schema: "{" }),
    /schema must be JSON/,
  );
  const chat = JSON.stringify([{ type: "function", function: { name: "f", parameters: {} } }]);
  assert.deepEqual(parametersOf({ ...PLAIN, tools: chat })["tools"], [
    { type: "function", name: "f", parameters: {} },
  ]);
});

test("snippets are programs, whatever the text is", () => {
  const input = 'It\'s "quoted" \\ $(x) `y`\n\u2028\u007f 🎉';
  const body = {
    model: "m",
    input,
    stream: true,
    tools: [],
    text: { format: { type: "text" } },
    top_p: null,
  };
  const url = "http://localhost:1/v1/responses";
  const shell = SNIPPETS["curl"]?.(url, body).replace("curl -N", "printf '%s\\0'") ?? "";
  const words = spawnSync("sh", ["-c", shell], { encoding: "utf8" }).stdout.split("\0");
  assert.deepEqual(JSON.parse(words[words.indexOf("-d") + 1] ?? ""), body);
  const literal = `import json; print(json.dumps(${python(body, 0)}))`;
  const printed = spawnSync("python3", ["-c", literal], { encoding: "utf8" });
  assert.deepEqual(JSON.parse(printed.stdout), body, printed.stderr);
  for (const make of Object.values(SNIPPETS)) assert.ok(make(url, body).includes("OPENAI_API_KEY"));
});

test("snippets for several answers run, and print the pieces of each", async () => {
  const body = {
    requests: [{ stream_id: "left", endpoint: "/v1/responses", body: { input: "é" } }],
  };
  const seen: string[] = [];
  const server = createServer((request, response) => {
    request.setEncoding("utf8").on("data", (part: string) => seen.push(part));
    request.on("end", () => {
      seen.push(request.headers.authorization ?? "");
      const event = { type: "response.output_text.delta", delta: "Hi", stream_id: "left" };
      response.end(`event: x\ndata: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/sluice/multiplex`;
  const venv = (name: string): string => join(import.meta.dirname, "../../.venv/bin", name);
  const run = promisify(execFile);
  const env = { ...process.env, OPENAI_API_KEY: "sk-1", NO_PROXY: "*" };
  try {
    for (const [name, program, ...options] of [
      ["Python", venv("python"), "-c"],
      ["Node", process.execPath, "--input-type=module", "-e"],
    ] as [string, string, ...string[]][]) {
      const snippet = SNIPPETS[name]?.(url, body) ?? "";
      const { stdout } = await run(program, [...options, snippet], { env });
      assert.match(stdout, /^left '?Hi'?\n$/);
    }
    assert.deepEqual(
      [seen[0], seen[2]].map((it) => JSON.parse(it ?? "")),
      [body, body],
    );
    assert.deepEqual([seen[1], seen[3]], ["Bearer sk-1", "Bearer sk-1"]);
  } finally {
    server.close();
  }
});

test("the cost of tokens", () => {
  const prices = { prompt_price: "0.5", completion_price: "1.5" };
  assert.equal(costOf(prices, { input_tokens: 12, output_tokens: 129 }), "$0.00020");
  const parts = {
    input_tokens: 1_000_000,
    output_tokens: 1_000_000,
    input_tokens_details: { cached_tokens: 1_000_000 },
    output_tokens_details: { reasoning_tokens: 1_000_000 },
  };
  assert.equal(costOf(prices, parts), "$2.0000");
  assert.equal(costOf({ ...prices, cached_price: "0.1", reasoning_price: "3" }, parts), "$3.1000");
  assert.equal(costOf(prices, { input_tokens: 0, output_tokens: 0 }), "$0");
  assert.equal(costOf(undefined, { input_tokens: 1, output_tokens: 1 }), null);
});
