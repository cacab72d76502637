//! The fold of each touched call, at rest.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::exceptions::{Judged, settle};
use crate::domain::alias::Anchor;
use crate::domain::calling_event::{CallingEvent, Testimony};
use crate::domain::exception::Called;
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;
use crate::domain::picture::{CallAccount, account};
use crate::domain::session::SessionWho;
use crate::store::{
    self, CallFold, ExceptionTally, SessionRow, StoreError, StretchRow, Touched, Work,
};

/// A call with more facts is not folded with every event, but by the sweeper.
const LARGE: i32 = 2_000;
/// More testimonies than these are folded away from the async workers.
const MANY: usize = 500;

/// Why calls are folded anew.
pub(super) enum Occasion<'a> {
    /// Events came at these anchors.
    Events(&'a BTreeSet<Anchor>),
    /// Time passed.
    Time,
}

/// Folds all facts of the touched calls, replaces what is stored of them, and settles their
/// exceptions.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn refold(
    work: &mut Work<'_>,
    tenant: &str,
    mut touched: Touched,
    occasion: Occasion<'_>,
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    // A fold reads what other transactions wrote at other anchors of the call. While we waited for
    // them, our anchors may have become part of yet another call.
    let mut locked = BTreeSet::new();
    loop {
        let wanted = touched.calls.union(&touched.gone);
        let locks: BTreeSet<(String, Anchor)> = wanted
            .filter(|call| !locked.contains(*call))
            .map(|call| (tenant.to_owned(), call.clone()))
            .collect();
        if locks.is_empty() {
            break;
        }
        store::lock_ids(work, &locks).await?;
        locked.extend(locks.into_iter().map(|(_, call)| call));
        if let Occasion::Events(anchors) = occasion {
            touched
                .calls
                .extend(store::calls_of(work, tenant, anchors).await?);
        }
    }
    let mut calls: Vec<&str> = touched.calls.iter().map(Anchor::as_str).collect();
    let large = match occasion {
        Occasion::Events(_) => store::large_calls(work, tenant, &calls, LARGE).await?,
        Occasion::Time => Vec::new(),
    };
    calls.retain(|call| !large.iter().any(|large| large == call));
    store::leave_to_sweeper(work, tenant, &large).await?;
    let mut testimonies: BTreeMap<String, Vec<Testimony>> = BTreeMap::new();
    let mut many = 0;
    for (call, id, t, event) in store::facts_of_calls(work, tenant, &calls).await? {
        // What an earlier version wrote and this one cannot read would be a fault of ours: the
        // transaction fails, rather than a call that is silently wrong.
        let event: CallingEvent = serde_json::from_value(event).map_err(|error| {
            StoreError::Inconsistent(format!("a fact of the call {call}: {error}"))
        })?;
        testimonies
            .entry(call)
            .or_default()
            .push(Testimony::new(id, t, event));
        many += 1;
    }
    let of = tenant.to_owned();
    let fold_all = move || -> Vec<CallFold> {
        testimonies
            .iter()
            .filter_map(|(call, testimonies)| fold(&of, call, testimonies, now.timestamp_millis()))
            .collect()
    };
    let folds = if many > MANY {
        let folds = tokio::task::spawn_blocking(fold_all).await;
        folds.map_err(|error| StoreError::Inconsistent(format!("a fold failed: {error}")))?
    } else {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(fold_all))
            .map_err(|_| StoreError::Inconsistent("a fold panicked".to_owned()))?
    };
    let gone: Vec<&str> = touched.gone.iter().map(Anchor::as_str).collect();
    store::store_folds(work, tenant, &folds, &gone, now).await?;
    let judged = folds.iter().map(judged).collect();
    settle(work, tenant, judged, &gone, now).await
}

