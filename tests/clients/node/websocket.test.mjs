// openai-node in its WebSocket mode, as it comes.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const model = process.env.SLUICE_SOCKET_MODEL;
const input = process.env.SLUICE_SOCKET_INPUT;
const client = () =>
  new OpenAI({ baseURL: process.env.SLUICE_SOCKET_URL, apiKey: process.env.SLUICE_SOCKET_KEY, maxRetries: 0 });
const ends = new Set(["response.completed", "response.failed", "response.incomplete", "error"]);

// Sends requests, and returns the events of each lane up to the ends of all of them.
const answered = async (ws, ...requests) => {
  for (const request of requests) ws.send({ type: "response.create", model, ...request });
  const lanes = new Map();
  let left = requests.length;
  for await (const { type, message, error } of ws) {
    const event = type === "error" ? error.error : message;
    if (event === undefined) continue;
    lanes.set(event.stream_id, [...(lanes.get(event.stream_id) ?? []), event]);
    if (ends.has(event.type)) left -= 1;
    if (left === 0) break;
  }
  return lanes;
};

test("a response has its events in order", async () => {
  const ws = new ResponsesWS(client());
  const events = (await answered(ws, { input, store: false })).get(undefined);
  ws.close();
  // Deltas that are joined on the way leave gaps in the numbers.
  const numbers = events.map((event) => event.sequence_number);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  const text = deltas.map((event) => event.delta).join("");
  assert.notEqual(text, "");
  assert.equal(text, events.at(-1).response.output[0].content[0].text);
});

test("lanes run at once and have their names", async () => {
  const ws = new ResponsesWS(client());
  const lanes = await answered(ws, { input, stream_id: "a" }, { input, stream_id: "b" });
  ws.close();
  assert.deepEqual([...lanes.keys()].sort(), ["a", "b"]);
  for (const events of lanes.values()) assert.equal(events.at(-1).type, "response.completed");
});

test("a conversation goes on without being kept", async () => {
  const ws = new ResponsesWS(client());
  const first = (await answered(ws, { input, store: false })).get(undefined).at(-1).response;
  const request = { input, store: false, previous_response_id: first.id };
  const second = (await answered(ws, request)).get(undefined).at(-1).response;
  ws.close();
  assert.equal(second.previous_response_id, first.id);
});

test("an error of one request leaves the socket open", async () => {
  const ws = new ResponsesWS(client());
  ws.on("error", () => {});
  const wrong = (await answered(ws, { model: "?", input, stream_id: "a" })).get("a").at(-1);
  assert.deepEqual([wrong.type, wrong.status], ["error", 404]);
  const events = (await answered(ws, { input })).get(undefined);
  ws.close();
  assert.equal(events.at(-1).type, "response.completed");
});
