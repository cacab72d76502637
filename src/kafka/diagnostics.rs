//! Reads the state of the cluster and of our topics for `onrecord doctor`. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataBroker;
use rdkafka::{Offset, TopicPartitionList};

use super::connection::{FetchMode, KafkaClientConfig};
use super::consumer::UnreadableBatch;
use super::publisher::without_value;

/// Timeout for the first answer; a cluster that is available answers within milliseconds.
const METADATA_TIMEOUT: Duration = Duration::from_secs(4);
/// Timeout of the first attempt; a cluster that refuses every connection does so within this time.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);
/// Timeout for the newest batches of a topic.
const NEWEST_BATCHES_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for all further requests together.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(4);

/// The reason for which the state of Kafka is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaUnreachable {
    /// librdkafka refuses the settings.
    #[error("{0}")]
    Settings(String),
    /// No broker answers.
    #[error("{0}")]
    Unreachable(String),
}

/// The visible state of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaDiagnostics {
    pub brokers: usize,
    /// `auto.create.topics.enable`; `None` if this client may not read it.
    pub auto_create: Option<bool>,
    /// The topics of this service: those of [`super::Topic::ALL`] in their order, then that of flat records if they
    /// are published.
    pub topics: Vec<TopicDiagnostics>,
}

/// The state of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDiagnostics {
    pub name: String,
    /// Empty: the topic is absent, or hidden from this client.
    pub partitions: Vec<PartitionDiagnostics>,
    /// Kafka's names and values; `None` if this client may not read them.
    pub settings: Option<BTreeMap<String, String>>,
    /// Whether the newest batch of each partition can be read, else why not; or why that is unknown.
    pub newest_batches: Result<Result<(), UnreadableBatch>, String>,
}

/// The state of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionDiagnostics {
    pub partition: i32,
    pub has_leader: bool,
    pub replicas: usize,
    pub in_sync: usize,
    /// The offset of the next message, if the leader answered.
    pub next_offset: Option<i64>,
}

/// Keeps the error texts of librdkafka: its error code is "transport failure" where the text names the
/// host, the port, the certificate or the password as the cause.
#[derive(Clone, Default)]
struct LastErrors(Arc<Mutex<ClientErrors>>);

#[derive(Clone, Default)]
struct ClientErrors {
    reason: Option<String>,
    all_brokers_down: bool,
}

impl ClientContext for LastErrors {
    fn error(&self, error: KafkaError, reason: &str) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            errors.all_brokers_down = true;
        } else {
            errors.reason = Some(reason.to_owned());
        }
    }
}

