//! `GET /v1/calls/{call}/evidence`, `/v1/calls/{call}/facts`.
//!
//! # Why
//!
//! *The answer shows the stored report, and checks it.* `recomputed` states whether the facts of the
//! version, read again, give the same report. An auditor who wants to repeat that check exports the
//! facts and runs `onrecord evidence recompute`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::readable_report::ReadableReport;
use crate::clock;
use crate::http::body::QueryParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timestamp::micros;
use crate::openapi::named_schemas::{
    CaptureTypeSchema, ConsentSchema, ExplanationSchema, FactSchema, ParametersSchema,
    ProofsSchema, ReportSchema, VerdictSchema, WitnessSchema,
};
use crate::openapi::problem_sets::{ApiKeyProblems, IdProblems, LimitProblems, SizeProblems};
use crate::postgres::{
    SessionDetailRow, UnseenInterval, VersionRow, VersionSelector, VersionWithFacts,
};
use crate::query::access_log::{Access, Logged};
use crate::query::context::{CallPath, Reader, Snapshot, instant, unknown_call};
use crate::query::time_range::parse_zone;
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::instant::{self, Millis};
use onrecord_evidence::fact::kinds::{CaptureType, Fact, Witness};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::report::evidence_report::{Evidence, RULES};
use onrecord_evidence::report::explanation::Explanation;
use onrecord_evidence::report::proof::SessionProofs;

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VersionQuery {
    /// An instant in the past, RFC 3339: the report of that instant by all facts that are known
    /// now. Not together with `version`.
    pub at: Option<String>,
    /// A stored version, one of the numbers in `versions`. Default: the latest one.
    #[param(value_type = Option<i32>, minimum = 1)]
    pub version: Option<String>,
    /// Of merged calls: the id that the call had when the version was made. Together with
    /// `version`.
    pub then: Option<String>,
    /// The time zone of the wall-clock times in `readable`: a name of the IANA database. Default:
    /// UTC.
    pub tz: Option<String>,
}

/// Maximum number of facts that are read for an answer.
const MAX_FACTS: i64 = 50_000;

/// Maximum number of versions in an answer, the latest first.
const MAX_LISTED_VERSIONS: i64 = 200;

