/** `onrecord demo` with its console, and what the tests of the console need of a page. */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { BrowserContext, Page } from 'playwright-core';
import { binary, freePort, until } from './stack.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export interface Demo {
  url: string;
  /** What the API answers to the admin of the demonstration. */
  query(path: string): Promise<any>;
  stop(): Promise<void>;
}

/** Starts a demonstration, and waits until it has a console. */
export async function startDemo(calls: number): Promise<Demo> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const demo = spawn(binary(), ['demo', '--calls', String(calls), '--rate', '4', '--seed', '7'], { env: { ...process.env, ONRECORD_LISTEN: url.slice(7) } });
  let printed = '';
  demo.stdout!.on('data', (text: Buffer) => (printed += String(text)));
  await until('the demonstration prints its console', () => printed.includes(`${url}/console/demo`), 60_000);
  return {
    url,
    async query(path) {
      const { admin_key } = (await (await fetch(`${url}/demo/setup.json`)).json()) as { admin_key: string };
      return (await fetch(url + path, { headers: { authorization: `Bearer ${admin_key}` } })).json();
    },
    async stop() {
      const ended = new Promise((done) => demo.once('exit', done));
      demo.kill('SIGINT');
      await ended;
    },
  };
}

/** What axe-core finds. It runs in a world of its own, where the policy of the page does not hold. */
export async function violations(context: BrowserContext, page: Page): Promise<unknown[]> {
  const session = await context.newCDPSession(page);
  const { frameTree } = await session.send('Page.getFrameTree');
  const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id, worldName: 'axe' });
  await session.send('Runtime.evaluate', { expression: AXE, contextId });
  const run = `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }).then(({ violations }) => JSON.stringify(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 200))])))`;
  const { result } = await session.send('Runtime.evaluate', { expression: run, contextId, awaitPromise: true, returnByValue: true });
  await session.detach();
  return JSON.parse(result.value as string);
}

/** Collects what a page reports as wrong, and requests to other hosts. */
export function problems(page: Page, url: string): string[] {
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
