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

for (const [name, scheme, width, height] of [
  ["chat-light", "light", 1180, 800],
  ["chat-dark", "dark", 1180, 800],
  ["chat-narrow", "light", 390, 780],
  ["compare-dark", "dark", 1180, 700],
  ["usage-light", "light", 1180, 800],
  ["usage-narrow", "dark", 390, 780],
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
    if (kind === "chat") {
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
    if (kind === "usage") await expect(page.locator(".chart")).toBeVisible();
    await page.evaluate(() => document.fonts.ready);
    await page.screenshot({ path: `${FOLDER}/playground-${name}.png`, animations: "disabled" });
  });
}
