//! The account of each call, compared with what it rests on.
//!
//! # Why
//!
//! The server says by itself whether a stored report is what its facts come to. It is not asked
//! here: the facts are exported, as anybody can, and the rules are applied to them once more. And
//! what a client was told is accepted must be among them (law 1).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::statements::Statements;
use crate::cli::evidence::Exported;
use crate::domain::ids::Tenant;
use crate::simulator::{Performance, ReadError, Reader, Script};

/// Between two looks at the facts.
const LOOK: Duration = Duration::from_millis(50);
/// What has not come after so long a silence does not come.
const SILENCE: Duration = Duration::from_secs(8);

/// The comparison, as far as it has come.
#[derive(Debug)]
pub(super) struct Accounts {
    tenant: Tenant,
    calls: BTreeMap<u64, Statements>,
    /// The facts that must be on record of each call.
    owed: BTreeMap<u64, BTreeSet<String>>,
    /// Of those, how many are.
    pub on_record: usize,
    /// How many stored reports are what their facts give.
    pub equal: usize,
    /// How many there are of each.
    pub verdicts: BTreeMap<String, usize>,
    pub differences: Vec<String>,
}

impl Accounts {
    pub fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            calls: BTreeMap::new(),
            owed: BTreeMap::new(),
            on_record: 0,
            equal: 0,
            verdicts: BTreeMap::new(),
            differences: Vec::new(),
        }
    }

    /// A call begins.
    pub fn begin(&mut self, script: &Script) {
        let statements = Statements::of(script, &self.tenant);
        self.calls.insert(script.number, statements);
    }

    /// All deliveries of a call have been answered.
    pub fn posted(&mut self, call: u64, performance: &Performance) {
        if let Some(statements) = self.calls.get(&call) {
            self.owed.insert(call, statements.owed(performance));
        }
    }

    /// How many acknowledgements were accepted.
    pub fn acknowledgements(&self) -> usize {
        self.owed.values().map(BTreeSet::len).sum()
    }

    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Reads the facts of every call, once all that was accepted is among them, or nothing comes
    /// any more.
    pub async fn read(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let mut last = Instant::now();
        let calls: Vec<(u64, String)> = self
            .calls
            .iter()
            .map(|(number, call)| (*number, call.public_id.clone()))
            .collect();
        for (number, public_id) in calls {
            let mut fewest = None;
            let facts = loop {
                let facts = reader.facts(&public_id).await?;
                let missing = self.missing(number, facts.as_deref());
                if missing == 0 {
                    last = Instant::now();
                    break facts;
                }
                if fewest.is_some_and(|fewest| missing < fewest) {
                    last = Instant::now();
                }
                fewest = Some(missing);
                if last.elapsed() >= SILENCE {
                    break facts;
                }
                tokio::time::sleep(LOOK).await;
            };
            self.compare(number, facts.as_deref());
        }
        Ok(())
    }

    /// How much is still to come, the report itself included.
    fn missing(&self, call: u64, facts: Option<&str>) -> usize {
        let owed = self.owed.get(&call).map_or(0, BTreeSet::len);
        match facts.map(Exported::read) {
            None => owed + 1,
            // It will not get better.
            Some(Err(_)) => 0,
            Some(Ok(exported)) => self.not_among(call, &exported).count(),
        }
    }

    fn not_among(&self, call: u64, exported: &Exported) -> impl Iterator<Item = &String> {
        let known = exported.fact_ids();
        let owed = self.owed.get(&call).into_iter().flatten();
        owed.filter(move |fact| !known.contains(*fact))
    }

    fn compare(&mut self, call: u64, facts: Option<&str>) {
        let Some(Statements {
            title, public_id, ..
        }) = self.calls.get(&call)
        else {
            return;
        };
        let of_call = format!("the call {public_id} ({title})");
        let Some(facts) = facts else {
            self.differences.push(format!("no report on {of_call}"));
            return;
        };
        let read = Exported::read(facts).and_then(|exported| {
            let changes = exported.differences()?;
            Ok((exported, changes))
        });
        let (exported, changes) = match read {
            Ok(read) => read,
            Err(error) => {
                self.differences
                    .push(format!("the facts of {of_call} are no facts: {error:#}"));
                return;
            }
        };
        let missing: Vec<String> = self
            .not_among(call, &exported)
            .map(|fact| format!("accepted, but not among the facts of {of_call}: {fact}"))
            .collect();
        let owed = self.owed.get(&call).map_or(0, BTreeSet::len);
        self.on_record += owed - missing.len();
        self.differences.extend(missing);
        *self.verdicts.entry(exported.verdict()).or_default() += 1;
        match changes.as_slice() {
            [] => self.equal += 1,
            [first, more @ ..] => self.differences.push(format!(
                "the stored report on {of_call} is not what its facts give: {first}, and {} more",
                more.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::evidence::evidence;
    use crate::domain::fact_json::read_facts;
    use crate::domain::parameters::Parameters;

    /// One call, of which the server owes one fact.
    fn accounts() -> Accounts {
        let mut accounts = Accounts::new(Tenant::parse("demo").unwrap());
        let script = Script {
            number: 0,
            title: "call",
            public_id: "c".to_owned(),
            anchors: BTreeSet::new(),
            deliveries: Vec::new(),
            changes: Vec::new(),
            length: 0,
        };
        accounts.begin(&script);
        accounts.owed.insert(0, BTreeSet::from(["owed".to_owned()]));
        accounts
    }

    fn exported(acknowledgement: &str) -> Value {
        let facts = json!([
            {"id": "1", "kind": "call.started", "t": 0},
            {"id": "2", "kind": "session.joined", "t": 0, "session": "s", "identity": "acs"},
            {"id": "3", "kind": "report", "t": 1_000, "session": "s", "reporter": "r", "sequence": 1, "recording": "on"},
            {"id": acknowledgement, "kind": "notice.displayed", "t": 1_050, "session": "s", "type": "recording", "state": "on"},
            {"id": "4", "kind": "call.ended", "t": 9_000},
        ]);
        let report = evidence(
            &read_facts(facts.clone()).unwrap(),
            9_500,
            &Parameters::default(),
        );
        let report = serde_json::to_value(report.unwrap()).unwrap();
        json!({"call": "c", "tenant": "demo", "rules": "1", "facts": facts, "now": 9_500, "report": report})
    }

    #[test]
    fn a_report_that_its_facts_give_is_equal_and_what_was_accepted_is_on_record() {
        let mut accounts = accounts();
        accounts.compare(0, Some(&exported("owed").to_string()));
        assert_eq!(accounts.differences, Vec::<String>::new());
        assert_eq!((accounts.equal, accounts.on_record), (1, 1));
        assert_eq!(accounts.verdicts.values().sum::<usize>(), 1);
    }

    #[test]
    fn another_report_a_lost_acknowledgement_and_no_report_are_differences() {
        let mut changed = exported("owed");
        changed["report"]["verdict"] = json!("EXCEPTIONS");
        changed["report"]["obligations"][0]["status"] = json!("LATE");
        for (facts, said) in [
            (Some(changed.to_string()), "is not what its facts give"),
            (
                Some(exported("another").to_string()),
                "accepted, but not among the facts",
            ),
            (Some("{}".to_owned()), "are no facts"),
            (None, "no report on the call c (call)"),
        ] {
            let mut accounts = accounts();
            accounts.compare(0, facts.as_deref());
            assert!(
                matches!(&accounts.differences[..], [one] if one.contains(said)),
                "{said}: {:?}",
                accounts.differences
            );
        }
    }
}
