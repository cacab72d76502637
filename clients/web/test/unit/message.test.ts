import { expect, test } from 'vitest';
import { readLevels, readMessage } from '../../src/core/message.js';
import { parseEvents } from '../../src/core/sse.js';

const indication = { recording: { state: 'on' }, transcription: { state: 'unknown' } };

test('a notice is read', () => {
  const text = JSON.stringify({ cursor: 'c', id: 'n', call: 'x', aliases: ['x', 'y'], indication, variant: 'recording_on', server_time: '2026-11-23T18:00:00.131Z', later: 1 });
  expect(readMessage(text, 'notice')).toEqual({
    type: 'notice', cursor: 'c', id: 'n', calls: ['x', 'x', 'y'], levels: { recording: 'on', transcription: 'unknown' }, at: Date.parse('2026-11-23T18:00:00.131Z'),
  });
});

test('heartbeat, gap and bye are read, with or without members that may be missing', () => {
  expect(readMessage('{"type":"beat","cursor":"c","server_time":"2026-11-23T18:00:00Z"}')).toMatchObject({ type: 'beat', cursor: 'c' });
  expect(readMessage('{}', 'beat')).toMatchObject({ type: 'beat', at: 0 });
  expect(readMessage('{"type":"gap"}')).toMatchObject({ type: 'gap', calls: [] });
  expect(readMessage('{"code":"stopping","reason":"r"}', 'bye')).toMatchObject({ code: 'stopping', reason: 'r' });
  expect(readMessage('{"type":"error","problem":{"detail":"no"}}')).toMatchObject({ type: 'error', reason: 'no' });
});

test('a kind that a later service adds is left alone', () => {
  expect(readMessage('{"type":"weather"}')).toBeUndefined();
});

test.each(['', 'x', 'null', '1', '[]', '{}', '{"type":"notice"}', '{"type":"snapshot","indication":{"recording":{"state":"maybe"}}}'])(
  'nonsense is refused: %s',
  (text) => {
    expect(() => readMessage(text)).toThrow();
  },
);

test('levels are read only if both are levels', () => {
  expect(readLevels(indication)).toEqual({ recording: 'on', transcription: 'unknown' });
  for (const bad of [null, undefined, 1, 'on', {}, { recording: { state: 'on' } }, { recording: null, transcription: null }]) expect(readLevels(bad)).toBeUndefined();
});

test('server-sent events are parsed however they are cut', () => {
  const text = ': hello\nid: c0\n\nevent: notice\r\nid: c1\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: beat\ndata: {}\n\n:open';
  for (let cut = 0; cut <= text.length; cut++) {
    const first = parseEvents(text.slice(0, cut));
    const second = parseEvents(first.rest + text.slice(cut));
    expect([...first.events, ...second.events], `cut at ${cut}`).toEqual([
      { event: 'notice', data: '{"a":\n1}' },
      { event: 'beat', data: '{}' },
    ]);
    expect(second.id ?? first.id).toBe('c1');
    expect(second.rest).toBe(':open');
  }
});
