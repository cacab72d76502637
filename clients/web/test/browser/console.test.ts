/**
 * The web console of `onrecord demo`, as its readers see it: each page wide and narrow, in light, dark and
 * forced colours, examined by axe-core, without an error or a violation of its content security policy; and
 * the same pages without JavaScript and by the keyboard. With KIT_PICTURES=1 its pictures are made anew.
 */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { problems as problemsOf, startDemo, violations, type Demo } from '../support/console.js';
import { ROOT, until } from '../support/stack.js';
import { launch } from '../support/world.js';

/** A question of each drawing: one row, bars, stacks of hours, days, calls, and one about a person. */
const QUESTIONS = [2, 3, 7, 8, 15, 17].map((number) => `/console/analytics/${number}`);
const ALL_QUESTIONS = Array.from({ length: 20 }, (_, at) => `/console/analytics/${at + 1}`);
const PAGES = ['/console/', '/console/calls', '/console/calls?verdict=EXCEPTIONS&from=nonsense', '/console/live', '/console/exceptions', '/console/people', '/console/analytics', ...QUESTIONS, '/console/analytics/1?from=nonsense', '/console/exports', '/console/sources', '/console/sources/setup', '/console/sources/setup?name=%24(x)', '/console/settings', '/console/settings/users', '/console/settings/readers', '/console/health', '/console/access', '/console/deliveries', '/console/quarantine', '/console/glossary', '/console/styleguide'];
/** Maximum size of a page with its scripts and its style sheet, as they are transferred uncompressed. */
const MAX_PAGE_BYTES = 150_000;

/** The pictures of docs/console.md. */
const PICTURES = new Map([
  ['/console/', { file: 'overview', height: 860 }],
  ['/console/calls', { file: 'calls', height: 860 }],
  ['/console/calls/{call}', { file: 'call', height: 1500 }],
  ['/console/calls/{call}/report', { file: 'report', height: 1300 }],
  ['/console/analytics/7', { file: 'question', height: 1100 }],
  ['/console/exports/{export}', { file: 'export', height: 860 }],
]);

let demo: Demo;
let browser: Browser;
let url: string;
/** A call with exceptions that is over, an exception, and an export that is done. */
let call: string;
let exception: string;
let exported: string;

beforeAll(async () => {
  demo = await startDemo(12);
  url = demo.url;
  call = await until('a call with exceptions', async () => (await demo.query('/v1/calls?verdict=EXCEPTIONS&state=ended')).calls?.[0]?.call, 90_000);
  exception = await until('an exception', async () => (await demo.query('/v1/exceptions')).exceptions?.[0]?.id);
  browser = await launch();
  exported = await requestExport();
}, 180_000);
afterAll(async () => {
  await browser?.close();
  await demo?.stop();
});

/** Requests an export by its form, without JavaScript, and waits until it is done. */
async function requestExport(): Promise<string> {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/exports`);
  await page.locator('summary', { hasText: 'New export' }).click();
  await page.getByRole('checkbox', { name: /^Calls/ }).first().check();
  await page.getByRole('checkbox', { name: /^Participants/ }).check();
  await page.getByRole('button', { name: 'Start the export' }).click();
  await until('the export is done', async () => {
    await page.getByRole('link', { name: 'Read again' }).click({ timeout: 500 }).catch(() => undefined);
    return page.getByText('Its files are complete.').isVisible();
  });
  const id = new URL(page.url()).pathname.split('/').pop()!;
  await context.close();
  return id;
}

/** The answer to a question comes after its page. */
const answered = async (page: Page) => expect.poll(() => page.locator('[data-content]').count()).toBe(0);

const problems = (page: Parameters<typeof problemsOf>[0]) => problemsOf(page, url);

const paths = () => [...PAGES, `/console/calls/${call}`, `/console/calls/${call}?window=0-2000`, `/console/calls/${call}/entries`, `/console/calls/${call}/report`, `/console/exceptions/${exception}`, `/console/exports/${exported}`, '/console/calls/unknown'];

describe.each([
  { name: 'wide-light', width: 1440, colorScheme: 'light' as const },
  { name: 'wide-dark', width: 1440, colorScheme: 'dark' as const },
  { name: 'narrow-light', width: 390, colorScheme: 'light' as const },
  { name: 'narrow-dark', width: 390, colorScheme: 'dark' as const },
  { name: 'forced', width: 1440, forcedColors: 'active' as const },
  { name: 'german', width: 390, colorScheme: 'light' as const, locale: 'de' },
  { name: 'widest', width: 1920, colorScheme: 'light' as const },
  { name: 'print', width: 794, colorScheme: 'light' as const, media: 'print' as const },
])('$name', ({ name, width, media, ...look }) => {
  test('each page is without a violation, an error or another host, and not wider than its window', async () => {
    const context = await browser.newContext({ viewport: { width, height: 900 }, ...look });
    const page = await context.newPage();
    await page.emulateMedia({ media: media ?? 'screen' });
    const wrong = problems(page);
    await page.goto(`${url}/console/demo`);
    for (const path of paths()) {
      await page.goto(url + path);
      await answered(page);
      expect(await violations(context, page), `${name} ${path}`).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} ${path}`).toBe(true);
      expect(wrong, `${name} ${path}`).toEqual([]);
      const picture = PICTURES.get(path.replace(call, '{call}').replace(exported, '{export}'));
      if (process.env.KIT_PICTURES && name === 'wide-light' && picture) {
        await page.setViewportSize({ width: 1280, height: picture.height });
        await page.evaluate(() => document.querySelector('.strip')?.remove());
        await page.screenshot({ path: join(ROOT, `docs/img/console-${picture.file}.png`) });
        await page.setViewportSize({ width, height: 900 });
      }
    }
    await context.close();
  });
});

