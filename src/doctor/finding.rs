//! The findings of the checks, and the report of all of them.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum FindingLevel {
    /// As it should be.
    Ok,
    /// It works, and should be improved.
    Warning,
    /// Something is broken, or will be.
    Error,
    /// It could not be checked.
    Unknown,
}

impl FindingLevel {
    /// The level of an age, by its maximum before a warning and before an error.
    pub(crate) fn of_age(age: TimeDelta, warning: TimeDelta, error: TimeDelta) -> Self {
        match age {
            age if age > error => Self::Error,
            age if age > warning => Self::Warning,
            _ => Self::Ok,
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub level: FindingLevel,
    pub sentence: String,
    /// A command, a setting, or a place to look at.
    pub remedy: Option<String>,
}

impl Finding {
    /// Creates a finding; one of level `Ok` has no remedy.
    pub(crate) fn new(
        level: FindingLevel,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level,
            sentence: sentence.into(),
            remedy: (level != FindingLevel::Ok).then(|| remedy.into()),
        }
    }

    pub(crate) fn ok(sentence: impl Into<String>) -> Self {
        Self::new(FindingLevel::Ok, sentence, "")
    }

    pub(crate) fn warning(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(FindingLevel::Warning, sentence, remedy)
    }

    pub(crate) fn error(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(FindingLevel::Error, sentence, remedy)
    }
}

/// The finding of a check, or the reason why the check could not be done.
pub(crate) type CheckResult = Result<Finding, String>;

/// A finding with its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckedFinding {
    /// The stable code of the check.
    pub code: &'static str,
    /// The topic or source, for a check of each.
    pub subject: Option<String>,
    #[serde(flatten)]
    pub finding: Finding,
}

impl CheckedFinding {
    pub(crate) fn new(code: &'static str, subject: Option<&str>, result: CheckResult) -> Self {
        Self {
            code,
            subject: subject.map(str::to_owned),
            finding: result.unwrap_or_else(|reason| Finding {
                level: FindingLevel::Unknown,
                sentence: format!("not checked: {reason}"),
                remedy: None,
            }),
        }
    }
}

/// All findings.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorReport {
    pub version: &'static str,
    pub at: String,
    pub errors: usize,
    pub warnings: usize,
    pub unknown: usize,
    pub findings: Vec<CheckedFinding>,
}

impl DoctorReport {
    pub(crate) fn new(at: DateTime<Utc>, findings: Vec<CheckedFinding>) -> Self {
        let levels = findings.iter().map(|it| it.finding.level);
        let count = |level| levels.clone().filter(|it| *it == level).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            at: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            errors: count(FindingLevel::Error),
            warnings: count(FindingLevel::Warning),
            unknown: count(FindingLevel::Unknown),
            findings,
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The report as text: one line per finding, followed by its remedy. Checks that could not be done
    /// for the same reason share one line at the end.
    pub(crate) fn text(&self) -> String {
        let widest = self.findings.iter().map(|it| it.code.len()).max();
        let width = widest.unwrap_or(0);
        let mut text = String::new();
        let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for CheckedFinding { code, subject, finding } in &self.findings {
            if finding.level == FindingLevel::Unknown {
                let codes = unknown.entry(&finding.sentence).or_default();
                if !codes.contains(code) {
                    codes.push(code);
                }
                continue;
            }
            let subject = subject.as_deref();
            let subject = subject.map_or_else(String::new, |subject| format!("{subject}: "));
            let level = finding.level;
            text += &format!("{level:<7}  {code:<width$}  {subject}{}\n", finding.sentence);
            for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
                text += &format!("         → {line}\n");
            }
        }
        for (sentence, codes) in unknown {
            text += &format!("unknown  {}: {sentence}\n", codes.join(", "));
        }
        text + &format!(
            "\n{}, {}, {} not checked, {} in all\n",
            number(self.errors, "error"),
            number(self.warnings, "warning"),
            self.unknown,
            self.findings.len()
        )
    }
}

/// `1 error`, `2 errors`.
pub(crate) fn number(count: impl TryInto<u64>, word: &str) -> String {
    let count = count.try_into().unwrap_or(0);
    match word.strip_suffix('y') {
        _ if count == 1 => format!("{count} {word}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {word}s"),
    }
}

/// The texts, separated by commas.
pub(crate) fn list(texts: impl IntoIterator<Item: ToString>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| text.to_string()).collect();
    texts.join(", ")
}

/// A time span in its two largest units; never negative.
pub(crate) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) if minutes % 60 == 0 => format!("{hours} h"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ if hours % 24 == 0 => format!("{days} d"),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<CheckedFinding> {
        let one_replica = Finding::warning("1 replica", "make more\nor live with it");
        let unavailable = || Err("Postgres is unavailable".to_owned());
        vec![
            CheckedFinding::new("settings.load", None, Ok(Finding::ok("1 source"))),
            CheckedFinding::new("kafka.replicas", Some("calling-events.v1"), Ok(one_replica)),
            CheckedFinding::new(
                "postgres.fsync",
                None,
                Ok(Finding::error("fsync is off", "set it on")),
            ),
            CheckedFinding::new("spool.age", None, unavailable()),
            CheckedFinding::new("stream.gaps", None, unavailable()),
            CheckedFinding::new("schema.version", None, Ok(Finding::ok("of this version"))),
        ]
    }

    #[test]
    fn a_report_counts_its_findings_and_has_their_remedies() {
        let report = DoctorReport::new(DateTime::UNIX_EPOCH, findings());
        assert!(report.has_errors());
        insta::assert_snapshot!(report.text(), @"
        ok       settings.load   1 source
        warning  kafka.replicas  calling-events.v1: 1 replica
                 → make more
                 → or live with it
        error    postgres.fsync  fsync is off
                 → set it on
        ok       schema.version  of this version
        unknown  spool.age, stream.gaps: not checked: Postgres is unavailable

        1 error, 1 warning, 2 not checked, 6 in all
        ");
    }

    #[test]
    fn warnings_and_checks_that_were_not_done_are_no_errors() {
        let findings = findings();
        let without = findings.into_iter().filter(|it| it.finding.level != FindingLevel::Error);
        assert!(!DoctorReport::new(DateTime::UNIX_EPOCH, without.collect()).has_errors());
    }

    #[test]
    fn a_report_is_json_with_stable_members() {
        let report = DoctorReport::new(DateTime::UNIX_EPOCH, findings());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["at"], "1970-01-01T00:00:00Z");
        assert_eq!(
            (&json["errors"], &json["warnings"], &json["unknown"]),
            (&1.into(), &1.into(), &2.into())
        );
        assert_eq!(
            json["findings"][1],
            serde_json::json!({
                "level": "warning", "code": "kafka.replicas", "subject": "calling-events.v1",
                "sentence": "1 replica", "remedy": "make more\nor live with it"
            })
        );
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, text) in [
            (-5, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), text);
        }
    }

    #[test]
    fn a_number_has_the_plural_of_its_word() {
        for (count, word, text) in [
            (1, "delivery", "1 delivery"),
            (2, "delivery", "2 deliveries"),
            (0, "key", "0 keys"),
            (3, "broker", "3 brokers"),
        ] {
            assert_eq!(number(count, word), text);
        }
    }
}
