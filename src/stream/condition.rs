//! How Kafka and our topics are, for `onrecord doctor`. Looks, and changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;

use super::connection::{Connection, Haste};
use super::message::Topic;
use super::publisher::without_value;

/// For the first answer; a cluster that is there gives it within milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// One that refuses every connection has said so by then.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
/// For all that is asked after it.
const MORE_PATIENCE: Duration = Duration::from_secs(4);

/// Why nothing can be said of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaAway {
    /// librdkafka refuses what is configured.
    #[error("{0}")]
    Settings(String),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
}

/// What can be seen of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaCondition {
    pub brokers: usize,
    /// `auto.create.topics.enable`, if we may see it.
    pub auto_create: Option<bool>,
    /// Ours, in the order of [`Topic::ALL`].
    pub topics: Vec<TopicCondition>,
}

/// One of our topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicCondition {
    pub name: String,
    /// None: the topic is absent, or hidden from us.
    pub partitions: Vec<PartitionCondition>,
    /// Kafka's names and values; `None` if we may not see them.
    pub settings: Option<BTreeMap<String, String>>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionCondition {
    pub partition: i32,
    pub has_leader: bool,
    pub replicas: usize,
    pub in_sync: usize,
    /// The offset that the next message will have, if the leader told it.
    pub next_offset: Option<i64>,
}

/// Keeps librdkafka's own words: its error code says "transport failure" where they say whether
/// the name, the port, the certificate or the password is wrong.
#[derive(Clone, Default)]
struct LastWords(Arc<Mutex<Words>>);

#[derive(Clone, Default)]
struct Words {
    reason: Option<String>,
    all_brokers_down: bool,
}

impl ClientContext for LastWords {
    fn error(&self, error: KafkaError, reason: &str) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            words.all_brokers_down = true;
        } else {
            words.reason = Some(reason.to_owned());
        }
    }
}

impl LastWords {
    /// They are told only to one who polls.
    fn of(&self, looker: &Looker) -> Words {
        for _ in 0..10 {
            let _told_to_the_context = looker.poll(Duration::from_millis(10));
        }
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.clone()
    }
}

impl ConsumerContext for LastWords {}

type Looker = BaseConsumer<LastWords>;

/// Looks at the cluster and at our topics.
///
/// # Errors
///
/// [`KafkaAway`].
pub async fn kafka_condition(connection: &Connection) -> Result<KafkaCondition, KafkaAway> {
    let refused = |error: KafkaError| KafkaAway::Settings(without_value(error).to_string());
    // As the readers are configured, and as the publisher is: each has properties of its own.
    let words = LastWords::default();
    let looker: Looker = connection
        .consumer(Haste::Now)
        .create_with_context(words.clone())
        .map_err(refused)?;
    let admin: AdminClient<DefaultClientContext> = connection.admin().create().map_err(refused)?;
    connection
        .producer()
        .create_native_config()
        .map_err(refused)?;

    let names: Vec<String> = Topic::ALL
        .iter()
        .map(|topic| connection.topic(*topic))
        .collect();
    let asked = names.clone();
    let cluster = tokio::task::spawn_blocking(move || cluster(&looker, &words, &asked))
        .await
        .unwrap_or_else(|_| Err(KafkaAway::Unreachable("the look at it failed".to_owned())))?;
    let settings = topic_settings(&admin, &cluster.topics);
    let auto_create = auto_create(&admin, cluster.broker);
    let (mut settings, auto_create) = tokio::join!(settings, auto_create);
    let topics = cluster.topics.into_iter().map(|topic| TopicCondition {
        settings: settings.remove(&topic.name),
        ..topic
    });
    Ok(KafkaCondition {
        brokers: cluster.brokers,
        auto_create,
        topics: topics.collect(),
    })
}

/// What the metadata and the leaders say.
struct Cluster {
    brokers: usize,
    /// One of them.
    broker: Option<i32>,
    topics: Vec<TopicCondition>,
}

fn cluster(looker: &Looker, words: &LastWords, names: &[String]) -> Result<Cluster, KafkaAway> {
    let first = looker.fetch_metadata(None, FIRST_PATIENCE);
    let metadata = match first {
        Err(_) if !words.of(looker).all_brokers_down => looker.fetch_metadata(None, PATIENCE),
        first => first,
    };
    let metadata = metadata.map_err(|error| {
        let reason = words.of(looker).reason;
        KafkaAway::Unreachable(reason.unwrap_or_else(|| error.to_string()))
    })?;
    let end = Instant::now() + MORE_PATIENCE;
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let mut partitions = Vec::new();
        for partition in found.map_or(&[][..], |topic| topic.partitions()) {
            let left = end.saturating_duration_since(Instant::now());
            let has_leader = partition.leader() >= 0;
            let watermarks = (has_leader && !left.is_zero())
                .then(|| looker.fetch_watermarks(name, partition.id(), left).ok());
            partitions.push(PartitionCondition {
                partition: partition.id(),
                has_leader,
                replicas: partition.replicas().len(),
                in_sync: partition.isr().len(),
                next_offset: watermarks.flatten().map(|(_, high)| high),
            });
        }
        topics.push(TopicCondition {
            name: name.clone(),
            partitions,
            settings: None,
        });
    }
    Ok(Cluster {
        brokers: metadata.brokers().len(),
        broker: metadata.brokers().first().map(MetadataBroker::id),
        topics,
    })
}

async fn topic_settings(
    admin: &AdminClient<DefaultClientContext>,
    topics: &[TopicCondition],
) -> BTreeMap<String, BTreeMap<String, String>> {
    let present: Vec<ResourceSpecifier<'_>> = topics
        .iter()
        .filter(|topic| !topic.partitions.is_empty())
        .map(|topic| ResourceSpecifier::Topic(&topic.name))
        .collect();
    if present.is_empty() {
        return BTreeMap::new();
    }
    let described = describe(admin, &present).await.into_iter();
    described
        .filter_map(|resource| match &resource.specifier {
            OwnedResourceSpecifier::Topic(name) => Some((name.clone(), values(resource))),
            _ => None,
        })
        .collect()
}

async fn auto_create(
    admin: &AdminClient<DefaultClientContext>,
    broker: Option<i32>,
) -> Option<bool> {
    let described = describe(admin, &[ResourceSpecifier::Broker(broker?)]).await;
    let value = values(described.into_iter().next()?).remove("auto.create.topics.enable")?;
    Some(value == "true")
}

/// The settings of these, as far as we may see them.
async fn describe(
    admin: &AdminClient<DefaultClientContext>,
    resources: &[ResourceSpecifier<'_>],
) -> Vec<ConfigResource> {
    let options = AdminOptions::new().request_timeout(Some(MORE_PATIENCE));
    let described = admin.describe_configs(resources, &options);
    // The client library keeps its own limit, but not where it waits for the broker's connection.
    let described = tokio::time::timeout(MORE_PATIENCE, described).await;
    let Ok(Ok(described)) = described else {
        return Vec::new();
    };
    // What the broker refuses to show comes without entries.
    let described = described.into_iter().filter_map(Result::ok);
    described
        .filter(|resource| !resource.entries.is_empty())
        .collect()
}

fn values(resource: ConfigResource) -> BTreeMap<String, String> {
    let entries = resource.entries.into_iter();
    entries
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect()
}
