// The page that a deployment serves, over the whole local cloud and its real model.

import { Line } from "./server.ts";
import { ask, complete, enter, expect, test } from "./support.ts";

const ORIGIN = process.env["SLUICE_ORIGIN"] ?? "";
const KEY = process.env["SLUICE_KEY"] ?? "";
const ADMIN = process.env["SLUICE_ADMIN"] ?? "";

test.skip(!ORIGIN, "needs a deployment: make test-browser");

interface Listed {
  data: { id: string; status: string; metadata: Record<string, string> }[];
}

test("the page has its headers, and mistyped paths stay the API's", async ({ request }) => {
  const page = await request.get(`${ORIGIN}/`);
  const headers = page.headers();
  expect(headers["content-security-policy"]).toContain("default-src 'none'");
  expect(headers["content-security-policy"]).not.toContain("unsafe-");
  expect(headers["x-robots-tag"]).toContain("noindex");
  expect(headers["x-content-type-options"]).toBe("nosniff");
  expect(headers["cache-control"]).toBe("no-cache");
  const script = /\/assets\/[\w.-]+\.js/.exec(await page.text())?.[0] ?? "";
  const file = await request.get(ORIGIN + script);
  expect(file.headers()["cache-control"]).toContain("immutable");
  for (const path of ["/v1/nothing", "/nothing", "/index.htm"]) {
    const answer = await request.get(ORIGIN + path);
    expect(answer.status()).toBe(404);
    expect((await answer.json()).error.code).toBe("not_found");
  }
});

test("a key is pasted, or comes by a link, and goes nowhere else", async ({ page, allowed }) => {
  allowed.push(/401/);
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(ORIGIN);
  await page.getByLabel("API key").fill("sk-wrong");
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByLabel("API key").fill(KEY);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("textbox", { name: "Message" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("textbox", { name: "Message" })).toBeVisible();
  await page.getByRole("button", { name: "Forget the key" }).click();
  await expect(page.getByLabel("API key")).toBeVisible();
  await enter(page, ORIGIN, KEY);
  expect(page.url()).not.toContain(KEY);
  expect(requests.some((url) => url.includes(KEY))).toBe(false);
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage }) + document.cookie);
  expect(stored).not.toContain(KEY);
});

test("an answer streams, with its figures", async ({ page }) => {
  await enter(page, ORIGIN, KEY);
  await ask(page, "Why stream tokens?");
  const answer = page.getByRole("article");
  await expect(answer.locator(".live")).toBeVisible();
  await complete(page);
  const figures = answer.getByLabel("Figures of this answer");
  await expect(figures).toContainText("first token");
  await expect(figures).toContainText("tokens/s");
  await expect(figures).toContainText(/\d+ in, \d+ out/);
  await expect(answer.getByRole("img", { name: /longest gap/ })).toBeVisible();
  await expect(answer.locator(".live")).toHaveCount(0);
  // What follows goes on from the kept answer.
  const sent = page.waitForRequest(
    (it) => it.method() === "POST" && it.url().endsWith("/v1/responses"),
  );
  await ask(page, "What is Sluice?");
  expect((await sent).postDataJSON()).toMatchObject({
    input: "What is Sluice?",
    previous_response_id: expect.stringMatching(/^resp_/),
  });
  await expect(page.getByRole("article")).toHaveCount(2);
  await complete(page);
});

// At temperature 1 the demo model answers these with 25 to 36 tokens, which take 3 to 5 seconds. An
// answer of a word or two would be over before a test could stop it, or cut its line.

test("stop cancels the answer at the deployment, and keeps what has come", async ({
  page,
  request,
}) => {
  await enter(page, ORIGIN, KEY);
  await ask(page, "What can you do?");
  await expect(page.getByRole("article").locator(".prose")).not.toBeEmpty();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await complete(page);
  await expect(page.getByRole("article").getByText("Stopped.")).toBeVisible();
  await expect(page.getByLabel("Figures of this answer")).toContainText(/\d+ in, \d+ out/);
  expect((await page.getByRole("article").locator(".prose").innerText()).length).toBeGreaterThan(0);
  const list = await request.get(`${ORIGIN}/v1/sluice/streams?limit=1`, {
    headers: { authorization: `Bearer ${KEY}` },
  });
  expect(((await list.json()) as Listed).data[0]).toMatchObject({ status: "cancelled" });
});

