/**
 * The real service for the browser tests: PostgreSQL, Apache Kafka and `onrecord serve`, each with a
 * temporary folder and free ports. What is started here is stopped here, by its process id.
 */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { createHash, randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../../..');
export const SOURCE_KEY = 'the-source-key-of-the-tests';
export const RESOURCE = 'ce2abacb-db53-428f-9eef-2d5e6acfb892';

export async function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** What is awaited can no longer come. */
class Stopped extends Error {}

export async function until<T>(what: string, look: () => Promise<T | undefined | false | null> | T | undefined | false | null, ms = 20_000): Promise<T> {
  const end = Date.now() + ms;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      if (error instanceof Stopped) throw error;
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}${last ? ` (${String(last)})` : ''}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', () => done(false));
  });
}

class Child {
  private constructor(readonly process: ChildProcess, readonly log: string) {}

  static start(log: string, command: string, args: string[], options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {}): Child {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const out = createWriteStream(log, { flags: 'a' });
    child.stdout!.pipe(out, { end: false });
    child.stderr!.pipe(out, { end: false });
    return new Child(child, log);
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.running) return;
    const ended = new Promise((done) => this.process.once('exit', done));
    this.process.kill(signal);
    const timer = setTimeout(() => this.process.kill('SIGKILL'), 30_000);
    await ended;
    clearTimeout(timer);
  }

  tail(): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8').slice(-3000) : '';
  }
}

