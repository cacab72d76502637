/** The ten lines of the README, consent, and what a banner states, up to the evidence. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { Page } from 'playwright-core';
import { shownText } from '../../src/texts.js';
import { ROOT, until } from '../support/stack.js';
import { Tls } from '../support/tls.js';
import { launch, Person, TestCall, World } from '../support/world.js';

let world: World;
beforeAll(async () => (world = await World.open()));
afterAll(() => world?.close());

const obligation = (evidence: any, type = 'recording') => evidence.report.obligations.find((each: any) => each.type === type);

async function records(page: Page, active = true): Promise<void> {
  await page.evaluate((on) => (window as any).call.record(on), active);
}

async function hangUp(page: Page, call: TestCall): Promise<void> {
  await page.evaluate(() => (window as any).call.to('Disconnected'));
  await call.end();
}

// The exposure is that of the machine too: one that is busy with other things has a second and a third try.
test('the ten lines of the README, as they stand there, make a call compliant, and the evidence has the words', { retry: 2 }, async () => {
  // The words are registered as the README says.
  const config = execFileSync('node', ['bin/onrecord-client.mjs', 'texts', '--url', world.node.url], {
    env: { ...process.env, ONRECORD_API_KEY: world.node.key('app') },
  });
  execFileSync('curl', ['--config', '-'], { input: config, stdio: ['pipe', 'ignore', 'ignore'] });

  const [html, ...others] = ['README.md', 'clients/web/README.md', 'docs/clients.md'].map(
    (file) => readFileSync(join(ROOT, file), 'utf8').match(/```html\n(<onrecord-banner>[\s\S]*?)```/)?.[1],
  );
  expect(others).toEqual([html, html]);
  expect(html!.match(/<script type="module">\n([\s\S]*?)<\/script>/)![1]!.trim().split('\n').length).toBeLessThanOrEqual(10);
  const person = new Person('Ada');
  const call = new TestCall(world.node, [person]);
  const backend = world.pages.onToken;
  world.pages.onToken = () => backend(person.rawId);
  // Not one character is changed: the browser is told where onrecord.contoso.com is, and where the packages are.
  const tls = await Tls.start('onrecord.contoso.com', world.node.port);
  const browser = await launch(`--host-resolver-rules=MAP onrecord.contoso.com:443 127.0.0.1:${tls.port}`, '--ignore-certificate-errors');
  onTestFinished(async () => {
    world.pages.onToken = backend;
    await browser.close();
    await tls.stop();
  });
  const page = await browser.newPage();
  world.pages.html.set('/readme', `<!doctype html><html lang="de"><title>readme</title>
<script type="importmap">${JSON.stringify({ imports: {
    '@onrecord/client': '/dist/index.js', '@onrecord/client/banner': '/dist/banner.js', '@azure/communication-calling': '/test/support/stand_in.js',
  } })}</script><script type="module">import { CallAgent } from '@azure/communication-calling'; window.callAgent = new CallAgent();</script>
${html}
<script type="module">import { Call } from '@azure/communication-calling';
window.call = new Call(${JSON.stringify(call.serverCallId)}, ${JSON.stringify(person.participantId)});
window.join = () => { callAgent.add(call); call.to('Ringing'); call.to('Connected'); };</script>`);
  await page.goto(`${world.pages.origin}/readme`);
  await page.waitForFunction(() => 'join' in window);
  // A page that loads slowly must not count as a client that did not observe.
  await call.start();
  await page.evaluate(() => (window as any).join());
  await page.waitForTimeout(1000);
  await page.evaluate(() => (window as any).call.record(true));
  await page.waitForFunction(() => document.querySelector('onrecord-banner')?.shadowRoot?.querySelector('[role=alert]')?.textContent === 'Dieses Gespräch wird aufgezeichnet.');
  await page.waitForTimeout(2500);
  await page.evaluate(() => (window as any).call.record(false));
  await page.waitForTimeout(500);
  await hangUp(page, call);
  const evidence = await call.evidence((each) => each.verdict === 'COMPLIANT');
  expect(obligation(evidence)).toMatchObject({ status: 'MET', consent: 'NOT_REQUIRED' });
  console.log('ten lines: exposure', obligation(evidence).exposure_ms, 'ms');
  expect(obligation(evidence).exposure_ms).toBeLessThan(200);
  expect(evidence.report.flags).toEqual([]);

  const timeline = await until('the words in the timeline', async () => {
    const { events } = await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`);
    return events.some((event: any) => event.type === 'notice.displayed') && events;
  });
  const displayed = timeline.filter((event: any) => event.type === 'notice.displayed');
  for (const { flags } of displayed) expect(flags ?? []).toEqual([]);
  expect(JSON.stringify(displayed)).toContain(shownText('recording_on', 'de').sha256);
  expect(JSON.stringify(displayed)).toContain(shownText('recording_on', 'de').version);
});

test('a consent that is granted is given in the evidence', async () => {
  const person = new Person('Grace');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await page.evaluate(() => (window as any).call.requireConsent());
  const dialog = page.locator('onrecord-consent').getByRole('alertdialog');
  await dialog.waitFor();
  await records(page);
  await dialog.getByRole('button', { name: 'I agree' }).click();
  await dialog.waitFor({ state: 'hidden' });
  expect(await page.evaluate(() => [(window as any).call.recording.granted, (window as any).leg.consent.answer])).toEqual([1, 'given']);
  await page.waitForTimeout(2500);
  await records(page, false);
  await page.waitForTimeout(500);
  await hangUp(page, call);
  const evidence = await call.evidence((each) => each.verdict === 'COMPLIANT');
  expect(obligation(evidence)).toMatchObject({ status: 'MET', consent: 'GIVEN' });
});

test('a consent that is declined is declined in the evidence, and may still be given', async () => {
  const person = new Person('Mary');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await page.evaluate(() => (window as any).call.requireConsent());
  const dialog = page.locator('onrecord-consent').getByRole('alertdialog');
  await records(page);
  await dialog.getByRole('button', { name: 'I do not agree' }).click();
  await dialog.waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: /Change your answer/ }).waitFor();
  await page.waitForTimeout(2500);
  await records(page, false);
  await page.waitForTimeout(500);
  await hangUp(page, call);
  const evidence = await call.evidence((each) => each.verdict === 'COMPLIANT');
  expect(obligation(evidence).consent).toBe('DECLINED');
  await until('the exception', async () => {
    const { exceptions } = await world.node.read(`/v1/exceptions?call=${call.correlationId}`);
    return exceptions.some((each: any) => each.kind === 'CONSENT_DECLINED');
  });
});

test('a consent that the SDK refuses is told to the participant and to the app, and is not reported', async () => {
  const person = new Person('Edith');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await page.evaluate(() => {
    (window as any).call.refuseConsent = true;
    (window as any).call.requireConsent();
  });
  const dialog = page.locator('onrecord-consent').getByRole('alertdialog');
  await dialog.getByRole('button', { name: 'I agree' }).click();
  await dialog.getByText('could not be passed on').waitFor();
  expect(await page.evaluate(() => (window as any).errors.map((problem: any) => problem.type))).toContain('urn:onrecord:client:consent');
  expect(await page.evaluate(() => (window as any).leg.consent.answer)).toBeUndefined();
});

test('a banner that is collapsed, and one out of sight, are not shown', async () => {
  const person = new Person('Joan');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await records(page);
  await page.getByRole('button', { name: 'Make the notice smaller' }).click();
  const pill = page.getByRole('button', { name: 'Recorded' });
  await pill.waitFor();
  const hidden = await until('the fact hidden', async () => {
    const { events } = (await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`)) ?? { events: [] };
    return events.filter((event: any) => event.type === 'notice.hidden').length === 1 && events;
  });
  expect(hidden.filter((event: any) => event.type === 'notice.displayed').length).toBeGreaterThan(0);
  await pill.click();
  await page.getByText('This call is being recorded.').waitFor();
  await hangUp(page, call);
});

test('a banner below the visible part of the page counts as delivered only', async () => {
  const person = new Person('Rosa');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await page.addStyleTag({ content: 'onrecord-banner{position:static!important;margin-block-start:3000px}' });
  await records(page);
  await page.waitForTimeout(3000);
  const events = async () => (await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`)).events;
  expect((await events()).filter((event: any) => event.type === 'notice.displayed')).toEqual([]);
  await page.evaluate(() => document.querySelector('onrecord-banner')!.scrollIntoView());
  await until('displayed', async () => (await events()).some((event: any) => event.type === 'notice.displayed'));
  await hangUp(page, call);
});