test('without JavaScript each page reads, filters work, and an exception is closed', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${url}/console/demo`);
  for (const path of paths()) {
    const answer = await page.goto(url + path);
    expect(answer!.status(), path).toBeLessThan(500);
    expect(await page.locator('h1').first().textContent(), path).toBeTruthy();
  }
  await page.goto(`${url}/console/calls`);
  await page.getByRole('searchbox').fill(call);
  await page.getByRole('button', { name: 'Show' }).click();
  expect(page.url()).toContain(`q=${call}`);
  expect(await page.getByRole('row').count()).toBe(2);
  await page.goto(`${url}/console/exceptions/${exception}`);
  await page.getByLabel('Close this exception').fill('Closed by the test of the console.');
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  expect(await page.getByText('Closed by the test of the console.').count()).toBeGreaterThan(0);
  await context.close();
});

test('a filter replaces the results without a reload, and its address is that of the page', async () => {
  const page = await browser.newPage();
  const wrong = problems(page);
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/calls`);
  await page.evaluate(() => ((window as any).same = true));
  await page.getByRole('searchbox').fill(call);
  await page.keyboard.press('Enter');
  await page.waitForURL(/q=/);
  await expect.poll(() => page.getByRole('row').count()).toBe(2);
  expect(await page.evaluate(() => (window as any).same)).toBe(true);
  expect(wrong).toEqual([]);
  await page.close();
});

test('the keyboard alone leads from the first page to the reason of a verdict', async () => {
  const page = await browser.newPage();
  await page.goto(`${url}/console/demo`);
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('To the content');
  await page.keyboard.press('Enter');
  const tab = async (name: RegExp) => {
    for (let steps = 0; steps < 60; steps++) {
      await page.keyboard.press('Tab');
      const text = await page.evaluate(() => document.activeElement?.textContent ?? '');
      if (name.test(text)) return page.keyboard.press('Enter');
    }
    throw new Error(`no link ${name}`);
  };
  await tab(/told late or never/);
  await page.waitForURL(/verdict=EXCEPTIONS/);
  await tab(/\d{4}-\d\d-\d\d/);
  await page.waitForURL(/\/console\/calls\/./);
  expect(await page.getByText('What would have changed it:').count()).toBeGreaterThan(0);
  await page.close();
});

test('the report prints as a document with each person', async () => {
  const page = await browser.newPage();
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/calls/${call}/report?tz=Europe%2FBerlin`);
  await page.emulateMedia({ media: 'print' });
  expect(await page.getByText('As a file').isVisible()).toBe(false);
  const pdf = await page.pdf({ preferCSSPageSize: true });
  expect(pdf.length).toBeGreaterThan(10_000);
  await page.close();
});

test('no page is too large with its scripts and its style sheet', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${url}/console/demo`);
  const sizes: [string, number][] = [];
  for (const path of [...paths(), ...ALL_QUESTIONS]) {
    let bytes = 0;
    const count = (answer: { body(): Promise<Buffer>; headers(): Record<string, string> }) => {
      if (answer.headers()['content-type']?.startsWith('text/event-stream')) return;
      reading.push(answer.body().then((body) => void (bytes += body.length), () => undefined));
    };
    const reading: Promise<void>[] = [];
    page.on('response', count);
    await page.goto(url + path, { waitUntil: 'load' });
    await answered(page);
    await Promise.all(reading);
    page.off('response', count);
    sizes.push([path, bytes]);
  }
  console.log('largest pages', sizes.sort((one, other) => other[1] - one[1]).slice(0, 5));
  expect(sizes.filter(([, bytes]) => bytes > MAX_PAGE_BYTES)).toEqual([]);
  expect(Math.min(...sizes.map(([, bytes]) => bytes))).toBeGreaterThan(10_000);
  await context.close();
}, 180_000);

