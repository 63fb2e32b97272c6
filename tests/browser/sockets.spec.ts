// A page with two answers over one socket, over the whole local cloud: examples/lanes.html.

import { createServer, type Server } from "node:http";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

import type { Locator } from "@playwright/test";

import { expect, test } from "./support.ts";

const ORIGIN = process.env["SLUICE_ORIGIN"] ?? "";
const KEY = process.env["SLUICE_KEY"] ?? "";
const METRICS = process.env["SLUICE_METRICS"] ?? "[]";
const ROUNDS = 12;
const ENDED = /cancelled|completed/;
const PAGE = readFileSync(join(import.meta.dirname, "../../examples/lanes.html"));

test.skip(!ORIGIN, "needs a deployment: make test-browser");

/** The page's own server: it has the key, and gives out tickets. */
async function serve(): Promise<[Server, string]> {
  const server = createServer(async (request, response) => {
    if (request.method !== "POST") {
      response.setHeader("content-type", "text/html").end(PAGE);
      return;
    }
    const ticket = await fetch(`${ORIGIN}/v1/websocket/tickets`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}` },
    });
    response.setHeader("content-type", "application/json").end(await ticket.text());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return [server, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`];
}

/** The number of requests that the containers run, by their own metric. */
async function running(): Promise<number> {
  let total = 0;
  for (const [url, headers] of JSON.parse(METRICS) as [string, Record<string, string>][]) {
    const text = await (await fetch(url, { headers })).text();
    total += Number(/^sluice_requests_running (\S+)$/m.exec(text)?.[1] ?? 0);
  }
  return total;
}

/** Wait until the containers run less requests than `count`, and return the time. */
async function untilFewer(count: number): Promise<number> {
  while ((await running()) >= count) await new Promise((done) => setTimeout(done, 5));
  return Date.now();
}

const status = (lane: Locator): Promise<string | null> => lane.getAttribute("data-status");

test("a page opens a socket with a ticket, streams two lanes, and stops one", async ({ page }) => {
  test.slow(); // it has many rounds
  const [server, url] = await serve();
  await page.goto(`${url}?model=${process.env["SLUICE_MODEL"]}`);
  await expect(page.locator("body")).toHaveAttribute("data-socket", "open");
  const [left, right] = [page.locator("#left"), page.locator("#right")];
  const times: number[] = [];
  const stop = (lane: Locator): Promise<void> =>
    lane.getByRole("button", { name: "Stop" }).click({ force: true }); // it may have just ended
  while (times.length < ROUNDS) {
    for (const lane of [left, right]) {
      await lane.getByLabel("Question").fill("Tell me a story.");
      await lane.getByRole("button", { name: "Ask" }).click();
    }
    for (const lane of [left, right]) await expect(lane.locator("output")).not.toBeEmpty();
    if ((await running()) === 2) {
      const freed = untilFewer(2);
      await stop(left);
      const at = await freed;
      await expect(left).toHaveAttribute("data-status", ENDED);
      // The other one goes on. An answer that came to its end by itself tells nothing.
      const [ended, other] = [await status(left), await status(right)];
      if (ended === "cancelled" && other === "running") {
        times.push(at - Number(await left.getAttribute("data-clicked")));
        expect(await right.locator("output").innerText()).not.toBe("");
      }
    }
    for (const lane of [left, right]) {
      if ((await status(lane)) === "running") await stop(lane);
      await expect(lane).toHaveAttribute("data-status", ENDED);
    }
  }
  times.sort((one, other) => one - other);
  const at = (share: number): number => Math.round(times[Math.ceil(share * ROUNDS) - 1] ?? 0);
  console.log(`from the click to the freed sequence: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms`);
  server.close();
});
