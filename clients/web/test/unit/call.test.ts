import { expect, test } from 'vitest';
import { accessCall, phaseOf, recordingLevel } from '../../src/core/call.js';
import { createOnRecord } from '../../src/index.js';
import { Call, Features } from '../support/stand_in.js';

test('the level of a recording is the strongest that the SDK states', () => {
  expect(recordingLevel(false, [])).toBe('off');
  expect(recordingLevel(true, [])).toBe('on');
  expect(recordingLevel(false, [1])).toBe('on');
  expect(recordingLevel(true, [2])).toBe('paused');
  expect(recordingLevel(true, [2, 1])).toBe('on');
  expect(recordingLevel(true, [2, 0])).toBe('on');
  expect(recordingLevel(false, [2])).toBe('paused');
  expect(recordingLevel(false, [0, 3])).toBe('off');
});

test('a call is connected also on hold, and rings before', () => {
  for (const state of ['None', 'Connecting', 'Ringing', 'EarlyMedia', 'InLobby']) expect(phaseOf(state)).toBe('ringing');
  for (const state of ['Connected', 'LocalHold', 'RemoteHold']) expect(phaseOf(state)).toBe('connected');
  for (const state of ['Disconnecting', 'Disconnected']) expect(phaseOf(state)).toBe('ended');
});

test('events of the SDK are received until the end', () => {
  const call = new Call('s', 'p');
  let count = 0;
  const end = accessCall(call, Features).watch(() => count++);
  call.to('Connected');
  call.record(true);
  call.transcribe(true);
  call.requireConsent();
  expect(count).toBe(4);
  end();
  call.record(false);
  expect(count).toBe(4);
});

test('a ringing call states nothing', () => {
  const call = new Call('s', 'p');
  call.recording.isRecordingActive = true;
  const access = accessCall(call, Features);
  expect(access.state()).toEqual({ phase: 'ringing', levels: { recording: 'unknown', transcription: 'unknown' }, consentRequired: [] });
  call.to('Connected');
  expect(access.state().levels).toEqual({ recording: 'on', transcription: 'off' });
});

test('a consent is given once for both types', async () => {
  const call = new Call('s', 'p');
  call.to('Connected');
  call.requireConsent();
  const access = accessCall(call, Features);
  expect(access.state().consentRequired).toEqual(['recording', 'transcription']);
  await access.grant(['recording', 'transcription']);
  expect(call.recording.granted).toBe(1);
  expect(access.state().consentRequired).toEqual([]);
});

test.each([
  ['nothing', undefined, /needs a Call/],
  ['an object', {}, /needs a Call/],
  ['a call without features', Object.assign(new Call('s', 'p'), { feature: () => undefined }), /feature Recording of the call has no isRecordingActive/],
  ['a call whose features throw', Object.assign(new Call('s', 'p'), { feature: () => { throw new Error('not supported'); } }), /no feature Recording: Error: not supported/],
])('attach refuses %s with a clear error', (_, call, message) => {
  const onrecord = createOnRecord({ url: 'http://127.0.0.1:1', features: Features, getToken: async () => new Promise<string>(() => {}), onError: () => {}, share: false });
  expect(() => onrecord.attach(call as never)).toThrow(message);
  expect(() => onrecord.attach(call as never)).toThrow(expect.objectContaining({ type: 'urn:onrecord:client:call' }));
});

test('attach says that Features are missing', () => {
  const onrecord = createOnRecord({ url: 'http://127.0.0.1:1', getToken: async () => new Promise<string>(() => {}), share: false } as never);
  expect(() => onrecord.attach(new Call('s', 'p'))).toThrow('features: Features of @azure/communication-calling');
});
