//! Presumes the end of calls that have no end event.
//!
//! The presumed end is published like every event, so that the live state and the ledger receive it.
//! Published twice, it has one id and one effect (`ONCE`).

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use serde_json::json;

use crate::clock;
use crate::kafka::{EventMessage, Provenance};
use crate::ledger::context::LedgerContext;
use crate::ledger::project::compute::run_blocking_if_large;
use crate::postgres::{self, KnownEvents, QuietCall, StoreError};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::call::presumed_end::{PresumedEnd, presumed_end};
use onrecord_evidence::event::calling_event::{CallEnded, CallingEvent, Statement};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum calls of one step.
const MAX_CALLS: i64 = 100;
const CE_SOURCE: &str = "onrecord/maintenance";
const SOURCE_TYPE: &str = "onrecord.presumed-end";

/// Presumes the ends of calls that have been quiet for too long: one step of them, behind `after`.
/// Returns whether there are more.
///
/// # Why
///
/// A call is quiet up to the low watermark of the ledger, not up to now: a ledger that lags has not
/// appended yet what the calls have stated since.
///
/// # Errors
///
/// [`StoreError`]; the next step presumes what this one did not.
pub(crate) async fn presume_ends(
    ledger: &LedgerContext,
    after: &mut Option<QuietCall>,
) -> Result<bool, StoreError> {
    let Some(complete_through) = postgres::complete_through(&ledger.store).await? else {
        return Ok(false);
    };
    let complete_through = complete_through.min(clock::now());
    // The settings are limited to the range of the type; this is their default.
    let quiet = TimeDelta::from_std(ledger.presume_end_after).unwrap_or(TimeDelta::hours(6));
    let calls =
        postgres::quiet_calls(&ledger.store, complete_through - quiet, after.as_ref(), MAX_CALLS)
            .await?;
    for quiet_call in &calls {
        match presume_end(ledger, quiet_call, quiet, complete_through).await {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => {
                return Err(error);
            }
            // A call that cannot be read delays no other.
            Err(error) => {
                if ledger.may_warn_of("a presumed end") {
                    tracing::warn!(error = %error, call.id = %quiet_call.call, "the end of the call {} is not presumed now: {error}", quiet_call.call);
                }
            }
        }
    }
    let has_more = i64::try_from(calls.len()).is_ok_and(|found| found == MAX_CALLS);
    *after = calls.into_iter().next_back().filter(|_| has_more);
    Ok(has_more)
}

async fn presume_end(
    ledger: &LedgerContext,
    quiet_call: &QuietCall,
    quiet: TimeDelta,
    complete_through: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (tenant, call) = (quiet_call.tenant.as_str(), quiet_call.call.as_str());
    let call_facts = ledger
        .store
        .run_tx("presume end", move |tx| {
            async move {
                let known = &KnownEvents::new();
                let (mut all_facts, _) =
                    postgres::read_call_facts(tx, tenant, &[call], known).await?;
                Ok(all_facts.remove(call))
            }
            .boxed()
        })
        .await?;
    let (Some(call_facts), Ok(tenant)) = (call_facts, Tenant::parse(tenant)) else {
        return Ok(());
    };
    let anchor = Anchor::from_stored(call.to_owned());
    let presumption = run_blocking_if_large(call_facts.len(), move || {
        presumed_end(
            &anchor,
            &call_facts,
            complete_through.timestamp_millis(),
            quiet.num_milliseconds(),
            &Parameters::default(),
        )
    });
    let Some(presumption) = presumption.await? else {
        return Ok(());
    };
    let now = clock::now();
    // Serializing it cannot fail.
    let Ok(wire) = message(tenant, call, presumption, now).to_wire() else {
        return Ok(());
    };
    let published = ledger.durable_publisher.publish(vec![wire], now).await;
    if published.is_err() {
        // The next step presumes it again.
        tracing::debug!("the presumed end of the call {call} is published when a store takes it");
        return Ok(());
    }
    tracing::info!(call.id = %call, "the call {call} has been quiet for {} s: its end is presumed", (now - quiet_call.last_activity_at).num_seconds());
    Ok(())
}

/// The message of a presumed end.
pub(crate) fn message(
    tenant: Tenant,
    call: &str,
    presumption: PresumedEnd,
    now: DateTime<Utc>,
) -> EventMessage {
    let original = json!({
        "call": call,
        "last_sign_of_life": instant::text(presumption.last_activity_at),
        "presumed_end": instant::text(presumption.at),
    })
    .to_string();
    EventMessage {
        tenant,
        provenance: Provenance::Maintenance,
        source: "maintenance".to_owned(),
        credential: None,
        ce_source: CE_SOURCE.to_owned(),
        ce_id: presumption.id,
        ce_time: instant::text(presumption.at),
        received: now,
        sha256: Digest::of(original.as_bytes()),
        content: Digest::of(original.as_bytes()),
        original,
        content_coding: None,
        charset: None,
        event: CallingEvent {
            statement: Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed: true,
            }),
            ids: presumption.ids,
            source_type: SOURCE_TYPE.to_owned(),
            generation: None,
            redacted: Vec::new(),
            flagged: Vec::new(),
        },
    }
}
