//! librdkafka's mock cluster as a broker inside this process.
//!
//! # Why
//!
//! It needs no Java and starts at once, which suits a demonstration. It is not Kafka: it keeps 5 MiB
//! or 100,000 batches per partition and silently drops the oldest, answers a search for offsets by
//! time with -1, has no topic administration (so its owner creates the topics here, because a topic
//! that a client uses first gets 4 partitions), and keeps nothing after its end. No guarantee is
//! proved on it.
//!
//! Its handle is bound to one thread. That thread keeps it, and others send their requests there.

use std::sync::mpsc;
use std::thread;

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use tokio::sync::oneshot;

use super::error::DevstackError;

/// A broker in this process, reachable on the loopback address by every Kafka client.
/// It ends when this value is dropped.
#[derive(Debug)]
pub struct InProcessBroker {
    bootstrap_servers: String,
    requests: mpsc::Sender<TopicRequest>,
}

struct TopicRequest {
    name: String,
    partitions: i32,
    done: oneshot::Sender<KafkaResult<()>>,
}

impl InProcessBroker {
    /// Starts a cluster of one broker.
    ///
    /// # Errors
    /// [`DevstackError::Broker`] if librdkafka cannot listen.
    pub async fn start() -> Result<Self, DevstackError> {
        let (requests, inbox) = mpsc::channel();
        let (started, start) = oneshot::channel();
        thread::Builder::new()
            .name("in-process broker".into())
            .spawn(move || run_owner_thread(&inbox, started))
            .map_err(|source| DevstackError::Spawn {
                program: "in-process broker".into(),
                source,
            })?;
        let bootstrap_servers = start.await.map_err(|_| DevstackError::BrokerEnded)??;
        Ok(Self { bootstrap_servers, requests })
    }

    /// The value for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`DevstackError::Broker`] if a topic of that name exists, or librdkafka refuses the number.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), DevstackError> {
        let (done, answer) = oneshot::channel();
        let request = TopicRequest { name: name.into(), partitions, done };
        self.requests.send(request).map_err(|_| DevstackError::BrokerEnded)?;
        answer.await.map_err(|_| DevstackError::BrokerEnded)??;
        Ok(())
    }
}

/// Runs in the owning thread, which ends with the last sender of requests.
fn run_owner_thread(
    inbox: &mpsc::Receiver<TopicRequest>,
    started: oneshot::Sender<KafkaResult<String>>,
) {
    let cluster = MockCluster::new(1);
    let bootstrap_servers = cluster.as_ref().map(MockCluster::bootstrap_servers);
    drop(started.send(bootstrap_servers.map_err(Clone::clone)));
    let Ok(cluster) = cluster else {
        return;
    };
    for request in inbox {
        // One replica, because there is one broker.
        drop(request.done.send(cluster.create_topic(&request.name, request.partitions, 1)));
    }
}
