//! The ledger: appends what Kafka has to the audit store, each event once.
//!
//! * [`partition_leases`]: which partitions this node owns. The lease is taken there.
//! * [`follow`]: reads the leased partitions from the positions in PostgreSQL.
//! * [`append`]: one transaction for a batch: positions, deduplication keys, entries, aliases, facts.
//! * [`project`]: projects each touched call from all its facts, in the same transaction.
//! * [`verdict_versions`]: stores the verdict of a projected call as a version.
//! * `known_calls`: the rows of generated calls, made by the same functions without the store.
//! * [`exceptions`]: compares the exceptions of a call with the expected ones.
//! * [`webhook_events`]: the messages of outbound webhooks that a projection makes, in the same transaction.
//! * [`maintenance`]: what changes with time alone.
//!
//! # Failures
//!
//! PostgreSQL is unavailable: the batch waits. Another node owns the partition: the batch is dropped,
//! and the leases are taken again. PostgreSQL refuses the content of a message: bisection of the batch
//! finds it, and it goes to quarantine (`NOTHING_LOST`).

pub(crate) mod append;
pub(crate) mod context;
pub(crate) mod exceptions;
pub(crate) mod follow;
#[cfg(feature = "demo")]
pub(crate) mod known_calls;
pub(crate) mod maintenance;
pub(crate) mod partition_leases;
pub(crate) mod project;
pub(crate) mod verdict_versions;
pub(crate) mod webhook_events;

use std::sync::Arc;

use uuid::Uuid;

use self::context::{LedgerContext, MAINTENANCE_LOG_INTERVAL};
use self::follow::commit_gate::CommitGate;
use crate::config::{Settings, revocation_retention};
use crate::kafka::{KafkaClientConfig, Publisher, Topic};
use crate::lifecycle::Lifecycle;
use crate::postgres::Postgres;
use crate::publish::DurablePublisher;
use crate::publish::spool_drain::SpoolDrain;
use crate::telemetry::LogLimiter;

/// A batch of notice-fact messages is smaller by this factor, because each message has many facts.
const NOTICE_BATCH_DIVISOR: usize = 40;

/// Starts the tasks: the followers of each topic, the drain of the spool, the maintenance.
pub(crate) fn start(
    settings: &Settings,
    store: &Postgres,
    connection: &KafkaClientConfig,
    publisher: &Publisher,
    durable_publisher: &DurablePublisher,
    lifecycle: &Lifecycle,
) {
    let ledger = LedgerContext {
        store: store.clone(),
        connection: connection.clone(),
        durable_publisher: durable_publisher.clone(),
        lifecycle: lifecycle.clone(),
        owner: Uuid::new_v4().to_string().into(),
        batch: settings.ledger.batch,
        commit_gate: CommitGate::new(),
        dedup_retention: settings.ledger.dedup_retention,
        revocation_retention: revocation_retention(settings.tokens.max_ttl),
        presume_end_after: settings.ledger.presume_end_after,
        silent_source_after: settings.exceptions.silent_source,
        maintenance_log: Arc::new(LogLimiter::new(MAINTENANCE_LOG_INTERVAL)),
    };
    follow::follower::start(&ledger, Topic::Events, settings.ledger.followers);
    let of_notices =
        LedgerContext { batch: ledger.batch.div_ceil(NOTICE_BATCH_DIVISOR), ..ledger.clone() };
    follow::follower::start(&of_notices, Topic::NoticeFacts, 1);
    follow::follower::start(&ledger, Topic::Quarantine, 1);
    let drain =
        SpoolDrain::new(store.clone(), publisher.clone(), lifecycle.clone(), ledger.owner.clone());
    lifecycle.run("drain", drain.run());
    lifecycle.run("maintenance", maintenance::maintenance_task::run(ledger));
}
