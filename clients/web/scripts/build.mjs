/** Builds the package into dist/: ES modules with source maps, and types. */

import { build } from 'esbuild';
import { rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { ENTRIES, OPTIONS } from './entries.mjs';

rmSync('dist', { recursive: true, force: true });
execFileSync('node', ['scripts/texts.mjs'], { stdio: 'inherit' });
await build({
  ...OPTIONS,
  entryPoints: ENTRIES,
  outdir: 'dist',
  outbase: 'src',
  splitting: true,
  external: ['react', '@azure/communication-calling'],
  sourcemap: true,
  chunkNames: 'chunks/[name]-[hash]',
});
execFileSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
