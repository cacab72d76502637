//! `GET /v1/calls/{call}/evidence`, `/v1/calls/{call}/facts`.
//!
//! # Why
//!
//! *What is stored is shown, and checked.* A version is answered as it was stored, and beside it
//! stands whether its facts, read from the store once more, still come to it. Whoever does not
//! believe that takes the facts and asks `onrecord evidence recompute`.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calls::unknown_call;
use super::reader::{Api, instant, micros};
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::evidence::{Evidence, RULES};
use crate::domain::fact::{CaptureType, Fact};
use crate::domain::instant::{self, Millis};
use crate::domain::parameters::Parameters;
use crate::domain::why::Why;
use crate::http::access::Caller;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::{AccountPage, ReadingRoom, UnseenInterval, VersionRow, Which};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichQuery {
    at: Option<String>,
    version: Option<String>,
    /// The name that the call had when the version was made, as `versions` lists it.
    then: Option<String>,
}

/// So many versions are listed, the latest first; the others are there all the same.
const MOST_LISTED: i64 = 200;

impl WhichQuery {
    fn which(&self) -> Result<Which, Problem> {
        if self.then.is_some() && self.version.is_none() {
            return Err(Problem::invalid("then", "then is of a version"));
        }
        match (&self.at, &self.version) {
            (None, None) => Ok(Which::Latest),
            (Some(at), None) => {
                let at = instant("at", Some(at))?;
                let at = at.map(|at| at.timestamp_millis());
                // Deadlines that have not passed are not missed yet.
                if at.is_some_and(|at| at > clock::now_ms()) {
                    return Err(Problem::invalid("at", "at is an instant that has passed"));
                }
                Ok(at.map_or(Which::Latest, Which::At))
            }
            (None, Some(version)) => Ok(Which::Version {
                call: self.then.clone(),
                version: version.parse().map_err(|_| {
                    Problem::invalid("version", "version is one of the numbers in versions")
                })?,
            }),
            (Some(_), Some(_)) => Err(Problem::invalid(
                "version",
                "ask for a version or for an instant, not for both",
            )),
        }
    }
}

