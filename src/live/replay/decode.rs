//! Decodes messages of the log and of the spool into events of the live state.

use std::time::Duration;

use crate::kafka::{EventMessage, WireMessage};
use crate::live::live_state::IncomingEvent;
use crate::telemetry::dropped::{DroppedContent, record_dropped};
use onrecord_evidence::event::calling_event::ObservedEvent;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::CallIds;

/// Interval before the next attempt after either store failed.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(300);

/// Decodes a message. A message that cannot be decoded is skipped here, and counted; the ledger keeps it.
pub(crate) fn decode(wire: &WireMessage, at: Millis) -> Option<IncomingEvent> {
    let message = match EventMessage::from_wire(wire) {
        Ok(message) => message,
        Err(error) => {
            record_dropped(DroppedContent::LiveMessage, &error);
            return None;
        }
    };
    let bears_facts = message.event.statement.yields_facts();
    Some(IncomingEvent {
        ids: CallIds::of(&message.event.ids),
        tenant: message.tenant.clone(),
        received_at: message.received.timestamp_millis(),
        observed: bears_facts.then(|| {
            let observed = message.into_observed_event();
            ObservedEvent { event: observed.event.for_projection(), ..observed }
        }),
        stored_at: at,
    })
}