test("a reload in mid-answer, and a second tab: the whole answer is there", async ({
  page,
  context,
}) => {
  await enter(page, ORIGIN, KEY);
  await ask(page, "Tell me about rivers.");
  await expect(page.getByRole("article").locator(".prose")).not.toBeEmpty();
  await page.reload();
  const other = await context.newPage();
  await enter(other, ORIGIN, KEY);
  await other.getByRole("button", { name: "Tell me about rivers.", exact: true }).first().click();
  await complete(page);
  await complete(other);
  const text = await page.getByRole("article").locator(".prose").innerText();
  expect(text.length).toBeGreaterThan(3);
  await expect.poll(() => other.getByRole("article").locator(".prose").innerText()).toBe(text);
  await other.close();
});

test("offline and back: the rest comes, without a gap", async ({ page, context, allowed }) => {
  allowed.push(/Failed to load resource|ERR_/);
  const reads = page.waitForRequest((it) => it.url().includes("starting_after="), {
    timeout: 40_000,
  });
  const line = new Line(ORIGIN);
  await line.start();
  await enter(page, line.url, KEY);
  await ask(page, "What can you do?");
  await expect(page.getByRole("article").locator(".prose")).not.toBeEmpty();
  await context.setOffline(true);
  line.cut();
  await expect(page.getByText("The connection was lost.")).toBeVisible();
  line.mend();
  await context.setOffline(false);
  await reads;
  await complete(page);
  const figures = page.getByRole("article").getByLabel("Figures of this answer");
  await expect(figures).toContainText("resumed");
  const shown = await page.getByRole("article").locator(".prose").innerText();
  // The deployment's own record of the answer.
  const stored = await page.evaluate(async (key) => {
    const headers = { authorization: `Bearer ${key}` };
    const list = await (await fetch("/v1/sluice/streams?limit=1", { headers })).json();
    return (await fetch(`/v1/responses/resp_${list.data[0].id}`, { headers })).json();
  }, KEY);
  const text = stored.output[0].content[0].text as string;
  expect(shown.replace(/\s+/g, "")).toBe(text.replace(/\s+/g, ""));
  await line.stop();
});

test("conversations are found again, searched, exported and deleted", async ({
  page,
  browser,
  request,
}) => {
  await enter(page, ORIGIN, KEY);
  await ask(page, "A conversation about zebras?");
  await complete(page);
  await page.getByLabel("Search conversations").fill("ZEBRA");
  const found = page.getByRole("navigation", { name: "Conversations" }).getByRole("listitem");
  await expect(found).toHaveCount(1);
  await expect(found).toContainText("zebras");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export as Markdown" }).click();
  expect((await download).suggestedFilename()).toBe("A-conversation-about-zebras-.md");
  // Another browser has nothing of its own: it reads what the deployment keeps.
  const context = await browser.newContext();
  const other = await context.newPage();
  await enter(other, ORIGIN, KEY);
  const there = other.getByRole("navigation", { name: "Conversations" }).getByRole("listitem");
  await there.first().getByRole("button").first().click();
  await expect(other.getByRole("article")).toBeVisible();
  await expect(other.locator(".asked")).toContainText("A conversation about zebras?");
  await context.close();
  await found.hover();
  await found.getByRole("button", { name: /^Delete A conv/ }).click();
  await found.getByRole("button", { name: "Delete", exact: true }).click();
  await expect(page.getByText("No conversation has this text.")).toBeVisible();
  await page.getByLabel("Search conversations").fill("");
  await page.getByRole("button", { name: "Delete all my data" }).click();
  await page.getByRole("button", { name: "Delete all", exact: true }).click();
  await expect(page.getByText("No conversations yet.")).toBeVisible({ timeout: 40_000 });
  const list = await request.get(`${ORIGIN}/v1/sluice/streams?limit=100`, {
    headers: { authorization: `Bearer ${KEY}` },
  });
  expect(
    ((await list.json()) as Listed).data.filter((it) => it.metadata["app"] === "playground"),
  ).toEqual([]);
});

test("two answers side by side, over one connection", async ({ page }) => {
  const posts: string[] = [];
  page.on("request", (it) => it.method() === "POST" && posts.push(new URL(it.url()).pathname));
  await enter(page, ORIGIN, KEY);
  await page.getByRole("link", { name: "Compare" }).click();
  await page.getByLabel("Question for both").fill("What is Sluice?");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("article")).toHaveCount(2);
  for (const name of ["Left", "Right"]) {
    const lane = page.getByRole("group", { name });
    await expect(lane.getByRole("article")).toHaveAttribute("aria-busy", "false");
    await expect(lane.getByLabel("Figures of this answer")).toContainText("tokens/s");
    await expect(lane.locator(".prose")).not.toBeEmpty();
  }
  expect(posts).toEqual(["/v1/sluice/multiplex"]);
});

