import { afterEach, expect, test, vi } from 'vitest';
import { createOnRecord } from '../../src/index.js';
import { Call, CallAgent, Features } from '../support/stand_in.js';

afterEach(() => void vi.restoreAllMocks());

/** A client whose backend never answers: what it does by itself. */
function alone(more: object = {}) {
  const onrecord = createOnRecord({ url: 'http://127.0.0.1:1', features: Features, getToken: () => new Promise<string>(() => {}), share: false, ...more });
  return onrecord;
}

test('the same call gives the same leg, as long as one part of the page has it', async () => {
  const onrecord = alone();
  const call = new Call('s', 'p');
  const leg = onrecord.attach(call);
  expect(onrecord.attach(call)).toBe(leg);
  leg.detach();
  await new Promise((done) => setTimeout(done, 5));
  expect(onrecord.legs).toEqual([leg]);
  leg.detach();
  await new Promise((done) => setTimeout(done, 5));
  expect(onrecord.legs).toEqual([]);
  expect(leg.view.phase).toBe('ended');
});

test('a leg that is detached and attached again at once goes on, as in StrictMode', async () => {
  const onrecord = alone();
  const call = new Call('s', 'p');
  const leg = onrecord.attach(call);
  leg.detach();
  expect(onrecord.attach(call)).toBe(leg);
  await new Promise((done) => setTimeout(done, 5));
  expect(leg.view.phase).toBe('ringing');
});

test('every call of an agent is attached, and a call that ends is no leg any more', () => {
  const onrecord = alone();
  const agent = new CallAgent();
  const first = new Call('1', 'p');
  agent.add(first);
  const end = onrecord.attachAgent(agent);
  const second = new Call('2', 'p');
  agent.add(second);
  expect(onrecord.legs.map(({ call }) => call)).toEqual([first, second]);
  first.to('Disconnected');
  agent.remove(first);
  expect(onrecord.legs.map(({ call }) => call)).toEqual([second]);
  end();
  agent.add(new Call('3', 'p'));
  expect(onrecord.legs.map(({ call }) => call)).toEqual([second]);
});

test('a call of an agent that lacks a feature is told, and stops no other', () => {
  const onError = vi.fn();
  const onrecord = alone({ onError });
  const agent = new CallAgent();
  agent.add({ state: 'None' } as never);
  agent.add(new Call('s', 'p'));
  onrecord.attachAgent(agent);
  expect(onrecord.legs).toHaveLength(1);
  expect(onError).toHaveBeenCalledWith(expect.objectContaining({ type: 'urn:onrecord:client:call' }));
});

test('the own SDK is shown without the service, and listeners hear it once', () => {
  const onrecord = alone();
  const call = new Call('s', 'p');
  const leg = onrecord.attach(call);
  const heard = vi.fn();
  const off = leg.on('indication', heard);
  call.to('Connected');
  call.record(true);
  call.recording.emit('isRecordingActiveChanged');
  expect(heard.mock.calls.map(([{ variant }]) => variant)).toEqual(['none', 'recording_on']);
  const view = leg.view;
  call.transcription.emit('isTranscriptionActiveChanged');
  expect(leg.view).toBe(view);
  off();
  call.record(false);
  expect(heard).toHaveBeenCalledTimes(2);
  expect(leg.indication.variant).toBe('recording_off');
});

test('listeners of the app that throw stop nothing', () => {
  const error = vi.spyOn(console, 'error').mockImplementation(() => {});
  const onrecord = alone({ onError: () => { throw new Error('of the app'); }, onStatus: () => { throw new Error('of the app'); } });
  const call = new Call('s', 'p');
  const leg = onrecord.attach(call);
  leg.on('indication', () => { throw new Error('of the app'); });
  call.to('Connected');
  call.record(true);
  expect(leg.indication.variant).toBe('recording_on');
  expect(error).toHaveBeenCalled();
});

test('without onError a failure goes to the console', () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const onrecord = alone();
  onrecord.attachAgent({ calls: [{} as never], on: () => {}, off: () => {} });
  expect(warn).toHaveBeenCalledWith(expect.objectContaining({ type: 'urn:onrecord:client:call' }));
});