impl VersionQuery {
    fn selector(&self) -> Result<VersionSelector, Problem> {
        if self.then.is_some() && self.version.is_none() {
            return Err(Problem::invalid("then", "then is given together with version"));
        }
        match (&self.at, &self.version) {
            (None, None) => Ok(VersionSelector::Latest),
            (Some(at), None) => {
                let at = instant("at", Some(at))?;
                let at = at.map(|at| at.timestamp_millis());
                // The result for a future instant would state deadlines as missed that may still be met.
                if at.is_some_and(|at| at > clock::now_ms()) {
                    return Err(Problem::invalid("at", "at is an instant in the past"));
                }
                Ok(at.map_or(VersionSelector::Latest, VersionSelector::At))
            }
            (None, Some(version)) => Ok(VersionSelector::Version {
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

/// The evidence of a call: its report, why each obligation has its status, and whether the facts
/// give the same report again.
#[derive(Serialize, ToSchema)]
#[schema(as = CallEvidence)]
pub(crate) struct EvidenceView {
    /// The id of the call when the version was made.
    call: String,
    /// The number of the version. Absent: the report was computed for this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    /// The version of the rules of evidence.
    #[schema(value_type = String)]
    rules: Value,
    /// The instant for which the report holds.
    #[schema(format = DateTime, required = true)]
    as_of: Option<String>,
    /// The verdict.
    #[schema(value_type = VerdictSchema)]
    verdict: Value,
    /// The consent of the participants; the verdict is about notice only. Null in a report of rules
    /// 1.
    #[schema(value_type = Option<ConsentSchema>, required = true)]
    consent: Value,
    /// Whether the facts, read again, give the stored report and proofs: `equal` or `different`.
    /// Absent: none are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    recomputed: Option<&'static str>,
    /// The report.
    #[schema(value_type = ReportSchema)]
    report: Value,
    /// The report with names, and with instants as wall-clock times.
    readable: ReadableReport,
    /// The explanation of each obligation, in the order of the report.
    why: Vec<ObligationExplanation>,
    /// Intervals of the call that were not observed, or were observed late.
    unseen: Vec<UnseenInterval>,
    /// The last 200 versions, newest first.
    versions: Vec<VersionRow>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Why an obligation has its status.
#[derive(Serialize, ToSchema)]
#[schema(as = ObligationExplanation)]
pub(crate) struct ObligationExplanation {
    /// The session that had to be notified.
    pub session: String,
    /// What is captured.
    #[schema(value_type = CaptureTypeSchema)]
    pub r#type: CaptureType,
    /// When the notice was due, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub due_at: Millis,
    /// How the clients of the session belong to the call. Null: no client reports.
    #[schema(value_type = Option<WitnessSchema>, required = true)]
    pub proof: Option<Witness>,
    #[serde(flatten)]
    #[schema(value_type = ExplanationSchema)]
    pub why: Explanation,
}

/// A report, with the proofs of its sessions and an explanation of each obligation.
struct ComputedReport {
    report: Value,
    proofs: SessionProofs,
    why: Vec<ObligationExplanation>,
}

fn compute_report(facts: &[Fact], as_of: Millis) -> Option<ComputedReport> {
    let evidence = Evidence::at(facts, as_of, &Parameters::default()).ok()?;
    let proofs = evidence.proofs();
    let obligations = evidence.report.obligations.iter();
    let why =
        obligations.zip(evidence.explanations()).map(|(obligation, why)| ObligationExplanation {
            session: obligation.session.clone(),
            r#type: obligation.capture_type,
            due_at: obligation.due_at,
            proof: proofs.of(&obligation.session),
            why,
        });
    Some(ComputedReport {
        why: why.collect(),
        proofs,
        report: serde_json::to_value(&evidence.report).ok()?,
    })
}

/// The requested version, and the snapshot in which it was read.
struct RequestedVersion {
    snapshot: Snapshot,
    found: VersionWithFacts,
    /// Id of the call now.
    call: String,
    anchors: Vec<String>,
    complete_through: Option<DateTime<Utc>>,
}

async fn find(
    reader: &Reader,
    call: &str,
    query: &VersionQuery,
) -> Result<RequestedVersion, Problem> {
    let selector = query.selector()?;
    let mut snapshot = reader.snapshot().await?;
    let call = snapshot.call_of(&Anchor::candidates(call)).await?.ok_or_else(unknown_call)?;
    let complete_through = snapshot.call_complete_through(&call).await?;
    let anchors = snapshot.anchors_of(&call).await?;
    let missing = match selector {
        VersionSelector::Version { .. } => {
            "the call has no version of this number; versions lists them"
        }
        VersionSelector::Latest | VersionSelector::At(_) => NO_FACTS,
    };
    if snapshot.has_more_facts(&anchors, MAX_FACTS).await? {
        return Err(too_many_facts());
    }
    let found = snapshot.version(&call, &anchors, selector).await?;
    let found = found.ok_or_else(|| Problem::not_found(missing))?;
    Ok(RequestedVersion { snapshot, found, call, anchors, complete_through })
}

fn too_many_facts() -> Problem {
    Problem::new(
        ProblemKind::AnswerTooLarge,
        format!(
            "the call has more than {MAX_FACTS} facts; page through its timeline, or let the operator run onrecord evidence show"
        ),
    )
}

const NO_FACTS: &str = "no event of this call by that instant is a fact for the rules of evidence: the call was offered or failed, but no participant is known to have been in it";

/// Computes the report on a thread for blocking work: a call may have tens of thousands of facts.
async fn compute_in_background(
    found: VersionWithFacts,
) -> Result<(VersionWithFacts, Option<ComputedReport>), Problem> {
    tokio::task::spawn_blocking(move || {
        let computed = compute_report(&found.facts, found.as_of);
        (found, computed)
    })
    .await
    .map_err(|_| Problem::new(ProblemKind::Internal, "the rules could not be applied"))
}

/// The evidence of a call: the stored report, what its facts give, and what stands beside it.
pub(crate) struct EvidenceReading {
    /// The version, with its facts. A report is stored, or computed for the request.
    pub found: VersionWithFacts,
    /// Id of the call now.
    pub call: String,
    /// The stored report, else the computed one.
    pub report: Value,
    /// Whether the facts give the stored report and proofs; `None`: none are stored.
    pub is_recomputed: Option<bool>,
    /// The explanation of each obligation.
    pub why: Vec<ObligationExplanation>,
    /// The sessions that the call has now.
    pub sessions: Vec<SessionDetailRow>,
    /// Intervals of the call that were not observed, or were observed late.
    pub unseen: Vec<UnseenInterval>,
    pub versions: Vec<VersionRow>,
    pub complete_through: Option<DateTime<Utc>>,
}

/// Reads the evidence of a call. The caller logs the access.
///
/// # Errors
///
/// A parameter is wrong, there is no such call or version, or the store does not answer.
pub(crate) async fn read_evidence(
    reader: &Reader,
    call: &str,
    query: &VersionQuery,
) -> Result<EvidenceReading, Problem> {
    let _turn = reader.whole_call_turn().await?;
    let RequestedVersion { mut snapshot, found, call, anchors, complete_through } =
        find(reader, call, query).await?;
    let sessions = snapshot.sessions_of(&call).await?;
    let versions = snapshot.versions(&call, &anchors, MAX_LISTED_VERSIONS).await?;
    // The whole answer is that of one snapshot. Of a report that is not stored, the times of the call
    // are known when it is computed: only then is the snapshot kept until then.
    let unseen = match &found.report {
        Some(stored) => {
            let unseen = unseen_of(&mut snapshot, stored, found.as_of).await?;
            drop(snapshot);
            Ok(unseen)
        }
        None => Err(snapshot),
    };
    let (mut found, computed) = compute_in_background(found).await?;
    let is_recomputed = found.report.as_ref().map(|stored| {
        let has_proofs = |of: &SessionProofs| found.proofs.as_ref().is_none_or(|it| it == of);
        computed.as_ref().is_some_and(|it| it.report == *stored && has_proofs(&it.proofs))
    });
    let (report, why) = match (found.report.take(), computed) {
        (Some(stored), computed) => (stored, computed.map(|it| it.why).unwrap_or_default()),
        (None, Some(computed)) => (computed.report, computed.why),
        (None, None) => return Err(Problem::not_found(NO_FACTS)),
    };
    let unseen = match unseen {
        Ok(unseen) => unseen,
        Err(mut snapshot) => unseen_of(&mut snapshot, &report, found.as_of).await?,
    };
    Ok(EvidenceReading {
        found,
        call,
        report,
        is_recomputed,
        why,
        sessions,
        unseen,
        versions,
        complete_through,
    })
}

/// Reads the evidence of a call.
///
/// The report, the same with names and wall-clock times, the reason of each obligation, and the
/// versions. The read is logged.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}/evidence",
    operation_id = "getEvidence",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("call" = String, Path, description = "Any id of the call, percent-encoded: call id, correlationId, serverCallId, callConnectionId, recordingId or attachment."),
        VersionQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The evidence.", body = EvidenceView),
        ApiKeyProblems,
        IdProblems,
        SizeProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn evidence(
    reader: Reader,
    CallPath(call): CallPath,
    QueryParameters(query): QueryParameters<VersionQuery>,
) -> Result<Logged<EvidenceView>, Problem> {
    let zone = parse_zone(query.tz.as_deref())?;
    let reading = read_evidence(&reader, &call, &query).await?;
    let EvidenceReading { found, call, report, .. } = reading;
    let view = EvidenceView {
        readable: ReadableReport::of(&report, &reading.sessions, zone),
        call: found.call,
        version: found.version,
        rules: report["rules"].clone(),
        as_of: instant::text(found.as_of),
        verdict: report["verdict"].clone(),
        consent: report["consent"].clone(),
        recomputed: reading.is_recomputed.map(|equal| if equal { "equal" } else { "different" }),
        report,
        why: reading.why,
        unseen: reading.unseen,
        versions: reading.versions,
        complete_through: reading.complete_through.map(micros),
    };
    Logged::of(&reader, Access::Call(call), view).await
}

/// Intervals between the start and the end of the call that were not observed.
async fn unseen_of(
    snapshot: &mut Snapshot,
    report: &Value,
    as_of: Millis,
) -> Result<Vec<UnseenInterval>, Problem> {
    let start = report["call"]["started_at"].as_i64().unwrap_or(as_of);
    let end = report["call"]["ended_at"].as_i64().unwrap_or(as_of);
    // A call that ends at its start is looked up for that millisecond.
    let end = end.max(start.saturating_add(1));
    let time = DateTime::from_timestamp_millis;
    let (Some(from), Some(to)) = (time(start), time(end)) else {
        return Ok(Vec::new());
    };
    Ok(snapshot.unseen(from, to).await?)
}

/// Exactly the facts that a report rests on, for `onrecord evidence recompute`.
#[derive(Serialize, ToSchema)]
#[schema(as = CallFacts)]
pub(crate) struct FactsView {
    /// The id of the call when the version was made.
    call: String,
    /// The tenant.
    tenant: String,
    /// The number of the version. Absent: the report was computed for this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    /// The version of the rules of evidence.
    #[schema(value_type = String)]
    rules: Value,
    /// The parameters of the rules.
    #[schema(value_type = ParametersSchema)]
    parameters: Parameters,
    /// The facts that the report rests on.
    #[schema(value_type = Vec<FactSchema>)]
    facts: Vec<Fact>,
    /// The instant of the report, in Unix milliseconds.
    #[schema(value_type = i64)]
    now: Millis,
    /// The report.
    #[schema(value_type = ReportSchema)]
    report: Value,
    /// The proof of each session with reports.
    #[schema(value_type = ProofsSchema)]
    proofs: SessionProofs,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Reads the facts of a report.
///
/// Exactly the facts that a report rests on, with the report, for `onrecord evidence recompute`.
/// The read is logged.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}/facts",
    operation_id = "getFacts",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("call" = String, Path, description = "Any id of the call, percent-encoded: call id, correlationId, serverCallId, callConnectionId, recordingId or attachment."),
        VersionQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The facts.", body = FactsView),
        ApiKeyProblems,
        IdProblems,
        SizeProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn facts(
    reader: Reader,
    CallPath(call): CallPath,
    QueryParameters(query): QueryParameters<VersionQuery>,
) -> Result<Logged<FactsView>, Problem> {
    let _turn = reader.whole_call_turn().await?;
    let RequestedVersion { snapshot, found, call, complete_through, .. } =
        find(&reader, &call, &query).await?;
    drop(snapshot);
    let (found, report, proofs) = match (found.report.clone(), found.proofs.clone()) {
        (Some(stored), Some(proofs)) => (found, stored, proofs),
        (stored, _) => {
            let (found, computed) = compute_in_background(found).await?;
            let computed = computed.ok_or_else(|| Problem::not_found(NO_FACTS))?;
            (found, stored.unwrap_or(computed.report), computed.proofs)
        }
    };
    let view = FactsView {
        call: found.call,
        tenant: reader.caller.tenant.to_string(),
        version: found.version,
        rules: report.get("rules").cloned().unwrap_or_else(|| RULES.into()),
        parameters: Parameters::default(),
        facts: found.facts,
        now: found.as_of,
        report,
        proofs,
        complete_through: complete_through.map(micros),
    };
    Logged::of(&reader, Access::Call(call), view).await
}