test("a comparison is resumed after a lost network and a reload, each answer by its id", async ({
  page,
  context,
  allowed,
}) => {
  allowed.push(/Failed to load resource|ERR_/);
  const line = new Line(ORIGIN);
  await line.start();
  await enter(page, line.url, KEY);
  await page.getByRole("link", { name: "Compare" }).click();
  const proses = page.getByRole("article").locator(".prose");
  const compare = async (): Promise<void> => {
    await page.getByLabel("Question for both").fill("What can you do?");
    await page.keyboard.press("Enter");
    for (const at of [0, 1]) await expect(proses.nth(at)).not.toBeEmpty();
  };
  /** Wait for the end, and compare what is shown with the deployment's own record. */
  const whole = async (): Promise<void> => {
    for (const at of [0, 1])
      await expect(page.getByRole("article").nth(at)).toHaveAttribute("aria-busy", "false");
    const kept = await page.evaluate(async (key) => {
      const headers = { authorization: `Bearer ${key}` };
      const saved = JSON.parse(sessionStorage.getItem("sluice-comparison") ?? "{}") as {
        lanes: { answer: { responseId: string } }[];
      };
      return Promise.all(
        saved.lanes.map(async ({ answer: { responseId } }) => {
          const stream = await fetch(`/v1/responses/${responseId}?stream=true`, { headers });
          const deltas = (await stream.text())
            .split("\n")
            .filter((it) => it.startsWith('data: {"type":"response.output_text.delta"'));
          return deltas.map((it) => (JSON.parse(it.slice(6)) as { delta: string }).delta).join("");
        }),
      );
    }, KEY);
    for (const at of [0, 1]) {
      const shown = await proses.nth(at).innerText();
      expect(shown.replace(/\s+/g, "")).toBe(kept[at]?.replace(/\s+/g, ""));
    }
  };
  await compare();
  await context.setOffline(true);
  line.cut();
  await expect(page.getByText("The connection was lost.").first()).toBeVisible();
  line.mend();
  await context.setOffline(false);
  await whole();
  await compare();
  await page.reload();
  await whole();
  await line.stop();
});

test("usage of the key, and keys for who has the secret", async ({ page, allowed }) => {
  allowed.push(/401|403/);
  await enter(page, ORIGIN, KEY);
  await ask(page, "What is Sluice?");
  await complete(page);
  await page.getByRole("link", { name: "Usage" }).click();
  await expect(page.getByRole("heading", { name: /^Usage of/ })).toBeVisible();
  await expect(page.getByText("completion tokens").first()).toBeVisible();
  // Also in the first hour, which has no rows by model.
  await expect(page.getByRole("img", { name: /Tokens by day and model: [1-9]/ })).toBeVisible();
  await page.getByRole("link", { name: "Admin" }).click();
  await page.getByLabel("Admin secret").fill("wrong");
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByLabel("Admin secret").fill(ADMIN);
  await page.getByRole("button", { name: "Continue" }).click();
  const keys = page.getByRole("region", { name: "Keys" });
  await expect(keys.getByRole("row")).not.toHaveCount(0);
  const form = page.getByRole("form", { name: "Create a key" });
  await form.getByLabel("Name").fill("visitor");
  await form.getByLabel("tokens a day").fill("2");
  await form.getByRole("button", { name: "Create a key" }).click();
  const made = (await page.locator(".secret code").innerText()).trim();
  expect(made).toMatch(/^sk-/);
  await page.getByRole("button", { name: "Hide" }).click();
  await expect(page.getByText(made)).toHaveCount(0);
  const row = keys.getByRole("row", { name: /visitor/ }).first();
  // The new key works, and meets its budget: the page says when it is renewed.
  const other = await page.context().newPage();
  allowed.push(/429/);
  await enter(other, ORIGIN, made);
  await ask(other, "Hello");
  await expect(other.getByRole("alert")).toContainText(/budget|tokens/);
  await expect(other.getByRole("alert")).toContainText(/Try again in \d+ (s|min|h)/);
  await other.close();
  await row.getByRole("button", { name: "Disable" }).click();
  await expect(row).toContainText("disabled");
  await row.getByRole("button", { name: "Limit" }).click();
  const change = page.getByRole("form", { name: "Limit visitor" });
  await change.getByLabel("tokens a day").fill("5000");
  await change.getByRole("button", { name: "Limit visitor" }).click();
  await expect(change).toHaveCount(0);
  expect(
    await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])),
  ).not.toContain(ADMIN);
});
