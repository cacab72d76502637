import { defineConfig } from 'vitest/config';

/** Tests with the real service and Chromium. They share one service and one machine. */
const real = { globalSetup: ['test/browser/setup.ts'], testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false };

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'units', include: ['test/unit/**/*.test.ts'], environment: 'node' } },
      { test: { name: 'browser', include: ['test/browser/**/*.test.ts'], ...real } },
      { test: { name: 'compare', include: ['test/compare/**/*.test.ts'], ...real } },
    ],
  },
});
