// The pictures of the documents. SLUICE_PICTURES=docs/assets writes them again:
//   SLUICE_PICTURES=docs/assets npx playwright test -c tests/browser/playwright.config.ts pictures

import { ask, complete, enter, expect, pieces, test } from "./support.ts";

const FOLDER = process.env["SLUICE_PICTURES"] ?? "";
test.skip(!FOLDER, "writes into docs/assets");

const ANSWER = `Streaming sends each token when it is sampled, so a reader starts after **0.2 s** instead of waiting for the whole answer.

1. The first words come at once.
2. A wrong answer can be *stopped early*, and costs less.
3. Nothing is buffered, so memory stays small.

\`\`\`python
from openai import OpenAI

client = OpenAI()  # reads OPENAI_API_KEY
for event in client.responses.create(model="sluice-demo", input="Hi", stream=True):
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
\`\`\`

| way | first token | whole answer |
|---|---:|---:|
| streamed | 0.2 s | 4.1 s |
| buffered | 4.1 s | 4.1 s |
`;

const DAY_MS = 86_400_000;
const NAMES = ["reading room", "nightly evaluation", "a visitor"];
const KEYS = {
  next: null,
  data: NAMES.map((name, at) => ({
    id: `k${at}f4c1b2a97d`,
    name,
    owner: "",
    status: at === 2 ? "disabled" : "active",
    enabled: at !== 2,
    last_used_at: Math.floor((Date.now() - at * DAY_MS) / 1000),
    limits: {},
    in_flight: 2 - at,
    totals: {
      requests: 2120 - at * 830,
      prompt_tokens: 401_200 - at * 170_100,
      completion_tokens: 963_100 - at * 402_000,
      cost: String(1.645 - at * 0.7),
    },
  })),
};
const USED = Array.from({ length: 12 }, (_, ago) =>
  [0, 1].map((at) => ({
    day: new Date(Date.now() - ago * DAY_MS).toISOString().slice(0, 10),
    key: KEYS.data[at]?.id,
    model: "",
    requests: 40 + ((ago * 17) % 23),
    prompt_tokens: 9000 + ((ago * 4999) % 7000),
    completion_tokens: 12_000 + ((ago * 7919 + at * 3331) % 16_000),
    cost: "0.031",
    outcomes: {},
  })),
).flat();

for (const [name, scheme, width, height] of [
  ["chat-light", "light", 1180, 800],
  ["chat-dark", "dark", 1180, 800],
  ["chat-narrow", "light", 390, 780],
  ["compare-dark", "dark", 1180, 700],
  ["compare-narrow", "light", 390, 780],
  ["wire-light", "light", 1180, 700],
  ["usage-light", "light", 1180, 800],
  ["usage-narrow", "dark", 390, 780],
  ["admin-dark", "dark", 1180, 800],
] as const) {
  test(name, async ({ page, api }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height });
    api.script = {
      pieces: pieces(ANSWER, 7),
      pause: 12,
      reasoning: ["Three reasons and ", "an example."],
    };
    await enter(page, api.url);
    const [kind] = name.split("-");
    if (kind === "chat" || kind === "wire") {
      await ask(page, "Why stream tokens?");
      await complete(page);
      await expect(page.locator(".hljs-keyword").first()).toBeVisible();
    } else {
      await page.goto(`${api.url}/#${kind}`);
    }
    if (kind === "compare") {
      await page.getByLabel("Question for both").fill("Why stream tokens?");
      await page.keyboard.press("Enter");
      const right = page.getByRole("group", { name: "Right" });
      await expect(right.getByText("tokens/s")).toBeAttached();
    }
    if (kind === "wire") {
      await page.getByRole("button", { name: "Wire", exact: true }).click();
    }
    if (kind === "admin") {
      await page.route("**/admin/v1/keys*", (route) => route.fulfill({ json: KEYS }));
      await page.route("**/admin/v1/usage*", (route) => route.fulfill({ json: { data: USED } }));
      await page.getByLabel("Admin secret").fill("secret");
      await page.getByRole("button", { name: "Continue" }).click();
      await expect(page.locator(".chart")).toBeVisible();
    }
    if (kind === "usage") await expect(page.locator(".chart")).toBeVisible();
    await page.evaluate(() => document.fonts.ready);
    await page.screenshot({ path: `${FOLDER}/playground-${name}.png`, animations: "disabled" });
  });
}
