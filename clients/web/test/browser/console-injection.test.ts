/**
 * Texts of strangers in the console of `onrecord demo`: names, user agents, ids, content that was not understood,
 * reports of clients and what readers write themselves come in by the real ways and are visited in Chromium. None
 * may run: no dialog, no mark of a script, no element of their own, no violation of the content security policy.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { binary, freePort, RESOURCE, until } from '../support/stack.js';
import { launch } from '../support/world.js';

/** Each leaves a mark in the page if it runs: `window.ran`, a dialog, or an element with `data-ran`. */
const PAYLOADS = [
  '<script>window.ran=1</script>',
  '</title></textarea></pre></script><script>window.ran=2</script>',
  '"><img data-ran src=x onerror="window.ran=3">',
  "'><svg data-ran onload=window.ran=4>",
  '<iframe data-ran srcdoc="<script>parent.ran=5</script>"></iframe>',
  '<a data-ran hx-get="/console/sign-out" hx-trigger="load">x</a>',
  '<div data-ran hx-on::load="window.ran=6">x</div>',
  '"><input data-ran autofocus onfocus="window.ran=7">',
  '<math><mtext></p><style><!--</style><img data-ran title="--><img src=x onerror=window.ran=8>"></mtext></math>',
  'javascript:window.ran=9',
  '<base data-ran href="https://attacker.example/">',
  '<meta data-ran http-equiv="refresh" content="0;url=https://attacker.example/">',
  '<form data-ran action="https://attacker.example/"><button autofocus>x</button></form>',
  '{{constructor.constructor("window.ran=10")()}}${window.ran=11}',
  '\u202e<script>window.ran=12</script>\u0000\u2028',
  '<noscript><p title="</noscript><img data-ran src=x onerror=window.ran=13>">',
];

let demo: ChildProcess;
let browser: Browser;
let url: string;
let admin: string;
let app: string;
let source: { name: string; key: string };
let printed = '';

beforeAll(async () => {
  url = `http://127.0.0.1:${await freePort()}`;
  demo = spawn(binary(), ['demo', '--calls', '2', '--rate', '4', '--seed', '7'], { env: { ...process.env, ONRECORD_LISTEN: url.slice(7) } });
  demo.stdout!.on('data', (text: Buffer) => (printed += String(text)));
  source = await until('the demonstration prints its source', () => {
    const found = /x-onrecord-key: ([^']+)'.*\/ingest\/event-grid\/([a-z0-9_.-]+)'/.exec(printed);
    return found && { key: found[1]!, name: found[2]! };
  }, 90_000);
  const setup = (await (await fetch(`${url}/demo/setup.json`)).json()) as { admin_key: string; app_key: string };
  [admin, app] = [setup.admin_key, setup.app_key];
  browser = await launch();
}, 180_000);
afterAll(async () => {
  await browser?.close();
  const ended = new Promise((done) => demo?.once('exit', done));
  demo?.kill('SIGINT');
  await ended;
});

async function query(path: string): Promise<any> {
  return (await fetch(url + path, { headers: { authorization: `Bearer ${admin}` } })).json();
}

async function post(path: string, key: string, body: unknown): Promise<any> {
  const answer = await fetch(url + path, { method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: JSON.stringify(body) });
  return { status: answer.status, ...((await answer.json().catch(() => ({}))) as object) };
}

/** Posts a body to the source as Event Grid does. */
async function deliver(body: string): Promise<void> {
  const answer = await fetch(`${url}/ingest/event-grid/${source.name}`, { method: 'POST', headers: { 'x-onrecord-key': source.key, 'content-type': 'application/json' }, body });
  expect(answer.status).toBe(200);
}

const identifier = (rawId: string) => ({ communicationIdentifier: { rawId, communicationUser: { id: rawId } }, role: 'Attendee' });

/** A call whose participants, ids and clients have the payloads as their texts. Returns its ids. */
async function hostileCall(): Promise<{ correlationId: string; rawIds: string[] }> {
  const correlationId = randomUUID();
  const serverCallId = Buffer.from(`https://api.flightproxy.skype.com/api/v2/cp/conv/${correlationId}`).toString('base64');
  const event = (type: string, data: object, more: object = {}) => ({
    id: randomUUID(), topic: '/subscriptions/s', subject: `call/${serverCallId}`, eventType: `Microsoft.Communication.${type}`,
    eventTime: new Date().toISOString(), dataVersion: '1.0', metadataVersion: '1', data: { serverCallId, correlationId, isTwoParty: false, ...data }, ...more,
  });
  const rawIds = PAYLOADS.map((_, at) => `8:acs:${RESOURCE}_${randomUUID()}-${at}`);
  await deliver(JSON.stringify([event('CallStarted', { startedBy: identifier(rawIds[0]!) })]));
  for (const [at, payload] of PAYLOADS.entries()) {
    const data = { user: identifier(rawIds[at]!), participantId: randomUUID(), displayName: payload, endpointType: payload, userAgent: payload };
    const joined = event('CallParticipantAdded', data, { id: payload + randomUUID(), subject: payload });
    // PostgreSQL has no NUL; an event with one in its id goes to quarantine.
    await deliver(JSON.stringify([joined]));
    await deliver(JSON.stringify([event('CallParticipantAdded', { user: identifier(payload), participantId: payload, displayName: payload })]));
    await deliver(JSON.stringify([event(payload, { [payload]: payload })]));
    await deliver(payload);
    await deliver(JSON.stringify({ [payload]: payload }));
    const minted = await post('/v1/subscriber-tokens', app, { participant: { raw_id: rawIds[at] }, grant: { calls: [serverCallId] } });
    const report = { report_id: `r-${at}`, attachment: randomUUID(), sequence: 1, server_call_id: serverCallId, recording: 'on', sdk: payload, app_version: payload, user_agent: payload };
    for (const members of [report, { report_id: `r-${at}`, attachment: report.attachment, sequence: 1, server_call_id: serverCallId, recording: 'on' }]) {
      const reported = await post('/v1/reports', minted.token, members);
      if (reported.status < 300) break;
    }
  }
  await until('the call', async () => (await query(`/v1/calls/${correlationId}`)).participants?.length >= PAYLOADS.length);
  await until('the quarantine', async () => (await query('/v1/quarantine?limit=1000')).quarantined?.length >= PAYLOADS.length);
  return { correlationId, rawIds };
}

/** What shows that something ran, or wanted to. */
function watched(page: Page): string[] {
  const found: string[] = [];
  page.on('dialog', (dialog) => {
    found.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('console', (line) => {
    if (/Content.Security.Policy|Refused to|violates/i.test(line.text())) found.push(line.text());
  });
  page.on('pageerror', (error) => found.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) found.push(`a request to ${request.url()}`);
  });
  page.on('popup', () => found.push('a window'));
  return found;
}

async function visit(page: Page, path: string, found: string[]): Promise<void> {
  const answer = await page.goto(url + path);
  expect(answer!.status(), path).toBeLessThan(500);
  // What opens on a click holds texts too.
  await page.evaluate(() => document.querySelectorAll('details').forEach((it) => (it.open = true)));
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0))));
  const marks = await page.evaluate(() => [(window as any).ran, document.querySelectorAll('[data-ran], iframe, base, meta[http-equiv]').length]);
  expect(marks, path).toEqual([undefined, 0]);
  expect(page.url(), path).toMatch(new RegExp(`^${url}/console/`));
  expect(found, path).toEqual([]);
}

