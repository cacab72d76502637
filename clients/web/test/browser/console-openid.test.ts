/**
 * Sign-in to the console by OpenID Connect in Chromium: from one site to another and back, the switch of the
 * tenant, the pages of users and logins, and the sign-out at the provider. With KIT_PICTURES=1 the pictures of these
 * pages are made anew.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { CLIENT, OpenidProvider } from '../support/openid.js';
import { binary, freePort, ROOT, until } from '../support/stack.js';
import { launch } from '../support/world.js';

let demo: ChildProcess;
let browser: Browser;
let provider: OpenidProvider;
let url: string;

beforeAll(async () => {
  // The provider has an address, the console a name: the browser goes to another site and comes back from there.
  url = `http://localhost:${await freePort()}`;
  provider = await OpenidProvider.start(url);
  const environment = {
    ONRECORD_LISTEN: `127.0.0.1:${url.split(':')[2]}`,
    ONRECORD_CONSOLE__OIDC__ISSUER: provider.issuer,
    ONRECORD_CONSOLE__OIDC__CLIENT_ID: CLIENT.client_id,
    ONRECORD_CONSOLE__OIDC__CLIENT_SECRET: CLIENT.client_secret,
    ONRECORD_CONSOLE__OIDC__BASE_URL: url,
  };
  demo = spawn(binary(), ['demo', '--calls', '2', '--rate', '4', '--seed', '7'], { env: { ...process.env, ...environment } });
  let printed = '';
  demo.stdout!.on('data', (text: Buffer) => (printed += String(text)));
  await until('the demonstration prints its console', () => printed.includes('/console/demo'), 60_000);
  browser = await launch();
}, 180_000);
afterAll(async () => {
  await browser?.close();
  provider?.stop();
  const ended = new Promise((done) => demo?.once('exit', done));
  demo?.kill('SIGINT');
  await ended;
});

async function signIn(page: Page, account: string, then = '/console/'): Promise<void> {
  await page.goto(`${url}/console/sign-in?then=${encodeURIComponent(then)}`);
  await page.click('a[href^="/console/oidc/sign-in"]');
  await page.fill('input[name=account]', account);
  await page.click('button');
}

/** A picture of the page at both widths, light and dark; the first is that of the documentation. */
async function pictures(page: Page, name: string): Promise<void> {
  if (!process.env.KIT_PICTURES) return;
  await page.evaluate(() => {
    document.querySelector('.strip')?.remove();
    for (const code of document.querySelectorAll('main p code')) if (code.textContent!.startsWith('http://127')) code.textContent = 'https://login.contoso.com';
  });
  for (const [width, colorScheme] of [[1280, 'light'], [1440, 'dark'], [390, 'light'], [390, 'dark']] as const) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    const folder = process.env.KIT_PICTURES === '1' ? undefined : process.env.KIT_PICTURES;
    if (width === 1280 && ['sign-in', 'users'].includes(name)) await page.screenshot({ path: join(ROOT, `docs/img/console-${name}.png`) });
    if (folder) await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize({ width: 1280, height: 900 });
}

test('a user goes to the provider and comes back, switches the tenant, and signs out in both places', async () => {
  await provider.set('ada', { name: 'Ada Lindqvist', preferred_username: 'ada@contoso.example', roles: ['demo/admin', 'fabrikam/analyst'] });
  await provider.set('grace', { name: 'Grace Hopper', preferred_username: 'grace@contoso.example', roles: ['demo/auditor'] });
  await provider.set('eve', { name: 'Eve', roles: [] });
  const wrong: string[] = [];
  const other = await (await browser.newContext()).newPage();
  await signIn(other, 'grace');
  await other.waitForURL(`${url}/console/`);
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.on('console', (line) => {
    // The pages of the provider are its own matter.
    const isOurs = line.location().url.startsWith(url);
    if (isOurs && ['error', 'warning'].includes(line.type()) && !/status of 40[0-9]/.test(line.text())) wrong.push(line.text());
  });
  await page.goto(`${url}/console/sign-in`);
  await pictures(page, 'sign-in');
  await signIn(page, 'ada', '/console/settings/users');
  await page.waitForURL(`${url}/console/settings/users`);
  expect(await page.textContent('main')).toContain('Grace Hopper');
  await page.evaluate(() => document.querySelectorAll<HTMLDetailsElement>('main details').forEach((it, at) => (it.open = at === 0)));
  await pictures(page, 'users');

  // The sessions of another user end.
  await page.click('summary:has-text("1") >> nth=0');
  await page.goto(`${url}/console/settings/users`);
  const row = page.locator('tr', { hasText: 'Grace Hopper' });
  await row.locator('summary').click();
  await row.locator('button').click();
  await other.goto(`${url}/console/calls`);
  expect(other.url()).toContain('/console/sign-in');

  // A login for SQL.
  await page.goto(`${url}/console/settings/readers`);
  await page.fill('input[name=name]', 'anna');
  await page.click('form[action="/console/settings/readers"] button');
  expect(await page.textContent('.notice.good')).toContain('anna');
  await pictures(page, 'readers');

  // The switch is sent by the choice, and without a script by its button.
  await page.locator('details.menu > summary').click({ timeout: 2000 }).catch(() => undefined);
  await page.selectOption('select[name=tenant]', 'fabrikam');
  await page.waitForURL(`${url}/console/`);
  expect(await page.textContent('.who')).toContain('analyst');
  expect((await page.goto(`${url}/console/settings/users`))!.status()).toBe(403);
  await page.goto(`${url}/console/calls`);
  await pictures(page, 'tenants');

  await page.click('form[action="/console/sign-out"] button >> nth=0');
  await page.waitForURL(`${url}/console/sign-in?left=1`);
  await pictures(page, 'signed-out');
  await page.click('a[href="/console/oidc/sign-out"]');
  expect(page.url().startsWith(`${provider.issuer}/session/end`)).toBe(true);
  await page.goto(`${url}/console/calls`);
  expect(page.url()).toContain('/console/sign-in');

  // A browser of her own: in this one the provider has another account.
  const refused = await (await browser.newContext()).newPage();
  await signIn(refused, 'eve');
  await refused.waitForSelector('[role=alert]');
  expect(await refused.textContent('[role=alert]')).toContain('Eve, you are signed in at your organization, but you have no role');
  await pictures(refused, 'refused');
  expect(wrong).toEqual([]);
}, 120_000);
