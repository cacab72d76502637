//! Outbound webhooks: signed messages to receivers that have a server (`docs/webhooks.md`).
//!
//! * [`routes`]: subscriptions, their messages, and what is done with them.
//! * [`guard`]: which addresses may be called.
//! * [`signature`]: secrets, and what they sign.
//! * [`send`]: claims the messages that are due, and makes the attempts.
//! * [`cursors`]: the cursors of notices.
//!
//! The ledger makes the messages (`src/ledger/webhook_events.rs`), in the transaction that makes their events
//! true; of exceptions a trigger does.
//!
//! # Failures
//!
//! PostgreSQL is unavailable: no message is made or claimed, and results wait in memory. A node ends during an
//! attempt: the lease of its message expires, and another node sends the message again, with the same id. A
//! receiver fails: its messages wait, and others are sent.

pub(crate) mod context;
pub(crate) mod cursors;
pub(crate) mod guard;
pub(crate) mod routes;
pub(crate) mod send;
pub(crate) mod signature;

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use self::context::SendingContext;
use self::guard::destination_rules::DestinationRules;
use self::guard::guarded_client::guarded_client;
pub(crate) use self::routes::resources::{resources, router};
use self::send::attempt::AttemptContext;
use self::send::dispatcher::{Dispatcher, PendingLooks, listen};
use self::send::endpoints::Endpoints;
use self::send::recorder::{LOG_INTERVAL, Recorder};
use self::send::upkeep;
use self::signature::secret_seal::SecretSeal;
use crate::lifecycle::Lifecycle;
use crate::telemetry::LogLimiter;

/// Starts the tasks that send messages. Without a key in the settings there are no secrets, so nothing is sent.
///
/// # Errors
///
/// A setting cannot be used.
pub(crate) fn start(sending: SendingContext, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let SendingContext { store, settings, cursors } = sending;
    let looks = PendingLooks::default();
    let owner = Uuid::new_v4().to_string();
    let seal = SecretSeal::new(&settings.keys);
    let upkeep = upkeep::run(store.clone(), settings.clone(), looks.clone(), lifecycle.clone());
    lifecycle.run("webhook upkeep", upkeep);
    if !seal.has_key() {
        tracing::info!("no [webhooks] keys are configured: no webhook is sent");
        return Ok(());
    }
    let (ended, results) = mpsc::channel(settings.max_in_flight);
    let context = AttemptContext {
        client: guarded_client(&settings)?,
        rules: DestinationRules::new(&settings),
        settings: settings.clone(),
        cursors,
    };
    let dispatcher = Dispatcher {
        store: store.clone(),
        context: Arc::new(context),
        endpoints: Endpoints::new(seal),
        looks: looks.clone(),
        ended,
        owner: owner.clone(),
        lifecycle: lifecycle.clone(),
    };
    let recorder = Recorder {
        store: store.clone(),
        settings,
        looks: looks.clone(),
        owner,
        lifecycle: lifecycle.clone(),
        log: LogLimiter::new(LOG_INTERVAL),
    };
    lifecycle.run("webhooks", dispatcher.run());
    lifecycle.run("webhook results", recorder.run(results));
    lifecycle.run("webhook notifications", listen(store, looks, lifecycle.clone()));
    Ok(())
}
