/** The OpenID provider of the tests: `oidc-provider` in a process of its own, with accounts that a test sets. */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, ROOT, until } from './stack.js';

const FILES = ['package.json', 'package-lock.json', 'provider.mjs'];
export const CLIENT = { client_id: 'onrecord-console', client_secret: 'the-secret-of-the-console-of-the-tests' };

export class OpenidProvider {
  private constructor(readonly issuer: string, private readonly process: ChildProcess) {}

  /** Starts a provider for a console at this address. */
  static async start(baseUrl: string): Promise<OpenidProvider> {
    const folder = installed();
    const port = await freePort();
    const client = { ...CLIENT, redirect_uris: [`${baseUrl}/console/oidc/callback`], post_logout_redirect_uris: [`${baseUrl}/console/sign-in`] };
    const child = spawn('node', [join(folder, 'provider.mjs'), JSON.stringify({ port, clients: [client], claimsInIdToken: true })], { stdio: ['pipe', 'pipe', 'ignore'] });
    let printed = '';
    child.stdout.on('data', (text: Buffer) => (printed += String(text)));
    await until('the provider listens', () => printed.includes('listening'));
    return new OpenidProvider(`http://127.0.0.1:${port}`, child);
  }

  async set(account: string, claims: object): Promise<void> {
    await fetch(`${this.issuer}/accounts/${account}`, { method: 'PUT', body: JSON.stringify(claims) });
  }

  stop(): void {
    this.process.kill();
  }
}

/** The folder with the provider and its packages, which the tests in Rust use too. */
function installed(): string {
  const [from, to] = [join(ROOT, 'tests/openid-provider'), join(ROOT, 'target/tmp/openid-provider')];
  mkdirSync(to, { recursive: true });
  const read = (folder: string) => (existsSync(join(folder, 'package-lock.json')) ? readFileSync(join(folder, 'package-lock.json'), 'utf8') : '');
  const hasPackages = read(from) === read(to) && existsSync(join(to, 'node_modules'));
  for (const file of FILES) copyFileSync(join(from, file), join(to, file));
  if (!hasPackages) execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: to, stdio: 'ignore' });
  return to;
}
