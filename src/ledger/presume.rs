//! Presumes the end of calls that nobody ends.
//!
//! The presumed end takes the road like every event, so that boards hear of it and the book holds
//! it; made twice, it has one id and one effect.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use serde_json::json;

use super::Ledger;
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

/// Presumes the ends of all calls that have been quiet for too long.
///
/// # Errors
///
/// [`StoreError`]; what was not presumed is presumed the next time.
pub(super) async fn presume_ends(ledger: &Ledger, now: DateTime<Utc>) -> Result<(), StoreError> {
    let quiet = TimeDelta::from_std(ledger.presume_end_after).unwrap_or(TimeDelta::hours(6));
    let mut after: Option<QuietCall> = None;
    loop {
        let calls = store::quiet_calls(&ledger.store, now - quiet, after.as_ref(), STEP).await?;
        for quiet_call in &calls {
            presume_end(ledger, quiet_call, quiet, now).await?;
        }
        after = calls.into_iter().next_back();
        if after.is_none() || ledger.lifecycle.is_stopping() {
            return Ok(());
        }
    }
}

async fn presume_end(
    ledger: &Ledger,
    quiet_call: &QuietCall,
    quiet: TimeDelta,
    now: DateTime<Utc>,
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
    let presumption = presume(
        &Anchor::from_stored(call.to_owned()),
        &dossier,
        now.timestamp_millis(),
        quiet.num_milliseconds(),
        &Parameters::default(),
    );
    let Some(presumption) = presumption else {
        return Ok(());
    };
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
