//! What befalls the bench: drawn from a seed, told, done, and healed.

use std::fmt;
use std::time::{Duration, Instant};

use onrecord::embedded::Shutdown;
use onrecord::simulator::Chance;

use super::bench::Bench;
use super::proxy::{Direction, Flow};

/// A fault, and when it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub fault: Fault,
    pub lasts: Duration,
    /// Between its healing and the next one.
    pub rest: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    NodeKilled(usize),
    NodeFrozen(usize),
    Kafka(Trouble),
    Postgres(Trouble),
    Both(Trouble, Trouble),
}

/// What can happen to a store, or on the way to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    Killed,
    Frozen,
    /// Kafka in order, Postgres at once.
    Stopped,
    /// Unreachable for this node, or for all.
    Cut(Option<usize>),
    /// One direction says nothing, or all too late, for this node or for all.
    Silent(Option<usize>, Direction, Flow),
}

const SLOW: Flow = Flow::Delay(Duration::from_millis(700));

/// Draws so many faults on so many nodes. With `briefly`, none lasts long.
pub fn plan(seed: u64, faults: u64, nodes: usize, briefly: bool) -> Vec<Planned> {
    (0..faults)
        .map(|number| {
            let mut chance = Chance::new(seed, "fault", number);
            let fault = draw(nodes, &mut chance);
            let spans = if briefly {
                [(500, 2_000), (1_000, 3_000), (2_000, 4_000)]
            } else {
                // The last outlasts a lease.
                [(500, 2_500), (2_500, 5_000), (5_000, 18_000)]
            };
            // Rarely long.
            let kind = [0, 0, 0, 0, 1, 1, 1, 1, 1, 2];
            let (least, most) = spans[chance.one_of(kind)];
            Planned {
                fault,
                lasts: millis(chance.between(least, most)),
                rest: millis(chance.between(300, 2_500)),
            }
        })
        .collect()
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap())
}

fn draw(nodes: usize, chance: &mut Chance) -> Fault {
    let one = |chance: &mut Chance| {
        let last = i64::try_from(nodes).unwrap() - 1;
        usize::try_from(chance.between(0, last)).unwrap()
    };
    match chance.between(0, 11) {
        0 | 1 => Fault::NodeKilled(one(chance)),
        2 | 3 => Fault::NodeFrozen(one(chance)),
        4..=6 => Fault::Kafka(trouble(nodes, chance)),
        7..=9 => Fault::Postgres(trouble(nodes, chance)),
        _ => Fault::Both(trouble(nodes, chance), trouble(nodes, chance)),
    }
}

fn trouble(nodes: usize, chance: &mut Chance) -> Trouble {
    let of = |chance: &mut Chance| {
        let drawn = chance.between(0, i64::try_from(nodes).unwrap());
        usize::try_from(drawn).ok().filter(|node| *node < nodes)
    };
    match chance.between(0, 8) {
        0 | 1 => Trouble::Killed,
        2 | 3 => Trouble::Frozen,
        4 => Trouble::Stopped,
        5 => Trouble::Cut(of(chance)),
        _ => {
            let direction = chance.one_of([Direction::ToServer, Direction::ToClient]);
            Trouble::Silent(
                of(chance),
                direction,
                chance.one_of([Flow::Hold, Flow::Hold, Flow::Swallow, Flow::Swallow, SLOW]),
            )
        }
    }
}

/// When a node could not answer, from its fault to its return.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    pub node: usize,
    pub from: Instant,
    pub to: Instant,
}

impl Bench {
    /// Lets a fault happen, waits, and heals it. Returns which node was away meanwhile.
    pub async fn suffers(&mut self, planned: &Planned) -> Option<Absence> {
        let from = Instant::now();
        match &planned.fault {
            Fault::NodeKilled(node) => self.nodes[*node].kill().await,
            Fault::NodeFrozen(node) => self.nodes[*node].freeze(),
            Fault::Kafka(trouble) => self.kafka_suffers(trouble).await,
            Fault::Postgres(trouble) => self.postgres_suffers(trouble).await,
            Fault::Both(kafka, postgres) => {
                self.kafka_suffers(kafka).await;
                self.postgres_suffers(postgres).await;
            }
        }
        tokio::time::sleep(planned.lasts).await;
        let away = |node: usize| {
            Some(Absence {
                node,
                from,
                to: Instant::now(),
            })
        };
        match planned.fault {
            Fault::NodeKilled(node) => {
                self.nodes[node].start_again().await;
                away(node)
            }
            Fault::NodeFrozen(node) => {
                self.nodes[node].thaw();
                away(node)
            }
            Fault::Kafka(_) | Fault::Postgres(_) | Fault::Both(..) => {
                self.heal_stores().await;
                None
            }
        }
    }

