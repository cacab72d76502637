//! Calls that ended, in few bytes.
//!
//! # Why
//!
//! A call that ended is asked for by any of its ids for a day, and seldom is. As a closed call of the
//! live state it takes almost two kilobytes: objects, their texts, and the entries of several maps. Here
//! it is one record of bytes, and an entry in a table for each of its ids. A record has everything that
//! a closed call has but its last changes, so a call that comes back is the call that it was, and no
//! store has to be asked.
//!
//! *Ids in half their length.* An anchor is the text of sixteen bytes, and the record has the bytes.
//! The table has only the place of each id in the records.
//!
//! *Texts once.* Raw ids of participants and group ids occur in many calls, and each text is stored once
//! for all records of a segment.
//!
//! *Segments.* The records are in segments by the time of their writing. A segment is dropped as a
//! whole, and none is so large that its table grows for long while the lock is held.

mod bytes;
pub(crate) mod closed_record;
pub(crate) mod compact_calls;
mod packed_anchor;
mod segment;
