//! Creates the topics that are absent; existing topics are left as they are.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::connection::{KafkaClientConfig, MAX_MESSAGE_BYTES};
use crate::config::KafkaSettings;
use onrecord_evidence::event::ids::Digest;

/// Timeout of a request to a broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Creates the topics that are absent.
///
/// # Errors
///
/// Kafka does not answer within 5 s, or refuses; try again later.
pub async fn ensure_topics(
    connection: &KafkaClientConfig,
    settings: &KafkaSettings,
) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = connection.admin().create()?;
    let names = connection.topics();
    let (admin, brokers, absent) = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, REQUEST_TIMEOUT)?;
        let existing = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty());
        let existing: Vec<&str> = existing.map(MetadataTopic::name).collect();
        let absent = names.into_iter().filter(|name| !existing.contains(&name.as_str()));
        let absent: Vec<String> = absent.collect();
        Ok::<_, KafkaError>((admin, metadata.brokers().len(), absent))
    })
    .await
    .map_err(|_| KafkaError::Canceled)??;
    if absent.is_empty() {
        return Ok(());
    }
    let brokers = i32::try_from(brokers).unwrap_or(i32::MAX);
    let replicas = if settings.replicas > 0 { settings.replicas } else { brokers.clamp(1, 3) };
    let retention = settings.retention.as_millis().to_string();
    let in_sync = if replicas >= 3 { "2" } else { "1" };
    let topics: Vec<NewTopic<'_>> = absent
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, settings.partitions, TopicReplication::Fixed(replicas))
                .set("max.message.bytes", MAX_MESSAGE_BYTES)
                .set("min.insync.replicas", in_sync)
                .set("compression.type", "producer");
            if *name == connection.call_facts_topic() {
                topic.set("cleanup.policy", "compact")
            } else {
                topic.set("retention.ms", &retention)
            }
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(REQUEST_TIMEOUT))
        .request_timeout(Some(REQUEST_TIMEOUT));
    for outcome in admin.create_topics(&topics, &options).await? {
        match outcome {
            Ok(name) => tracing::info!(
                topic.name = name,
                topic.partitions = settings.partitions,
                topic.replicas = replicas,
                "created the topic {name}"
            ),
            // Another node created it at the same time.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                tracing::warn!(topic.name = name, "the topic {name} cannot be created: {code}");
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
    let names = connection.topics();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT));
    for outcome in admin.delete_topics(&names, &options).await? {
        outcome.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}

/// The incarnation of a log: a topic of one cluster. Cursors of another one count as none.
pub(crate) fn log_incarnation(topic: &str, cluster: &str) -> String {
    Digest::of_parts(&[topic, cluster]).to_string()
}
