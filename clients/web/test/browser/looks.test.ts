/**
 * What banner and dialog look like: every variant in three languages, in light, dark and forced colours,
 * wide and narrow, examined by axe-core. With KIT_PICTURES=1 the pictures are written to docs/img.
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { Pages } from '../support/pages.js';
import { ROOT } from '../support/stack.js';
import { launch } from '../support/world.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const VARIANTS = ['recording_on', 'transcription_on', 'both_on', 'recording_paused', 'recording_off', 'transcription_off', 'both_off', 'recording_off_transcription_on', 'transcription_off_recording_on', 'unknown'];

const GALLERY = `<!doctype html><html lang="en"><title>Banner and dialog</title><meta name="viewport" content="width=device-width">
<style>:root{color-scheme:light dark}body{margin:1rem;font:1rem system-ui;background:Canvas;color:CanvasText}onrecord-banner{position:static;margin-block-end:.5rem}h1,h2{font-size:1rem;margin:1rem 0 .5rem}</style>
<main><h1>Banner and dialog</h1><div id="gallery"></div></main>
<script type="module">
import '/dist/banner.js';
window.leg = (variant, consent = {}) => {
  const listeners = [];
  const leg = {
    attachment: 'a', log: [], on: (_, listener) => (listeners.push(listener), () => {}),
    shown: (shown) => leg.log.push(['shown', leg.view.indication.variant, shown.visible]), hidden: () => leg.log.push(['hidden']),
    become(next, more = {}) {
      leg.view = { phase: 'connected', status: 'live', notice: undefined, indication: { recording: 'on', transcription: 'off', variant: next }, consent: { required: false, types: [], answer: undefined, grant: async () => {}, decline: () => {}, ...more } };
      leg.indication = leg.view.indication; leg.consent = leg.view.consent;
      listeners.forEach((listener) => listener());
    },
  };
  leg.become(variant, consent);
  return leg;
};
window.show = (name, locale, source) => {
  const element = document.createElement(name);
  element.setAttribute('locale', locale);
  element.source = source;
  document.querySelector('#gallery').append(element);
  return element;
};
window.ready = true;
</script></html>`;

let browser: Browser;
let pages: Pages;
beforeAll(async () => {
  pages = await Pages.start();
  pages.html.set('/gallery', GALLERY);
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
  await pages?.stop();
});

interface Look {
  readonly name: string;
  readonly width: number;
  readonly colorScheme?: 'light' | 'dark';
  readonly forcedColors?: 'active';
}
const LOOKS: Look[] = [
  { name: 'light', width: 900, colorScheme: 'light' },
  { name: 'dark', width: 900, colorScheme: 'dark' },
  { name: 'forced', width: 900, forcedColors: 'active' },
  { name: 'narrow', width: 320, colorScheme: 'light' },
];

async function gallery({ width, colorScheme, forcedColors }: Look): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 700 }, colorScheme: colorScheme ?? null, forcedColors: forcedColors ?? null });
  await page.goto(`${pages.origin}/gallery`);
  await page.waitForFunction(() => (window as any).ready);
  return page;
}

/** `rules` are left out. */
async function examine(page: Page, ...rules: string[]): Promise<void> {
  await page.evaluate(AXE);
  const { violations, incomplete } = await page.evaluate((off) => {
    const options = { resultTypes: ['violations', 'incomplete'], rules: Object.fromEntries(off.map((rule) => [rule, { enabled: false }])) };
    return (window as any).axe.run(document, options);
  }, rules);
  expect(violations.map((each: any) => `${each.id}: ${each.nodes.map((node: any) => node.target + ' ' + node.failureSummary).join('; ')}`)).toEqual([]);
  // Contrast that axe could not compute would be no finding either.
  expect(incomplete.filter((each: any) => each.id === 'color-contrast').flatMap((each: any) => each.nodes.map((node: any) => node.target))).toEqual([]);
}

/** The pictures that the documents show. */
const KEPT = /^banner-|^consent-(light|dark)-|^consent-(narrow-ar|forced-en|failed-light-en)$/;

async function picture(page: Page, name: string, full = true): Promise<void> {
  if (process.env.KIT_PICTURES && KEPT.test(name)) await page.screenshot({ path: join(ROOT, 'docs/img', `client-${name}.png`), fullPage: full, animations: 'disabled' });
}

describe.each(LOOKS)('in $name', (look) => {
  test('every variant has its words in three languages, and axe-core finds nothing', async () => {
    const page = await gallery(look);
    await page.evaluate((variants) => {
      for (const locale of ['en', 'de', 'ar']) for (const variant of variants) (window as any).show('onrecord-banner', locale, (window as any).leg(variant));
      for (const locale of ['en', 'de', 'ar']) for (const variant of ['recording_on', 'transcription_on', 'both_on', 'recording_paused', 'unknown']) {
        (window as any).show('onrecord-banner', locale, (window as any).leg(variant)).shadowRoot.querySelector('.collapse').click();
      }
    }, VARIANTS);
    const words = await page.evaluate(() => [...document.querySelectorAll('onrecord-banner')].map((each) => each.shadowRoot!.querySelector('.text')!.textContent));
    expect(new Set(words.slice(0, 30)).size).toBe(30);
    const pills = await page.evaluate(() => [...document.querySelectorAll('onrecord-banner')].slice(30).map((each) => each.shadowRoot!.querySelector('.pill')!.textContent));
    expect(new Set(pills).size).toBe(15);
    // Nothing is cut off at the side.
    expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBe(0);
    await picture(page, `banner-${look.name}`);
    // Only a gallery has many banners of one language.
    await examine(page, 'landmark-unique');
    await page.close();
  });

  test.each(['en', 'de', 'ar'])('the dialog in %s, and axe-core finds nothing', async (locale) => {
    const page = await gallery(look);
    await page.evaluate((language) => {
      (window as any).show('onrecord-banner', language, (window as any).leg('none'));
      (window as any).show('onrecord-consent', language, (window as any).leg('none', { required: true, types: ['recording'], grant: async () => { throw new Error('no'); } }));
    }, locale);
    const dialog = page.getByRole('alertdialog');
    expect(await dialog.evaluate((each) => (each.getRootNode() as ShadowRoot).activeElement === each)).toBe(true);
    await examine(page);
    await picture(page, `consent-${look.name}-${locale}`, false);
    await dialog.getByRole('button').first().click();
    await dialog.locator('.failed').waitFor();
    await examine(page);
    await picture(page, `consent-failed-${look.name}-${locale}`, false);
    await page.evaluate((language) => {
      document.querySelector('onrecord-consent')!.remove();
      (window as any).show('onrecord-consent', language, (window as any).leg('recording_on', { required: true, types: ['recording'], answer: 'declined' }));
    }, locale);
    await page.locator('.declined:visible').waitFor();
    await examine(page);
    await page.close();
  });
});

