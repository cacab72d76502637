/** A parser of server-sent events. Pure. */

export interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

/** What one chunk completed, and what is left of it. */
export interface ParsedChunk {
  readonly events: readonly ServerEvent[];
  /** The last id, also of a comment without data: the cursor. */
  readonly id: string | undefined;
  readonly rest: string;
}

/** Parses the complete blocks of `text`; keep `rest`, and put the next chunk behind it. */
export function parseEvents(text: string): ParsedChunk {
  // A CR at the end may be half of a CRLF.
  const held = text.endsWith('\r') ? '\r' : '';
  const lines = text.slice(0, text.length - held.length).replace(/\r\n?/g, '\n');
  const blocks = lines.split('\n\n');
  const rest = blocks.pop()! + held;
  let id: string | undefined;
  const events: ServerEvent[] = [];
  for (const block of blocks) {
    let event = 'message';
    const data: string[] = [];
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':');
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (name === 'event') event = value;
      else if (name === 'data') data.push(value);
      else if (name === 'id') id = value;
    }
    if (data.length > 0) events.push({ event, data: data.join('\n') });
  }
  return { events, id, rest };
}
