//! Records of closed calls that were written within some time of each other.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use onrecord_evidence::event::instant::Millis;

use super::bytes::{ByteReader, packed_text, put_place, unpacked_text};
use super::closed_record::{ClosedRecord, Texts};
use super::packed_anchor::PackedAnchor;

/// Maximum number of ids of a segment: seven eighths of a power of two, at which the table of the ids is
/// full. To double the table of half as many takes some milliseconds.
const MAX_IDS: usize = (1 << 17) / 8 * 7;
/// Maximum bytes of the records of a segment.
const MAX_BYTES: usize = 16 << 20;
/// Maximum time between the last events of two calls of a segment, ms: all of them are dropped together.
const MAX_SPAN: Millis = 60 * 60 * 1000;
/// Minimum bytes of removed records that are worth writing the others again.
const MIN_REMOVED: usize = 1 << 20;
/// Step in which the memory of the records grows, in bytes: a vector that doubles wastes half.
const GROWTH: usize = 64 << 10;

/// Records, and the tables by which they are found.
pub(super) struct Segment {
    /// The last event of its first call, ms. Instants are written relative to it.
    base: Millis,
    /// Texts and records, one after the other.
    bytes: Vec<u8>,
    /// Where each record begins, ascending.
    starts: Vec<u32>,
    /// Where each id is in its record.
    ids: HashTable<u32>,
    /// Where each text begins, by its number.
    texts: Vec<u32>,
    /// The numbers of the texts.
    text_numbers: HashTable<u32>,
    /// Number of calls.
    calls: usize,
    /// Bytes of the records of calls that were removed.
    removed: usize,
    /// The latest event of a call, ms.
    last_event_at: Millis,
}

