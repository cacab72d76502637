/**
 * The page of `onrecord demo`: three participants of one call, and the evidence of the call as it comes.
 * Azure and the Calling SDK of each participant are simulated by the server; what is between them is real.
 */

import { createOnRecord, type CallLike, type Leg, type OnRecord } from '../src/index.js';
import '../src/banner.js';
import { textsToRegister } from '../src/texts.js';
import { Call, Features } from '../test/support/stand_in.js';

/** What `demo` tells its page: keys that live as long as the demonstration. */
interface Setup {
  readonly app_key: string;
  readonly admin_key: string;
}

/** A call that the simulator has started. */
interface CallInfo {
  readonly server_call_id: string;
  readonly correlation_id: string;
  readonly participants: readonly Person[];
}

interface Person {
  readonly raw_id: string;
  readonly participant_id: string;
  readonly name: string;
  /** How long this SDK takes to say that a recording has begun; `null`: it never does. */
  readonly sdk_delay_ms: number | null;
}

/** What the simulated SDK of a participant states. */
interface SdkState {
  readonly connected: boolean;
  readonly recording: boolean;
  readonly transcription: boolean;
}

/** The app of a participant. */
interface App {
  readonly locale: string;
  readonly card: HTMLElement;
  readonly shows: HTMLInputElement;
  client: OnRecord;
  call: Call;
  leg: Leg;
}

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const url = location.origin;
/** The languages of the apps. */
const LOCALES = ['en', 'de', 'ar'];
const GO_ON = 'The call goes on. Start a recording.';

let setup: Setup;
let apps: App[] = [];
/** The latest call. */
let latest: CallInfo | undefined;
/** Its SDKs, while it goes on. */
let stream: EventSource | undefined;
const on = { recording: false, transcription: false };

