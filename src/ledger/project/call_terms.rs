//! The terms of a call, by which lists of calls are filtered: what its projection says of each filter.
//!
//! The term of its exceptions is not among them: exceptions also change without a projection.

use std::collections::BTreeSet;

use serde_json::json;

use crate::postgres::CallRowSet;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::report::evidence_report::EvidenceReport;

/// The terms of a call with these rows and this report; `None`: its facts bear no report.
pub(super) fn call_terms(set: &CallRowSet, report: Option<&EvidenceReport>) -> BTreeSet<String> {
    let mut terms = BTreeSet::from([
        format!("call={}", set.call),
        format!("state={}", if set.ended_at.is_some() { "ended" } else { "open" }),
        format!("kind={}", set.kind.unwrap_or("unknown")),
    ]);
    terms.extend(set.group_id.iter().map(|group| format!("group={group}")));
    let length = set.ended_at.map(|ended| (ended - set.started_at).num_milliseconds());
    terms.extend(length.map(length_term));
    for app in &set.apps {
        // A filter names an app with its version or without.
        let name = app.split_once('/').map_or(app.as_str(), |(name, _)| name);
        terms.extend([format!("app={app}"), format!("app={name}")]);
    }
    for session in &set.sessions {
        terms.extend(session.raw_id.iter().map(|raw_id| format!("participant={raw_id}")));
        terms.extend(session.display_name.iter().map(|name| format!("name={name}")));
    }
    terms.extend(set.captures.iter().map(|capture| format!("type={}", capture.r#type)));
    if set.captures.is_empty() {
        terms.insert("type=none".to_owned());
    }
    if let Some(report) = report {
        terms.insert(format!("verdict={}", report.verdict.as_str()));
        terms.insert(format!("consent={}", <&str>::from(report.consent)));
    }
    terms
}

/// The range of lengths to which a length (ms) belongs: two ranges for each power of 2, named by the number of
/// binary digits and the second of them.
fn length_term(length_ms: i64) -> String {
    let length = u64::try_from(length_ms).unwrap_or(0).max(1);
    let digits = u64::BITS - length.leading_zeros();
    let second = if digits > 1 { (length >> (digits - 2)) & 1 } else { 0 };
    format!("length={digits:02}{second}")
}

/// The digest of the terms of a call, and of what statistics count of it besides.
pub(super) fn terms_digest(set: &CallRowSet) -> i64 {
    let content = json!([set.started_at, set.ended_at, set.end_presumed, set.terms]);
    let digest = Digest::of(content.to_string().as_bytes());
    digest.as_bytes().first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_power_of_two_has_two_ranges_of_lengths() {
        let named = [-5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 1 << 40].map(length_term);
        let expected = [
            "010", "010", "010", "020", "021", "030", "030", "031", "031", "040", "040", "041",
            "410",
        ];
        assert_eq!(named, expected.map(|range| format!("length={range}")));
    }
}