    async fn kafka_suffers(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Killed => self.kafka.kill().await,
            Trouble::Frozen => self.kafka.pause(),
            Trouble::Stopped => self.kafka.stop().await,
            on_the_way => befall(&self.to_kafka, on_the_way),
        }
    }

    async fn postgres_suffers(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Killed => self.postgres.stop_server(Shutdown::Kill).await,
            Trouble::Frozen => self.postgres.freeze(),
            Trouble::Stopped => self.postgres.stop_server(Shutdown::Immediate).await,
            on_the_way => befall(&self.to_postgres, on_the_way),
        }
    }

    /// Whatever was wrong with the stores and the ways to them is well again.
    pub async fn heal_stores(&mut self) {
        for proxy in self.to_kafka.iter().chain(&self.to_postgres) {
            proxy.heal();
        }
        self.kafka.resume();
        self.postgres.thaw();
        // Somebody on a busy machine may have taken a port for a moment.
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

fn befall(ways: &[super::proxy::Proxy], trouble: &Trouble) {
    let (Trouble::Cut(whose) | Trouble::Silent(whose, ..)) = trouble else {
        return;
    };
    let touched = ways
        .iter()
        .enumerate()
        .filter(|(node, _)| whose.is_none_or(|whose| whose == *node));
    for (_, proxy) in touched {
        match trouble {
            Trouble::Silent(_, direction, flow) => proxy.set(*direction, *flow),
            _ => proxy.cut(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeKilled(node) => write!(f, "node {node} killed"),
            Self::NodeFrozen(node) => write!(f, "node {node} frozen"),
            Self::Kafka(trouble) => write!(f, "kafka {trouble}"),
            Self::Postgres(trouble) => write!(f, "postgres {trouble}"),
            Self::Both(kafka, postgres) => {
                write!(f, "both stores: kafka {kafka}, postgres {postgres}")
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = |whose: &Option<usize>| match whose {
            Some(node) => format!("node {node}"),
            None => "everybody".to_owned(),
        };
        match self {
            Self::Killed => write!(f, "killed"),
            Self::Frozen => write!(f, "frozen"),
            Self::Stopped => write!(f, "stopped"),
            Self::Cut(node) => write!(f, "cut off from {}", whose(node)),
            Self::Silent(node, direction, flow) => {
                let kept = match flow {
                    Flow::Swallow => "for good",
                    Flow::Delay(_) => "in time",
                    _ => "for a while",
                };
                match direction {
                    Direction::ToServer => write!(f, "does not hear {} ({kept})", whose(node)),
                    Direction::ToClient => {
                        write!(f, "is not heard by {} ({kept})", whose(node))
                    }
                }
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_faults_and_there_are_all_kinds() {
    let planned = plan(1, 1_000, 2, false);
    assert_eq!(planned, plan(1, 1_000, 2, false));
    assert_ne!(planned, plan(2, 1_000, 2, false));
    let told: Vec<String> = planned.iter().map(|one| one.fault.to_string()).collect();
    for kind in [
        "node 0 killed",
        "node 1 frozen",
        "kafka killed",
        "kafka frozen",
        "kafka does not hear node 1 (for good)",
        "kafka is not heard by everybody (for a while)",
        "postgres killed",
        "postgres frozen",
        "postgres stopped",
        "postgres is not heard by node 0 (for good)",
        "postgres cut off from everybody",
        "both stores: kafka killed, postgres killed",
    ] {
        assert!(told.iter().any(|one| one == kind), "{kind}");
    }
}