test('what strangers and readers write never runs', async () => {
  const { correlationId, rawIds } = await hostileCall();
  const timeline = await query(`/v1/calls/${correlationId}/timeline?limit=1000`);
  const events: string[] = timeline.events.filter((it: any) => it.sha256).map((it: any) => it.id);
  const { exceptions } = await query('/v1/exceptions?limit=1000');
  const hostile = encodeURIComponent(PAYLOADS[2]!);
  // The user agent of a session is shown to admins.
  const context = await browser.newContext({ userAgent: PAYLOADS[2]! });
  const page = await context.newPage();
  const found = watched(page);
  await page.goto(`${url}/console/demo`);
  // Readers write too: names of keys and logins, notes, assignments.
  for (const payload of PAYLOADS.filter((it) => it.length <= 100)) {
    await page.goto(`${url}/console/settings`);
    await page.fill('form[action="/console/settings/keys"] input[name=name]', payload.replaceAll('\u0000', ''));
    await page.check('form[action="/console/settings/keys"] input[value=analyst]');
    await page.click('form[action="/console/settings/keys"] button');
    expect(await page.evaluate(() => (window as any).ran), payload).toBe(undefined);
  }
  const exception = `/console/exceptions/${exceptions[0].id}`;
  for (const payload of PAYLOADS) {
    await page.goto(url + exception);
    await page.fill('form[action$="/note"] textarea', `A note: ${payload.replaceAll('\u0000', '')}`);
    await page.click('form[action$="/note"] button');
  }
  const paths = [
    '/console/', '/console/calls', '/console/live', '/console/exceptions?state=all', '/console/people', '/console/sources', '/console/settings',
    '/console/settings/users', '/console/settings/readers', '/console/health', '/console/quarantine', '/console/quarantine?limit=1000', '/console/glossary',
    `/console/calls/${correlationId}`, `/console/calls/${correlationId}?then=${hostile}`, `/console/calls/${correlationId}/entries`, `/console/calls/${correlationId}/report`,
    ...events.map((id) => `/console/events/${id}`),
    ...exceptions.slice(0, 20).map((it: any) => `/console/exceptions/${it.id}`),
    `/console/people?person=${encodeURIComponent(rawIds[0]!)}&purpose=${hostile}`,
    ...PAYLOADS.flatMap((payload) => {
      const text = encodeURIComponent(payload);
      return [`/console/calls?q=${text}`, `/console/calls?participant=${text}&from=${text}`, `/console/calls/${text}`, `/console/people?person=${text}&purpose=${text}`, `/console/exceptions?kind=${text}`, `/console/quarantine?reason=${text}`, `/console/access?call=${text}`, `/console/${text}`];
    }),
    // Last: it lists what was looked up before.
    '/console/access', '/console/access?what=person',
  ];
  for (const path of paths) await visit(page, path, found);
  // The texts are there, as texts.
  await page.goto(`${url}/console/calls/${correlationId}`);
  expect(await page.textContent('main')).toContain(PAYLOADS[0]);
  // The sign-in, before a session.
  const out = await (await browser.newContext()).newPage();
  const foundOut = watched(out);
  for (const payload of PAYLOADS) await visit(out, `/console/sign-in?then=${encodeURIComponent(payload)}`, foundOut);
  await browser.contexts().reduce((before, it) => before.then(() => it.close()), Promise.resolve());
}, 300_000);
