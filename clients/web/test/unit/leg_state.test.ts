import { expect, test } from 'vitest';
import { NEW_LEG, reduce, type LegEvent, type LegState, type Phase } from '../../src/core/leg_state.js';
import type { Level } from '../../src/core/levels.js';

const sdk = (recording: Level, transcription: Level = 'off', now = 0, phase: Phase = 'connected'): LegEvent => ({
  kind: 'sdk', phase, levels: { recording, transcription }, now,
});
const server = (recording: Level, announce = true, now = 0, notice?: string): LegEvent => ({
  kind: 'server', levels: { recording, transcription: 'unknown' }, announce, now, notice,
});
const play = (...events: LegEvent[]): LegState => events.reduce(reduce, NEW_LEG);

test('nothing is shown while it rings, whatever the service states', () => {
  expect(play(server('on')).variant).toBe('none');
  expect(play(server('on'), sdk('unknown', 'unknown', 0, 'ringing')).variant).toBe('none');
});

test('a recording that began while it rang is shown at once when the call connects', () => {
  expect(play(server('on'), sdk('off')).variant).toBe('recording_on');
});

test('the own SDK shows a recording without the service', () => {
  expect(play(sdk('off'), sdk('on')).variant).toBe('recording_on');
});

test('the service shows a recording that the own SDK does not see', () => {
  expect(play(sdk('off'), server('off'), server('on')).variant).toBe('recording_on');
});

test('neither source turns off what the other one states', () => {
  expect(play(sdk('on'), server('off')).variant).toBe('recording_on');
  expect(play(sdk('on'), server('on'), sdk('off')).variant).toBe('recording_on');
  expect(play(sdk('on'), server('on'), sdk('off'), server('off')).variant).toBe('recording_off');
});

test('a service that does not know turns nothing off', () => {
  expect(play(sdk('off'), server('unknown')).variant).toBe('none');
  expect(play(sdk('on'), server('unknown')).variant).toBe('recording_on');
});

test('an off is shown for ten seconds', () => {
  const stopped = play(sdk('on'), sdk('off', 'off', 1000));
  expect(stopped.variant).toBe('recording_off');
  expect(reduce(stopped, { kind: 'time', now: 10_999 }).variant).toBe('recording_off');
  expect(reduce(stopped, { kind: 'time', now: 11_000 }).variant).toBe('none');
});

test('after the off of one type the other one stays on the screen', () => {
  const stopped = play(sdk('on', 'on'), sdk('on', 'off', 1000));
  expect(stopped.variant).toBe('transcription_off_recording_on');
  expect(reduce(stopped, { kind: 'time', now: 11_000 }).variant).toBe('recording_on');
});

test('a snapshot states the present, and announces no stop', () => {
  expect(play(sdk('off'), server('on'), server('off', false)).variant).toBe('none');
});

test('a call that ends, and one that begins, has stopped nothing', () => {
  expect(play(sdk('on'), sdk('off', 'off', 0, 'ended')).variant).toBe('none');
  expect(play(sdk('off')).variant).toBe('none');
});

test('a statement twice changes nothing', () => {
  const once = play(sdk('on'), server('on', true, 0, 'n1'));
  expect(reduce(once, server('on', true, 0, 'n1'))).toEqual(once);
});