/// What a call's account calls for.
fn judged(fold: &CallFold) -> Judged<'_> {
    let conflicts = fold.flags.iter();
    let conflicts = conflicts.filter_map(|flag| flag.strip_prefix("CONFLICT:"));
    Judged {
        call: &fold.call,
        called: conflicts.map(Called::conflicting).collect(),
        version: None,
        changed_by: &Value::Null,
        statuses: BTreeMap::new(),
    }
}

fn fold(tenant: &str, call: &str, testimonies: &[Testimony], now: Millis) -> Option<CallFold> {
    let CallAccount { who, picture, .. } = account(testimonies, now, &Parameters::default());
    let named = picture.call.as_ref();
    // A call of which only offers, media or failures are known has begun with the first of them.
    let started = named
        .map(|call| call.start)
        .or_else(|| testimonies.iter().map(|testimony| testimony.t).min())?;
    let by_name: BTreeMap<&str, &SessionWho> =
        who.iter().map(|who| (who.session.as_str(), who)).collect();
    let sessions = picture
        .sessions
        .iter()
        .filter_map(|session| {
            let who = by_name.get(session.id.as_str());
            Some(SessionRow {
                session: session.id.clone(),
                identity: session.identity.as_str(),
                ours: session.ours,
                raw_id: who.and_then(|who| who.raw_id.clone()),
                display_name: who.and_then(|who| who.display_name.clone()),
                kind: who.map(|who| kind_text(who.kind)),
                participant_id: who.and_then(|who| who.participant_id.clone()),
                attachments: who
                    .and_then(|who| serde_json::to_value(&who.attachments).ok())
                    .unwrap_or_else(|| serde_json::json!([])),
                user_agent: who.and_then(|who| who.user_agent.clone()),
                joined: time(session.joined)?,
                left: session.left.and_then(time),
                join_inferred: session.join_inferred,
                left_inferred: session.left_inferred,
            })
        })
        .collect();
    let stretches = picture
        .stretches
        .iter()
        .filter_map(|stretch| {
            Some(StretchRow {
                kind: stretch.capture.as_str(),
                started: time(stretch.start)?,
                ended: stretch.end.and_then(time),
                start_source: stretch.start_source.as_str(),
                sources: stretch
                    .sources
                    .iter()
                    .map(|source| source.as_str())
                    .collect(),
                recordings: stretch
                    .recordings
                    .iter()
                    .map(|recording| one_line(recording))
                    .collect(),
                kinds: stretch.kinds.iter().map(|kind| one_line(kind)).collect(),
            })
        })
        .collect();
    let indications = picture.indications;
    Some(CallFold {
        tenant: tenant.to_owned(),
        call: call.to_owned(),
        started: time(started)?,
        ended: named.and_then(|call| call.end).and_then(time),
        end_presumed: named.is_some_and(|call| call.presumed),
        recording: indications.recording.state.as_str(),
        recording_stale: indications.recording.stale,
        transcription: indications.transcription.state.as_str(),
        transcription_stale: indications.transcription.stale,
        group_id: testimonies
            .iter()
            .filter_map(|testimony| testimony.event.ids.group_id.clone())
            .min(),
        flags: picture
            .flags
            .iter()
            .map(|flag| one_line(&flag.to_string()))
            .collect(),
        facts: i32::try_from(testimonies.len()).unwrap_or(i32::MAX),
        refold_at: picture.next_change.and_then(time),
        sessions,
        stretches,
    })
}

fn time(at: Millis) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at)
}

/// Lists are stored through one text per row, a line an item.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn kind_text(kind: crate::domain::identity::IdentifierKind) -> &'static str {
    use crate::domain::identity::IdentifierKind as Kind;
    match kind {
        Kind::CommunicationUser => "communicationUser",
        Kind::PhoneNumber => "phoneNumber",
        Kind::MicrosoftTeamsUser => "microsoftTeamsUser",
        Kind::MicrosoftTeamsApp => "microsoftTeamsApp",
        Kind::TeamsExtensionUser => "teamsExtensionUser",
        Kind::Unknown => "unknown",
    }
}
