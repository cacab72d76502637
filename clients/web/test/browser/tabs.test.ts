/** Several tabs of one browser share one connection. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { Person, TestCall, World } from '../support/world.js';
import { until } from '../support/stack.js';

let world: World;
beforeAll(async () => (world = await World.open()));
afterAll(() => world?.close());

const shows = (page: Page, variant: string, ms = 10_000) =>
  page.waitForFunction((wanted) => (window as any).seen.some(([each]: [string]) => each === wanted), variant, { timeout: ms, polling: 50 });
const seenAt = (page: Page, variant: string): Promise<number> =>
  page.evaluate((wanted) => (window as any).seen.find(([each]: [string]) => each === wanted)[1], variant);
const live = (page: Page) => page.waitForFunction(() => (window as any).onrecord.status === 'live', undefined, { polling: 50 });
const streams = () => world.proxy.requests.filter((line) => line.startsWith('GET') && line.includes('/v1/notices/'));

for (const transport of ['WebSocket', 'server-sent events'] as const) {
  test(`eight tabs have one connection by ${transport}, and another tab takes over`, async () => {
    const person = new Person('Ada');
    const other = new Person('Grace');
    const call = new TestCall(world.node, [person, other]);
    await call.start();
    const context = await world.context();
    if (transport !== 'WebSocket') await context.addInitScript('delete window.WebSocket');
    world.proxy.requests.length = 0;
    const tabs: Page[] = [];
    for (let n = 0; n < 8; n++) tabs.push(await world.join(context, person, call));
    await Promise.all(tabs.map(live));
    await tabs[0]!.waitForTimeout(1500);
    expect(streams()).toHaveLength(1);

    // Another participant's client reports the start, so the own SDKs of the tabs state nothing.
    const elsewhere = await world.join(await world.context(), other, call, 'share: false', world.node.url);
    await live(elsewhere);
    await elsewhere.waitForTimeout(500);
    const startedAt = await elsewhere.evaluate(() => {
      (window as any).call.record(true);
      return Date.now();
    });
    await Promise.all(tabs.map((page) => shows(page, 'recording_on')));
    const delays = await Promise.all(tabs.map(async (page) => (await seenAt(page, 'recording_on')) - startedAt));
    console.log(`${transport}: banners after ${Math.min(...delays)} to ${Math.max(...delays)} ms`);
    expect(Math.max(...delays)).toBeLessThan(1000);
    expect(streams()).toHaveLength(1);
    // The tab that displayed is the tab that acknowledges.
    const attachments = await Promise.all(tabs.map((page) => page.evaluate(() => (window as any).leg.attachment as string)));
    await until('a display of each tab', async () => {
      const { events } = await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`);
      const displayed = JSON.stringify(events.filter((event: any) => event.type === 'notice.displayed'));
      return attachments.every((attachment) => displayed.includes(attachment));
    });

    // The first tab leads, because it asked first. What happens while no tab leads must not be missed.
    const closedAt = Date.now();
    await Promise.all([tabs.shift()!.close(), elsewhere.evaluate(() => (window as any).call.transcribe(true))]);
    await Promise.all(tabs.map((page) => shows(page, 'both_on')));
    await expect.poll(() => streams().length, { timeout: 2000 }).toBe(2);
    const takenOver = await Promise.all(tabs.map((page) => seenAt(page, 'both_on')));
    console.log(`${transport}: taken over, and stated, after`, Math.max(...takenOver) - closedAt, 'ms');
    expect(Math.max(...takenOver) - closedAt).toBeLessThan(2000);
    expect(streams()[1]).toContain('last_event_id=');
    await context.close();
    await elsewhere.context().close();
  });
}

test('one token is fetched at a time', async () => {
  const person = new Person('Joan');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const context = await world.context();
  const backend = world.pages.onToken;
  let running = 0;
  let most = 0;
  world.pages.onToken = async (user) => {
    most = Math.max(most, ++running);
    await new Promise((done) => setTimeout(done, 200));
    return backend(user).finally(() => running--);
  };
  const tabs = await Promise.all([1, 2, 3, 4].map(() => world.join(context, person, call)));
  await Promise.all(tabs.map(live));
  world.pages.onToken = backend;
  expect(most).toBe(1);
  await context.close();
});

test('two participants in one browser share no connection', async () => {
  const people = [new Person('Ada'), new Person('Bell')];
  const call = new TestCall(world.node, people);
  await call.start();
  const context = await world.context();
  world.proxy.requests.length = 0;
  const tabs = await Promise.all(people.map((person) => world.join(context, person, call)));
  await Promise.all(tabs.map(live));
  await tabs[0]!.waitForTimeout(500);
  expect(streams()).toHaveLength(2);
  await context.close();
});
