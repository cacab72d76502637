/**
 * Makes src/texts/registered.ts: for each text that a participant is shown its version, and the SHA-256
 * of its words in each language. The version contains a digest of the words of all languages, because
 * a registered version never changes.
 */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

const sha256 = (text) => createHash('sha256').update(text, 'utf8').digest('hex');
const words = JSON.parse(readFileSync('src/texts/words.json', 'utf8'));
const locales = Object.keys(words);
const keys = Object.keys(words.en);
for (const locale of locales) {
  const missing = keys.filter((key) => !words[locale][key]?.trim());
  const unknown = Object.keys(words[locale]).filter((key) => !keys.includes(key));
  if (missing.length || unknown.length) throw new Error(`${locale}: missing ${missing}; unknown ${unknown}`);
}
// A label of a button is no notice.
const notices = keys.slice(0, keys.indexOf('consent') + 1);
const registered = {};
for (const key of notices) {
  const texts = Object.fromEntries(locales.map((locale) => [locale, words[locale][key]]));
  const sha256s = Object.fromEntries(locales.map((locale) => [locale, sha256(texts[locale])]));
  registered[key] = { version: `${key}.${sha256(JSON.stringify(texts)).slice(0, 12)}`, sha256: sha256s };
}
writeFileSync(
  'src/texts/registered.ts',
  `// Made by scripts/texts.mjs from words.json.\nexport const REGISTERED = ${JSON.stringify(registered, null, 1)} as const;\n` +
    `export const WORDS = ${JSON.stringify(words, null, 1)} as const;\n`,
);
