// What all tests of the page share. A test fails if its page has logged an error, or reported a
// breach of its Content-Security-Policy, unless the test allows it.

import { join } from "node:path";

import { test as base, expect, type Page } from "@playwright/test";

import { ScriptedApi } from "./server.ts";

/** The folder of the built page. */
export const DIST = process.env["SLUICE_WEB"] ?? join(import.meta.dirname, "../../build/web");

interface Fixtures {
  api: ScriptedApi;
  /** Messages of the console that a test expects. */
  allowed: RegExp[];
  watched: string[];
}

export const test = base.extend<Fixtures>({
  api: async ({}, use) => {
    const api = new ScriptedApi(DIST);
    await api.start();
    await use(api);
    await api.stop();
  },
  allowed: async ({}, use) => use([]),
  watched: [
    async ({ context, allowed }, use) => {
      const seen: string[] = [];
      context.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") seen.push(message.text());
      });
      context.on("weberror", (error) => seen.push(String(error.error())));
      await context.addInitScript(() => {
        addEventListener("securitypolicyviolation", (event) =>
          console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
        );
      });
      await use(seen);
      expect(seen.filter((text) => !allowed.some((it) => it.test(text)))).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Sign in by a link, as `sluice playground` prints it. */
export async function enter(page: Page, origin: string, key = "sk-scripted"): Promise<void> {
  await page.goto(`${origin}/#key=${encodeURIComponent(key)}`);
  await expect(page.getByRole("textbox", { name: "Message" })).toBeVisible();
}

export async function ask(page: Page, text: string): Promise<void> {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

/** Wait until no answer runs, and its texts are drawn: what draws them may still be loading. */
export async function complete(page: Page): Promise<void> {
  const answer = page.getByRole("article").last();
  await expect(answer).toHaveAttribute("aria-busy", "false");
  await expect(answer.locator(".prose:empty")).toHaveCount(0);
}

/** Cut a text into pieces of some characters, which may be half ones. The last word is not shown
 * before a piece has come that begins another one. */
export function pieces(text: string, size: number): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; at += size) found.push(text.slice(at, at + size));
  return found;
}
