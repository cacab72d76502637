/**
 * Tabs that the browser really hides. Playwright tells every page that it has the focus, so these are driven
 * by the DevTools protocol alone. Chromium throttles the timers of a hidden tab to one wake-up in a minute,
 * here after ten seconds instead of five minutes.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { until } from './stack.js';

type Answer = { readonly result?: any; readonly error?: { readonly message: string } };

export class Window {
  #asked = new Map<number, (answer: Answer) => void>();
  #count = 0;
  private constructor(private readonly chromium: ChildProcess, private readonly folder: string, private readonly socket: WebSocket) {
    socket.on('message', (data) => {
      const { id, ...answer } = JSON.parse(String(data)) as Answer & { id?: number };
      if (id) this.#asked.get(id)?.(answer);
    });
  }

  static async open(): Promise<Window> {
    const folder = mkdtempSync(join(tmpdir(), 'onrecord-kit-window-'));
    const chromium = spawn(process.env.CHROMIUM ?? '/usr/bin/chromium', [
      '--headless=new', '--no-sandbox', '--no-first-run', '--remote-debugging-port=0', `--user-data-dir=${folder}`,
      '--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/10', 'about:blank',
    ]);
    let said = '';
    chromium.stderr.on('data', (text: Buffer) => (said += String(text)));
    const address = await until('the browser listens', () => said.match(/ws:\/\/\S+/)?.[0], 60_000);
    const socket = new WebSocket(address);
    await new Promise((done, failed) => socket.once('open', done).once('error', failed));
    return new Window(chromium, folder, socket);
  }

  async ask(method: string, params: object = {}, sessionId?: string): Promise<any> {
    const id = ++this.#count;
    const { result, error } = await new Promise<Answer>((done) => {
      this.#asked.set(id, done);
      this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
    this.#asked.delete(id);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  /** Opens a tab in front of the others, which hides them. */
  async tab(url: string): Promise<Tab> {
    const { targetId } = await this.ask('Target.createTarget', { url });
    const { sessionId } = await this.ask('Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab(this, targetId, sessionId);
    await tab.show();
    return tab;
  }

  async close(): Promise<void> {
    const ended = new Promise((done) => this.chromium.once('exit', done));
    await this.ask('Browser.close').catch(() => this.chromium.kill());
    await ended;
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class Tab {
  constructor(private readonly window: Window, private readonly target: string, private readonly session: string) {}

  async show(): Promise<void> {
    await this.window.ask('Target.activateTarget', { targetId: this.target });
  }

  /** The value of a JavaScript expression in the page. */
  async read<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.window.ask('Runtime.evaluate', { expression, returnByValue: true }, this.session);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value as T;
  }
}