/** PostgreSQL refuses to run as root: then it runs as this account. */
function postgresAccount(): { uid?: number; gid?: number } {
  if (userInfo().uid !== 0) return {};
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find((entry) => /^(postgres|nobody):/.test(entry))!;
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

function postgresBinaries(): string {
  const found = execFileSync('sh', ['-c', 'ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; dirname "$(command -v initdb)" 2>/dev/null || true'], { encoding: 'utf8' });
  const folder = found.split('\n').find((line) => line && existsSync(join(line, 'initdb')));
  if (!folder) throw new Error('PostgreSQL 15 or later is not installed');
  return folder;
}

/** Kafka's jars, fetched by Maven once. */
function kafkaJars(): string {
  const folder = join(ROOT, 'target/tmp/client-kit-kafka');
  if (existsSync(join(folder, 'complete'))) return folder;
  mkdirSync(folder, { recursive: true });
  const pom = join(ROOT, 'crates/devstack/src/kafka_jars.pom.xml');
  execFileSync('mvn', ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${folder}`], { stdio: 'inherit' });
  writeFileSync(join(folder, 'complete'), '');
  return folder;
}

export function binary(): string {
  const path = process.env.KIT_SERVICE ?? join(ROOT, 'target/debug/onrecord');
  if (!existsSync(path)) throw new Error(`${path} is missing: run cargo build, or set KIT_SERVICE`);
  return path;
}

export class Stack {
  #children: Child[] = [];
  databaseUrl = '';
  brokers = '';
  private constructor(readonly folder: string) {}

  /** The stores that another process has started. */
  static on({ folder, databaseUrl, brokers }: { folder: string; databaseUrl: string; brokers: string }): Stack {
    const stack = new Stack(folder);
    stack.databaseUrl = databaseUrl;
    stack.brokers = brokers;
    return stack;
  }

  static async start(): Promise<Stack> {
    const folder = mkdtempSync(join(tmpdir(), 'onrecord-kit-'));
    chmodSync(folder, 0o755);
    const stack = new Stack(folder);
    try {
      await Promise.all([stack.#postgres(), stack.#kafka()]);
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  async #postgres(): Promise<void> {
    const bin = postgresBinaries();
    const account = postgresAccount();
    const data = join(this.folder, 'pg');
    mkdirSync(data);
    if (account.uid !== undefined) chownSync(data, account.uid, account.gid!);
    const port = await freePort();
    execFileSync(join(bin, 'initdb'), ['-D', join(data, 'data'), '-U', 'onrecord', '-A', 'trust', '-E', 'UTF8', '--locale=C'], { ...account, stdio: 'ignore', cwd: data });
    const child = Child.start(join(this.folder, 'postgres.log'), join(bin, 'postgres'), ['-D', join(data, 'data'), '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-k', data], { ...account, cwd: data });
    this.#children.push(child);
    await until('PostgreSQL accepts connections', () => child.tail().includes('ready to accept connections'));
    execFileSync(join(bin, 'createdb'), ['-h', '127.0.0.1', '-p', String(port), '-U', 'onrecord', 'onrecord']);
    this.databaseUrl = `postgres://onrecord@127.0.0.1:${port}/onrecord`;
  }

  async #kafka(): Promise<void> {
    const jars = kafkaJars();
    const folder = join(this.folder, 'kafka');
    mkdirSync(folder);
    const [port, controller] = [await freePort(), await freePort()];
    const common = readFileSync(join(ROOT, 'crates/devstack/src/real_kafka.properties'), 'utf8');
    const properties = join(folder, 'server.properties');
    writeFileSync(properties, `${common}
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${join(folder, 'data')}
`);
    const java = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:-UsePerfData', `-Djava.io.tmpdir=${folder}`, '-cp', join(jars, '*')];
    const cluster = `A${randomUUID().replaceAll('-', '').slice(0, 21)}`;
    execFileSync('java', [...java, 'kafka.tools.StorageTool', 'format', '-t', cluster, '-c', properties], { cwd: folder, stdio: 'ignore' });
    const child = Child.start(join(this.folder, 'kafka.log'), 'java', [...java, 'kafka.Kafka', properties], { cwd: folder });
    this.#children.push(child);
    // The service waits for the broker behind the port.
    await until(`Kafka listens (${child.log})`, () => listens(port), 60_000);
    this.brokers = `127.0.0.1:${port}`;
  }

  /** A node of the service. `origins` are the pages that may use it. */
  async node(origins: string[], port?: number): Promise<Node> {
    const own = port ?? (await freePort());
    const config = join(this.folder, `onrecord-${own}.toml`);
    const hash = `sha256:${createHash('sha256').update(SOURCE_KEY).digest('hex')}`;
    writeFileSync(config, `
listen = "127.0.0.1:${own}"
database_url = "${this.databaseUrl}"
kafka_brokers = "${this.brokers}"
[log]
filter = "warn"
format = "pretty"
[live]
history = "all"
[tokens]
keys = ["a-token-key-of-the-tests-that-is-long-enough"]
[cors]
origins = ${JSON.stringify(origins)}
[sources.eg]
kind = "event-grid"
tenant = "contoso"
keys = ["${hash}"]
resource_ids = ["${RESOURCE}"]
[sources.ca]
kind = "call-automation"
tenant = "contoso"
keys = ["${hash}"]
`);
    const node = new Node(own, config, this.folder);
    await node.start();
    return node;
  }

  async stop(): Promise<void> {
    for (const child of this.#children.reverse()) await child.stop('SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Node {
  #child: Child | undefined;
  #keys = new Map<string, string>();
  constructor(readonly port: number, private readonly config: string, private readonly folder: string) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const child = Child.start(join(this.folder, `onrecord-${this.port}.log`), binary(), ['serve', '--config', this.config]);
    this.#child = child;
    await until('the service is ready', async () => {
      if (!child.running) throw new Stopped(child.tail());
      const text = await (await fetch(`${this.url}/readyz`)).text();
      return !/unhealthy|stale|starting/.test(text) && text.includes('live') && text;
    }, 60_000);
  }

  kill(): Promise<void> {
    return this.#child!.stop('SIGKILL');
  }

  stop(): Promise<void> {
    return this.#child?.stop() ?? Promise.resolve();
  }

  key(role: 'app' | 'auditor'): string {
    let key = this.#keys.get(role);
    if (!key) {
      const out = execFileSync(binary(), ['key', 'create', '--config', this.config, '--tenant', 'contoso', '--role', role, '--name', `${role}-${this.#keys.size}-${Date.now()}`], { encoding: 'utf8' });
      key = out.match(/onr_[\w-]+/)![0];
      this.#keys.set(role, key);
    }
    return key;
  }

  async token(rawId: string, ttl = 3600): Promise<{ token: string; expires_at: string }> {
    const answer = await fetch(`${this.url}/v1/subscriber-tokens`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.key('app')}`, 'content-type': 'application/json' },
      body: JSON.stringify({ participant: { raw_id: rawId }, ttl_s: ttl, app: 'kit-tests 1.0' }),
    });
    if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async read(path: string): Promise<any> {
    const answer = await fetch(this.url + path, { headers: { authorization: `Bearer ${this.key('auditor')}` } });
    return answer.ok ? answer.json() : undefined;
  }

  /** Posts what Event Grid posts. */
  async eventGrid(type: string, call: TestCall, data: object): Promise<void> {
    const answer = await fetch(`${this.url}/ingest/event-grid/eg`, {
      method: 'POST',
      headers: { 'x-onrecord-key': SOURCE_KEY, 'content-type': 'application/json' },
      body: JSON.stringify([{
        id: randomUUID(), topic: '/subscriptions/test/resourceGroups/rg/providers/Microsoft.Communication/communicationServices/test',
        subject: `call/${call.serverCallId}`, eventType: `Microsoft.Communication.${type}`, eventTime: new Date().toISOString(),
        dataVersion: '1.0', metadataVersion: '1', data: { serverCallId: call.serverCallId, correlationId: call.correlationId, ...data },
      }]),
    });
    if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
  }
}

/** A call as the platform sees it. */
export class TestCall {
  readonly correlationId = randomUUID();
  readonly serverCallId = Buffer.from(`https://api.flightproxy.skype.com/api/v2/cp/kit/conv/${randomUUID()}`).toString('base64');
  constructor(private readonly node: Node, readonly people: Person[]) {}

  async start(): Promise<void> {
    await this.node.eventGrid('CallStarted', this, { startedBy: identifier(this.people[0]!.rawId), isTwoParty: true });
    for (const person of this.people) {
      await this.node.eventGrid('CallParticipantAdded', this, { user: identifier(person.rawId), participantId: person.participantId, displayName: person.name });
    }
  }

  async end(): Promise<void> {
    for (const person of this.people) {
      await this.node.eventGrid('CallParticipantRemoved', this, { user: identifier(person.rawId), participantId: person.participantId });
    }
    await this.node.eventGrid('CallEnded', this, { startedBy: identifier(this.people[0]!.rawId) });
  }

  /** The evidence, once `good` holds. */
  evidence(good: (evidence: any) => boolean, ms = 20_000): Promise<any> {
    let last: any;
    return until('the evidence', async () => {
      last = await this.node.read(`/v1/calls/${this.correlationId}/evidence`);
      return last && good(last) && last;
    }, ms).catch((error) => {
      throw new Error(`${String(error)}\n${JSON.stringify(last?.report, null, 1)}`);
    });
  }
}

export class Person {
  readonly participantId = randomUUID();
  readonly rawId: string;
  constructor(readonly name: string) {
    this.rawId = `8:acs:${RESOURCE}_${randomUUID()}`;
  }
}

function identifier(rawId: string) {
  return { communicationIdentifier: { rawId, communicationUser: { id: rawId } }, role: 'Attendee' };
}
