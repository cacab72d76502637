//! The only module that uses Kafka.
//!
//! It publishes messages and returns the delivery reports; it reads messages in the order of each
//! partition.
//!
//! # Failures
//!
//! A message that is not confirmed in time is *possibly stored*, and the caller must store it elsewhere
//! too. A position that the log no longer has is reported as a [`LogGap`], never skipped silently.

pub(crate) mod circuit_breaker;
mod cloudevent_attributes;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod consumer_lag;
pub(crate) mod diagnostics;
pub(crate) mod message;
pub(crate) mod notice_message;
pub(crate) mod point_read;
pub(crate) mod publisher;
pub(crate) mod record_producer;
pub(crate) mod reopening;
pub(crate) mod topics;

pub use circuit_breaker::{CircuitBreaker, PublishRoute};
pub use connection::{FetchMode, KafkaClientConfig, MAX_MESSAGE_BYTES};
pub use consumer::{
    ConsumedMessage, ConsumerError, LogGap, PartitionConsumer, ReplacementConsumer, StartOffset,
    UnreadableBatch,
};
pub use diagnostics::{
    KafkaDiagnostics, KafkaUnreachable, PartitionDiagnostics, TopicDiagnostics, diagnose_kafka,
};
pub use message::{
    CALL_FACTS, EventMessage, MessageError, Provenance, QuarantineMessage, Topic, WireMessage,
};
pub use notice_message::{MAX_FACTS_PER_MESSAGE, NoticeFactsMessage, NoticeFactsToWrite};
pub use point_read::PointRead;
pub(crate) use publisher::AcknowledgedEnd;
pub use publisher::{Publication, Publisher};
pub(crate) use record_producer::{KeyedRecord, RecordProducer, RecordProducerError};
pub(crate) use topics::log_incarnation;
pub use topics::{delete_topics, ensure_topics};