test('the table of who was told is not cut off at 1280 px, and no text of an exposure lies on a band', async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/calls/${call}`);
  const told = page.locator('.table-box:has(.told)');
  expect(await told.evaluate((box) => box.scrollWidth - box.clientWidth)).toBeLessThanOrEqual(0);
  const overlaps = await page.evaluate(() => {
    const box = (it: Element) => it.getBoundingClientRect();
    const bands = [...document.querySelectorAll('.chart [class^=band-]')].filter((it) => it.closest('.chart-box')).map(box);
    const texts = [...document.querySelectorAll('.chart-box .exposure-text')].map(box);
    // The box of a text has some space around its letters.
    return texts.filter((text) => bands.some((band) => text.left < band.right && text.right > band.left && text.top + 4 < band.bottom && text.bottom - 4 > band.top)).length;
  });
  expect(await page.locator('.chart-box .exposure-text').count()).toBeGreaterThan(0);
  expect(overlaps).toBe(0);
  await context.close();
});

test('a chart is zoomed and moved by its links, and stays in its place', async () => {
  const page = await browser.newPage();
  const wrong = problems(page);
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/calls/${call}`);
  const shown = () => page.locator('#chart-description').textContent();
  const whole = await shown();
  await page.getByRole('link', { name: 'Zoom in' }).click();
  await page.waitForURL(/window=/);
  const zoomed = await shown();
  expect(zoomed).not.toBe(whole);
  expect(page.url()).toContain('#chart');
  await page.getByRole('link', { name: 'Later' }).click();
  await expect.poll(shown).not.toBe(zoomed);
  await page.getByRole('link', { name: 'Earlier' }).click();
  await page.getByRole('link', { name: 'Zoom out' }).click();
  await expect.poll(shown).toBe(whole);
  expect(wrong).toEqual([]);
  await page.close();
});

test('a drawing over time follows the pointer, and is a picture of the server where no script runs', async () => {
  const page = await browser.newPage();
  const wrong = problems(page);
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/analytics/7`);
  const canvas = page.locator('.plot-live canvas');
  await canvas.waitFor();
  expect(await page.locator('.plot-still').isVisible()).toBe(false);
  await canvas.scrollIntoViewIfNeeded();
  await page.locator('.plot-live .u-over').hover();
  await expect.poll(() => page.locator('.u-legend').textContent(), { timeout: 5_000 }).toMatch(/\d{4}-\d\d-\d\d \d\d:\d\d/);
  await page.emulateMedia({ media: 'print' });
  expect(await page.locator('.plot-still').isVisible()).toBe(true);
  expect(wrong).toEqual([]);
  await page.close();
  const context = await browser.newContext({ javaScriptEnabled: false });
  const still = await context.newPage();
  await still.goto(`${url}/console/demo`);
  await still.goto(`${url}/console/analytics/7`);
  await still.locator('.plot-still svg').waitFor();
  expect(await still.getByRole('table').count()).toBe(1);
  await context.close();
});

test('an answer that does not arrive, and one that is an error, are said in its place', async () => {
  const page = await browser.newPage();
  await page.goto(`${url}/console/demo`);
  const isAsked = '**/console/analytics/7/answer*';
  await page.route(isAsked, (route) => route.abort());
  await page.goto(`${url}/console/analytics/7`);
  await page.getByText('The answer did not arrive').waitFor();
  expect(await page.getByText('The answer is being read').isVisible()).toBe(false);
  await page.unroute(isAsked);
  await page.getByRole('link', { name: 'Show it on a page of its own' }).click();
  await page.waitForURL(isAsked);
  await page.getByRole('table').first().waitFor();
  await page.route(isAsked, (route) => route.fulfill({ status: 503, contentType: 'text/html', body: '<main id="content"><p>The record is away.</p></main>' }));
  await page.goto(`${url}/console/analytics/7`);
  await page.getByText('The record is away.').waitFor();
  expect(page.url()).not.toContain('answer');
  await page.close();
});

test('an export and the findings are read again by themselves, and a text is copied', async () => {
  const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  const wrong = problems(page);
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/exports`);
  await page.locator('summary', { hasText: 'New export' }).click();
  await page.getByRole('checkbox', { name: /^Events/ }).check();
  await page.getByRole('button', { name: 'Start the export' }).click();
  await page.waitForURL(/\/console\/exports\/./);
  // Without a reload and without a click.
  await page.getByText('Its files are complete.').waitFor({ timeout: 15_000 });
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'events-1.csv' }).click();
  expect((await download).suggestedFilename()).toBe('events-1.csv');
  await page.goto(`${url}/console/analytics/1`);
  await page.getByRole('button', { name: 'Copy SQL' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('from reading.calls');
  await page.goto(`${url}/console/health`);
  const examined = () => page.locator('#health p', { hasText: 'Examined at' }).locator('time').getAttribute('datetime');
  const first = await examined();
  await expect.poll(examined, { timeout: 30_000 }).not.toBe(first);
  expect(wrong).toEqual([]);
  await context.close();
});

test('a filter is kept under a name, without JavaScript', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${url}/console/demo`);
  await page.goto(`${url}/console/calls?verdict=EXCEPTIONS&columns=verdict`);
  await page.locator('summary', { hasText: 'My filters' }).click();
  await page.getByLabel('Name of this filter').first().fill('Late ones');
  await page.getByRole('button', { name: 'Save this filter' }).click();
  await page.goto(`${url}/console/calls`);
  await page.getByRole('link', { name: 'Late ones' }).first().click();
  expect(page.url()).toContain('verdict=EXCEPTIONS&columns=verdict');
  await page.locator('summary', { hasText: 'My filters' }).click();
  await page.getByRole('button', { name: 'Delete Late ones' }).click();
  expect(await page.getByRole('link', { name: 'Late ones' }).count()).toBe(0);
  await context.close();
});
