//! librdkafka's mock cluster as a broker inside this process.
//!
//! # Why
//!
//! It needs no Java and is there at once, which suits a demonstration. It is no Kafka: it keeps
//! 5 MiB or 100,000 batches per partition and silently drops the oldest, answers a search for
//! offsets by time with -1, has no topic administration (so its owner creates the topics here,
//! because one that a client touches first gets 4 partitions), and forgets all when it ends. No
//! law is proved on it.
//!
//! Its handle is bound to one thread, so that thread keeps it, and others send their orders there.

use std::sync::mpsc;
use std::thread;

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use tokio::sync::oneshot;

use super::EmbeddedError;

/// A broker in this process, reachable on the loopback address by everybody who speaks Kafka.
/// It ends when this value is dropped.
#[derive(Debug)]
pub struct InProcessBroker {
    bootstrap_servers: String,
    orders: mpsc::Sender<TopicOrder>,
}

struct TopicOrder {
    name: String,
    partitions: i32,
    replication: i32,
    done: oneshot::Sender<KafkaResult<()>>,
}

impl InProcessBroker {
    /// Starts a cluster of one broker.
    ///
    /// # Errors
    /// [`EmbeddedError::Broker`] if librdkafka cannot listen.
    pub async fn start() -> Result<Self, EmbeddedError> {
        let (orders, inbox) = mpsc::channel();
        let (started, start) = oneshot::channel();
        thread::Builder::new()
            .name("in-process broker".into())
            .spawn(move || own(&inbox, started))
            .map_err(|source| EmbeddedError::Spawn {
                program: "in-process broker".into(),
                source,
            })?;
        let bootstrap_servers = start.await.map_err(|_| EmbeddedError::BrokerEnded)??;
        Ok(Self {
            bootstrap_servers,
            orders,
        })
    }

    /// The value for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`EmbeddedError::Broker`] if there is one of that name, or librdkafka refuses the numbers.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
    ) -> Result<(), EmbeddedError> {
        let (done, answer) = oneshot::channel();
        let order = TopicOrder {
            name: name.into(),
            partitions,
            replication,
            done,
        };
        self.orders
            .send(order)
            .map_err(|_| EmbeddedError::BrokerEnded)?;
        answer.await.map_err(|_| EmbeddedError::BrokerEnded)??;
        Ok(())
    }
}

/// The life of the owning thread: it ends with the last sender of orders.
fn own(inbox: &mpsc::Receiver<TopicOrder>, started: oneshot::Sender<KafkaResult<String>>) {
    let cluster = match MockCluster::new(1) {
        Ok(cluster) => cluster,
        Err(refused) => {
            drop(started.send(Err(refused)));
            return;
        }
    };
    drop(started.send(Ok(cluster.bootstrap_servers())));
    for order in inbox {
        let created = cluster.create_topic(&order.name, order.partitions, order.replication);
        drop(order.done.send(created));
    }
}
