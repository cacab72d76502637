/**
 * Builds the page of `onrecord demo` into src/cli/demo/page, where the service embeds it: `cargo build`
 * needs no Node. With --check it compares instead, and fails if the sources have changed since.
 */

import { build } from 'esbuild';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { OPTIONS } from './entries.mjs';

const FOLDER = '../../src/cli/demo/page';
const { outputFiles } = await build({ ...OPTIONS, entryPoints: ['demo/demo.ts'], write: false, legalComments: 'none' });
const files = {
  'demo.js': outputFiles[0].text,
  'demo.css': readFileSync('demo/demo.css', 'utf8'),
  'index.html': readFileSync('demo/index.html', 'utf8'),
};
if (process.argv.includes('--check')) {
  const stale = Object.keys(files).filter((name) => !existsSync(`${FOLDER}/${name}`) || readFileSync(`${FOLDER}/${name}`, 'utf8') !== files[name]);
  if (stale.length > 0) {
    console.error(`${FOLDER}: ${stale.join(', ')} do not match their sources; run npm run demo`);
    process.exitCode = 1;
  }
} else {
  mkdirSync(FOLDER, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(`${FOLDER}/${name}`, text);
}