function make<Name extends keyof HTMLElementTagNameMap>(name: Name, text = '', className = ''): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function ask(method: string, path: string, key?: string, body?: unknown): Promise<any> {
  const response = await fetch(url + path, {
    method,
    headers: { ...(key && { authorization: `Bearer ${key}` }), ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const answer = text && JSON.parse(text);
  if (!response.ok) throw new Error(answer.detail ?? `${path}: HTTP ${response.status}`);
  return answer;
}

function about({ sdk_delay_ms: delay }: Person): string {
  if (delay === null) return 'This SDK never states a recording; only the service does.';
  return delay ? `This SDK states a recording after ${delay / 1000} seconds; the service is quicker.` : 'This SDK states a recording at once.';
}

/** The app of a participant, in the call of this id. */
function open(person: Person, serverCallId: string): Pick<App, 'client' | 'call' | 'leg'> {
  const client = createOnRecord({
    url,
    features: Features,
    share: false,
    app: 'demo page',
    getToken: () => ask('POST', '/v1/subscriber-tokens', setup.app_key, { participant: { raw_id: person.raw_id } }),
    onError: (problem) => say(`${person.name}: ${problem.detail ?? problem.title}`),
  });
  const call = new Call(serverCallId, person.participant_id);
  return { client, call, leg: client.attach(call as unknown as CallLike) };
}

function addApp(person: Person, serverCallId: string, locale: string): App {
  const card = make('article', '', 'person');
  const shows = make('input');
  shows.type = 'checkbox';
  shows.checked = true;
  const label = make('label');
  label.append(shows, 'this app shows the banner');
  const text = make('div', '', 'card');
  text.append(make('h3', person.name), make('p', about(person)), label);
  card.append(text);
  find('people').append(card);
  const app = { locale, card, shows, ...open(person, serverCallId) };
  shows.addEventListener('change', () => place(app));
  return app;
}

/** Puts the banner of a participant where it is seen, or takes it away. */
function place({ card, shows, leg, locale }: App): void {
  card.querySelector('onrecord-banner')?.remove();
  if (!shows.checked) return;
  const banner = document.createElement('onrecord-banner');
  banner.setAttribute('locale', locale);
  banner.source = leg;
  card.prepend(banner);
}

const callPath = () => `/demo/calls/${latest!.correlation_id}`;

async function startCall(): Promise<void> {
  const { server_call_id: id, participants } = (latest = (await ask('POST', '/demo/calls')) as CallInfo);
  for (const { client } of apps) client.close();
  if (apps.length === 0) apps = participants.map((person, at) => addApp(person, id, LOCALES[at]!));
  else participants.forEach((person, at) => Object.assign(apps[at]!, open(person, id)));
  apps.forEach(place);
  stream = new EventSource(`${url}${callPath()}/stream`);
  stream.onmessage = ({ data }) => (JSON.parse(data) as SdkState[]).forEach((sdk, at) => setSdk(apps[at]!.call, sdk));
  stream.onerror = ({ target }) => {
    // The server does not know the call any more.
    if (target === stream && stream?.readyState === EventSource.CLOSED) callEnded();
  };
  say(GO_ON);
}

/** The stand-in of a participant states what the simulated SDK does. */
function setSdk(call: Call, { connected, recording, transcription }: SdkState): void {
  if (call.recording.isRecordingActive !== recording) call.record(recording);
  if (call.transcription.isTranscriptionActive !== transcription) call.transcribe(transcription);
  const state = connected ? 'Connected' : 'Disconnected';
  if (call.state !== state) call.to(state);
}

async function endCall(): Promise<void> {
  await ask('DELETE', callPath());
  callEnded();
}

function callEnded(): void {
  stream?.close();
  stream = undefined;
  on.recording = on.transcription = false;
  for (const { call } of apps) setSdk(call, { connected: false, recording: false, transcription: false });
  say('The call is over.');
  draw();
}

async function capture(type: 'recording' | 'transcription'): Promise<void> {
  await ask(on[type] ? 'DELETE' : 'PUT', `${callPath()}/${type}`);
  on[type] = !on[type];
  say(on.recording || on.transcription ? 'Let an app show nothing, and look at the evidence.' : GO_ON);
}

function say(text: string): void {
  find('state').textContent = text;
}

async function attempt(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (cause) {
    say(cause instanceof Error ? cause.message : String(cause));
  }
  draw();
}

function button(text: string, enabled: boolean, act: () => Promise<void>): HTMLButtonElement {
  const element = make('button', text);
  element.type = 'button';
  element.disabled = !enabled;
  element.addEventListener('click', () => {
    element.disabled = true;
    void attempt(act);
  });
  return element;
}

function draw(): void {
  const running = stream !== undefined;
  const focused = document.activeElement instanceof HTMLButtonElement ? document.activeElement.textContent : undefined;
  const buttons = [
    button('Start a call', !running, startCall),
    button(on.recording ? 'Stop the recording' : 'Start a recording', running, () => capture('recording')),
    button(on.transcription ? 'Stop the transcription' : 'Start a transcription', running, () => capture('transcription')),
    button('End the call', running, endCall),
  ];
  find('buttons').replaceChildren(...buttons);
  buttons.find((each) => each.textContent === focused && !each.disabled)?.focus();
}

const time = (at: number | null) => (at === null ? '–' : new Date(at).toISOString().slice(11, 23));
const GOOD = ['MET', 'BRIEF', 'NOT_OURS', 'COMPLIANT'];
const grade = (status: string) => (GOOD.includes(status) ? 'good' : status === 'PENDING' || status === 'UNOBSERVED' ? '' : 'bad');

async function evidence(): Promise<void> {
  if (!latest) return;
  const path = `/v1/calls/${latest.correlation_id}`;
  const response = await fetch(`${url}${path}/evidence`, { headers: { authorization: `Bearer ${setup.admin_key}` } });
  // The ledger appends the call a moment later.
  if (!response.ok) return;
  const { verdict, consent, report, why } = await response.json();
  const { participants: stored } = await ask('GET', path, setup.admin_key);
  const names = new Map<string, string>(stored.map((each: any) => [each.session, each.display_name ?? each.raw_id]));
  find('verdict').textContent = `${verdict}, consent ${consent}`;
  find('verdict').className = grade(verdict);
  const order = (each: any) => `${each.due_at} ${each.type} ${names.get(each.session)}`;
  const obligations = [...report.obligations].sort((a: any, b: any) => order(a).localeCompare(order(b)));
  const rows = obligations.map((each: any) => {
    const row = make('tr');
    const cells = [names.get(each.session) ?? each.session, each.type, time(each.due_at), time(each.shown_at), each.exposure_ms === null ? '–' : `${each.exposure_ms} ms`];
    row.append(...cells.map((text: string) => make('td', text)), make('td', each.status, grade(each.status)), make('td', each.consent));
    return row;
  });
  find('rows').replaceChildren(...rows);
  const bad = (each: any) => report.obligations.some((own: any) => own.session === each.session && own.type === each.type && own.due_at === each.due_at && grade(own.status) === 'bad');
  find('why').replaceChildren(...why.filter(bad).map((each: any) => make('li', `${names.get(each.session) ?? each.session}: ${each.rule}`)));
}

async function follow(): Promise<void> {
  for (;;) {
    await evidence().catch((cause: unknown) => say(String(cause)));
    await new Promise((done) => setTimeout(done, 700));
  }
}

addEventListener('pagehide', () => {
  if (stream) void fetch(url + callPath(), { method: 'DELETE', keepalive: true });
});
await attempt(async () => {
  setup = await ask('GET', '/demo/setup.json');
  void follow();
  // So the evidence contains the words that are shown.
  await Promise.all(textsToRegister().map(({ version, texts }) => ask('PUT', `/v1/notice-texts/${version}`, setup.app_key, { texts })));
  await startCall();
});
