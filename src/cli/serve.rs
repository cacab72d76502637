//! `onrecord serve`: the composition root.
//!
//! `Application` creates the stores, starts the tasks of the process's roles, and serves their
//! routes. It is the only place that imports all of them.

pub mod api_description;
pub(crate) mod availability_recorder;
mod initial_counters;
pub(crate) mod key_lookup;
mod options;
mod stores;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::middleware::from_fn;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::key_lookup::StoredKeys;
pub use self::options::{Role, ServeOptions};
use crate::client_api;
use crate::clients::client_context::{ClientAccess, ClientContext};
use crate::clients::token_revocation;
use crate::config::{CallFactsTopic, Settings, SettingsReload};
use crate::console;
use crate::console::context::{ConsoleContext, Demo};
use crate::console::live::last_changes::LastChanges;
use crate::console::operations::doctor_findings::NodeDoctor;
use crate::console::session::store::Sessions;
use crate::export;
use crate::export::context::ExportContext;
use crate::flat_records::FlatRecordTask;
use crate::http::auth::ApiKeyCache;
use crate::http::body::BodyCapacity;
use crate::http::connection::limits::{max_connections, wanted_connections};
use crate::http::connection::places::ConnectionPlaces;
use crate::http::origin::Origins;
use crate::http::rate_limiter::RateLimiter;
use crate::http::server::{self, Operations};
use crate::http::subscriber_token::SubscriberTokens;
use crate::ingest::{self, Ingest, Sources};
use crate::kafka::{KafkaClientConfig, Publisher};
use crate::ledger;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::detached::spawn_detached;
use crate::live::call_access::{CallAccess, TenantPolicies};
use crate::live::{self, LiveCalls, NoticeFactWriter};
use crate::openapi;
use crate::postgres::Postgres;
use crate::publish::{DurablePublisher, acknowledged_ends};
use crate::query::{self, QueryContext, QueryShares};
use crate::streams::stream_capacity::StreamCapacity;
use crate::streams::stream_session::StreamContext;
use crate::streams::subscription::SubscribeAccess;
use crate::telemetry;
use crate::webhooks;
use crate::webhooks::context::{SendingContext, WebhookRoutesContext};
use crate::webhooks::cursors::Cursors;
use onrecord_evidence::event::ids::Tenant;

/// Interval between two reads of the API keys.
const KEY_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of connections to the address of operations.
const OPERATIONS_CONNECTIONS: usize = 64;
/// Minimum time that connections leave to the tasks during a stop. A delivery is answered earlier:
/// its deadline is 15 s.
const TASK_STOP_TIME: Duration = Duration::from_secs(6);
/// Timeout of closing the connections to Postgres.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_millis(800);

impl ServeOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(config)?;
        telemetry::start_logging(&settings.log)?;
        let metrics = telemetry::start_metrics()?;
        let runtime = super::runtime::runtime()?;
        let (max, wanted) = (max_connections(&settings), wanted_connections(&settings));
        if max < wanted {
            tracing::warn!(
                "the limit of open files allows this process {max} connections, and the settings ask for {wanted}; raise the limit (systemd: LimitNOFILE=)"
            );
        }
        let outcome = runtime.block_on(async move {
            let lifecycle = Lifecycle::new();
            let listener = TcpListener::bind(settings.listen)
                .await
                .with_context(|| format!("cannot listen on {}", settings.listen))?;
            let application = Application::new(settings, self, metrics, lifecycle.clone())?;
            application.reload_on_hangup(config.map(Path::to_path_buf))?;
            stop_on_signals(&lifecycle)?;
            application.serve(listener).await?;
            Ok(ExitCode::SUCCESS)
        });
        // Requests to Kafka whose callers are gone block threads for some seconds.
        runtime.shutdown_background();
        outcome
    }
}

/// Starts the stop at the first SIGTERM or Ctrl-C; the second one ends the process at once.
///
/// # Errors
///
/// The signals cannot be caught.
pub fn stop_on_signals(lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lifecycle = lifecycle.clone();
    // The second signal ends a stop that hangs.
    drop(spawn_detached(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!(
                    "stopping: requests in progress are finished, new ones are not accepted"
                );
                lifecycle.stop();
            } else {
                std::process::exit(130);
            }
        }
    }));
    Ok(())
}