impl Segment {
    pub(super) fn new(base: Millis) -> Self {
        Self {
            base,
            bytes: Vec::new(),
            starts: Vec::new(),
            ids: HashTable::new(),
            texts: Vec::new(),
            text_numbers: HashTable::new(),
            calls: 0,
            removed: 0,
            last_event_at: Millis::MIN,
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    pub(super) fn last_event_at(&self) -> Millis {
        self.last_event_at
    }

    /// Whether a call with its last event at `at` (ms) goes into another segment.
    pub(super) fn is_full_at(&self, at: Millis) -> bool {
        self.ids.len() >= MAX_IDS || self.bytes.len() >= MAX_BYTES || at - self.base >= MAX_SPAN
    }

    /// Whether most of it are records of calls that were removed.
    pub(super) fn is_mostly_removed(&self) -> bool {
        self.removed >= MIN_REMOVED && self.removed * 2 > self.bytes.len()
    }

    /// Its calls without the records that were removed.
    pub(super) fn without_removed(&self, hasher: &RandomState) -> Self {
        let mut starts: Vec<u32> = self.ids.iter().map(|place| self.start_of(*place)).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut segment = Self::new(self.base);
        // What was written can be read.
        for record in starts.into_iter().flat_map(|start| self.record_at(start)) {
            segment.add(&record, hasher);
        }
        segment
    }

    /// Returns the memory that only further records would need.
    pub(super) fn end(&mut self, hasher: &RandomState) {
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.texts.shrink_to_fit();
        self.text_numbers = HashTable::new();
        let bytes = &self.bytes;
        self.ids.shrink_to_fit(|place| hash_at(hasher, bytes, *place));
    }

    /// Bytes of its memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let numbers = self.starts.capacity() + self.texts.capacity();
        self.bytes.capacity()
            + numbers * size_of::<u32>()
            + self.ids.allocation_size()
            + self.text_numbers.allocation_size()
    }

    /// Writes a record. Returns false if there is no place for it.
    pub(super) fn add(&mut self, record: &ClosedRecord, hasher: &RandomState) -> bool {
        let mut written = Vec::new();
        record.put(self.base, &mut SegmentTexts { segment: self, hasher }, &mut written);
        let start = self.bytes.len();
        if u32::try_from(start + written.len()).is_err() {
            return false;
        }
        self.push(&written);
        self.starts.push(place_of(start));
        let mut reader = ByteReader::from(&self.bytes, start);
        // It was just written.
        for (place, anchor, _) in ClosedRecord::read_members(&mut reader).unwrap_or_default() {
            let bytes = &self.bytes;
            self.ids.insert_unique(hasher.hash_one(&anchor), place_of(place), |place| {
                hash_at(hasher, bytes, *place)
            });
        }
        self.calls += 1;
        self.last_event_at = self.last_event_at.max(record.call.last_event_at);
        true
    }

    fn push(&mut self, written: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < written.len() {
            self.bytes.reserve_exact(written.len().max(GROWTH));
        }
        self.bytes.extend_from_slice(written);
    }

    /// Where the record with this id begins.
    pub(super) fn find(&self, id: &PackedAnchor, hash: u64) -> Option<u32> {
        let place = *self.ids.find(hash, |place| self.is_at(id, *place))?;
        Some(self.start_of(place))
    }

    /// Where the record begins that has an id at this place.
    fn start_of(&self, place: u32) -> u32 {
        let after = self.starts.partition_point(|start| *start <= place);
        self.starts.get(after.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn is_at(&self, id: &PackedAnchor, place: u32) -> bool {
        let read = PackedAnchor::read(&mut ByteReader::from(&self.bytes, place as usize));
        read.is_some_and(|(anchor, _)| anchor == *id)
    }

    /// The first id of the record that begins there: the call.
    pub(super) fn call_at(&self, start: u32) -> Option<PackedAnchor> {
        let mut reader = ByteReader::from(&self.bytes, start as usize);
        reader.number()?;
        PackedAnchor::read(&mut reader).map(|(anchor, _)| anchor)
    }

    /// The record that begins there.
    pub(super) fn record_at(&self, start: u32) -> Option<ClosedRecord> {
        let reader = ByteReader::from(&self.bytes, start as usize);
        let record = ClosedRecord::read(reader, self.base, |number| self.text(number));
        if record.is_none() {
            tracing::error!("the record of an ended call cannot be read: the call is unknown here");
        }
        record
    }

    fn text(&self, number: u64) -> Option<String> {
        unpacked_text(self.packed_text(usize::try_from(number).ok()?)?)
    }

    fn packed_text(&self, number: usize) -> Option<&[u8]> {
        let start = *self.texts.get(number)?;
        let mut reader = ByteReader::from(&self.bytes, start as usize);
        let length = reader.place_in_list()?;
        reader.take(length)
    }

    /// Removes the call whose record begins there from the table of the ids.
    pub(super) fn remove(&mut self, start: u32, hasher: &RandomState) {
        let mut reader = ByteReader::from(&self.bytes, start as usize);
        for (place, anchor, _) in ClosedRecord::read_members(&mut reader).unwrap_or_default() {
            let is_same = |known: &u32| *known == place_of(place);
            if let Ok(found) = self.ids.find_entry(hasher.hash_one(&anchor), is_same) {
                found.remove();
            }
        }
        self.calls = self.calls.saturating_sub(1);
        let next = self.starts.partition_point(|other| *other <= start);
        let end = self.starts.get(next).map_or(self.bytes.len(), |end| *end as usize);
        self.removed += end.saturating_sub(start as usize);
    }
}

/// The texts of a segment while a record is written.
struct SegmentTexts<'s> {
    segment: &'s mut Segment,
    hasher: &'s RandomState,
}

impl Texts for SegmentTexts<'_> {
    fn number(&mut self, text: &str) -> u64 {
        let Self { segment, hasher } = self;
        let packed = packed_text(text);
        let hash = hasher.hash_one(&packed[..]);
        let is_same = |number: &u32| segment.packed_text(*number as usize) == Some(&packed[..]);
        if let Some(number) = segment.text_numbers.find(hash, is_same) {
            return u64::from(*number);
        }
        let mut written = Vec::new();
        put_place(packed.len(), &mut written);
        written.extend_from_slice(&packed);
        let (number, start) = (segment.texts.len(), segment.bytes.len());
        segment.push(&written);
        segment.texts.push(place_of(start));
        let mut numbers = std::mem::take(&mut segment.text_numbers);
        numbers.insert_unique(hash, place_of(number), |number| {
            hasher.hash_one(segment.packed_text(*number as usize).unwrap_or_default())
        });
        segment.text_numbers = numbers;
        number as u64
    }
}

fn hash_at(hasher: &RandomState, bytes: &[u8], place: u32) -> u64 {
    let read = PackedAnchor::read(&mut ByteReader::from(bytes, place as usize));
    read.map_or(0, |(anchor, _)| hasher.hash_one(&anchor))
}

/// A place in a segment, which has less than 4 GiB.
fn place_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
