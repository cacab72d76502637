/** Tests that take minutes, beside each other: a tab that is hidden behind another one, and an attachment that states its maximum of changes. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { Person, TestCall, World } from '../support/world.js';
import { until } from '../support/stack.js';
import { Window } from '../support/tab.js';

let world: World;
let window: Window;
beforeAll(async () => {
  world = await World.open();
  window = await Window.open();
});
afterAll(async () => {
  await window?.close();
  await world?.close();
});

const attachmentOf = (page: Page): Promise<string> => page.evaluate(() => (globalThis as any).leg.attachment);

async function displayed(call: TestCall, attachment: string): Promise<number> {
  const { events } = (await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`)) ?? { events: [] };
  return events.filter((event: any) => event.type === 'notice.displayed' && JSON.stringify(event).includes(attachment)).length;
}

const MINUTES = Number(process.env.KIT_HIDDEN_MINUTES ?? 5);

test.concurrent(`a tab that is hidden for ${MINUTES} minutes is live, is told in time, and shows when it is looked at`, async () => {
  const people = [new Person('Ada'), new Person('Grace')];
  const call = new TestCall(world.node, people);
  await call.start();
  const page = await window.tab(world.address(people[0]!, call));
  const other = await world.join(await world.context(), people[1]!, call, '', world.node.url);
  await until('live', () => page.read("window.onrecord?.status === 'live'"));
  await page.read('window.ticks = 0; setInterval(() => ticks++, 1000)');
  await window.tab('about:blank');
  await until('hidden', () => page.read("document.visibilityState === 'hidden'"));
  await other.waitForTimeout((MINUTES - 1) * 60_000);
  const ticks = await page.read<number>('ticks');
  await other.waitForTimeout(60_000);
  // The browser wakes the tab once or twice in a minute.
  const inLastMinute = (await page.read<number>('ticks')) - ticks;
  expect(inLastMinute).toBeLessThan(5);
  const startedAt = await other.evaluate(() => {
    (globalThis as any).call.record(true);
    return Date.now();
  });
  const seenAt = await until('the notice', () => page.read<number>("seen.find(([each]) => each === 'recording_on')?.[1]"));
  console.log(`hidden for ${MINUTES} minutes, ${inLastMinute} wake-ups in the last one: notice after`, seenAt - startedAt, 'ms');
  expect(seenAt - startedAt).toBeLessThan(1000);
  expect(await page.read('document.visibilityState')).toBe('hidden');
  expect(await page.read('statuses.map(([status]) => status)')).toEqual(['live']);

  // The page was not looked at yet: the notice is delivered, not displayed.
  const attachment = await page.read<string>('leg.attachment');
  const own = async (type: string) => {
    const { events } = (await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`)) ?? { events: [] };
    return events.filter((event: any) => event.type === type && JSON.stringify(event).includes(attachment)).length;
  };
  await until('delivered', async () => (await own('notice.delivered')) > 0);
  expect(await own('notice.displayed')).toBe(0);
  await page.show();
  await until('displayed', async () => (await own('notice.displayed')) > 0);
}, (MINUTES + 3) * 60_000);

test.concurrent('an attachment that has stated its maximum of changes (429): another one is drawn, and the banner is stated again', async () => {
  const person = new Person('Ada');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await page.waitForFunction(() => (globalThis as any).onrecord.status === 'live');
  await page.evaluate(() => (globalThis as any).call.record(true));
  const spent = await attachmentOf(page);
  await until('the banner', async () => (await displayed(call, spent)) > 0);

  // The participant's reports are limited to one in a second, so another program of it states the changes.
  const { token } = (await world.node.token(person.rawId)) as { token: string };
  for (let sequence = 1000; ; ) {
    const response = await fetch(`${world.node.url}/v1/reports`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        report_id: crypto.randomUUID(), attachment: spent, sequence,
        server_call_id: call.serverCallId, participant_id: person.participantId, recording: 'on', transcription: sequence % 2 ? 'on' : 'off',
      }),
    });
    if (response.ok) sequence++;
    else if ((await response.json()).member === '/attachment') break;
    else await new Promise((done) => setTimeout(done, 1000));
    expect(sequence).toBeLessThan(1300);
  }
  await page.evaluate(() => (globalThis as any).call.transcribe(true));
  await page.waitForFunction((id) => (globalThis as any).leg.attachment !== id, spent, { timeout: 60_000 });
  const own = await attachmentOf(page);
  await until('both types under the attachment that was drawn', async () => (await displayed(call, own)) >= 2);
  await page.waitForTimeout(3000);
  expect(await attachmentOf(page)).toBe(own);
  await page.context().close();
}, 420_000);