/// One process with its roles, ready to serve.
pub struct Application {
    settings: Settings,
    roles: Vec<Role>,
    no_migrate: bool,
    metrics: PrometheusHandle,
    lifecycle: Lifecycle,
    store: Postgres,
    connection: KafkaClientConfig,
    publisher: Publisher,
    sources: Sources,
    tokens: SubscriberTokens,
    tenants: TenantPolicies,
    keys: ApiKeyCache,
    bodies: BodyCapacity,
    exports: ExportContext,
    /// The OpenAPI document.
    description: Value,
    more_routes: Router,
    demo: Demo,
}

impl Application {
    /// Creates all parts; neither store has to be available yet.
    ///
    /// # Errors
    ///
    /// A setting cannot be used.
    pub fn new(
        settings: Settings,
        options: ServeOptions,
        metrics: PrometheusHandle,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let roles = options.chosen_roles();
        let store = Postgres::new(settings.database_url.expose(), settings.query.connections)
            .context("database_url cannot be used")?;
        let connection = KafkaClientConfig::new(&settings);
        let publisher =
            Publisher::new(&connection, settings.ingest.kafka_timeout, lifecycle.clone())
                .context("the kafka settings cannot be used")?;
        if settings.tokens.keys.is_empty() {
            tracing::warn!(
                "no [tokens] keys are configured: subscriber tokens and cursors end with this process and are not valid on another node"
            );
        }
        let keys = ApiKeyCache::new(Arc::new(StoredKeys(store.clone())));
        let bodies = BodyCapacity::default();
        let exports = ExportContext::new(
            &store,
            &keys,
            &bodies,
            &settings.exports,
            settings.query.connections,
        )
        .context("the settings of [exports] cannot be used")?;
        let description = api_description::document()?;
        initial_counters::start(&description);
        lifecycle.readiness().starting("postgres");
        Ok(Self {
            sources: Sources::new(settings.sources.clone()),
            tenants: TenantPolicies::new(settings.tenants.clone()),
            tokens: SubscriberTokens::new(&settings.tokens.keys, settings.tokens.max_ttl),
            keys,
            bodies,
            exports,
            description,
            more_routes: Router::new(),
            demo: Demo::default(),
            roles,
            no_migrate: options.no_migrate,
            metrics,
            lifecycle,
            store,
            connection,
            publisher,
            settings,
        })
    }

    /// Serves a demonstration, to whose console this key signs browsers of this machine in.
    #[cfg(feature = "demo")]
    #[must_use]
    pub(crate) fn for_demo(self, key: &str) -> Self {
        Self { demo: Demo(Some(key.into())), ..self }
    }

    /// Serves these routes besides those of its roles.
    #[cfg(feature = "demo")]
    #[must_use]
    pub(crate) fn with_routes(self, more_routes: Router) -> Self {
        Self { more_routes, ..self }
    }

    /// Reloads `sources`, `tenants` and `tokens.keys` at SIGHUP.
    fn reload_on_hangup(&self, config: Option<PathBuf>) -> anyhow::Result<()> {
        let (sources, tokens, tenants) =
            (self.sources.clone(), self.tokens.clone(), self.tenants.clone());
        let mut hangup = signal(SignalKind::hangup())?;
        let soft = self.lifecycle.soft().clone();
        self.lifecycle.run("reload", async move {
            while let Some(Some(())) = soft.run_until_cancelled(hangup.recv()).await {
                match SettingsReload::load(config.as_deref()) {
                    Ok(reload) => apply(reload, &sources, &tokens, &tenants),
                    Err(error) => tracing::error!(
                        "the settings were not reloaded and stay as they were: {error}"
                    ),
                }
            }
        });
        Ok(())
    }

    /// Serves on a bound listener until the stop, then waits until all tasks have ended.
    ///
    /// # Errors
    ///
    /// The listener failed.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let lifecycle = self.lifecycle.clone();
        let durable_publisher =
            DurablePublisher::new(self.publisher.clone(), self.store.clone(), lifecycle.clone());
        self.prepare_stores();
        self.check_stores();
        let store = self.store.clone();
        telemetry::keep_up(self.metrics.clone(), &lifecycle, move || store.report_connections());
        let recorded = self.roles.iter().filter(|role| role.is_recorded()).map(Into::into);
        availability_recorder::start(recorded.collect(), &self.store, &lifecycle);
        acknowledged_ends::start(&self.publisher, &self.store, &self.connection, &lifecycle);

