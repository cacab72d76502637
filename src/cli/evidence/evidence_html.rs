//! The evidence of one call as an HTML page: the document of the console, as a file without references.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::console::report::report_document::{
    ReportReason, ReportSource, ShownWords, report_file,
};
use crate::postgres::{SessionDetailRow, UnseenInterval, VersionWithFacts};
use onrecord_evidence::report::evidence_report::Evidence;

/// What the page is made of besides the evidence.
pub(super) struct PageSource<'a> {
    pub tenant: &'a str,
    /// Id of the call now.
    pub call: &'a str,
    pub version: &'a VersionWithFacts,
    pub sessions: &'a [SessionDetailRow],
    pub shown_words: Vec<ShownWords>,
    pub unseen: &'a [UnseenInterval],
    pub complete_through: Option<DateTime<Utc>>,
    pub zone: Tz,
}

/// The page of a version, and of what its facts give.
///
/// # Errors
///
/// The page cannot be made.
pub(super) fn page(source: PageSource<'_>, evidence: &Evidence<'_>) -> anyhow::Result<String> {
    let recomputed = serde_json::to_value(&evidence.report)?;
    let proofs = evidence.proofs();
    let obligations = evidence.report.obligations.iter();
    let reasons = obligations.zip(evidence.explanations()).map(|(it, explanation)| ReportReason {
        session: it.session.clone(),
        capture_type: it.capture_type,
        due_at: it.due_at,
        proof: proofs.of(&it.session),
        explanation,
    });
    let stored = source.version.report.as_ref();
    report_file(ReportSource {
        tenant: source.tenant,
        call: source.call,
        report: stored.unwrap_or(&recomputed),
        facts: &source.version.facts,
        sessions: source.sessions,
        reasons: reasons.collect(),
        shown_words: source.shown_words,
        unseen: source.unseen,
        version: source.version.version,
        is_recomputed: stored.map(|stored| *stored == recomputed),
        as_of: source.version.as_of,
        complete_through: source.complete_through,
        zone: source.zone,
    })
    .map_err(anyhow::Error::msg)
}
