/** Builds the package into dist/: ES modules with source maps, and types. */

import { build } from 'esbuild';
import { rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { ENTRIES } from './entries.mjs';

rmSync('dist', { recursive: true, force: true });
execFileSync('node', ['scripts/texts.mjs'], { stdio: 'inherit' });
await build({
  entryPoints: ENTRIES,
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  splitting: true,
  format: 'esm',
  target: 'es2022',
  platform: 'browser',
  external: ['react', 'react/jsx-runtime', '@azure/communication-calling'],
  minify: process.env.MINIFY !== '0',
  sourcemap: true,
  chunkNames: 'chunks/[name]-[hash]',
});
execFileSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
