//! The faults of a run: drawn from a seed, injected, and healed.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use onrecord_devstack::PostgresShutdown;
use onrecord_simulator::SeededRng;

use crate::faults::cluster::Cluster;
use crate::faults::cluster::proxy::{Direction, Flow};

/// A fault, how long it lasts, and the rest after it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFault {
    pub fault: Fault,
    pub lasts: Duration,
    /// Time between its healing and the next fault.
    pub rest: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    NodeKilled(usize),
    NodePaused(usize),
    Kafka(StoreFault),
    Postgres(StoreFault),
    Both(StoreFault, StoreFault),
}

/// A fault of a store, or of the network to it.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreFault {
    Killed,
    Paused,
    /// Kafka in order, Postgres at once.
    Stopped,
    /// Unreachable for this node, or for all.
    Cut(Option<usize>),
    /// One direction is silent or late, for this node or for all.
    Silent(Option<usize>, Direction, Flow),
}

const SLOW: Flow = Flow::Delay(Duration::from_millis(700));

/// Draws so many faults on so many nodes. With `briefly`, none lasts long.
pub fn plan(seed: u64, faults: u64, nodes: usize, briefly: bool) -> Vec<PlannedFault> {
    (0..faults)
        .map(|number| {
            let mut rng = SeededRng::new(seed, "fault", number);
            let fault = draw(nodes, &mut rng);
            let spans = if briefly {
                [(500, 2_000), (1_000, 3_000), (2_000, 4_000)]
            } else {
                // The last one outlasts a lease.
                [(500, 2_500), (2_500, 5_000), (5_000, 18_000)]
            };
            // Long faults are rare.
            let kind = [0, 0, 0, 0, 1, 1, 1, 1, 1, 2];
            let (least, most) = spans[rng.one_of(kind)];
            PlannedFault {
                fault,
                lasts: millis(rng.between(least, most)),
                rest: millis(rng.between(300, 2_500)),
            }
        })
        .collect()
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap())
}

fn draw(nodes: usize, rng: &mut SeededRng) -> Fault {
    let one = |rng: &mut SeededRng| {
        let last = i64::try_from(nodes).unwrap() - 1;
        usize::try_from(rng.between(0, last)).unwrap()
    };
    match rng.between(0, 11) {
        0 | 1 => Fault::NodeKilled(one(rng)),
        2 | 3 => Fault::NodePaused(one(rng)),
        4..=6 => Fault::Kafka(store_fault(nodes, rng)),
        7..=9 => Fault::Postgres(store_fault(nodes, rng)),
        _ => Fault::Both(store_fault(nodes, rng), store_fault(nodes, rng)),
    }
}

fn store_fault(nodes: usize, rng: &mut SeededRng) -> StoreFault {
    let of = |rng: &mut SeededRng| {
        let drawn = rng.between(0, i64::try_from(nodes).unwrap());
        usize::try_from(drawn).ok().filter(|node| *node < nodes)
    };
    match rng.between(0, 8) {
        0 | 1 => StoreFault::Killed,
        2 | 3 => StoreFault::Paused,
        4 => StoreFault::Stopped,
        5 => StoreFault::Cut(of(rng)),
        _ => {
            let direction = rng.one_of([Direction::ToServer, Direction::ToClient]);
            StoreFault::Silent(
                of(rng),
                direction,
                rng.one_of([Flow::Hold, Flow::Hold, Flow::Swallow, Flow::Swallow, SLOW]),
            )
        }
    }
}

/// When a node could not answer, from its fault to its restart.
#[derive(Clone, Copy, Debug)]
pub struct Downtime {
    pub node: usize,
    pub from: Instant,
    pub to: Instant,
}

impl Cluster {
    /// Injects a fault, waits, and heals it. Returns the downtime of a node, if there was one.
    pub async fn injects(&mut self, planned: &PlannedFault) -> Option<Downtime> {
        let from = Instant::now();
        match &planned.fault {
            Fault::NodeKilled(node) => self.nodes[*node].kill().await,
            Fault::NodePaused(node) => self.nodes[*node].pause(),
            Fault::Kafka(store_fault) => self.injects_kafka_fault(store_fault).await,
            Fault::Postgres(store_fault) => self.injects_postgres_fault(store_fault).await,
            Fault::Both(kafka, postgres) => {
                self.injects_kafka_fault(kafka).await;
                self.injects_postgres_fault(postgres).await;
            }
        }
        tokio::time::sleep(planned.lasts).await;
        let away = |node: usize| Some(Downtime { node, from, to: Instant::now() });
        match planned.fault {
            Fault::NodeKilled(node) => {
                self.nodes[node].start_again().await;
                away(node)
            }
            Fault::NodePaused(node) => {
                self.nodes[node].resume();
                away(node)
            }
            Fault::Kafka(_) | Fault::Postgres(_) | Fault::Both(..) => {
                self.heal_stores().await;
                None
            }
        }
    }

    async fn injects_kafka_fault(&mut self, store_fault: &StoreFault) {
        match store_fault {
            StoreFault::Killed => self.kafka.kill().await,
            StoreFault::Paused => self.kafka.pause(),
            StoreFault::Stopped => self.kafka.stop().await,
            network_fault => disturb(&self.to_kafka, network_fault),
        }
    }

    async fn injects_postgres_fault(&mut self, store_fault: &StoreFault) {
        match store_fault {
            StoreFault::Killed => self.postgres.stop_server(PostgresShutdown::Kill).await,
            StoreFault::Paused => self.postgres.pause(),
            StoreFault::Stopped => self.postgres.stop_server(PostgresShutdown::Immediate).await,
            network_fault => disturb(&self.to_postgres, network_fault),
        }
    }