impl LastErrors {
    /// The errors so far. librdkafka reports them during a poll.
    fn of(&self, client: &DiagnosticClient) -> ClientErrors {
        for _ in 0..10 {
            // The poll returns no message, because no partition is assigned; errors go to the context.
            let _ = client.poll(Duration::from_millis(10));
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ConsumerContext for LastErrors {}

type DiagnosticClient = BaseConsumer<LastErrors>;
type Admin = AdminClient<DefaultClientContext>;

/// Reads the state of the cluster and of our topics.
///
/// # Errors
///
/// [`KafkaUnreachable`].
pub async fn diagnose_kafka(
    connection: &KafkaClientConfig,
) -> Result<KafkaDiagnostics, KafkaUnreachable> {
    let refused = |error: KafkaError| KafkaUnreachable::Settings(without_value(error).to_string());
    // The settings of consumer, administration and producer are checked: each has properties of its own.
    let last_errors = LastErrors::default();
    let client: DiagnosticClient = connection
        .consumer(FetchMode::Immediate)
        .create_with_context(last_errors.clone())
        .map_err(refused)?;
    let admin: Admin = connection.admin().create().map_err(refused)?;
    connection.producer().create_native_config().map_err(refused)?;

    let names = connection.topics();
    let described =
        tokio::task::spawn_blocking(move || describe_cluster(&client, &last_errors, names));
    let (mut found, broker) = described.await.unwrap_or_else(|_| {
        Err(KafkaUnreachable::Unreachable("the request to it failed".to_owned()))
    })?;
    let (mut settings, auto_create) =
        tokio::join!(topic_settings(&admin, &found.topics), auto_create(&admin, broker));
    found.auto_create = auto_create;
    for topic in &mut found.topics {
        topic.settings = settings.remove(&topic.name);
    }
    Ok(found)
}

/// The answers of the metadata and of the leaders, without settings; and the id of one broker.
fn describe_cluster(
    client: &DiagnosticClient,
    last_errors: &LastErrors,
    names: Vec<String>,
) -> Result<(KafkaDiagnostics, Option<i32>), KafkaUnreachable> {
    let metadata = match client.fetch_metadata(None, FIRST_TIMEOUT) {
        Err(_) if !last_errors.of(client).all_brokers_down => {
            client.fetch_metadata(None, METADATA_TIMEOUT)
        }
        first => first,
    };
    let metadata = metadata.map_err(|error| {
        let reason = last_errors.of(client).reason;
        KafkaUnreachable::Unreachable(reason.unwrap_or_else(|| error.to_string()))
    })?;
    let deadline = Instant::now() + DETAILS_TIMEOUT;
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        let found = metadata.topics().iter().find(|topic| topic.name() == name.as_str());
        let mut partitions = Vec::new();
        let mut newest = Vec::new();
        for partition in found.map_or(&[][..], |topic| topic.partitions()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let has_leader = partition.leader() >= 0;
            let watermarks = (has_leader && !left.is_zero())
                // A leader that does not answer leaves `next_offset` unknown.
                .then(|| client.fetch_watermarks(&name, partition.id(), left).ok())
                .flatten();
            if let Some((low, high)) = watermarks
                && low < high
            {
                newest.push((partition.id(), high - 1));
            }
            partitions.push(PartitionDiagnostics {
                partition: partition.id(),
                has_leader,
                replicas: partition.replicas().len(),
                in_sync: partition.isr().len(),
                next_offset: watermarks.map(|(_, high)| high),
            });
        }
        let newest_batches = read_newest_batches(client, &name, &newest);
        topics.push(TopicDiagnostics { name, partitions, settings: None, newest_batches });
    }
    let brokers = metadata.brokers();
    let found = KafkaDiagnostics { brokers: brokers.len(), auto_create: None, topics };
    Ok((found, brokers.first().map(MetadataBroker::id)))
}

/// Reads the messages at these partitions and offsets, the newest ones of a topic.
///
/// # Errors
///
/// Why it is unknown whether they can be read.
fn read_newest_batches(
    client: &DiagnosticClient,
    topic: &str,
    newest: &[(i32, i64)],
) -> Result<Result<(), UnreadableBatch>, String> {
    let mut list = TopicPartitionList::new();
    let mut left = BTreeSet::new();
    for (partition, offset) in newest {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(|error| error.to_string())?;
        left.insert(*partition);
    }
    client.assign(&list).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + NEWEST_BATCHES_TIMEOUT;
    let mut unreadable = None;
    let mut reason = "Kafka did not deliver the newest messages in time".to_owned();
    while !left.is_empty() && unreadable.is_none() && Instant::now() < deadline {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                left.remove(&message.partition());
            }
            // Other errors, as of a broker that is away, are not about a batch.
            Some(Err(error)) => {
                unreadable = UnreadableBatch::of(&error);
                reason = error.to_string();
            }
            None => {}
        }
    }
    client.unassign().map_err(|error| error.to_string())?;
    match unreadable {
        Some(unreadable) => Ok(Err(unreadable)),
        None if left.is_empty() => Ok(Ok(())),
        None => Err(reason),
    }
}

async fn topic_settings(
    admin: &Admin,
    topics: &[TopicDiagnostics],
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

async fn auto_create(admin: &Admin, broker: Option<i32>) -> Option<bool> {
    let described = describe(admin, &[ResourceSpecifier::Broker(broker?)]).await;
    let value = values(described.into_iter().next()?).remove("auto.create.topics.enable")?;
    Some(value == "true")
}

/// The settings of these resources that this client may read; none if the broker does not answer.
async fn describe(admin: &Admin, resources: &[ResourceSpecifier<'_>]) -> Vec<ConfigResource> {
    let options = AdminOptions::new().request_timeout(Some(DETAILS_TIMEOUT));
    let described = admin.describe_configs(resources, &options);
    // The timeout of the client library does not include the wait for the broker's connection.
    let described = tokio::time::timeout(DETAILS_TIMEOUT, described).await;
    let Ok(Ok(described)) = described else {
        return Vec::new();
    };
    // A resource that the broker refuses to show has no entries.
    let described = described.into_iter().filter_map(Result::ok);
    described.filter(|resource| !resource.entries.is_empty()).collect()
}

fn values(resource: ConfigResource) -> BTreeMap<String, String> {
    let entries = resource.entries.into_iter();
    entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}
