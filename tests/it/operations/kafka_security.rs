//! TLS and SASL towards Kafka.

#[cfg(not(feature = "kafka-tls"))]
mod without_the_feature {
    use std::process::Command;

    #[test]
    fn serve_names_the_missing_feature_when_tls_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("onrecord.toml");
        let settings = "kafka_brokers = \"kafka:9093\"\n[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n";
        std::fs::write(&file, settings).unwrap();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        serve.env_clear().args(["serve", "--config"]).arg(&file);
        let output = serve.output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("kafka-tls") && error.contains("security.protocol"), "{error}");
    }
}

#[cfg(feature = "kafka-tls")]
mod with_the_feature {
    use chrono::Utc;
    use onrecord_devstack::{SECURED_PASSWORD, SECURED_USER, SecuredListener};
    use serde_json::Value;

    use crate::support::app::{TestApp, TestStores, until};
    use crate::support::azure::Call;
    use crate::support::client::http;
    use crate::support::kafka::own_secured_kafka;

    /// The settings of a client of the listener with this password.
    fn properties(listener: &SecuredListener, password: &str) -> String {
        let certificate = listener.certificate();
        [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", SECURED_USER),
            ("sasl.password", password),
            ("ssl.ca.location", &certificate.display().to_string()),
        ]
        .map(|(name, value)| format!("kafka.properties.\"{name}\" = \"{value}\"\n"))
        .concat()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn events_are_published_and_read_with_scram_over_tls_and_not_with_a_wrong_password() {
        let Some(mut kafka) = own_secured_kafka().await else {
            return;
        };
        let listener = kafka.secured().unwrap();
        let stores =
            TestStores { brokers: listener.bootstrap_servers(), ..TestStores::shared().await };
        let mut app = TestApp::with(stores.clone(), &properties(listener, SECURED_PASSWORD)).await;
        app.is_ready().await;
        let call = Call::new();
        app.event_grid_posts(&call.started()).await;
        app.call_automation_posts(&call.recording("active", Utc::now())).await;
        app.sees(&format!("/v1/calls/{}", call.correlation), |seen| seen["recorded"] == true).await;
        app.stores.spool_is_drained().await;
        app.stop().await;

        let refused = TestApp::with(stores, &properties(listener, "another")).await;
        until("kafka is unhealthy", || async {
            let ready = http().get(refused.url("/readyz")).send().await.unwrap();
            let ready: Value = ready.json().await.unwrap();
            (ready["components"]["kafka"]["health"] == "unhealthy").then_some(())
        })
        .await;
        refused.stop().await;
        kafka.stop().await;
    }
}
