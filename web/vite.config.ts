import { defineConfig } from "vite";

export default defineConfig({
  publicDir: "public",
  build: {
    target: "es2023",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  // `npx vite web`, while the local cloud runs: the page is rebuilt as it is edited.
  server: { proxy: { "/v1": "http://localhost:8787", "/admin": "http://localhost:8787" } },
});