    /// Heals every fault of the stores and of the network.
    pub async fn heal_stores(&mut self) {
        for proxy in self.to_kafka.iter().chain(&self.to_postgres) {
            proxy.heal();
        }
        self.kafka.resume();
        self.postgres.resume();
        // Another process may hold the port for a moment.
        for tries_left in (0..10).rev() {
            let started = self.postgres.start_server().await;
            assert!(tries_left > 0 || started.is_ok(), "{started:?}");
            if started.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if !self.kafka.is_running() {
            self.kafka.start_again().await.unwrap();
        }
    }
}

fn disturb(links: &[crate::faults::cluster::proxy::Proxy], store_fault: &StoreFault) {
    let (StoreFault::Cut(whose) | StoreFault::Silent(whose, ..)) = store_fault else {
        return;
    };
    let touched =
        links.iter().enumerate().filter(|(node, _)| whose.is_none_or(|whose| whose == *node));
    for (_, proxy) in touched {
        match store_fault {
            StoreFault::Silent(_, direction, flow) => proxy.set(*direction, *flow),
            _ => proxy.cut(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeKilled(node) => write!(f, "node {node} killed"),
            Self::NodePaused(node) => write!(f, "node {node} paused"),
            Self::Kafka(store_fault) => write!(f, "kafka {store_fault}"),
            Self::Postgres(store_fault) => write!(f, "postgres {store_fault}"),
            Self::Both(kafka, postgres) => {
                write!(f, "both stores: kafka {kafka}, postgres {postgres}")
            }
        }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = |whose: &Option<usize>| match whose {
            Some(node) => format!("node {node}"),
            None => "all nodes".to_owned(),
        };
        match self {
            Self::Killed => write!(f, "killed"),
            Self::Paused => write!(f, "paused"),
            Self::Stopped => write!(f, "stopped"),
            Self::Cut(node) => write!(f, "cut off from {}", whose(node)),
            Self::Silent(node, direction, flow) => {
                let kept = match flow {
                    Flow::Swallow => "for good",
                    Flow::Delay(_) => "in time",
                    _ => "for a while",
                };
                match direction {
                    Direction::ToServer => {
                        write!(f, "does not receive from {} ({kept})", whose(node))
                    }
                    Direction::ToClient => {
                        write!(f, "is not received by {} ({kept})", whose(node))
                    }
                }
            }
        }
    }
}

/// Kinds of faults: what is disturbed, and how a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    NodeKilled,
    NodePaused,
    Kafka,
    Postgres,
    BothStores,
    Store(StoreFaultKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreFaultKind {
    Killed,
    Paused,
    Stopped,
    Cut,
    Silent,
}

impl Fault {
    fn kinds(&self) -> Vec<FaultKind> {
        match self {
            Self::NodeKilled(_) => vec![FaultKind::NodeKilled],
            Self::NodePaused(_) => vec![FaultKind::NodePaused],
            Self::Kafka(fault) => vec![FaultKind::Kafka, FaultKind::Store(fault.kind())],
            Self::Postgres(fault) => vec![FaultKind::Postgres, FaultKind::Store(fault.kind())],
            Self::Both(kafka, postgres) => vec![
                FaultKind::BothStores,
                FaultKind::Store(kafka.kind()),
                FaultKind::Store(postgres.kind()),
            ],
        }
    }
}

impl StoreFault {
    fn kind(&self) -> StoreFaultKind {
        match self {
            Self::Killed => StoreFaultKind::Killed,
            Self::Paused => StoreFaultKind::Paused,
            Self::Stopped => StoreFaultKind::Stopped,
            Self::Cut(_) => StoreFaultKind::Cut,
            Self::Silent(..) => StoreFaultKind::Silent,
        }
    }
}

/// The kinds of faults in a plan.
pub fn kinds_of(plan: &[PlannedFault]) -> BTreeSet<FaultKind> {
    plan.iter().flat_map(|planned| planned.fault.kinds()).collect()
}

/// Every kind of fault that can be drawn.
pub fn all_kinds() -> BTreeSet<FaultKind> {
    BTreeSet::from([
        FaultKind::NodeKilled,
        FaultKind::NodePaused,
        FaultKind::Kafka,
        FaultKind::Postgres,
        FaultKind::BothStores,
        FaultKind::Store(StoreFaultKind::Killed),
        FaultKind::Store(StoreFaultKind::Paused),
        FaultKind::Store(StoreFaultKind::Stopped),
        FaultKind::Store(StoreFaultKind::Cut),
        FaultKind::Store(StoreFaultKind::Silent),
    ])
}

#[test]
fn a_seed_always_draws_the_same_faults_of_every_kind() {
    let planned = plan(1, 1_000, 2, false);
    assert_eq!(planned, plan(1, 1_000, 2, false));
    assert_ne!(planned, plan(2, 1_000, 2, false));
    let descriptions: Vec<String> = planned.iter().map(|one| one.fault.to_string()).collect();
    for kind in [
        "node 0 killed",
        "node 1 paused",
        "kafka killed",
        "kafka paused",
        "kafka does not receive from node 1 (for good)",
        "kafka is not received by all nodes (for a while)",
        "postgres killed",
        "postgres paused",
        "postgres stopped",
        "postgres is not received by node 0 (for good)",
        "postgres cut off from all nodes",
        "both stores: kafka killed, postgres killed",
    ] {
        assert!(descriptions.iter().any(|one| one == kind), "{kind}");
    }
}
