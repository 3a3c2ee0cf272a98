import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// `npm run dev` serves the pages with reload and passes the API on to a running Courant.
const courant = process.env.COURANT_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [svelte()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: {
    proxy: {
      ...Object.fromEntries(
        [
          ...["/api", "/messages", "/analysis", "/orders", "/customers", "/metrics"],
          ...["/publish", "/analytics", "/analyticsAggregate", "/averages"],
        ].map((path) => [path, courant]),
      ),
      "/app/": { target: courant, ws: true },
    },
  },
  test: { include: ["src/**/*.test.ts"] },
});
