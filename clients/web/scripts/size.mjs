/** The core must stay small: minified and gzipped at most 8 kB, with everything that it imports. */

import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { OPTIONS } from './entries.mjs';

const LIMITS = { 'src/index.ts': 8_000, 'src/banner.ts': 20_000, 'src/react.ts': 1_500 };
let failed = false;
for (const [entry, limit] of Object.entries(LIMITS)) {
  const { outputFiles } = await build({
    ...OPTIONS,
    entryPoints: [entry],
    write: false,
    // The banner is a chunk of its own, which React fetches in a browser only.
    external: ['react', './banner.js'],
  });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`${entry}: ${size} of at most ${limit} bytes, minified and gzipped`);
  failed ||= size > limit;
}
process.exit(failed ? 1 : 0);
