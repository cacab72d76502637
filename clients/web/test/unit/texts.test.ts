import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { LOCALES, localeOf, shownText, textsToRegister, wordsOf } from '../../src/texts.js';
import { WORDS } from '../../src/texts/registered.js';

test('there are twelve languages, each complete', () => {
  expect([...LOCALES].sort()).toEqual(['ar', 'de', 'en', 'es', 'fr', 'it', 'ja', 'nl', 'pl', 'pt', 'sv', 'tr']);
  for (const locale of LOCALES) expect(Object.keys(WORDS[locale])).toEqual(Object.keys(WORDS.en));
});

test('every text of a language says something else', () => {
  for (const locale of LOCALES) {
    const words = Object.values(WORDS[locale]);
    expect(new Set(words).size, locale).toBe(words.length);
  }
});

test('a hash is that of the words that are shown and registered', () => {
  for (const { version, texts } of textsToRegister()) {
    for (const locale of LOCALES) {
      const key = version.split('.')[0] as 'recording_on';
      expect(texts[locale]).toBe(wordsOf(key, locale));
      expect(shownText(key, locale)).toEqual({ version, locale, sha256: createHash('sha256').update(texts[locale]!).digest('hex') });
    }
  }
});

test('the best language of the wishes is chosen, else English', () => {
  expect(localeOf(undefined, null, 'de-CH')).toBe('de');
  expect(localeOf('xx', 'pt-BR')).toBe('pt');
  expect(localeOf('AR')).toBe('ar');
  expect(localeOf()).toBe('en');
  expect(localeOf('constructor', 'toString')).toBe('en');
});

test('the versions are those of the words: another word is another version', () => {
  const made = execFileSync('node', ['scripts/texts.mjs'], { encoding: 'utf8' });
  expect(made).toBe('');
  expect(new Set(textsToRegister().map(({ version }) => version)).size).toBe(textsToRegister().length);
});
