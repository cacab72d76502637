//! Presumes the end of calls that nobody ends.
//!
//! The presumed end takes the road like every event, so that boards hear of it and the book holds
//! it; made twice, it has one id and one effect.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use serde_json::json;

use super::Ledger;
use super::fold::away;
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::calling_event::{CallEnded, CallingEvent, Statement};
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant;
use crate::domain::parameters::Parameters;
use crate::domain::presumed_end::{Presumption, presume};
use crate::store::{self, QuietCall, StoreError};
use crate::stream::{EventMessage, Provenance};

/// Calls looked at in one step.
const STEP: i64 = 100;
const SOURCE: &str = "onrecord/sweeper";
const TYPE: &str = "onrecord.presumed-end";

/// Presumes the ends of calls that have been quiet for too long, one step of them behind `after`.
/// Returns whether there are more.
///
/// Quiet is what the book says, as far as it is complete: a ledger that is behind has not heard yet
/// what the calls have said since.
///
/// # Errors
///
/// [`StoreError`]; what was not presumed is presumed the next time.
pub(super) async fn presume_ends(
    ledger: &Ledger,
    after: &mut Option<QuietCall>,
) -> Result<bool, StoreError> {
    let Some(heard) = store::book_complete_through(&ledger.store).await? else {
        return Ok(false);
    };
    let heard = heard.min(clock::now());
    let quiet = TimeDelta::from_std(ledger.presume_end_after).unwrap_or(TimeDelta::hours(6));
    let calls = store::quiet_calls(&ledger.store, heard - quiet, after.as_ref(), STEP).await?;
    for quiet_call in &calls {
        match presume_end(ledger, quiet_call, quiet, heard).await {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => {
                return Err(error);
            }
            // One that cannot be read keeps no other from its end.
            Err(error) => {
                tracing::warn!(error = %error, call.id = %quiet_call.call, "the end of the call {} is not presumed now: {error}", quiet_call.call);
            }
        }
    }
    let are_more = i64::try_from(calls.len()).is_ok_and(|found| found == STEP);
    *after = calls.into_iter().next_back().filter(|_| are_more);
    Ok(are_more)
}

async fn presume_end(
    ledger: &Ledger,
    quiet_call: &QuietCall,
    quiet: TimeDelta,
    heard: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (tenant, call) = (quiet_call.tenant.as_str(), quiet_call.call.as_str());
    let dossier = ledger
        .store
        .run("presume an end", move |work| {
            async move {
                let (mut dossiers, _) = store::read_dossiers(work, tenant, &[call]).await?;
                Ok(dossiers.remove(call))
            }
            .boxed()
        })
        .await?;
    let (Some(dossier), Ok(tenant)) = (dossier, Tenant::parse(tenant)) else {
        return Ok(());
    };
    let anchor = Anchor::from_stored(call.to_owned());
    let presumption = away(dossier.len(), move || {
        presume(
            &anchor,
            &dossier,
            heard.timestamp_millis(),
            quiet.num_milliseconds(),
            &Parameters::default(),
        )
    });
    let Some(presumption) = presumption.await? else {
        return Ok(());
    };
    let now = clock::now();
    let Ok(wire) = message(tenant, call, presumption, now).to_wire() else {
        return Ok(());
    };
    if ledger.road.take(vec![wire], now).await.is_err() {
        tracing::debug!("the end of the call {call} is presumed when a store takes it");
        return Ok(());
    }
    tracing::info!(call.id = %call, "nothing was heard of the call {call} for {} s: its end is presumed", (now - quiet_call.last_sign).num_seconds());
    Ok(())
}

fn message(
    tenant: Tenant,
    call: &str,
    presumption: Presumption,
    now: DateTime<Utc>,
) -> EventMessage {
    let original = json!({
        "call": call,
        "last_sign_of_life": instant::text(presumption.last),
        "presumed_end": instant::text(presumption.t),
    })
    .to_string();
    EventMessage {
        tenant,
        provenance: Provenance::Sweeper,
        source: "sweeper".to_owned(),
        credential: None,
        ce_source: SOURCE.to_owned(),
        ce_id: presumption.id,
        ce_time: instant::text(presumption.t),
        received: now,
        sha256: Digest::of(original.as_bytes()),
        content: Digest::of(original.as_bytes()),
        original,
        event: CallingEvent {
            statement: Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed: true,
            }),
            ids: presumption.ids,
            source_type: TYPE.to_owned(),
            generation: None,
            redacted: Vec::new(),
        },
    }
}
