/**
 * The web console of `onrecord demo`, as its readers see it: each page wide and narrow, in light, dark and
 * forced colours, examined by axe-core, without an error or a violation of its content security policy; and
 * the same pages without JavaScript and by the keyboard. With KIT_PICTURES=1 its pictures are made anew.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { binary, freePort, ROOT, until } from '../support/stack.js';
import { launch } from '../support/world.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGES = ['/console/', '/console/calls', '/console/calls?verdict=EXCEPTIONS&from=nonsense', '/console/live', '/console/exceptions', '/console/people', '/console/sources', '/console/settings', '/console/settings/users', '/console/settings/readers', '/console/health', '/console/access', '/console/quarantine', '/console/glossary', '/console/styleguide'];

/** The pictures of docs/console.md. */
const PICTURES = new Map([
  ['/console/', { file: 'overview', height: 860 }],
  ['/console/calls', { file: 'calls', height: 860 }],
  ['/console/calls/{call}', { file: 'call', height: 1500 }],
  ['/console/calls/{call}/report', { file: 'report', height: 1300 }],
]);

let demo: ChildProcess;
let browser: Browser;
let url: string;
/** A call with exceptions that is over, and an exception. */
let call: string;
let exception: string;

async function query(path: string): Promise<any> {
  const { admin_key } = (await (await fetch(`${url}/demo/setup.json`)).json()) as { admin_key: string };
  return (await fetch(url + path, { headers: { authorization: `Bearer ${admin_key}` } })).json();
}

beforeAll(async () => {
  url = `http://127.0.0.1:${await freePort()}`;
  demo = spawn(binary(), ['demo', '--calls', '12', '--rate', '4', '--seed', '7'], { env: { ...process.env, ONRECORD_LISTEN: url.slice(7) } });
  let printed = '';
  demo.stdout!.on('data', (text: Buffer) => (printed += String(text)));
  await until('the demonstration prints its console', () => printed.includes(`${url}/console/demo`), 60_000);
  call = await until('a call with exceptions', async () => (await query('/v1/calls?verdict=EXCEPTIONS&state=ended')).calls?.[0]?.call, 90_000);
  exception = await until('an exception', async () => (await query('/v1/exceptions')).exceptions?.[0]?.id);
  browser = await launch();
}, 180_000);
afterAll(async () => {
  await browser?.close();
  const ended = new Promise((done) => demo?.once('exit', done));
  demo?.kill('SIGINT');
  await ended;
});

const paths = () => [...PAGES, `/console/calls/${call}`, `/console/calls/${call}?window=0-2000`, `/console/calls/${call}/entries`, `/console/calls/${call}/report`, `/console/exceptions/${exception}`, '/console/calls/unknown'];

/** What axe-core finds. It runs in a world of its own, where the policy of the page does not hold. */
async function violations(context: BrowserContext, page: Page): Promise<unknown[]> {
  const session = await context.newCDPSession(page);
  const { frameTree } = await session.send('Page.getFrameTree');
  const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id, worldName: 'axe' });
  await session.send('Runtime.evaluate', { expression: AXE, contextId });
  const run = `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }).then(({ violations }) => JSON.stringify(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 200))])))`;
  const { result } = await session.send('Runtime.evaluate', { expression: run, contextId, awaitPromise: true, returnByValue: true });
  await session.detach();
  return JSON.parse(result.value as string);
}

/** Collects what a page reports as wrong. */
function problems(page: Page): string[] {
  const found: string[] = [];
  page.on('console', (line) => {
    // A page of a wrong filter and of an unknown call is answered with its status.
    if (['error', 'warning'].includes(line.type()) && !/status of 40[04]/.test(line.text())) found.push(line.text());
  });
  page.on('pageerror', (error) => found.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) found.push(`a request to ${request.url()}`);
  });
  return found;
}

describe.each([
  { name: 'wide-light', width: 1440, colorScheme: 'light' as const },
  { name: 'wide-dark', width: 1440, colorScheme: 'dark' as const },
  { name: 'narrow-light', width: 390, colorScheme: 'light' as const },
  { name: 'narrow-dark', width: 390, colorScheme: 'dark' as const },
  { name: 'forced', width: 1440, forcedColors: 'active' as const },
  { name: 'german', width: 390, colorScheme: 'light' as const, locale: 'de' },
])('$name', ({ name, width, ...look }) => {
  test('each page is without a violation, an error or another host, and not wider than its window', async () => {
    const context = await browser.newContext({ viewport: { width, height: 900 }, ...look });
    const page = await context.newPage();
    const wrong = problems(page);
    await page.goto(`${url}/console/demo`);
    for (const path of paths()) {
      await page.goto(url + path);
      expect(await violations(context, page), `${name} ${path}`).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} ${path}`).toBe(true);
      expect(wrong, `${name} ${path}`).toEqual([]);
      const picture = PICTURES.get(path.replace(call, '{call}'));
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
