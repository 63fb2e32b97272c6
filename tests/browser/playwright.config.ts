import { defineConfig } from "@playwright/test";

// The browser is the system's: Playwright's own download is not needed.
export default defineConfig({
  testDir: ".",
  outputDir: "../../build/browser",
  workers: 1,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 20_000 },
  reporter: [["list"]],
  forbidOnly: true,
  use: {
    browserName: "chromium",
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
    viewport: { width: 1280, height: 860 },
    colorScheme: "light",
    permissions: ["clipboard-read", "clipboard-write"],
  },
});
