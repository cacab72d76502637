//! Server-sent events, parsed from chunks of bytes (HTML Standard, section 9.2.6).
//!
//! # Why
//!
//! *No crate*: those at hand wrap an asynchronous stream of chunks, and the benches read raw
//! sockets. The parser skips the lines of a chunked transfer encoding as unknown fields, so such
//! bytes need no decoder either, as long as no event is cut by the end of a chunk.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The field `event`.
    pub kind: String,
    /// The field `id`; empty if the event has none.
    pub id: String,
    /// The lines of the field `data`, joined by line feeds.
    pub data: String,
}

/// Parses a stream of events, however it is split into chunks.
#[derive(Debug, Default)]
pub struct SseParser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The fields since the last empty line.
    event: SseEvent,
}

impl SseParser {
    /// The events that end in this chunk. Comments, and blocks without data, are none.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<SseEvent> {
        let mut events = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                events.extend(self.end_line());
            }
        }
        events
    }

    /// The event that the line ends, if it does.
    fn end_line(&mut self) -> Option<SseEvent> {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches(['\r', '\n']);
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event.kind),
            "id" => value.clone_into(&mut self.event.id),
            "data" => {
                self.event.data.push_str(value);
                self.event.data.push('\n');
            }
            _ => {}
        }
        let ends_block = text.is_empty();
        self.line.clear();
        if !ends_block {
            return None;
        }
        let mut event = std::mem::take(&mut self.event);
        event.data.pop().map(|_last_line_feed| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: snapshot\nid: a.b\ndata: {\"x\":\"é\"}\n\n:\n\nid: a.bb\n\nevent: notice\r\nid: a.c\r\ndata:{\r\ndata: }\r\n\r\n";

    fn parsed(chunks: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<(String, String, String)> {
        let mut parser = SseParser::default();
        let events = chunks.flat_map(|chunk| parser.push(chunk.as_ref()));
        let fields = events.map(|event| (event.kind, event.id, event.data));
        fields.collect()
    }

    fn expected() -> [(String, String, String); 2] {
        [("snapshot", "a.b", "{\"x\":\"é\"}"), ("notice", "a.c", "{\n}")]
            .map(|(kind, id, data)| (kind.to_owned(), id.to_owned(), data.to_owned()))
    }

    #[test]
    fn a_stream_is_parsed_however_it_is_split() {
        for size in 1..STREAM.len() {
            assert_eq!(parsed(STREAM.as_bytes().chunks(size)), expected(), "{size}");
        }
    }

    #[test]
    fn the_lines_of_a_transfer_encoding_are_skipped() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let blocks = STREAM.split_inclusive("\n\n");
        let chunks = blocks.map(|block| format!("{:x}\r\n{block}\r\n", block.len()));
        let bytes = std::iter::once(head.to_owned()).chain(chunks);
        assert_eq!(parsed(bytes), expected());
    }
}
