/** The page of `onrecord demo`, as a newcomer sees it. With KIT_PICTURES=1 its picture is made anew. */

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { binary, freePort, ROOT, until } from '../support/stack.js';
import { launch } from '../support/world.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let demo: ChildProcess;
let browser: Browser;
let url: string;
beforeAll(async () => {
  url = `http://127.0.0.1:${await freePort()}`;
  demo = spawn(binary(), ['demo', '--calls', '1'], { env: { ...process.env, ONRECORD_LISTEN: url.slice(7) } });
  let printed = '';
  demo.stdout!.on('data', (text: Buffer) => (printed += String(text)));
  await until('the demonstration runs', () => printed.includes(`${url}/demo/`) && printed, 60_000);
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
  const ended = new Promise((done) => demo?.once('exit', done));
  demo?.kill('SIGINT');
  await ended;
});

/** Answers of the query API about a call, with the key that the page has. */
async function query(path: string): Promise<any> {
  const { admin_key } = (await (await fetch(`${url}/demo/setup.json`)).json()) as { admin_key: string };
  return (await fetch(url + path, { headers: { authorization: `Bearer ${admin_key}` } })).json();
}

/** Opens the page; gives it and the id of its call. */
async function open(options: BrowserContextOptions = {}): Promise<{ page: Page; call: string }> {
  const page = await browser.newPage(options);
  const started = page.waitForResponse((response) => response.url() === `${url}/demo/calls` && response.status() === 201);
  await page.goto(`${url}/demo`);
  const { correlation_id: call } = await (await started).json();
  return { page, call };
}

/** The stored events of a call that Azure has posted by this sender: Event Grid (`eg`) or Call Automation (`ca`). */
async function stored(call: string, sender: 'eg' | 'ca'): Promise<string[]> {
  const { events = [] } = await query(`/v1/calls/${call}/timeline?limit=200`);
  const posted = events.filter(({ provenance }: any) => provenance === sender);
  return posted.map(({ source_type, event: { state } }: any) => {
    const type = source_type.replace('Microsoft.Communication.', '');
    return ['active', 'inactive'].includes(state) ? `${type} ${state}` : type;
  });
}

test.each(['light', 'dark', 'forced', 'narrow'] as const)('a recording, its banners and its evidence, in %s', async (look) => {
  const { page, call } = await open({
    viewport: look === 'narrow' ? { width: 360, height: 1500 } : { width: 1200, height: 860 },
    ...(look === 'forced' ? { forcedColors: 'active' } : { colorScheme: look === 'dark' ? 'dark' : 'light' }),
  });
  await page.getByLabel('this app shows the banner').nth(1).uncheck();
  const start = page.getByRole('button', { name: 'Start a recording' });
  await expect.poll(() => start.isEnabled(), { timeout: 60_000 }).toBe(true);
  await page.waitForTimeout(1000);
  await start.click();
  await page.getByText('This call is being recorded.').waitFor();
  await page.getByText('يجري تسجيل هذه المكالمة.').waitFor();
  const status = (name: string) => page.getByRole('row').filter({ hasText: name }).getByRole('cell').nth(5).textContent();
  await expect.poll(() => status('Priya Nair'), { timeout: 10_000 }).toBe('MET');
  await expect.poll(() => status('Amal Haddad'), { timeout: 10_000 }).toBe('MET');
  expect(await status('Tom Berger')).toBe('PENDING');
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => (window as any).axe.run(document));
  expect(violations.map((each: any) => [each.id, each.nodes.map((node: any) => node.target)])).toEqual([]);
  // Only the table scrolls to the side.
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBe(0);
  const name = look === 'light' ? 'client-demo' : `client-demo-${look}`;
  if (process.env.KIT_PICTURES) await page.screenshot({ path: join(ROOT, 'docs/img', `${name}.png`), animations: 'disabled', fullPage: look === 'narrow' });
  // A recording that is over within two seconds obliges to nothing.
  await page.waitForTimeout(2500);
  await page.getByRole('button', { name: 'End the call' }).click();
  await page.getByText(/^EXCEPTIONS/).waitFor();
  const callbacks = ['CallConnected', 'RecordingStateChanged active', 'RecordingStateChanged inactive', 'CallDisconnected'];
  await expect.poll(() => stored(call, 'ca'), { timeout: 10_000 }).toEqual(expect.arrayContaining(callbacks));
  const events = ['CallStarted', 'CallParticipantAdded', 'CallParticipantRemoved', 'CallEnded'];
  await expect.poll(() => stored(call, 'eg'), { timeout: 10_000 }).toEqual(expect.arrayContaining(events));
  await page.close();
});

test('each page has a call of its own, which ends with the page', async () => {
  const [one, other] = [await open(), await open()];
  expect(one.call).not.toBe(other.call);
  await one.page.getByRole('button', { name: 'Start a transcription' }).click();
  await one.page.getByText('This call is being transcribed.').waitFor();
  await expect.poll(() => stored(one.call, 'ca'), { timeout: 10_000 }).toContain('TranscriptionStarted active');
  // Tom's SDK would state it by now.
  await other.page.waitForTimeout(3000);
  expect(await other.page.getByText('This call is being transcribed.').count()).toBe(0);
  expect(await stored(other.call, 'ca')).not.toContain('TranscriptionStarted active');
  for (const { page, call } of [one, other]) {
    await page.close();
    await expect.poll(() => stored(call, 'eg'), { timeout: 15_000 }).toContain('CallEnded');
  }
});

test('a page that has ended its call starts another one', async () => {
  const { page, call } = await open();
  await page.getByRole('button', { name: 'End the call' }).click();
  const started = page.waitForResponse((response) => response.url() === `${url}/demo/calls`);
  await page.getByRole('button', { name: 'Start a call' }).click();
  const { correlation_id: next } = await (await started).json();
  expect(next).not.toBe(call);
  await page.getByRole('button', { name: 'Start a recording' }).click();
  await page.getByText('This call is being recorded.').waitFor();
  // Tom's SDK, and his banner.
  await page.getByText('Dieses Gespräch wird aufgezeichnet.').waitFor();
  expect(await page.locator('onrecord-banner').count()).toBe(3);
  await page.close();
});

test('the keys, none of which is of a source, are given to pages of this machine only', async () => {
  const { request } = await import('node:http');
  const statusFor = (host: string) =>
    new Promise((done) => request(`${url}/demo/setup.json`, { headers: { host } }, ({ statusCode }) => done(statusCode)).end());
  expect(await statusFor('localhost:8080')).toBe(200);
  expect(await statusFor('attacker.example')).toBe(403);
  expect(Object.keys((await (await fetch(`${url}/demo/setup.json`)).json()) as object)).toEqual(['app_key', 'admin_key']);
});
