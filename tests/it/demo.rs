//! `demo --once`: the whole product, compared with itself.

use std::process::{Command, Output};

use crate::kafka::shared_kafka;

fn demo(brokers: Option<&str>, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command
        .args(["demo", "--once", "--calls", "6", "--seed", "7"])
        .args(more)
        .env_remove("ONRECORD_KAFKA_BROKERS");
    if let Some(brokers) = brokers {
        command.env("ONRECORD_KAFKA_BROKERS", brokers);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn all_that_was_posted_is_entered_once_and_every_change_is_heard() {
    let output = demo(None, &[]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn an_event_that_the_sender_kept_back_is_named() {
    let output = demo(None, &["--suppress", "1"]);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("Microsoft.Communication."),
        "{}",
        text(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_on_a_real_kafka() {
    let Some(kafka) = shared_kafka().await.real() else {
        return;
    };
    let brokers = kafka.bootstrap_servers().to_owned();
    let output = tokio::task::spawn_blocking(move || demo(Some(&brokers), &[]))
        .await
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
