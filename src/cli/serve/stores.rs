//! Prepares both stores, and checks them for readiness.

use std::time::Duration;

use super::Application;
use crate::clock;
use crate::http::server::SCHEMA;
use crate::kafka::ensure_topics;
use crate::postgres::{Postgres, StoreError};

/// Interval between two checks of the stores for readiness.
const STORE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Interval between two checks of the topics. A deleted topic is created again, because the spool
/// could not drain without it.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Interval between two attempts to prepare a store that is not available.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Application {
    /// Migrates the schema and creates the topics, each as soon as its store is available.
    pub(super) fn prepare_stores(&self) {
        let (store, no_migrate) = (self.store.clone(), self.no_migrate);
        let soft = self.lifecycle.soft().clone();
        self.lifecycle.run("schema", async move {
            soft.run_until_cancelled(prepare_schema(store, no_migrate)).await;
            // A task goes on until the stop.
            soft.cancelled().await;
        });
        let (connection, settings) = (self.connection.clone(), self.settings.kafka.clone());
        let soft = self.lifecycle.soft().clone();
        self.lifecycle.run("topics", async move {
            while !soft.is_cancelled() {
                let interval = match ensure_topics(&connection, &settings).await {
                    Ok(()) => TOPIC_CHECK_INTERVAL,
                    Err(error) => {
                        tracing::warn!(error = %error, "the topics are not ready, and are tried again: {error}");
                        RETRY_INTERVAL
                    }
                };
                soft.run_until_cancelled(tokio::time::sleep(interval)).await;
            }
        });
    }

    /// Checks both stores until the stop, and states their health.
    pub(super) fn check_stores(&self) {
        let (store, publisher, lifecycle) =
            (self.store.clone(), self.publisher.clone(), self.lifecycle.clone());
        let readiness = lifecycle.readiness().clone();
        let soft = lifecycle.soft().clone();
        lifecycle.run("store checks", async move {
            while !soft.is_cancelled() {
                let is_usable = async {
                    if !store.is_migrated().await? {
                        let reason = "the schema is not migrated to this version".to_owned();
                        return Ok(Some(reason));
                    }
                    store.unusable().await
                };
                let is_writable = async {
                    let unusable: Result<Option<String>, StoreError> = is_usable.await;
                    if let Ok(None) = unusable {
                        // A store that can be read only makes nothing durable.
                        store.check_spool_write(clock::now()).await?;
                    }
                    unusable
                };
                let (postgres, ()) = tokio::join!(is_writable, publisher.check());
                let valid_for = STORE_CHECK_INTERVAL * 10;
                match postgres {
                    Ok(None) => {
                        readiness.healthy("postgres", valid_for);
                        readiness.healthy(SCHEMA, valid_for);
                    }
                    Ok(Some(reason)) => {
                        let reason = format!("{reason}; run `onrecord migrate`");
                        readiness.unhealthy("postgres", reason.clone());
                        readiness.unhealthy(SCHEMA, reason);
                    }
                    // Of a store that does not answer, the schema is as it was.
                    Err(error) => readiness.unhealthy("postgres", error.to_string()),
                }
                soft.run_until_cancelled(tokio::time::sleep(STORE_CHECK_INTERVAL)).await;
            }
        });
    }
}

/// Whether the schema can be used, which another process migrates.
async fn is_prepared(store: &Postgres) -> Result<bool, StoreError> {
    if !store.is_migrated().await? || store.unusable().await?.is_some() {
        return Ok(false);
    }
    if let Some(reason) = store.unusable_logins().await? {
        tracing::warn!("logins for SQL clients see nothing: {reason}; run `onrecord migrate`");
    }
    Ok(true)
}

/// Migrates the schema, or waits until it is migrated.
async fn prepare_schema(store: Postgres, no_migrate: bool) {
    loop {
        let outcome = if no_migrate {
            is_prepared(&store).await
        } else {
            store.migrate(clock::now()).await.map(|()| true)
        };
        match outcome {
            Ok(true) => return,
            Ok(false) => tracing::warn!(
                "the schema is not that of this version, or was restored from a dump; run `onrecord migrate`"
            ),
            Err(error) => {
                tracing::warn!(error = %error, "the schema is not ready, and is tried again: {error}");
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
