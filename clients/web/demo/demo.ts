/**
 * The page of `onrecord demo`: three participants of one call, and the evidence of the call as it comes.
 * The interface of the Calling SDK is played; the service is the real one.
 */

import { createOnRecord, type CallLike, type Leg, type OnRecord } from '../src/index.js';
import '../src/banner.js';
import { textsToRegister } from '../src/texts.js';
import { Call, Features } from '../test/support/stand_in.js';

/** What `demo` tells its page: keys that live as long as the demonstration. */
interface Setup {
  readonly app_key: string;
  readonly admin_key: string;
  readonly source: string;
  readonly source_key: string;
  readonly resource_id: string;
}

interface Person {
  readonly name: string;
  readonly about: string;
  readonly locale: string;
  /** How long this SDK takes to say that a recording has begun; `undefined`: it never does. */
  readonly delay?: number;
  readonly rawId: string;
  readonly participantId: string;
}

interface Participant {
  readonly person: Person;
  readonly card: HTMLElement;
  readonly shows: HTMLInputElement;
  client?: OnRecord;
  call?: Call;
  leg?: Leg;
}

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const setup = (await (await fetch('setup.json')).json()) as Setup;
const url = location.origin;

function make<Name extends keyof HTMLElementTagNameMap>(name: Name, text = '', className = ''): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function ask(path: string, key: string, body?: unknown, method = 'POST', headers: Record<string, string> = {}): Promise<any> {
  const response = await fetch(url + path, {
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { method, body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  return response.json();
}

const person = (name: string, about: string, locale: string, delay?: number): Person => ({
  name,
  about,
  locale,
  ...(delay === undefined ? {} : { delay }),
  rawId: `8:acs:${setup.resource_id}_${crypto.randomUUID()}`,
  participantId: crypto.randomUUID(),
});

function participant(own: Person): Participant {
  const card = make('article', '', 'person');
  const shows = make('input');
  shows.type = 'checkbox';
  shows.checked = true;
  const label = make('label');
  label.append(shows, 'this app shows the banner');
  const text = make('div', '', 'card');
  text.append(make('h3', own.name), make('p', own.about), label);
  card.append(text);
  find('people').append(card);
  const made: Participant = { person: own, card, shows };
  shows.addEventListener('change', () => place(made));
  return made;
}

/** Puts the banner of a participant where it is seen, or takes it away. */
function place({ card, shows, leg, person: { locale } }: Participant): void {
  card.querySelector('onrecord-banner')?.remove();
  if (!shows.checked || !leg) return;
  const banner = document.createElement('onrecord-banner');
  banner.setAttribute('locale', locale);
  banner.source = leg;
  card.prepend(banner);
}

const participants = [
  participant(person('Priya Nair', 'Her SDK states a recording at once.', 'en', 0)),
  participant(person('Tom Berger', 'His SDK states a recording after two seconds; the service is quicker.', 'de', 2000)),
  participant(person('Amal Haddad', 'Her SDK never states a recording; only the service does.', 'ar')),
];

let serverCallId = '';
let correlationId = '';
const on = { recording: false, transcription: false };

async function eventGrid(type: string, data: object): Promise<void> {
  await ask(
    `/ingest/event-grid/${setup.source}`,
    '',
    [
      {
        id: crypto.randomUUID(),
        topic: '/subscriptions/demo-page/resourceGroups/demo/providers/Microsoft.Communication/communicationServices/demo',
        subject: `call/${serverCallId}`,
        eventType: `Microsoft.Communication.${type}`,
        eventTime: new Date().toISOString(),
        dataVersion: '1.0',
        metadataVersion: '1',
        data: { serverCallId, correlationId, ...data },
      },
    ],
    'POST',
    { 'x-onrecord-key': setup.source_key },
  );
}

const identifier = (rawId: string) => ({ communicationIdentifier: { rawId, communicationUser: { id: rawId } }, role: 'Attendee' });

async function startCall(): Promise<void> {
  correlationId = crypto.randomUUID();
  serverCallId = btoa(`https://api.flightproxy.skype.com/api/v2/cp/demo-page/conv/${crypto.randomUUID()}`);
  await eventGrid('CallStarted', { startedBy: identifier(participants[0]!.person.rawId) });
  for (const each of participants) {
    const { rawId, participantId, name } = each.person;
    // A rejoin is another participant to the platform.
    await eventGrid('CallParticipantAdded', { user: identifier(rawId), participantId, displayName: name });
    each.client ??= createOnRecord({
      url,
      features: Features,
      share: false,
      app: 'demo page',
      getToken: () => ask('/v1/subscriber-tokens', setup.app_key, { participant: { raw_id: rawId } }),
      onError: (problem) => say(`${name}: ${problem.detail ?? problem.title}`),
    });
    each.call = new Call(serverCallId, participantId);
    each.leg = each.client.attach(each.call as unknown as CallLike);
    each.call.to('Connected');
    place(each);
  }
  say('The call goes on. Start a recording.');
  draw();
}

async function endCall(): Promise<void> {
  capture('recording', false);
  capture('transcription', false);
  for (const each of participants) {
    each.call?.to('Disconnected');
    delete each.call;
    await eventGrid('CallParticipantRemoved', { user: identifier(each.person.rawId), participantId: each.person.participantId });
  }
  await eventGrid('CallEnded', { startedBy: identifier(participants[0]!.person.rawId) });
  participants.forEach((each) => Object.assign(each, { person: { ...each.person, participantId: crypto.randomUUID() } }));
  say('The call is over.');
  draw();
}

function capture(type: 'recording' | 'transcription', active: boolean): void {
  if (on[type] === active) return;
  on[type] = active;
  const continues = on.recording || on.transcription;
  say(continues ? 'Let an app show nothing, and look at the evidence.' : 'The call goes on. Start a recording.');
  for (const { call, person: { delay } } of participants) {
    if (!call || delay === undefined) continue;
    const state = () => (type === 'recording' ? call.record(active) : call.transcribe(active));
    if (delay === 0) state();
    else setTimeout(() => on[type] === active && state(), delay);
  }
  draw();
}

function say(text: string): void {
  find('state').textContent = text;
}

function button(text: string, enabled: boolean, act: () => void | Promise<void>): HTMLButtonElement {
  const element = make('button', text);
  element.type = 'button';
  element.disabled = !enabled;
  element.addEventListener('click', async () => {
    element.disabled = true;
    try {
      await act();
    } catch (cause) {
      say(String(cause));
    }
    draw();
  });
  return element;
}

function draw(): void {
  const running = participants.some(({ call }) => call);
  const focused = document.activeElement instanceof HTMLButtonElement ? document.activeElement.textContent : undefined;
  const buttons = [
    button('Start a call', !running, startCall),
    button(on.recording ? 'Stop the recording' : 'Start a recording', running, () => capture('recording', !on.recording)),
    button(on.transcription ? 'Stop the transcription' : 'Start a transcription', running, () => capture('transcription', !on.transcription)),
    button('End the call', running, endCall),
  ];
  find('buttons').replaceChildren(...buttons);
  buttons.find((each) => each.textContent === focused && !each.disabled)?.focus();
}

const time = (at: number | null) => (at === null ? '–' : new Date(at).toISOString().slice(11, 23));
const GOOD = ['MET', 'BRIEF', 'NOT_OURS', 'COMPLIANT'];
const grade = (status: string) => (GOOD.includes(status) ? 'good' : status === 'PENDING' || status === 'UNOBSERVED' ? '' : 'bad');

async function evidence(): Promise<void> {
  if (!correlationId) return;
  const path = `/v1/calls/${correlationId}`;
  const response = await fetch(`${url}${path}/evidence`, { headers: { authorization: `Bearer ${setup.admin_key}` } });
  // The ledger appends the call a moment later.
  if (!response.ok) return;
  const { verdict, consent, report, why } = await response.json();
  const { participants: stored } = await ask(path, setup.admin_key);
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

draw();
void follow();
// So the evidence contains the words that are shown.
await Promise.all(textsToRegister().map(({ version, texts }) => ask(`/v1/notice-texts/${version}`, setup.app_key, { texts }, 'PUT')));
await startCall();
