//! What the doctor says: findings, and all of them together.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use crate::store::Look;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and should be otherwise.
    Warning,
    /// Something is broken, or will be.
    Error,
    /// It could not be looked at.
    Unknown,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub level: Level,
    /// Stable: what was looked at.
    pub code: &'static str,
    /// Which one, where there are several: a topic, a source.
    pub subject: Option<String>,
    pub sentence: String,
    /// A command, a setting, or what to look at.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(level: Level, code: &'static str, sentence: String, remedy: Option<String>) -> Self {
        Self {
            level,
            code,
            subject: None,
            sentence,
            remedy,
        }
    }

    pub fn ok(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(Level::Ok, code, sentence.into(), None)
    }

    pub fn warning(
        code: &'static str,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, code, sentence.into(), Some(remedy.into()))
    }

    pub fn error(
        code: &'static str,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Error, code, sentence.into(), Some(remedy.into()))
    }

    pub fn unknown(code: &'static str, why: &str) -> Self {
        Self::new(Level::Unknown, code, format!("not looked at: {why}"), None)
    }

    /// The same, of one of several.
    pub fn of(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }
}

/// The finding on what was seen, or that it was not.
pub(super) fn looked<T>(
    code: &'static str,
    look: &Look<T>,
    judge: impl FnOnce(&T) -> Finding,
) -> Finding {
    match look {
        Ok(seen) => judge(seen),
        Err(why) => Finding::unknown(code, why),
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    at: String,
    errors: usize,
    warnings: usize,
    unknown: usize,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(at: DateTime<Utc>, findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|found| found.level == level).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            at: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            errors: count(Level::Error),
            warnings: count(Level::Warning),
            unknown: count(Level::Unknown),
            findings,
        }
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// For people: a line each, and one more for what to do. What was not looked at for one reason
    /// is one line at the end.
    pub fn text(&self) -> String {
        let widest = self.findings.iter().map(|found| found.code.len()).max();
        let width = widest.unwrap_or(0);
        let mut text = String::new();
        let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for found in &self.findings {
            if found.level == Level::Unknown {
                let codes = unknown.entry(&found.sentence).or_default();
                if !codes.contains(&found.code) {
                    codes.push(found.code);
                }
                continue;
            }
            let subject = found.subject.as_deref();
            let subject = subject.map_or_else(String::new, |subject| format!("{subject}: "));
            let (level, code) = (found.level.as_str(), found.code);
            text += &format!("{level:<7}  {code:<width$}  {subject}{}\n", found.sentence);
            if let Some(remedy) = &found.remedy {
                for line in remedy.lines() {
                    text += &format!("         → {line}\n");
                }
            }
        }
        for (sentence, codes) in unknown {
            text += &format!("unknown  {}: {sentence}\n", codes.join(", "));
        }
        text + &format!(
            "\n{}, {}, {} not looked at, {} in all\n",
            number(self.errors, "error"),
            number(self.warnings, "warning"),
            self.unknown,
            self.findings.len()
        )
    }
}

/// `1 error`, `2 errors`.
pub(super) fn number(count: impl TryInto<u64>, word: &str) -> String {
    let count = count.try_into().unwrap_or(0);
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A time span in the two largest units that say something; never negative.
pub(super) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let with = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large} {unit}")
        } else {
            format!("{large} {unit} {small} {small_unit}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => with(minutes, "min", 0, ""),
        (0, hours, minutes) => with(hours, "h", minutes % 60, "min"),
        (days, hours, _) => with(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("settings.load", "1 source"),
            Finding::warning("kafka.replicas", "1 replica", "make more\nor live with it")
                .of("calling-events.v1"),
            Finding::error("postgres.fsync", "fsync is off", "set it on"),
            Finding::unknown("spool.age", "Postgres is away"),
            Finding::unknown("stream.gaps", "Postgres is away"),
            Finding::ok("schema.version", "of this version"),
        ]
    }

    #[test]
    fn a_report_counts_and_says_what_to_do() {
        let report = Report::new(DateTime::UNIX_EPOCH, findings());
        assert!(report.has_errors());
        insta::assert_snapshot!(report.text(), @"
        ok       settings.load   1 source
        warning  kafka.replicas  calling-events.v1: 1 replica
                 → make more
                 → or live with it
        error    postgres.fsync  fsync is off
                 → set it on
        ok       schema.version  of this version
        unknown  spool.age, stream.gaps: not looked at: Postgres is away

        1 error, 1 warning, 2 not looked at, 6 in all
        ");
    }

    #[test]
    fn warnings_and_what_was_not_seen_are_no_errors() {
        let findings = findings();
        let without = findings.into_iter().filter(|f| f.level != Level::Error);
        assert!(!Report::new(DateTime::UNIX_EPOCH, without.collect()).has_errors());
    }

    #[test]
    fn a_report_is_json_with_stable_members() {
        let report = Report::new(DateTime::UNIX_EPOCH, findings());
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
    fn spans_are_said_in_the_units_that_matter() {
        for (seconds, said) in [
            (-5, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), said);
        }
    }
}
