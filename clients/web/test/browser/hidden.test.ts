/**
 * A tab that is hidden for five minutes. Chromium without a display hides no page, so the page plays it:
 * `visibilityState` is hidden, and every timer fires at full minutes only, which is harsher than
 * Chromium's intensive throttling.
 */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { Person, TestCall, World } from '../support/world.js';
import { until } from '../support/stack.js';

let world: World;
beforeAll(async () => (world = await World.open()));
afterAll(() => world?.close());

const MINUTES = Number(process.env.KIT_HIDDEN_MINUTES ?? 5);

function playHidden() {
  let hidden = false;
  const plain = { setTimeout: window.setTimeout.bind(window), setInterval: window.setInterval.bind(window) };
  const untilMinute = () => 60_000 - (Date.now() % 60_000);
  Object.defineProperty(document, 'hidden', { get: () => hidden });
  Object.defineProperty(document, 'visibilityState', { get: () => (hidden ? 'hidden' : 'visible') });
  (window as any).setTimeout = (run: () => void, ms = 0) => plain.setTimeout(() => (hidden ? plain.setTimeout(run, untilMinute()) : run()), ms);
  (window as any).setInterval = (run: () => void, ms: number) => {
    let last = 0;
    return plain.setInterval(() => {
      const minute = Math.floor(Date.now() / 60_000);
      if (hidden && minute === last) return;
      last = minute;
      run();
    }, ms);
  };
  (window as any).hide = (now: boolean) => {
    hidden = now;
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  };
}

test(`a tab that is hidden for ${MINUTES} minutes is live, is told in time, and shows when it is looked at`, async () => {
  const people = [new Person('Ada'), new Person('Grace')];
  const call = new TestCall(world.node, people);
  await call.start();
  const context = await world.context();
  await context.addInitScript(playHidden);
  const page = await world.join(context, people[0]!, call);
  const other = await world.join(await world.context(), people[1]!, call, '', world.node.url);
  const live = () => page.waitForFunction(() => (window as any).onrecord.status === 'live', undefined, { polling: 50 });
  await live();
  await page.evaluate(() => (window as any).hide(true));
  await other.waitForTimeout(MINUTES * 60_000);
  const startedAt = await other.evaluate(() => {
    (window as any).call.record(true);
    return Date.now();
  });
  const seenAt = await until('the notice', async () => (await page.evaluate(() => (window as any).seen.find(([each]: [string]) => each === 'recording_on')))?.[1] as number);
  console.log(`hidden for ${MINUTES} minutes: notice after`, seenAt - startedAt, 'ms');
  expect(seenAt - startedAt).toBeLessThan(1000);
  expect(await page.evaluate(() => (window as any).statuses.map(([status]: [string]) => status))).toEqual(['live']);

  // The page was not looked at yet: the notice is delivered, not displayed.
  const own = async (type: string) => {
    const { events } = (await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`)) ?? { events: [] };
    const attachment = await page.evaluate(() => (window as any).leg.attachment);
    return events.filter((event: any) => event.type === type && JSON.stringify(event).includes(attachment)).length;
  };
  await until('delivered', async () => (await own('notice.delivered')) > 0);
  expect(await own('notice.displayed')).toBe(0);
  await page.evaluate(() => (window as any).hide(false));
  await until('displayed', async () => (await own('notice.displayed')) > 0);
}, (MINUTES + 2) * 60_000);
