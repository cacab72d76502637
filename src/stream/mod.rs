//! Cellar 1: the log. The only room that speaks Kafka.
//!
//! What comes in: messages to publish; what goes out: confirmations, and messages in the order of
//! each partition. What can fail: a publication that is not confirmed in time is *possibly
//! stored*, and the caller must store it elsewhere too; a reader's position may be gone, which is
//! reported as a gap, never passed over.

mod breaker;
mod condition;
mod connection;
mod message;
mod notice_message;
mod peek;
mod publisher;
mod reader;
mod topics;

pub use breaker::{Breaker, Way};
pub use condition::{
    KafkaAway, KafkaCondition, PartitionCondition, TopicCondition, kafka_condition,
};
pub use connection::{Connection, Haste, LARGEST_MESSAGE};
pub use message::{EventMessage, MessageError, Provenance, QuarantineMessage, Topic, WireMessage};
pub use notice_message::{MOST_FACTS, NoticeFactsMessage, NoticeFactsToWrite};
pub use peek::Peek;
pub use publisher::{Publication, Publisher};
pub use reader::{Gap, Incoming, Reader, ReaderError, Start, Successor};
pub use topics::{TopicLayout, delete_topics, ensure_topics};