#[derive(Serialize)]
pub(super) struct EvidenceView {
    call: String,
    /// Absent: made for the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    rules: Value,
    as_of: Option<String>,
    verdict: Value,
    /// Whether the facts come to what is stored; absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    recomputed: Option<Recomputed>,
    /// Section 9 of the rules.
    report: Value,
    /// Of each obligation.
    why: Vec<WhyView>,
    /// When something of the call could have gone unseen, or was seen late.
    unseen: Vec<UnseenInterval>,
    versions: Vec<VersionView>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Recomputed {
    Equal,
    Different,
}

#[derive(Serialize)]
struct WhyView {
    session: String,
    r#type: CaptureType,
    due: Millis,
    #[serde(flatten)]
    why: Why,
}

#[derive(Serialize)]
struct VersionView {
    version: i32,
    call: String,
    rules: String,
    verdict: String,
    made_at: String,
    as_of: String,
    reason: String,
    /// The facts by which it differs from the version before.
    changed_by: Value,
}

impl From<VersionRow> for VersionView {
    fn from(row: VersionRow) -> Self {
        Self {
            version: row.version,
            call: row.call,
            rules: row.rules,
            verdict: row.verdict,
            made_at: micros(row.made),
            as_of: micros(row.as_of),
            reason: row.reason,
            changed_by: row.changed_by,
        }
    }
}

/// A report, and why it is as it is.
struct Judged {
    report: Value,
    why: Vec<WhyView>,
}

fn judged(facts: &[Fact], as_of: Millis) -> Option<Judged> {
    let evidence = Evidence::at(facts, as_of, &Parameters::default()).ok()?;
    let obligations = evidence.report.obligations.iter();
    let why = obligations
        .zip(evidence.whys())
        .map(|(obligation, why)| WhyView {
            session: obligation.session.clone(),
            r#type: obligation.capture,
            due: obligation.due,
            why,
        });
    Some(Judged {
        why: why.collect(),
        report: serde_json::to_value(&evidence.report).ok()?,
    })
}

/// The account that is asked for, as it is found.
struct Found {
    caller: Caller,
    room: ReadingRoom,
    page: AccountPage,
    /// As the call is called now, and its anchors.
    name: String,
    anchors: Vec<String>,
    complete_through: Option<String>,
}

async fn find(
    api: &Api,
    headers: &HeaderMap,
    call: Result<Path<String>, PathRejection>,
    query: Result<Query<WhichQuery>, QueryRejection>,
) -> Result<Found, Problem> {
    let caller = api.reader(headers).await?;
    let Path(call) = call.map_err(|_| unknown_call())?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let which = query.which()?;
    let mut room = api.read(&caller.tenant).await?;
    let name = room
        .call_of(&Anchor::candidates(&call))
        .await?
        .ok_or_else(unknown_call)?;
    let complete_through = room.call_complete_through(&name).await?.map(micros);
    let anchors = room.anchors_of(&name).await?;
    let missing = match which {
        Which::Version { .. } => "the call has no version of this number; versions lists them",
        Which::Latest | Which::At(_) => NOTHING_YET,
    };
    let page = room.account(&name, &anchors, which).await?;
    let page = page.ok_or_else(|| Problem::not_found(missing))?;
    Ok(Found {
        caller,
        room,
        page,
        name,
        anchors,
        complete_through,
    })
}

const NOTHING_YET: &str = "nothing that is known of this call by then is a fact for the rules of evidence: it was offered, or something failed, but nobody is known to have been in it";

/// Folding takes the time of the facts, of which a call may have tens of thousands.
async fn judge(page: AccountPage) -> Result<(AccountPage, Option<Judged>), Problem> {
    tokio::task::spawn_blocking(move || {
        let judged = judged(&page.facts, page.as_of);
        (page, judged)
    })
    .await
    .map_err(|_| Problem::new(ProblemKind::Internal, "the rules could not be applied"))
}

pub(super) async fn evidence(
    State(api): State<Api>,
    headers: HeaderMap,
    call: Result<Path<String>, PathRejection>,
    query: Result<Query<WhichQuery>, QueryRejection>,
) -> Result<Json<EvidenceView>, Problem> {
    let Found {
        caller,
        mut room,
        page,
        name,
        anchors,
        complete_through,
    } = find(&api, &headers, call, query).await?;
    let versions = room.versions(&name, &anchors, MOST_LISTED).await?;
    drop(room);
    let (page, judged) = judge(page).await?;
    let recomputed = page.report.as_ref().map(|stored| {
        let equal = judged.as_ref().is_some_and(|it| it.report == *stored);
        if equal {
            Recomputed::Equal
        } else {
            Recomputed::Different
        }
    });
    let (report, why) = match (page.report, judged) {
        (Some(stored), judged) => (stored, judged.map(|it| it.why).unwrap_or_default()),
        (None, Some(judged)) => (judged.report, judged.why),
        (None, None) => return Err(Problem::not_found(NOTHING_YET)),
    };
    let unseen = unseen_of(&api, &caller, &report, page.as_of).await?;
    Ok(Json(EvidenceView {
        call: page.call,
        version: page.version,
        rules: report["rules"].clone(),
        as_of: instant::text(page.as_of),
        verdict: report["verdict"].clone(),
        recomputed,
        report,
        why,
        unseen,
        versions: versions.into_iter().map(VersionView::from).collect(),
        complete_through,
    }))
}

/// What could not be seen from the call's start to its end.
async fn unseen_of(
    api: &Api,
    caller: &Caller,
    report: &Value,
    as_of: Millis,
) -> Result<Vec<UnseenInterval>, Problem> {
    let start = report["call"]["start"].as_i64().unwrap_or(as_of);
    let end = report["call"]["end"].as_i64().unwrap_or(as_of);
    // One that is over as soon as it began has an instant all the same.
    let end = end.max(start.saturating_add(1));
    let time = DateTime::from_timestamp_millis;
    let (Some(from), Some(to)) = (time(start), time(end)) else {
        return Ok(Vec::new());
    };
    Ok(api.read(&caller.tenant).await?.unseen(from, to).await?)
}

#[derive(Serialize)]
pub(super) struct FactsView {
    call: String,
    tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    rules: Value,
    parameters: Parameters,
    facts: Vec<Fact>,
    /// ms since 1970.
    now: Millis,
    report: Value,
    complete_through: Option<String>,
}

pub(super) async fn facts(
    State(api): State<Api>,
    headers: HeaderMap,
    call: Result<Path<String>, PathRejection>,
    query: Result<Query<WhichQuery>, QueryRejection>,
) -> Result<Json<FactsView>, Problem> {
    let Found {
        caller,
        room,
        page,
        complete_through,
        ..
    } = find(&api, &headers, call, query).await?;
    drop(room);
    let (page, report) = match page.report.clone() {
        Some(stored) => (page, stored),
        None => {
            let (page, judged) = judge(page).await?;
            let judged = judged.ok_or_else(|| Problem::not_found(NOTHING_YET))?;
            (page, judged.report)
        }
    };
    Ok(Json(FactsView {
        call: page.call,
        tenant: caller.tenant.to_string(),
        version: page.version,
        rules: report.get("rules").cloned().unwrap_or_else(|| RULES.into()),
        parameters: Parameters::default(),
        facts: page.facts,
        now: page.as_of,
        report,
        complete_through,
    }))
}
