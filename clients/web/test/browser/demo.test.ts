/** The page of `onrecord demo`, as a newcomer sees it. With KIT_PICTURES=1 its picture is made anew. */

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
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

test.each(['light', 'dark', 'forced', 'narrow'] as const)('a recording, its banners and its evidence, in %s', async (look) => {
  const page = await browser.newPage({
    viewport: look === 'narrow' ? { width: 360, height: 1500 } : { width: 1200, height: 860 },
    ...(look === 'forced' ? { forcedColors: 'active' } : { colorScheme: look === 'dark' ? 'dark' : 'light' }),
  });
  await page.goto(`${url}/demo`);
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
  await page.close();
});

test('the keys are given to pages of this machine only', async () => {
  const { request } = await import('node:http');
  const statusFor = (host: string) =>
    new Promise((done) => request(`${url}/demo/setup.json`, { headers: { host } }, ({ statusCode }) => done(statusCode)).end());
  expect(await statusFor('localhost:8080')).toBe(200);
  expect(await statusFor('attacker.example')).toBe(403);
});
