import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The cloud serves dist/ below /console/ and answers every path there without a dot with index.html.
export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: { outDir: "dist", emptyOutDir: true, assetsInlineLimit: 0, sourcemap: false },
  test: { environment: "happy-dom", include: ["tests/**/*.test.{ts,tsx}"], restoreMocks: true, unstubGlobals: true },
  server: { proxy: { "/api": "http://127.0.0.1:8080" } },
});
