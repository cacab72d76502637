/** The words of banner and dialog in twelve languages, each with the version and hash by which the evidence names it. */

import { REGISTERED, WORDS } from './texts/registered.js';
import type { ShownText } from './core/acknowledgements.js';

export type Locale = keyof typeof WORDS;
export type TextKey = keyof (typeof WORDS)['en'];
/** The texts that state something to a participant, and are registered. */
export type NoticeKey = keyof typeof REGISTERED;

export const LOCALES = Object.keys(WORDS) as Locale[];

/** The best language of a list of wishes; English if there is none. */
export function localeOf(...wishes: Array<string | null | undefined>): Locale {
  for (const wish of wishes) {
    const language = wish?.toLowerCase().split(/[-_]/)[0] as Locale | undefined;
    if (language && Object.hasOwn(WORDS, language)) return language;
  }
  return 'en';
}

export function wordsOf(key: TextKey, locale: Locale): string {
  return WORDS[locale][key];
}

/** What an acknowledgement of these words states. */
export function shownText(key: NoticeKey, locale: Locale): ShownText {
  const { version, sha256 } = REGISTERED[key];
  return { version, sha256: sha256[locale], locale };
}

/** The bodies of `PUT /v1/notice-texts/{version}`. */
export function textsToRegister(): Array<{ version: string; texts: Record<string, string> }> {
  return (Object.keys(REGISTERED) as NoticeKey[]).map((key) => ({
    version: REGISTERED[key].version,
    texts: Object.fromEntries(LOCALES.map((locale) => [locale, WORDS[locale][key]])),
  }));
}

export function directionOf(locale: Locale): 'ltr' | 'rtl' {
  return locale === 'ar' ? 'rtl' : 'ltr';
}
