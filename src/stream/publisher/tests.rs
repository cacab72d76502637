use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::config::Settings;
use crate::stream::Topic;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// librdkafka's in-process broker with our topics.
fn mock() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    for topic in Topic::ALL {
        mock.create_topic(topic.name(), 1, 1).unwrap();
    }
    mock
}

fn connection(mock: &Mock, properties: &str) -> Connection {
    let toml = format!(
        "kafka_brokers = \"{}\"\n[kafka.properties]\n{properties}",
        mock.bootstrap_servers()
    );
    Connection::new(&Settings::from_toml(&toml).unwrap())
}

fn publisher(mock: &Mock, patience: Duration) -> Publisher {
    Publisher::new(&connection(mock, ""), patience, Lifecycle::new()).unwrap()
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
async fn a_fatal_error_costs_one_new_producer_however_many_messages_saw_it() {
    let mock = mock();
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::InitProducerId, &[fatal]);
    let publisher = publisher(&mock, LONG);
    let batch = vec![message(10); 5000];
    let (one, other) = tokio::join!(publisher.publish(&batch), publisher.publish(&batch));
    // The error may come so early that one of the two has the new producer from its beginning.
    assert!(one.contains(&Publication::NotConfirmed) || other.contains(&Publication::NotConfirmed));
    assert_eq!(publisher.current().number, 1);
    assert_eq!(
        publisher.publish(&batch[..1]).await,
        [Publication::Confirmed]
    );
    assert_eq!(publisher.current().number, 1);
}

#[tokio::test]
async fn what_is_only_refused_confirms_nothing() {
    let mock = mock();
    let publisher = publisher(&mock, LONG);
    while !publisher.breaker().missed(Instant::now()) {}
    assert_eq!(publisher.way(), Way::SpoolAndProbe);
    let too_large = message(13 * 1024 * 1024);
    let word = publisher.publish(std::slice::from_ref(&too_large)).await;
    assert!(matches!(word.as_slice(), [Publication::Refused(_)]));
    assert!(publisher.breaker().is_open());
    let word = publisher.publish(&[too_large, message(1)]).await;
    assert_eq!(word.last(), Some(&Publication::Confirmed));
    assert!(!publisher.breaker().is_open());
}

#[tokio::test]
async fn a_confirmation_after_the_patience_is_heard_by_the_drain_and_by_the_breaker() {
    let mock = mock();
    mock.broker_round_trip_time(1, Duration::from_millis(700))
        .unwrap();
    let publisher = publisher(&mock, Duration::from_millis(100));
    let one = [message(1)];
    assert_eq!(
        publisher.publish_to_the_end(&one).await,
        [Publication::Confirmed]
    );
    while !publisher.breaker().missed(Instant::now()) {}
    assert!(!publisher.is_confirming());
    assert_eq!(publisher.publish(&one).await, [Publication::NotConfirmed]);
    let heard = async {
        while !publisher.is_confirming() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, heard).await.unwrap();
    assert!(
        publisher.breaker().is_open(),
        "the door would wait in vain again"
    );
}

#[tokio::test]
async fn nobody_waits_for_late_words_beyond_the_stop() {
    let mock = mock();
    mock.broker_down(1).unwrap();
    let lifecycle = Lifecycle::new();
    let patience = Duration::from_millis(10);
    let publisher = Publisher::new(&connection(&mock, ""), patience, lifecycle.clone()).unwrap();
    assert_eq!(
        publisher.publish(&[message(1)]).await,
        [Publication::NotConfirmed]
    );
    let stop = async { lifecycle.ended().await };
    tokio::time::timeout(Duration::from_secs(5), stop)
        .await
        .unwrap();
}

#[test]
fn a_wrong_property_is_named_and_its_value_is_not_repeated() {
    let mock = mock();
    for property in ["sasl.pasword", "linger.ms"] {
        let connection = connection(&mock, &format!("\"{property}\" = \"hunter2\""));
        let refused = Publisher::new(&connection, LONG, Lifecycle::new());
        let error = refused.err().unwrap();
        let said = format!("{error} {error:?}");
        assert!(
            said.contains(property) && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn a_producer_makes_no_topics() {
    let mock = mock();
    let config: ClientConfig = connection(&mock, "").producer();
    assert_eq!(config.get("allow.auto.create.topics"), Some("false"));
}
