//! The fault run: whatever fails, what was acknowledged is entered, once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::fault::plan;
use super::load::Load;
use super::verdict::Verdict;
use crate::azure::ALICE;
use crate::kafka::tell;

/// After the last fault is healed, everything must be entered within this time.
const SETTLED: Duration = Duration::from_secs(90);

/// What a run is like.
struct Run {
    seed: u64,
    faults: u64,
    nodes: usize,
    briefly: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_entered_once_under_eight_faults() {
    let short = Run {
        // Drawn, it has every kind of fault.
        seed: 54,
        faults: 8,
        nodes: 1,
        briefly: true,
    };
    short.holds().await;
}

/// The long one, by the environment: README.md, "Tests", has the command.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes with its 60 faults"]
async fn what_was_acknowledged_is_entered_once_under_many_faults() {
    let from_environment = |name: &str, usual: u64| match std::env::var(name) {
        Ok(number) => number.parse().unwrap(),
        Err(_) => usual,
    };
    let long = Run {
        seed: from_environment("ONRECORD_TEST_FAULT_SEED", 1),
        faults: from_environment("ONRECORD_TEST_FAULTS", 60),
        nodes: usize::try_from(from_environment("ONRECORD_TEST_FAULT_NODES", 2)).unwrap(),
        briefly: false,
    };
    long.holds().await;
}

impl Run {
    async fn holds(&self) {
        let Some(mut bench) = Bench::open(self.nodes).await else {
            return;
        };
        let Self {
            seed,
            faults,
            nodes,
            ..
        } = self;
        tell(&format!("{faults} faults on {nodes} nodes, seed {seed}"));
        let people = (0..100).map(|number| format!("{ALICE}-{number}"));
        let tokens = bench.tokens(&people.collect::<Vec<_>>()).await;
        let addresses = bench.nodes.iter().map(|node| node.url("")).collect();
        let load = Load::start(addresses, tokens, *seed);

        let began = Instant::now();
        let mut absences = Vec::new();
        for (number, planned) in (1..).zip(plan(*seed, *faults, *nodes, self.briefly)) {
            let at = began.elapsed().as_secs_f64();
            let lasts = planned.lasts.as_secs_f64();
            tell(&format!(
                "{at:6.1} s  fault {number}: {} for {lasts:.1} s",
                planned.fault
            ));
            absences.extend(bench.suffers(&planned).await);
            tokio::time::sleep(planned.rest).await;
        }
        tell(&format!(
            "{:6.1} s  all is healed",
            began.elapsed().as_secs_f64()
        ));

        let healed = Instant::now();
        let (remembered, fates) = load.end().await;
        let entries = loop {
            let entries = bench.entries().await;
            let has_all = remembered
                .acknowledged
                .keys()
                .all(|id| entries.contains_key(id));
            if (has_all && bench.spooled().await == 0) || healed.elapsed() > SETTLED {
                break entries;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        tell(&format!(
            "{:6.1} s  all is entered",
            began.elapsed().as_secs_f64()
        ));
        let verdict = Verdict::of(&remembered, fates, &absences, &entries);
        tell(&format!(
            "{verdict}\nstream gaps: {}",
            bench.gaps().await.len()
        ));
        verdict.must_be_clean();
        assert_eq!(bench.spooled().await, 0, "the spool is drained");
        bench.close().await;
    }
}

impl Bench {
    /// How often each id is entered.
    async fn entries(&self) -> BTreeMap<String, u64> {
        let counted: Vec<(String, i64)> =
            sqlx::query_as("select ce_id, count(*) from entry group by ce_id union all select fact ->> 'client_id', count(*) from notice_fact where fact ? 'client_id' group by 1")
                .fetch_all(&self.database().await)
                .await
                .unwrap();
        let counted = counted.into_iter();
        counted
            .map(|(id, times)| (id, u64::try_from(times).unwrap()))
            .collect()
    }
}