        let operations = server::operations(Operations {
            lifecycle: lifecycle.clone(),
            metrics: self.metrics.clone(),
        });
        let mut router = match self.settings.operations.listen {
            Some(address) => {
                self.serve_operations(address, operations).await?;
                Router::new()
            }
            None => operations,
        };
        router = router.merge(openapi::router(&self.description));
        let origins = Origins::new(&self.settings.cors.origins);
        let mut v1 = Router::new();
        if self.has(Role::Ingest) {
            let ingest = Ingest::new(
                &self.settings.ingest,
                &self.settings.quarantine,
                self.sources.clone(),
                durable_publisher.clone(),
                lifecycle.clone(),
            );
            ingest.start_logs(&self.store);
            router = router.merge(ingest::router(ingest));
        }
        if self.has(Role::Ledger) {
            ledger::start(
                &self.settings,
                &self.store,
                &self.connection,
                &self.publisher,
                &durable_publisher,
                &lifecycle,
            );
            if self.settings.kafka.call_facts == CallFactsTopic::On {
                let (store, connection) = (self.store.clone(), self.connection.clone());
                let task = FlatRecordTask::new(store, connection, lifecycle.clone());
                lifecycle.run("flat records", task.run());
            }
        }
        if self.has(Role::Live) {
            let live_calls = LiveCalls::new(self.settings.streams.queue);
            live::start(&self.settings, &live_calls, &self.store, &self.connection, &lifecycle);
            v1 = v1.merge(self.client_api(live_calls, durable_publisher, origins.clone()));
        }
        // The pages of the console and the query API have their turns together.
        let query = QueryContext {
            store: self.store.clone(),
            keys: self.keys.clone(),
            bodies: self.bodies.clone(),
            shares: QueryShares::new(self.settings.query.connections),
        };
        if self.has(Role::Console) {
            let sources = self.sources.clone();
            let sources = Arc::new(move || sources.all().settings.clone());
            router = router.merge(console::router(ConsoleContext {
                doctor: NodeDoctor::new(self.settings.clone(), sources),
                sessions: Sessions::new(self.store.clone(), &self.settings.console),
                keys: self.keys.clone(),
                bodies: self.bodies.clone(),
                readiness: lifecycle.readiness().clone(),
                lifecycle: lifecycle.clone(),
                changes: LastChanges::default(),
                query: query.clone(),
                exports: self.exports.clone(),
                demo: self.demo.clone(),
            }));
        }
        if self.has(Role::Query) {
            v1 = v1.merge(query::router(query));
            export::start(&self.exports, &lifecycle);
            v1 = v1.merge(export::router(self.exports.clone()));
            let settings = &self.settings.webhooks;
            let context =
                WebhookRoutesContext::new(&self.store, &self.keys, &self.bodies, settings);
            v1 = v1.merge(webhooks::router(context));
        }
        if self.has(Role::Webhooks) {
            let cursors = Cursors::new(&self.tokens);
            cursors.follow_log(&self.connection, &self.publisher, &lifecycle);
            let settings = self.settings.webhooks.clone();
            let sending = SendingContext { store: self.store.clone(), settings, cursors };
            webhooks::start(sending, &lifecycle)?;
        }
        if self.has(Role::Live) || self.has(Role::Query) || self.has(Role::Console) {
            lifecycle.run("api keys", refresh_keys(self.keys.clone(), lifecycle.clone()));
        }
        // No resource has OPTIONS. The CORS layer answers preflight requests, and adds its headers to
        // the answer of the fallback too.
        let v1 = v1.method_not_allowed_fallback(server::method_not_allowed);
        let v1 = v1.layer(origins.cors()).layer(from_fn(telemetry::route_metrics::record));
        router = router.merge(v1).merge(self.more_routes.clone());

