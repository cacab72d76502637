//! The evidence of one good and of one bad call, as the server gives it: a table, and how to
//! recompute it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;

use super::commands;
use super::ground::Stage;
use super::screen::Screen;
use super::statements::Statements;
use crate::cli::evidence::Exported;
use crate::domain::instant::Millis;
use crate::simulator::{ReadError, Reader};

/// A call that is not judged after so long is passed over.
const JUDGED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(200);
/// Raw ids up to this length are written whole.
const SHORT: usize = 24;
/// Where nothing is to be said.
const NOTHING: &str = "–";

/// What a call is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    /// Everybody who had to be told was, and somebody had to be.
    Good,
    /// Somebody was not, or late.
    Bad,
}

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// Shows the first call of either sort.
pub(super) struct Exhibits {
    reader: Reader,
    key: String,
    program: String,
    screen: Screen,
    wanted: Mutex<BTreeSet<Sort>>,
}

impl Exhibits {
    pub fn new(stage: &Stage, screen: &Screen) -> anyhow::Result<Self> {
        Ok(Self {
            reader: Reader::new(&stage.url, stage.admin_key.clone())?,
            key: stage.admin_key.clone(),
            program: stage.program.display().to_string(),
            screen: screen.clone(),
            wanted: Mutex::new(BTreeSet::from([Sort::Good, Sort::Bad])),
        })
    }

    /// Shows a call that is over, once it is judged by all that was accepted of it, if such a one
    /// was not shown yet.
    pub async fn look_at(&self, call: &Statements, owed: &BTreeSet<String>) {
        if self.missing().is_empty() {
            return;
        }
        match self.exhibit(call, owed).await {
            Ok(Some(text)) => self.screen.say(&text),
            Ok(None) => {}
            Err(error) => self.screen.say(&error.to_string()),
        }
    }

