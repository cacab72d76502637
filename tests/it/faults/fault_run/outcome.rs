//! What a fault run violated, from the answers and the entries.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use onrecord_simulator::EventGridCounts;

use super::fault::Downtime;
use super::load::{Attempt, RequestLog};

/// Maximum time of an answer of a running node, whatever its stores do. Event Grid waits 30 s.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(20);
/// Maximum number of named examples of a violation.
const MAX_EXAMPLES: usize = 5;

/// Violations of the guarantees, and the figures of the run.
#[derive(Debug, Default)]
pub struct Outcome {
    acknowledged: usize,
    answers: BTreeMap<Option<u16>, u64>,
    slowest: Duration,
    fates: EventGridCounts,
    missing: Vec<String>,
    violations: Vec<String>,
}

impl Outcome {
    /// `entries` holds how often each id was appended.
    pub fn of(
        requests: &RequestLog,
        fates: EventGridCounts,
        downtimes: &[Downtime],
        entries: &BTreeMap<String, u64>,
    ) -> Self {
        let mut violations = Vec::new();
        let mut violate = |what: &str, whom: Vec<String>| {
            if !whom.is_empty() {
                let named = whom.get(..MAX_EXAMPLES).unwrap_or(&whom).join("; ");
                violations.push(format!("{} {what}: {named}", whom.len()));
            }
        };
        let acknowledged = &requests.acknowledged;
        let missing = acknowledged.keys().filter(|id| !entries.contains_key(*id));
        let missing: Vec<String> = missing.cloned().collect();
        violate("acknowledged and not appended", missing.clone());
        let twice = entries.iter().filter(|(_, times)| **times > 1);
        violate(
            "appended more than once",
            twice.map(|(id, times)| format!("{id} ({times})")).collect(),
        );
        let first = requests.asked.iter().map(|asked| asked.at).min();
        let describe = |asked: &Attempt| {
            let Attempt { endpoint, node, took, .. } = asked;
            let after = first.map_or(Duration::ZERO, |first| asked.at - first);
            let answer = match asked.status {
                Some(status) => status.to_string(),
                None => asked.reason.clone(),
            };
            format!(
                "{after:.1?} after the first request, {endpoint} of node {node} after {took:.1?}: {answer}"
            )
        };
        let of_running_nodes = || {
            let asked = requests.asked.iter();
            asked.filter(|asked| !downtimes.iter().any(|downtime| downtime.covers(asked)))
        };
        let unexpected = requests.asked.iter().filter(|asked| {
            let fine = |status: u16| (200..=204).contains(&status) || status == 503;
            asked.status.is_some_and(|status| !fine(status))
        });
        violate("answers that are neither success nor 503", unexpected.map(describe).collect());
        let slow = of_running_nodes().filter(|asked| asked.took >= MAX_ANSWER_TIME);
        violate("late answers of a running node", slow.map(describe).collect());
        let silent = of_running_nodes().filter(|asked| asked.status.is_none());
        violate("requests without an answer of a running node", silent.map(describe).collect());
        if fates.dropped() > 0 {
            violate("events lost to status codes", vec![format!("{:?}", fates.dropped_for_status)]);
        }
        if fates.in_flight > 0 {
            violate("event grid has not ended", vec![format!("{fates:?}")]);
        }
        let mut answers = BTreeMap::new();
        for asked in &requests.asked {
            *answers.entry(asked.status).or_default() += 1;
        }
        Self {
            acknowledged: acknowledged.len(),
            answers,
            slowest: of_running_nodes().map(|asked| asked.took).max().unwrap_or_default(),
            fates,
            missing,
            violations,
        }
    }

    /// The ids that were acknowledged and not appended.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Fails if a guarantee was violated.
    pub fn assert_no_violations(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl Downtime {
    /// Whether the node was down during this request.
    fn covers(&self, asked: &Attempt) -> bool {
        self.node == asked.node && asked.at <= self.to && asked.at + asked.took >= self.from
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers: Vec<String> = self
            .answers
            .iter()
            .map(|(status, times)| match status {
                Some(status) => format!("{times} × {status}"),
                None => format!("{times} × none"),
            })
            .collect();
        writeln!(f, "answers: {}", answers.join(", "))?;
        writeln!(f, "slowest answer of a running node: {:.1?}", self.slowest)?;
        let fates = &self.fates;
        writeln!(
            f,
            "event grid: {} delivered ({} retried), {} expired, {} lost to status codes",
            fates.delivered,
            fates.retried,
            fates.expired,
            fates.dropped(),
        )?;
        write!(
            f,
            "{} events acknowledged, {} violations",
            self.acknowledged,
            self.violations.len()
        )?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

mod tests {
    use std::time::Instant;

    use super::*;

    fn asked(status: Option<u16>, seconds: u64) -> Attempt {
        Attempt {
            endpoint: "endpoint",
            node: 0,
            at: Instant::now(),
            took: Duration::from_secs(seconds),
            status,
            reason: String::new(),
        }
    }

    fn outcome(asked: Attempt, entries: &[(&str, u64)], downtimes: &[Downtime]) -> Vec<String> {
        let requests = RequestLog {
            asked: vec![asked],
            acknowledged: BTreeMap::from([("a".to_owned(), 1)]),
            refused: Vec::new(),
        };
        let entries = entries.iter().map(|(id, times)| ((*id).to_owned(), *times));
        Outcome::of(&requests, EventGridCounts::default(), downtimes, &entries.collect()).violations
    }

    #[test]
    fn each_broken_guarantee_is_a_violation_and_nothing_else_is() {
        let none: [String; 0] = [];
        assert_eq!(outcome(asked(Some(200), 1), &[("a", 1)], &[]), none);
        assert_eq!(outcome(asked(Some(503), 19), &[("a", 1), ("b", 1)], &[]), none);
        for (asked, entries) in [
            (asked(Some(200), 1), &[][..]),
            (asked(Some(200), 1), &[("a", 2)]),
            (asked(Some(200), 1), &[("a", 1), ("b", 2)]),
            (asked(Some(503), 20), &[("a", 1)]),
            (asked(None, 1), &[("a", 1)]),
            (asked(Some(401), 1), &[("a", 1)]),
            (asked(Some(500), 1), &[("a", 1)]),
        ] {
            assert_eq!(outcome(asked.clone(), entries, &[]).len(), 1, "{asked:?}");
        }
    }

    #[test]
    fn a_stopped_node_is_excused_for_missing_answers_only() {
        let silent = asked(None, 30);
        let away = Downtime {
            node: 0,
            from: silent.at + Duration::from_secs(29),
            to: silent.at + Duration::from_secs(40),
        };
        assert!(outcome(silent.clone(), &[("a", 1)], &[away]).is_empty());
        let another = Downtime { node: 1, ..away };
        assert!(!outcome(silent, &[("a", 1)], &[another]).is_empty());
    }
}
