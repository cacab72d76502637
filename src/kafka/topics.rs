//! Creates the topics that are absent; existing topics are left as they are.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::connection::{KafkaClientConfig, MAX_MESSAGE_BYTES};
use super::message::Topic;

/// Timeout of a request to a broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of new topics.
#[derive(Clone, Copy, Debug)]
pub struct TopicLayout {
    pub partitions: i32,
    /// 0: the number of brokers, at most 3.
    pub replicas: i32,
    pub retention: Duration,
}

impl TopicLayout {
    /// From the settings.
    #[must_use]
    pub fn of(settings: &crate::config::KafkaSettings) -> Self {
        Self {
            partitions: settings.partitions,
            replicas: settings.replicas,
            retention: settings.retention,
        }
    }
}

/// Creates the topics that are absent.
///
/// # Errors
///
/// Kafka does not answer within 5 s, or refuses; try again later.
pub async fn ensure_topics(
    connection: &KafkaClientConfig,
    layout: TopicLayout,
) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = connection.admin().create()?;
    let names: Vec<String> = Topic::ALL
        .iter()
        .map(|topic| connection.topic(*topic))
        .collect();
    let (admin, brokers, absent) = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, REQUEST_TIMEOUT)?;
        let exists = |name: &String| {
            metadata
                .topics()
                .iter()
                .any(|topic| topic.name() == name && !topic.partitions().is_empty())
        };
        let absent: Vec<String> = names.into_iter().filter(|name| !exists(name)).collect();
        Ok::<_, KafkaError>((admin, metadata.brokers().len(), absent))
    })
    .await
    .map_err(|_| KafkaError::Canceled)??;
    if absent.is_empty() {
        return Ok(());
    }
    let brokers = i32::try_from(brokers).unwrap_or(i32::MAX);
    let replicas = if layout.replicas > 0 {
        layout.replicas
    } else {
        brokers.clamp(1, 3)
    };
    let retention = layout.retention.as_millis().to_string();
    let in_sync = if replicas >= 3 { "2" } else { "1" };
    let topics: Vec<NewTopic<'_>> = absent
        .iter()
        .map(|name| {
            NewTopic::new(name, layout.partitions, TopicReplication::Fixed(replicas))
                .set("retention.ms", &retention)
                .set("max.message.bytes", MAX_MESSAGE_BYTES)
                .set("min.insync.replicas", in_sync)
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(REQUEST_TIMEOUT))
        .request_timeout(Some(REQUEST_TIMEOUT));
    for outcome in admin.create_topics(&topics, &options).await? {
        match outcome {
            Ok(name) => tracing::info!(
                topic.name = name,
                topic.partitions = layout.partitions,
                topic.replicas = replicas,
                "created the topic {name}"
            ),
            // Another node created it at the same time.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                tracing::warn!(
                    topic.name = name,
                    "the topic {name} cannot be created: {code}"
                );
                return Err(KafkaError::AdminOp(code));
            }
        }
    }
    Ok(())
}

/// Deletes the topics with all their messages.
///
/// # Errors
///
/// Kafka does not answer within 5 s, or refuses.
pub async fn delete_topics(connection: &KafkaClientConfig) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = connection.admin().create()?;
    let names: Vec<String> = Topic::ALL
        .iter()
        .map(|topic| connection.topic(*topic))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT));
    for outcome in admin.delete_topics(&names, &options).await? {
        outcome.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}