test('what begins interrupts a screen reader, what stops does not', async () => {
  const page = await gallery(LOOKS[0]!);
  const regions = await page.evaluate(() => {
    const leg = (window as any).leg('none');
    const root = (window as any).show('onrecord-banner', 'en', leg).shadowRoot;
    const read = () => [root.querySelector('[role=alert]').textContent, root.querySelector('[role=status]').textContent, root.querySelector('section').hidden];
    const found = [read()];
    for (const variant of ['recording_on', 'recording_off', 'unknown', 'transcription_off_recording_on', 'none']) {
      leg.become(variant);
      found.push(read());
    }
    return found;
  });
  expect(regions).toEqual([
    ['', '', true],
    ['This call is being recorded.', '', false],
    ['', 'The recording has stopped.', false],
    ['', 'It is not known whether this call is being recorded or transcribed.', false],
    ['', 'The transcription has stopped. This call is being recorded.', false],
    ['', '', true],
  ]);
  await page.close();
});

test('a banner can be made a pill while the recording goes on, and comes back with the next change', async () => {
  const page = await gallery(LOOKS[0]!);
  await page.evaluate(() => {
    (window as any).own = (window as any).leg('recording_on');
    (window as any).show('onrecord-banner', 'en', (window as any).own);
  });
  const log = () => page.evaluate(() => (window as any).own.log);
  await expect.poll(log).toEqual([['shown', 'recording_on', true]]);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  const pill = page.getByRole('button', { name: 'Recorded' });
  await pill.waitFor();
  expect(await pill.evaluate((each) => (each.getRootNode() as ShadowRoot).activeElement === each)).toBe(true);
  await expect.poll(log).toContainEqual(['hidden']);
  await page.evaluate(() => (window as any).own.become('both_on'));
  await page.getByText('This call is being recorded and transcribed.').waitFor();
  await expect.poll(log).toContainEqual(['shown', 'both_on', true]);
  await page.evaluate(() => (window as any).own.become('both_off'));
  expect(await page.getByRole('button').count()).toBe(0);
  await page.close();
});

test('a banner moves only where motion is welcome', async () => {
  const names = [];
  for (const reducedMotion of ['no-preference', 'reduce'] as const) {
    const page = await browser.newPage({ reducedMotion });
    await page.goto(`${pages.origin}/gallery`);
    await page.waitForFunction(() => (window as any).ready);
    names.push(await page.evaluate(() => getComputedStyle((window as any).show('onrecord-banner', 'en', (window as any).leg('recording_on')).shadowRoot.querySelector('section')).animationName));
    await page.close();
  }
  expect(names).toEqual(['onrecord-in', 'none']);
});

test('a banner that is invisible is not stated as visible', async () => {
  const page = await gallery(LOOKS[0]!);
  for (const style of ['opacity:0', 'visibility:hidden', 'display:none', 'position:absolute;top:5000px']) {
    await page.evaluate((css) => {
      (window as any).own = (window as any).leg('none');
      (window as any).show('onrecord-banner', 'en', (window as any).own).style.cssText = css;
      (window as any).own.become('recording_on');
    }, style);
    await page.waitForTimeout(300);
    expect(await page.evaluate(() => (window as any).own.log), style).toEqual([]);
  }
  await page.close();
});

test('a strict content security policy and trusted types break neither banner nor dialog', async () => {
  const policy = "default-src 'none'; script-src 'self' 'nonce-n'; style-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'";
  pages.html.set('/strict', GALLERY.replace('<title>', `<meta http-equiv="content-security-policy" content="${policy}"><title>`).replace('<script', '<script nonce="n"').replace(/<style>.*<\/style>/, ''));
  const page = await browser.newPage();
  const refused: string[] = [];
  page.on('console', (line) => line.text().includes('Content Security Policy') && refused.push(line.text()));
  page.on('pageerror', (error) => refused.push(String(error)));
  await page.goto(`${pages.origin}/strict`);
  await page.waitForFunction(() => (window as any).ready);
  const color = await page.evaluate(() => {
    (window as any).show('onrecord-consent', 'en', (window as any).leg('none', { required: true }));
    const banner = (window as any).show('onrecord-banner', 'en', (window as any).leg('recording_on'));
    return getComputedStyle(banner.shadowRoot.querySelector('section')).backgroundColor;
  });
  expect(color).toBe('rgb(159, 20, 32)');
  expect(refused).toEqual([]);
  await page.close();
});
