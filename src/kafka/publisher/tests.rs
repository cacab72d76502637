use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::config::Settings;
use crate::kafka::Topic;

type MockKafka = MockCluster<'static, DefaultProducerContext>;

/// librdkafka's in-process broker with our topics.
fn mock() -> MockKafka {
    let mock = MockCluster::new(1).unwrap();
    for topic in Topic::ALL {
        mock.create_topic(topic.name(), 1, 1).unwrap();
    }
    mock
}

fn connection(mock: &MockKafka, properties: &str) -> KafkaClientConfig {
    let toml = format!(
        "kafka_brokers = \"{}\"\n[kafka.properties]\n{properties}",
        mock.bootstrap_servers()
    );
    KafkaClientConfig::new(&Settings::from_toml(&toml).unwrap())
}

fn publisher(mock: &MockKafka, confirm_timeout: Duration) -> Publisher {
    Publisher::new(&connection(mock, ""), confirm_timeout, Lifecycle::new()).unwrap()
}

fn message(size: usize) -> WireMessage {
    WireMessage {
        topic: Topic::Events,
        key: "k".to_owned(),
        headers: vec![("ce_id".into(), "1".to_owned())],
        value: "x".repeat(size),
    }
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_fatal_error_replaces_the_producer_once_for_any_number_of_messages() {
    let mock = mock();
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::InitProducerId, &[fatal]);
    let publisher = publisher(&mock, LONG);
    let batch = vec![message(10); 5000];
    let (one, other) = tokio::join!(publisher.publish(&batch), publisher.publish(&batch));
    // The error may come so early that one of the two uses the new producer from the start.
    assert!(one.contains(&Publication::NotConfirmed) || other.contains(&Publication::NotConfirmed));
    assert_eq!(publisher.current().number, 1);
    assert_eq!(publisher.publish(&batch[..1]).await, [Publication::Confirmed]);
    assert_eq!(publisher.current().number, 1);
}

#[tokio::test]
async fn a_refused_message_does_not_close_the_circuit() {
    let mock = mock();
    let publisher = publisher(&mock, LONG);
    while !publisher.breaker().timed_out(Instant::now()) {}
    assert_eq!(publisher.next_route(), PublishRoute::SpoolAndProbe);
    let too_large = message(13 * 1024 * 1024);
    let reports = publisher.publish(std::slice::from_ref(&too_large)).await;
    assert!(matches!(reports.as_slice(), [Publication::Refused(_)]));
    assert!(publisher.breaker().is_open());
    let reports = publisher.publish(&[too_large, message(1)]).await;
    assert_eq!(reports.last(), Some(&Publication::Confirmed));
    assert!(!publisher.breaker().is_open());
}

#[tokio::test]
async fn a_confirmation_after_the_timeout_is_reported_to_the_drain_and_the_circuit_breaker() {
    let mock = mock();
    mock.broker_round_trip_time(1, Duration::from_millis(700)).unwrap();
    let publisher = publisher(&mock, Duration::from_millis(100));
    let one = [message(1)];
    assert_eq!(publisher.publish_with_final_reports(&one).await, [Publication::Confirmed]);
    while !publisher.breaker().timed_out(Instant::now()) {}
    assert!(!publisher.is_confirming());
    assert_eq!(publisher.publish(&one).await, [Publication::NotConfirmed]);
    let confirmed = async {
        while !publisher.is_confirming() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, confirmed).await.unwrap();
    assert!(publisher.breaker().is_open(), "ingest would wait in vain again");
}

#[tokio::test]
async fn final_reports_are_not_awaited_after_the_stop() {
    let mock = mock();
    mock.broker_down(1).unwrap();
    let lifecycle = Lifecycle::new();
    let confirm_timeout = Duration::from_millis(10);
    let publisher =
        Publisher::new(&connection(&mock, ""), confirm_timeout, lifecycle.clone()).unwrap();
    assert_eq!(publisher.publish(&[message(1)]).await, [Publication::NotConfirmed]);
    let stop = async { lifecycle.shut_down().await };
    tokio::time::timeout(Duration::from_secs(5), stop).await.unwrap();
}

#[test]
fn a_wrong_property_is_named_and_its_value_is_not_repeated() {
    let mock = mock();
    for property in ["sasl.pasword", "linger.ms"] {
        let connection = connection(&mock, &format!("\"{property}\" = \"hunter2\""));
        let refused = Publisher::new(&connection, LONG, Lifecycle::new());
        let error = refused.err().unwrap();
        let message = format!("{error} {error:?}");
        assert!(message.contains(property) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_producer_creates_no_topics() {
    let mock = mock();
    let config: ClientConfig = connection(&mock, "").producer();
    assert_eq!(config.get("allow.auto.create.topics"), Some("false"));
}
