//! What must hold, whatever happened: judged from what was answered and what was entered.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use onrecord::simulator::Fates;

use super::fault::Absence;
use super::load::{Asked, Remembered};

/// A live node answers within this time, whatever its stores do: Event Grid waits 30 s.
const SLOWEST: Duration = Duration::from_secs(20);
/// So many of each offence are told.
const TOLD: usize = 5;

/// Offences against the laws, and what else is worth a word.
#[derive(Debug, Default)]
pub struct Verdict {
    acknowledged: usize,
    answers: BTreeMap<Option<u16>, u64>,
    slowest: Duration,
    fates: Fates,
    offences: Vec<String>,
}

impl Verdict {
    /// `entries` says how often each id was entered.
    pub fn of(
        remembered: &Remembered,
        fates: Fates,
        absences: &[Absence],
        entries: &BTreeMap<String, u64>,
    ) -> Self {
        let mut offences = Vec::new();
        let mut offend = |what: &str, whom: Vec<String>| {
            if !whom.is_empty() {
                let named = whom.get(..TOLD).unwrap_or(&whom).join("; ");
                offences.push(format!("{} {what}: {named}", whom.len()));
            }
        };
        let acknowledged = &remembered.acknowledged;
        let missing = acknowledged.keys().filter(|id| !entries.contains_key(*id));
        offend("acknowledged and not entered", missing.cloned().collect());
        let twice = entries.iter().filter(|(_, times)| **times > 1);
        offend(
            "entered more than once",
            twice.map(|(id, times)| format!("{id} ({times})")).collect(),
        );
        let tell = |asked: &Asked| {
            let Asked {
                door, node, took, ..
            } = asked;
            let answer = match asked.status {
                Some(status) => status.to_string(),
                None => asked.why.clone(),
            };
            format!("{door} of node {node} after {took:.1?}: {answer}")
        };
        let of_live_nodes = || {
            let asked = remembered.asked.iter();
            asked.filter(|asked| !absences.iter().any(|absence| absence.excuses(asked)))
        };
        let strange = remembered.asked.iter().filter(|asked| {
            let fine = |status: u16| (200..=204).contains(&status) || status == 503;
            asked.status.is_some_and(|status| !fine(status))
        });
        offend(
            "answers that are neither success nor 503",
            strange.map(tell).collect(),
        );
        let slow = of_live_nodes().filter(|asked| asked.took >= SLOWEST);
        offend("answers of a live node too late", slow.map(tell).collect());
        let silent = of_live_nodes().filter(|asked| asked.status.is_none());
        offend(
            "requests without an answer of a live node",
            silent.map(tell).collect(),
        );
        if fates.lost() > 0 {
            offend(
                "events lost to status codes",
                vec![format!("{:?}", fates.lost_to_status)],
            );
        }
        if fates.on_the_way > 0 {
            offend("event grid has not ended", vec![format!("{fates:?}")]);
        }
        let mut answers = BTreeMap::new();
        for asked in &remembered.asked {
            *answers.entry(asked.status).or_default() += 1;
        }
        Self {
            acknowledged: acknowledged.len(),
            answers,
            slowest: of_live_nodes()
                .map(|asked| asked.took)
                .max()
                .unwrap_or_default(),
            fates,
            offences,
        }
    }

    /// Fails if a law was broken.
    pub fn must_be_clean(&self) {
        assert!(self.offences.is_empty(), "{self}");
    }
}

impl Absence {
    /// Whether the node was away while this request went on.
    fn excuses(&self, asked: &Asked) -> bool {
        self.node == asked.node && asked.at <= self.to && asked.at + asked.took >= self.from
    }
}

impl fmt::Display for Verdict {
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
        writeln!(f, "slowest answer of a live node: {:.1?}", self.slowest)?;
        let fates = &self.fates;
        writeln!(
            f,
            "event grid: {} delivered ({} retried), {} expired, {} lost to status codes",
            fates.delivered,
            fates.retried,
            fates.expired,
            fates.lost(),
        )?;
        write!(
            f,
            "{} events acknowledged, {} offences",
            self.acknowledged,
            self.offences.len()
        )?;
        for offence in &self.offences {
            write!(f, "\n  {offence}")?;
        }
        Ok(())
    }
}

mod tests {
    use std::time::Instant;

    use super::*;

    fn asked(status: Option<u16>, seconds: u64) -> Asked {
        Asked {
            door: "door",
            node: 0,
            at: Instant::now(),
            took: Duration::from_secs(seconds),
            status,
            why: String::new(),
        }
    }

    fn verdict(asked: Asked, entries: &[(&str, u64)], absences: &[Absence]) -> Vec<String> {
        let remembered = Remembered {
            asked: vec![asked],
            acknowledged: BTreeMap::from([("a".to_owned(), 1)]),
            refused: Vec::new(),
        };
        let entries = entries.iter().map(|(id, times)| ((*id).to_owned(), *times));
        Verdict::of(&remembered, Fates::default(), absences, &entries.collect()).offences
    }

    #[test]
    fn what_breaks_a_law_is_an_offence_and_nothing_else_is() {
        let none: [String; 0] = [];
        assert_eq!(verdict(asked(Some(200), 1), &[("a", 1)], &[]), none);
        assert_eq!(
            verdict(asked(Some(503), 19), &[("a", 1), ("b", 1)], &[]),
            none
        );
        for (asked, entries) in [
            (asked(Some(200), 1), &[][..]),
            (asked(Some(200), 1), &[("a", 2)]),
            (asked(Some(200), 1), &[("a", 1), ("b", 2)]),
            (asked(Some(503), 20), &[("a", 1)]),
            (asked(None, 1), &[("a", 1)]),
            (asked(Some(401), 1), &[("a", 1)]),
            (asked(Some(500), 1), &[("a", 1)]),
        ] {
            assert_eq!(verdict(asked.clone(), entries, &[]).len(), 1, "{asked:?}");
        }
    }

    #[test]
    fn a_node_that_was_away_is_excused_for_its_silence_only() {
        let silent = asked(None, 30);
        let away = Absence {
            node: 0,
            from: silent.at + Duration::from_secs(29),
            to: silent.at + Duration::from_secs(40),
        };
        assert!(verdict(silent.clone(), &[("a", 1)], &[away]).is_empty());
        let another = Absence { node: 1, ..away };
        assert!(!verdict(silent, &[("a", 1)], &[another]).is_empty());
    }
}
