import { describe, expect, test } from 'vitest';
import { statementsOf, strongerLevel, variantOf, type Level, type Levels } from '../../src/core/levels.js';

const LEVELS: Level[] = ['on', 'paused', 'off', 'unknown'];
const ALL: Levels[] = LEVELS.flatMap((recording) => LEVELS.map((transcription) => ({ recording, transcription })));
const of = (recording: Level, transcription: Level): Levels => ({ recording, transcription });

test('the stronger level is on, then paused, then off, then unknown', () => {
  LEVELS.forEach((stronger, place) => {
    for (const weaker of LEVELS.slice(place)) {
      expect(strongerLevel(stronger, weaker)).toBe(stronger);
      expect(strongerLevel(weaker, stronger)).toBe(stronger);
    }
  });
});

describe('a banner', () => {
  test('never hides what goes on, whatever was before', () => {
    for (const before of ALL) {
      for (const now of ALL) {
        const variant = variantOf(before, now);
        const says = (type: 'recording' | 'transcription') => variant === 'both_on' || variant.includes(`${type}_on`);
        expect(says('recording'), `${JSON.stringify(before)} ${variant}`).toBe(now.recording === 'on');
        expect(says('transcription'), `${JSON.stringify(before)} ${variant}`).toBe(now.transcription === 'on');
      }
    }
  });

  test('without a change names no stop', () => {
    for (const now of ALL) expect(variantOf(now, now)).not.toContain('_off');
  });

  test.each([
    [of('off', 'off'), of('off', 'off'), 'none'],
    [of('off', 'unknown'), of('off', 'unknown'), 'none'],
    [of('unknown', 'unknown'), of('unknown', 'unknown'), 'unknown'],
    [of('on', 'off'), of('off', 'off'), 'recording_off'],
    [of('paused', 'off'), of('off', 'off'), 'recording_off'],
    [of('off', 'on'), of('off', 'off'), 'transcription_off'],
    [of('on', 'on'), of('off', 'off'), 'both_off'],
    [of('on', 'on'), of('off', 'on'), 'recording_off_transcription_on'],
    [of('on', 'on'), of('on', 'off'), 'transcription_off_recording_on'],
    [of('on', 'off'), of('paused', 'off'), 'recording_paused'],
    [of('on', 'off'), of('unknown', 'off'), 'unknown'],
    [of('off', 'on'), of('off', 'paused'), 'transcription_off'],
    [of('off', 'paused'), of('off', 'off'), 'none'],
  ] as const)('from %o to %o is %s', (before, now, variant) => {
    expect(variantOf(before, now)).toBe(variant);
  });

  test('states exactly what its words say', () => {
    expect(statementsOf('none')).toEqual([]);
    expect(statementsOf('unknown')).toEqual([]);
    expect(statementsOf('recording_on')).toEqual([{ type: 'recording', state: 'on' }]);
    expect(statementsOf('both_on')).toEqual([{ type: 'recording', state: 'on' }, { type: 'transcription', state: 'on' }]);
    expect(statementsOf('both_off')).toEqual([{ type: 'recording', state: 'off' }, { type: 'transcription', state: 'off' }]);
    expect(statementsOf('recording_paused')).toEqual([{ type: 'recording', state: 'paused' }]);
    expect(statementsOf('transcription_off_recording_on')).toEqual([
      { type: 'recording', state: 'on' },
      { type: 'transcription', state: 'off' },
    ]);
  });
});
