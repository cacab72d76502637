//! The fold of each touched call, at rest.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::domain::alias::Anchor;
use crate::domain::calling_event::{CallingEvent, Testimony};
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;
use crate::domain::picture::{CallAccount, account};
use crate::domain::session::SessionWho;
use crate::store::{self, CallFold, SessionRow, StoreError, StretchRow, Touched, Work};

/// Folds all facts of the touched calls and replaces what is stored of them.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn refold(
    work: &mut Work<'_>,
    tenant: &str,
    touched: Touched,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    // A fold reads what other transactions wrote at other anchors of the call.
    let locks: BTreeSet<(String, Anchor)> = touched
        .calls
        .iter()
        .map(|call| (tenant.to_owned(), call.clone()))
        .collect();
    store::lock_ids(work, &locks).await?;
    let calls: Vec<&str> = touched.calls.iter().map(Anchor::as_str).collect();
    let mut testimonies: BTreeMap<String, Vec<Testimony>> = BTreeMap::new();
    for (call, id, t, event) in store::facts_of_calls(work, tenant, &calls).await? {
        // What an earlier version wrote and this one cannot read would be a fault of ours: the
        // transaction fails, rather than a call that is silently wrong.
        let event: CallingEvent = serde_json::from_value(event).map_err(|error| {
            StoreError::Inconsistent(format!("a fact of the call {call}: {error}"))
        })?;
        testimonies
            .entry(call)
            .or_default()
            .push(Testimony { id, t, event });
    }
    let folds: Vec<CallFold> = testimonies
        .iter()
        .filter_map(|(call, testimonies)| fold(tenant, call, testimonies, now.timestamp_millis()))
        .collect();
    let gone: Vec<&str> = touched.gone.iter().map(Anchor::as_str).collect();
    store::store_folds(work, tenant, &folds, &gone, now).await
}

fn fold(tenant: &str, call: &str, testimonies: &[Testimony], now: Millis) -> Option<CallFold> {
    let CallAccount { who, picture } = account(testimonies, now, &Parameters::default());
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