    /// Of which sort none was shown yet.
    pub fn missing(&self) -> Vec<&'static str> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.iter().map(|sort| sort.name()).collect()
    }

    async fn exhibit(
        &self,
        call: &Statements,
        owed: &BTreeSet<String>,
    ) -> Result<Option<String>, ReadError> {
        let began = Instant::now();
        while !self.is_judged(&call.public_id, owed).await? {
            if began.elapsed() >= JUDGED_WITHIN {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
        let Some(account) = self.reader.evidence::<Account>(&call.public_id).await? else {
            return Ok(None);
        };
        let Some(sort) = account.sort() else {
            return Ok(None);
        };
        {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            if !wanted.remove(&sort) {
                return Ok(None);
            }
        }
        let detail = self.reader.call(&call.public_id).await?;
        let table = account.table(sort, call, &names(&detail.unwrap_or_default()));
        let commands = commands::of_evidence(
            &self.key,
            &self.reader.address_of(&call.public_id, "evidence"),
            &self.reader.address_of(&call.public_id, "facts"),
            &self.program,
        );
        Ok(Some(format!("{table}\n{commands}")))
    }

    /// Whether the end of a call, and all that the server owes, are in its stored report.
    async fn is_judged(&self, call: &str, owed: &BTreeSet<String>) -> Result<bool, ReadError> {
        let facts = self.reader.facts(call).await?;
        let exported = facts.and_then(|facts| Exported::read(&facts).ok());
        Ok(exported.is_some_and(|exported| {
            !exported.report["call"]["end"].is_null() && exported.fact_ids().is_superset(owed)
        }))
    }
}

/// What `GET /v1/calls/{call}/evidence` says; the members that matter here.
#[derive(Deserialize)]
struct Account {
    verdict: String,
    as_of: String,
    report: Report,
    why: Vec<Why>,
}

#[derive(Deserialize)]
struct Report {
    obligations: Vec<Obligation>,
}

#[derive(Deserialize)]
struct Obligation {
    session: String,
    r#type: String,
    due: Millis,
    told: Option<Millis>,
    exposure: Option<Millis>,
    status: String,
    consent: String,
}

#[derive(Deserialize)]
struct Why {
    session: String,
    r#type: String,
    due: Millis,
    rule: String,
}

impl Obligation {
    fn is_exception(&self) -> bool {
        matches!(
            self.status.as_str(),
            "LATE" | "UNCONFIRMED" | "UNDELIVERED" | "NOT_SENT"
        )
    }
}

impl Account {
    fn sort(&self) -> Option<Sort> {
        let any = |fits: fn(&Obligation) -> bool| self.report.obligations.iter().any(fits);
        match self.verdict.as_str() {
            "COMPLIANT" if any(|obligation| obligation.status == "MET") => Some(Sort::Good),
            "EXCEPTIONS" if any(Obligation::is_exception) => Some(Sort::Bad),
            _ => None,
        }
    }

    fn table(&self, sort: Sort, call: &Statements, names: &HashMap<String, String>) -> String {
        let who = |session: &str| {
            let name = names.get(session);
            name.map_or_else(|| short(session), Clone::clone)
        };
        let mut rows = vec![
            [
                "who",
                "type",
                "due (UTC)",
                "told",
                "exposure",
                "status",
                "consent",
            ]
            .map(str::to_owned),
        ];
        rows.extend(self.report.obligations.iter().map(|obligation| {
            [
                who(&obligation.session),
                obligation.r#type.clone(),
                time(Some(obligation.due)),
                time(obligation.told),
                obligation
                    .exposure
                    .map_or_else(|| NOTHING.to_owned(), |exposure| format!("{exposure} ms")),
                obligation.status.clone(),
                obligation.consent.clone(),
            ]
        }));
        let widths: [usize; 7] = std::array::from_fn(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let mut text = format!(
            "\nEvidence of a {} call, {} {}: {} as of {}\n\n",
            sort.name(),
            call.title,
            call.public_id,
            self.verdict,
            self.as_of
        );
        for row in rows {
            let cells = row.iter().zip(widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        let bad = self.report.obligations.iter().find(|it| it.is_exception());
        let why = bad.and_then(|bad| {
            let mut whys = self.why.iter();
            let why = whys.find(|why| {
                (&why.session, &why.r#type, why.due) == (&bad.session, &bad.r#type, bad.due)
            });
            why.map(|why| (bad, why))
        });
        if let Some((bad, why)) = why {
            let (who, status, capture) = (who(&bad.session), &bad.status, &bad.r#type);
            let _ = writeln!(
                text,
                "\nWhy {who} is {status} for the {capture}: {}",
                why.rule
            );
        }
        text
    }
}

fn time(at: Option<Millis>) -> String {
    let at = at.and_then(DateTime::from_timestamp_millis);
    at.map_or_else(
        || NOTHING.to_owned(),
        |at| at.format("%H:%M:%S%.3f").to_string(),
    )
}

/// What people call the sessions of a call.
fn names(detail: &Value) -> HashMap<String, String> {
    let participants = detail["participants"].as_array();
    let named = participants.into_iter().flatten().filter_map(|one| {
        let session = one["session"].as_str()?;
        let name = one["display_name"].as_str().map(str::to_owned);
        let name = name.or_else(|| one["raw_id"].as_str().map(short))?;
        Some((session.to_owned(), name))
    });
    named.collect()
}

/// A long id without its middle.
fn short(id: &str) -> String {
    let long = id.chars().count();
    if long <= SHORT {
        return id.to_owned();
    }
    let scheme = id
        .match_indices(':')
        .nth(1)
        .map_or("", |(at, _)| &id[..=at]);
    let tail: String = id.chars().skip(long - 12).collect();
    format!("{scheme}…{tail}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(verdict: &str, status: &str) -> Account {
        let obligation = |session: &str,
                          told: Option<Millis>,
                          exposure: Option<Millis>,
                          status: &str| {
            json!({"session": session, "type": "recording", "due": 1_795_000_000_000_i64, "told": told, "exposure": exposure, "status": status, "consent": "NOT_REQUIRED"})
        };
        let account = json!({
            "verdict": verdict, "as_of": "2026-11-18T11:06:50.000Z",
            "report": { "obligations": [
                obligation("p:1", Some(1_795_000_000_035), Some(35), "MET"),
                obligation("p:2", None, Some(4_000), status),
                obligation("r:4:+14255550123@1795000000000", None, None, "NOT_OURS"),
            ] },
            "why": [
                { "session": "p:1", "type": "recording", "due": 1_795_000_000_000_i64, "rule": "In time." },
                { "session": "p:2", "type": "recording", "due": 1_795_000_000_000_i64, "rule": "Nobody told them." },
            ],
        });
        serde_json::from_value(account).unwrap()
    }

    #[test]
    fn a_table_names_everybody_and_tells_why_one_was_not_told() {
        let detail = json!({ "participants": [
            { "session": "p:1", "display_name": "Ada Lindqvist", "raw_id": "8:acs:a_b" },
            { "session": "p:2", "display_name": null, "raw_id": "8:acs:0be2ef5c-8b43-4bc1-9f1a-3a8bd0ce6a4c_0000002a-1fb9-4878-07fd-0848220077e1" },
        ] });
        let call = Statements {
            title: "Teams meeting",
            public_id: "c".to_owned(),
            ..Statements::default()
        };
        let table = account("EXCEPTIONS", "NOT_SENT").table(Sort::Bad, &call, &names(&detail));
        let expected = "
Evidence of a bad call, Teams meeting c: EXCEPTIONS as of 2026-11-18T11:06:50.000Z

who                  type       due (UTC)     told          exposure  status    consent
Ada Lindqvist        recording  11:06:40.000  11:06:40.035  35 ms     MET       NOT_REQUIRED
8:acs:…0848220077e1  recording  11:06:40.000  –             4000 ms   NOT_SENT  NOT_REQUIRED
r:4:…795000000000    recording  11:06:40.000  –             –         NOT_OURS  NOT_REQUIRED

Why 8:acs:…0848220077e1 is NOT_SENT for the recording: Nobody told them.
";
        assert_eq!(table, expected);
    }

    #[test]
    fn good_is_a_call_in_which_somebody_was_told_and_bad_one_in_which_somebody_was_not() {
        for (verdict, status, sort) in [
            ("COMPLIANT", "BRIEF", Some(Sort::Good)),
            ("EXCEPTIONS", "LATE", Some(Sort::Bad)),
            ("UNOBSERVED", "MET", None),
            ("PENDING", "PENDING", None),
        ] {
            assert_eq!(account(verdict, status).sort(), sort, "{verdict}");
        }
    }
}