        let places = ConnectionPlaces::new(max_connections(&self.settings));
        tracing::info!(address = %address, "serving on http://{address}");
        tokio::select! {
            () = server::serve(listener, router, places, self.settings.keep_alive, lifecycle.clone()) => {}
            // A client that sent half a request may never send the rest.
            () = lifecycle.until_remaining(TASK_STOP_TIME) => tracing::warn!("some connections did not end, and are closed"),
        }
        lifecycle.shut_down().await;
        // A Postgres that hangs does not answer to the end of a session either.
        let _ = tokio::time::timeout(STORE_CLOSE_TIMEOUT, self.store.close()).await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves the routes of operations on an address of their own, until all tasks have ended.
    async fn serve_operations(
        &self,
        address: SocketAddr,
        operations: Router,
    ) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (operations.listen)"))?;
        let address = listener.local_addr()?;
        tracing::info!(address = %address, "serving /healthz, /readyz and /metrics on http://{address}");
        let places = ConnectionPlaces::new(OPERATIONS_CONNECTIONS);
        let (keep_alive, lifecycle) = (self.settings.keep_alive, self.lifecycle.clone());
        let serving = server::serve(listener, operations, places, keep_alive, lifecycle.clone());
        self.lifecycle.run("operations", async move {
            tokio::select! {
                () = serving => {}
                () = lifecycle.until_remaining(TASK_STOP_TIME) => {}
            }
        });
        Ok(())
    }

    fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    fn client_api(
        &self,
        live_calls: LiveCalls,
        publisher: DurablePublisher,
        origins: Origins,
    ) -> Router {
        let call_access = CallAccess::new(self.tenants.clone(), live_calls.clone());
        self.lifecycle.run(
            "token revocations",
            token_revocation::follow(
                self.tokens.clone(),
                self.store.clone(),
                self.lifecycle.clone(),
            ),
        );
        let access = SubscribeAccess {
            tokens: self.tokens.clone(),
            keys: self.keys.clone(),
            call_access: call_access.clone(),
        };
        let max_streams = self.settings.streams.max_streams;
        let streams = StreamContext {
            access: access.clone(),
            origins,
            live_calls: live_calls.clone(),
            fact_writer: NoticeFactWriter::start(publisher.clone(), max_streams, &self.lifecycle),
            lifecycle: self.lifecycle.clone(),
            capacity: StreamCapacity::new(max_streams),
        };
        let sources = self.sources.clone();
        let clients = ClientContext {
            access: ClientAccess {
                tokens: access.tokens,
                rate_limiter: RateLimiter::default(),
                lifecycle: self.lifecycle.clone(),
            },
            keys: access.keys,
            call_access,
            live_calls,
            store: self.store.clone(),
            publisher,
            resources: Arc::new(move |tenant: &Tenant| {
                live::resource_ids(sources.all().settings.values(), tenant)
            }),
            bodies: self.bodies.clone(),
        };
        client_api::router(clients, streams)
    }
}

/// Replaces what the settings file states. What it does not state stays as it was.
fn apply(
    reload: SettingsReload,
    sources: &Sources,
    tokens: &SubscriberTokens,
    tenants: &TenantPolicies,
) {
    let SettingsReload { settings, has_sources, has_tenants } = reload;
    let warn = |name: &str| {
        tracing::warn!(
            setting.name = name,
            "the settings file states no {name}, so they stay as they were; to remove all, state [{name}] with nothing in it, or restart"
        );
    };
    if has_sources {
        tracing::info!("reloaded {} sources", settings.sources.len());
        sources.replace(settings.sources);
    } else if sources.all().settings.keys().any(|name| !settings.sources.contains_key(name)) {
        warn("sources");
    }
    if has_tenants {
        tracing::info!("reloaded {} tenants", settings.tenants.len());
        tenants.replace(settings.tenants);
    } else if tenants.has_other_than(&settings.tenants) {
        warn("tenants");
    }
    if settings.tokens.keys.is_empty() {
        tracing::warn!(
            setting.name = "tokens.keys",
            "the settings state no tokens.keys, so they stay as they were"
        );
    } else {
        tracing::info!("reloaded {} token keys", settings.tokens.keys.len());
        tokens.replace(&settings.tokens.keys);
    }
}

async fn refresh_keys(keys: ApiKeyCache, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        if let Err(error) = keys.refresh().await {
            tracing::debug!(error = %error, "api keys stay as they were: {error}");
        }
        soft.run_until_cancelled(tokio::time::sleep(KEY_REFRESH_INTERVAL)).await;
    }
}
