//! The book: what was accepted is entered, once.
//!
//! What comes in: the log, partition by partition, from positions that lie in Postgres. What goes
//! out: entries, aliases, and for each touched call the fold of all its facts, written in the
//! transaction that moves the positions. What can fail: Postgres is away (the batch waits),
//! another node owns the partition now (the batch is dropped and claimed anew), Postgres refuses a
//! content (it is found by halving the batch, and quarantined).

mod account;
mod claim;
mod drain;
mod enter;
mod exceptions;
mod fold;
mod follow;
mod judge;
mod landmark;
mod lookout;
mod notices;
mod prepared;
mod presume;
mod raised;
mod sweep;
mod turns;
mod unison;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::turns::Turns;
use crate::config::Settings;
use crate::lifecycle::Lifecycle;
use crate::road::Road;
use crate::store::Store;
use crate::stream::{Connection, Publisher, Topic};

/// A message of notice facts holds many: a batch has so many times fewer of them.
const FULLER: usize = 40;

/// What every task of the room needs.
#[derive(Clone)]
struct Ledger {
    store: Store,
    connection: Connection,
    publisher: Publisher,
    road: Road,
    lifecycle: Lifecycle,
    /// This process, by which its leases are known.
    owner: Arc<str>,
    batch: usize,
    turns: Turns,
    seen_retention: Duration,
    presume_end_after: Duration,
    /// A source that says nothing for so long is silent.
    silence: Duration,
}

/// Starts the room's tasks: a follower for each topic, the drainer, the sweeper.
pub fn start(
    settings: &Settings,
    store: &Store,
    connection: &Connection,
    publisher: &Publisher,
    road: &Road,
    lifecycle: &Lifecycle,
) {
    let ledger = Ledger {
        store: store.clone(),
        connection: connection.clone(),
        publisher: publisher.clone(),
        road: road.clone(),
        lifecycle: lifecycle.clone(),
        owner: Uuid::new_v4().to_string().into(),
        batch: settings.ledger.batch,
        turns: Turns::new(),
        seen_retention: settings.ledger.seen_retention,
        presume_end_after: settings.ledger.presume_end_after,
        silence: settings.exceptions.silent_source,
    };
    follow::follow(&ledger, Topic::Events, settings.ledger.followers);
    let of_notices = Ledger {
        batch: ledger.batch.div_ceil(FULLER),
        ..ledger.clone()
    };
    follow::follow(&of_notices, Topic::NoticeFacts, 1);
    follow::follow(&ledger, Topic::Quarantine, 1);
    lifecycle.run("drain", drain::drain(ledger.clone()));
    lifecycle.run("sweep", sweep::sweep(ledger));
}
