/**
 * The ten tasks of docs/audit.md, done in the console of `onrecord demo` by the lines of the document: what they
 * say is chosen, typed and ticked, with the mouse and with the keyboard alone. With KIT_PICTURES=1 the pictures of
 * the document are made anew.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Browser, Locator, Page } from 'playwright-core';
import { problems, startDemo, type Demo } from '../support/console.js';
import { ROOT, until } from '../support/stack.js';
import { launch } from '../support/world.js';

/** Maximum number of steps of a task. */
const MAX_STEPS = 5;

type Action = { kind: 'choose' | 'tick' | 'first' | 'below' | 'tickTwo'; name: string } | { kind: 'type'; name: string; text: string };
interface Task {
  title: string;
  /** The name of its picture. */
  key: string;
  steps: Action[][];
}

/** What a line asks for, in its order. */
function actions(line: string): Action[] {
  const found = line.matchAll(/choose the first (call|exception) of the list|choose the instant below \*\*(.+?)\*\*|choose \*\*(.+?)\*\*|`([^`]+)` into \*\*(.+?)\*\*|tick the first two exceptions of the list|tick \*\*(.+?)\*\*/gi);
  return [...found].map(([, first, below, choose, text, into, tick]) => {
    if (first) return { kind: 'first', name: first };
    if (below) return { kind: 'below', name: below };
    if (choose) return { kind: 'choose', name: choose };
    if (text) return { kind: 'type', name: into!, text };
    return tick ? { kind: 'tick', name: tick } : { kind: 'tickTwo', name: '' };
  });
}

/** The tasks of the document. */
function tasks(): Task[] {
  const document = readFileSync(join(ROOT, 'docs/audit.md'), 'utf8');
  const section = document.split('\n## Ten tasks\n')[1]!.split('\n## ')[0]!;
  return section.split('\n### ').slice(1).map((text) => ({
    title: text.split('\n')[0]!,
    key: /img\/audit-([a-z-]+)\.png/.exec(text)![1]!,
    // The first line is the title.
    steps: [...text.slice(text.indexOf('\n')).matchAll(/^\d+\. (.+)$/gm)].map(([, line]) => actions(line!)),
  }));
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** The element that an action is about. */
function target(page: Page, action: Action): Locator {
  switch (action.kind) {
    case 'first':
      return page.locator('main tbody th a').first();
    case 'below':
      return page.locator(`main td[data-label="${action.name}"] a`).first();
    case 'tick':
      return page.getByRole('checkbox', { name: new RegExp(`^${escaped(action.name)}\\b`) }).first();
    case 'tickTwo':
      return page.locator('main tbody input[type=checkbox]');
    case 'type':
      // Its hint may follow without a space.
      return page.getByLabel(new RegExp(`^${escaped(action.name)}`)).and(page.locator('input, textarea')).first();
    case 'choose': {
      // A question has its number before it.
      const name = new RegExp(`^(\\d+ )?${escaped(action.name)}$`);
      const summary = page.locator('summary', { hasText: name });
      return page.getByRole('link', { name }).or(page.getByRole('button', { name })).or(summary).first();
    }
  }
}

/** How a reader works. */
interface Hands {
  press(page: Page, what: Locator): Promise<void>;
  type(page: Page, into: Locator, text: string): Promise<void>;
  tick(page: Page, what: Locator): Promise<void>;
}

const mouse: Hands = {
  press: (_, what) => what.click(),
  type: (_, into, text) => into.fill(text),
  tick: (_, what) => what.check(),
};

/** Presses Tab until an element has the focus. */
async function reach(page: Page, what: Locator): Promise<void> {
  await what.waitFor();
  const wanted = (await what.elementHandle())!;
  for (let presses = 0; presses < 400; presses++) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`the keyboard does not reach ${await wanted.evaluate((element) => element.outerHTML.slice(0, 200))}`);
}

const keyboard: Hands = {
  async press(page, what) {
    await reach(page, what);
    await page.keyboard.press('Enter');
  },
  async type(page, into, text) {
    await reach(page, into);
    const isDay = await into.evaluate((element) => (element as HTMLInputElement).type === 'date');
    const [year, month, day] = text.split('-');
    // A field for days takes month, day and year one after the other.
    await page.keyboard.type(isDay ? `${month}${day}${year}` : text);
  },
  async tick(page, what) {
    await reach(page, what);
    await page.keyboard.press('Space');
  },
};

let demo: Demo;
let browser: Browser;
let call: string;
let person: string;

const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);

/** What is typed in the demonstration in place of the example of the document. */
function typed(action: { name: string; text: string }): string {
  if (action.name === 'From day') return day(-3);
  if (action.name === 'To day') return day(1);
  if (/^[0-9a-f]{8}-/.test(action.text)) return call;
  return action.text.startsWith('8:acs:') ? person : action.text;
}

beforeAll(async () => {
  demo = await startDemo(24);
  call = await until('a call with exceptions', async () => (await demo.query('/v1/calls?verdict=EXCEPTIONS&state=ended')).calls?.[0]?.call, 90_000);
  await until('enough exceptions', async () => (await demo.query('/v1/exceptions?state=open')).exceptions?.length >= 8, 90_000);
  const { participants } = await demo.query(`/v1/calls/${call}`);
  person = participants.map((it: { raw_id: string | null }) => it.raw_id).find((id: string | null) => id?.startsWith('8:acs:'));
  browser = await launch();
}, 240_000);
afterAll(async () => {
  await browser?.close();
  await demo?.stop();
});

/** Whether a task is done: what the last page shows, and which files were saved. */
async function expectDone(task: Task, page: Page, files: string[]): Promise<void> {
  const text = () => page.locator('main').innerText();
  switch (task.key) {
    case 'calls-of-a-week':
      expect(page.url()).toMatch(/verdict=EXCEPTIONS/);
      expect(page.url()).toContain(`from=${day(-3)}`);
      return expect(await page.locator('main tbody tr').count()).toBeGreaterThan(0);
    case 'call-for-a-regulator':
      return expect.poll(() => files).toEqual([`evidence-${call}.html`]);
    case 'why-a-participant-was-late':
      expect(page.url()).toContain('window=');
      return expect(await text()).toContain('What would have changed it:');
    case 'history-of-a-person':
      return expect(await page.locator(`main a[href*="/console/calls/"]`).count()).toBeGreaterThan(0);
    case 'close-an-exception':
      return expect(await text()).toContain('Informed by phone on 24 November');
    case 'close-several':
      return expect(await text()).toContain('Exceptions closed: 2');
    case 'nothing-is-missing':
      expect(await text()).toContain('Not observed in the last seven days');
      expect(await text()).toContain('What the doctor finds');
      return expect(await text()).toContain('Complete through');
    case 'share-told-in-time':
      return expect.poll(() => files).toEqual(['question-2.csv']);
    case 'files-for-an-auditor':
      return expect.poll(() => files).toEqual(['manifest.json']);
    case 'who-looked-at-a-call':
      return expect(await page.locator('main tbody tr', { hasText: call }).count()).toBeGreaterThan(0);
    default:
      throw new Error(`no outcome of ${task.key}`);
  }
}

test('there are ten tasks, and none has more than five steps', () => {
  const all = tasks();
  expect(all.length).toBe(10);
  for (const task of all) {
    expect(task.steps.length, task.title).toBeLessThanOrEqual(MAX_STEPS);
    expect(task.steps.every((step) => step.length > 0), task.title).toBe(true);
  }
});

describe.each([
  { how: 'the mouse', hands: mouse },
  { how: 'the keyboard alone', hands: keyboard },
])('with $how', ({ hands }) => {
  test.each(tasks())('$title', async (task) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: 'en-US', acceptDownloads: true });
    const page = await context.newPage();
    const wrong = problems(page, demo.url);
    const files: string[] = [];
    page.on('download', (download) => files.push(download.suggestedFilename()));
    await page.goto(`${demo.url}/console/demo`);
    await page.goto(`${demo.url}/console/`);
    for (const action of task.steps.flat()) {
      const what = target(page, action);
      if (action.kind === 'tickTwo') {
        await hands.tick(page, what.nth(0));
        await hands.tick(page, what.nth(1));
      } else if (action.kind === 'tick') {
        await hands.tick(page, what);
      } else if (action.kind === 'type') {
        await hands.type(page, what, typed(action));
      } else {
        await what.waitFor();
        const stays = await what.evaluate((element) => element.tagName === 'SUMMARY');
        const [before, saved] = [page.url(), files.length];
        await page.evaluate(() => ((window as any).isFormer = true));
        await hands.press(page, what);
        if (stays) continue;
        // A link or a form leads to another page, replaces a part of this one with its address, or saves a file.
        const isFormer = () => page.evaluate(() => Boolean((window as any).isFormer)).catch(() => true);
        await expect.poll(async () => files.length > saved || page.url() !== before || !(await isFormer()), { timeout: 15_000 }).toBe(true);
        await page.waitForFunction(() => !document.querySelector('.htmx-request'));
        await page.waitForLoadState('networkidle');
      }
    }
    await expectDone(task, page, files);
    expect(wrong).toEqual([]);
    if (process.env.KIT_PICTURES && hands === mouse) {
      await page.evaluate(() => {
        document.querySelector('.strip')?.remove();
        (document.activeElement as HTMLElement | null)?.blur();
        if (!location.hash) scrollTo(0, 0);
      });
      await page.screenshot({ path: join(ROOT, `docs/img/audit-${task.key}.png`) });
    }
    await context.close();
  });
});
