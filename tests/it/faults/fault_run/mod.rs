//! The fault run: whatever fails, every acknowledged event is appended, once.
//!
//! [`fault`] draws what fails, [`load`] posts meanwhile, [`outcome`] states what was violated; [`webhooks`]
//! receives what is owed to a subscription.

mod fault;
mod load;
mod outcome;
mod webhooks;
mod whereabouts;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::faults::cluster::Cluster;
use crate::faults::cluster::node::Node;
use crate::support::azure::ALICE;
use crate::support::extend_time_limit;
use crate::support::requirements::print_line;
use fault::{PlannedFault, all_kinds, kinds_of, plan};
use load::Load;
use outcome::Outcome;
use webhooks::SubscribedReceiver;
use whereabouts::whereabouts;

/// Maximum time from the healing of the last fault until everything is appended.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);

/// The parameters of a run.
struct Run {
    seed: u64,
    faults: u64,
    nodes: usize,
    briefly: bool,
}

/// The run by the environment: `docs/testing.md` has the command.
const LONG_RUN: Run = Run { seed: 1, faults: 60, nodes: 2, briefly: false };

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_are_appended_once_under_the_short_fault_run() {
    Run::short().run().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes with its 60 faults"]
async fn acknowledged_events_are_appended_once_under_the_long_fault_run() {
    let from_environment = |name: &str, default: u64| match std::env::var(name) {
        Ok(number) => number.parse().unwrap(),
        Err(_) => default,
    };
    let nodes = from_environment("ONRECORD_TEST_FAULT_NODES", LONG_RUN.nodes as u64);
    let long = Run {
        seed: from_environment("ONRECORD_TEST_FAULT_SEED", LONG_RUN.seed),
        faults: from_environment("ONRECORD_TEST_FAULTS", LONG_RUN.faults),
        nodes: usize::try_from(nodes).unwrap(),
        ..LONG_RUN
    };
    long.run().await;
}

#[test]
fn both_fault_runs_draw_every_kind_of_fault() {
    for run in [Run::short(), LONG_RUN] {
        assert_eq!(
            kinds_of(&run.plan()),
            all_kinds(),
            "seed {} with {} faults does not cover every kind; choose another seed",
            run.seed,
            run.faults
        );
    }
}

impl Run {
    /// The run of every `cargo test`: of the first seed that draws every kind of fault.
    fn short() -> Self {
        (1..100_000)
            .map(|seed| Self { seed, faults: 8, nodes: 1, briefly: true })
            .find(|run| kinds_of(&run.plan()) == all_kinds())
            .expect("a seed draws every kind of fault")
    }

    fn plan(&self) -> Vec<PlannedFault> {
        plan(self.seed, self.faults, self.nodes, self.briefly)
    }

    /// A minute for each fault and its healing, and the time of a usual test for the rest.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(600 + 60 * self.faults)
    }

    async fn run(&self) {
        extend_time_limit(self.time_limit());
        let Some(mut cluster) = Cluster::open(self.nodes).await else {
            return;
        };
        let Self { seed, faults, nodes, .. } = self;
        print_line(&format!("{faults} faults on {nodes} nodes, seed {seed}"));
        let people = (0..100).map(|number| format!("{ALICE}-{number}"));
        let tokens = cluster.tokens(&people.collect::<Vec<_>>()).await;
        let addresses = cluster.nodes.iter().map(|node| node.url("")).collect();
        let subscribed = SubscribedReceiver::subscribe(&cluster).await;
        let load = Load::start(addresses, tokens, *seed);

        let began = Instant::now();
        let mut downtimes = Vec::new();
        for (number, planned) in (1..).zip(self.plan()) {
            let at = began.elapsed().as_secs_f64();
            let lasts = planned.lasts.as_secs_f64();
            print_line(&format!("{at:6.1} s  fault {number}: {} for {lasts:.1} s", planned.fault));
            downtimes.extend(cluster.injects(&planned).await);
            cluster.nodes.iter().for_each(Node::assert_runs);
            tokio::time::sleep(planned.rest).await;
        }
        print_line(&format!("{:6.1} s  all faults are healed", began.elapsed().as_secs_f64()));

        let healed = Instant::now();
        let (requests, fates) = load.end().await;
        let entries = loop {
            let entries = cluster.entries().await;
            let has_all = requests.acknowledged.keys().all(|id| entries.contains_key(id));
            if (has_all && cluster.spooled().await == 0) || healed.elapsed() > SETTLE_DEADLINE {
                break entries;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        print_line(&format!("{:6.1} s  everything is appended", began.elapsed().as_secs_f64()));
        let outcome = Outcome::of(&requests, fates, &downtimes, &entries);
        print_line(&format!("{outcome}\nstream gaps: {}", cluster.gaps().await.len()));
        if !outcome.missing().is_empty() {
            for line in whereabouts(&cluster, outcome.missing()).await {
                print_line(&line);
            }
        }
        outcome.assert_no_violations();
        assert_eq!(cluster.spooled().await, 0, "the spool is drained");
        subscribed.assert_owed_is_delivered(&cluster).await;
        print_line(&cluster.recomputes_every_verdict().await);
        cluster.close().await;
    }
}

impl Cluster {
    /// Recomputes every stored verdict from its facts. Returns the command's output.
    async fn recomputes_every_verdict(&self) -> String {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(["evidence", "recompute", "--tenant", "contoso", "--all"])
            .env("ONRECORD_DATABASE_URL", self.postgres.admin_url())
            .output()
            .await
            .unwrap();
        let output_text = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{output_text}{complained}");
        output_text
    }

    /// How often each id is appended.
    async fn entries(&self) -> BTreeMap<String, u64> {
        let counted: Vec<(String, i64)> =
            // An acknowledgement is stored under the client's own id.
            sqlx::query_as(
                "select ce_id, count(*) from entry group by ce_id
                 union all select fact ->> 'client_id', count(*) from notice_fact where fact ? 'client_id' group by 1",
            )
                .fetch_all(&self.database().await)
                .await
                .unwrap();
        let counted = counted.into_iter();
        counted.map(|(id, times)| (id, u64::try_from(times).unwrap())).collect()
    }
}
