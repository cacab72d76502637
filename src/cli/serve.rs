//! `onrecord serve`: the composition root, the only file that knows every room.

mod attendance;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{self, Api};
use crate::clock;
use crate::config::Settings;
use crate::domain::ids::Tenant;
use crate::http::access::KeyBook;
use crate::http::origin::Origins;
use crate::http::server::{self, Operations};
use crate::intake::{self, Intake, Sources};
use crate::ledger;
use crate::lifecycle::Lifecycle;
use crate::notify::{self, Board, Clerk, Notify, Pace, SubscriberTokens};
use crate::road::Road;
use crate::store::Store;
use crate::stream::{Connection, Publisher, TopicLayout, ensure_topics};
use crate::telemetry;

/// Stores are looked at so often for readiness.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// API keys are read anew so often.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// A topic that somebody deleted is made again after so long: nothing would ever be taken off the
/// spool otherwise.
const TOPICS_EVERY: Duration = Duration::from_secs(30);
/// A store that is not there yet is tried again so often.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Connections may take so much of the time for a stop that this is left for the rooms. A delivery
/// is answered before that: it has 15 s.
const FOR_ROOMS: Duration = Duration::from_secs(6);
/// How long the stores may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(800);

#[derive(Args, Debug, Default)]
pub struct Options {
    /// Rooms of this process; all of them unless named.
    #[arg(long, value_enum, value_delimiter = ',')]
    rooms: Vec<Room>,
    /// Do not migrate the schema; wait until somebody has.
    #[arg(long)]
    no_migrate: bool,
}

/// What a process can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Room {
    /// The door: deliveries of Event Grid and Call Automation.
    Intake,
    /// The book: entries, quarantine, the drain of the spool.
    Ledger,
    /// Streams, reports, indications, subscriber tokens.
    Board,
    /// The reading room.
    Web,
}

impl Options {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(config)?;
        telemetry::start_logging(&settings.log)?;
        let metrics = telemetry::start_metrics()?;
        let runtime = super::runtime::runtime()?;
        let (streams, files) = (settings.notices.streams, super::runtime::files());
        if u64::try_from(streams).is_ok_and(|streams| files <= streams) {
            tracing::warn!(
                "this process may open {files} files, each stream is one: it can serve fewer than [notices] streams = {streams}; raise the limit (systemd: LimitNOFILE=)"
            );
        }
        let outcome = runtime.block_on(async move {
            let lifecycle = Lifecycle::new();
            let listener = TcpListener::bind(settings.listen)
                .await
                .with_context(|| format!("cannot listen on {}", settings.listen))?;
            let house = House::new(settings, self, metrics, lifecycle.clone())?;
            house.reload_on_hangup(config.map(Path::to_path_buf));
            stop_on_signals(&lifecycle)?;
            house.serve(listener).await?;
            Ok(ExitCode::SUCCESS)
        });
        // Questions to Kafka that nobody waits for any more hold threads for some seconds.
        runtime.shutdown_background();
        outcome
    }
}

/// Begins the stop at the first SIGTERM or Ctrl-C; a second one ends the process at once.
///
/// # Errors
///
/// The signals cannot be caught.
pub fn stop_on_signals(lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!("stopping: nothing new is taken, what was begun is finished");
                lifecycle.stop();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}

/// One process with its rooms, ready to serve.
pub struct House {
    settings: Settings,
    rooms: Vec<Room>,
    no_migrate: bool,
    metrics: PrometheusHandle,
    lifecycle: Lifecycle,
    store: Store,
    connection: Connection,
    publisher: Publisher,
    sources: Sources,
    tokens: SubscriberTokens,
    keys: KeyBook,
}

impl House {
    /// Puts everything together; neither store need be there yet.
    ///
    /// # Errors
    ///
    /// A setting cannot be used.
    pub fn new(
        settings: Settings,
        options: Options,
        metrics: PrometheusHandle,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let rooms = if options.rooms.is_empty() {
            Room::value_variants().to_vec()
        } else {
            options.rooms
        };
        let store = Store::new(settings.database_url.expose(), settings.store.connections)
            .context("database_url cannot be used")?;
        let connection = Connection::new(&settings);
        let publisher = Publisher::new(
            &connection,
            settings.intake.kafka_patience,
            lifecycle.clone(),
        )
        .context("the kafka settings cannot be used")?;
        if settings.tokens.keys.is_empty() {
            tracing::warn!(
                "no [tokens] keys are configured: subscriber tokens and cursors end with this process and are of no use on another node"
            );
        }
        lifecycle.readiness().starting("postgres");
        Ok(Self {
            sources: Sources::new(settings.sources.clone()),
            tokens: SubscriberTokens::new(&settings.tokens.keys, settings.tokens.longest),
            keys: KeyBook::new(store.clone()),
            rooms,
            no_migrate: options.no_migrate,
            metrics,
            lifecycle,
            store,
            connection,
            publisher,
            settings,
        })
    }

    /// Reads `sources` and `tokens` anew at SIGHUP.
    fn reload_on_hangup(&self, config: Option<PathBuf>) {
        let (sources, tokens) = (self.sources.clone(), self.tokens.clone());
        tokio::spawn(async move {
            let Ok(mut hangup) = signal(SignalKind::hangup()) else {
                return;
            };
            while hangup.recv().await.is_some() {
                match Settings::load(config.as_deref()) {
                    Ok(settings) => {
                        tracing::info!(
                            "read {} sources and {} token keys anew",
                            settings.sources.len(),
                            settings.tokens.keys.len()
                        );
                        sources.replace(settings.sources);
                        tokens.replace(&settings.tokens.keys);
                    }
                    Err(error) => tracing::error!(
                        "the settings were not read anew, the old ones stay: {error}"
                    ),
                }
            }
        });
    }

    /// Serves on a bound listener until the stop, then waits for the end of everything.
    ///
    /// # Errors
    ///
    /// The listener failed.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let lifecycle = self.lifecycle.clone();
        let road = Road::new(
            self.publisher.clone(),
            self.store.clone(),
            lifecycle.clone(),
        );
        self.prepare_stores();
        self.check_stores();
        attendance::start(self.watched_rooms(), &self.store, &lifecycle);

        let mut router = server::operations(Operations {
            lifecycle: lifecycle.clone(),
            metrics: self.metrics.clone(),
        });
        let origins = Origins::new(&self.settings.cors.origins);
        let mut v1 = Router::new();
        if self.has(Room::Intake) {
            let intake = Intake::new(
                &self.settings.intake,
                self.sources.clone(),
                road.clone(),
                lifecycle.clone(),
            );
            intake.keep_refusals(self.store.clone());
            router = router.merge(intake::router(intake));
        }
        if self.has(Room::Ledger) {
            ledger::start(
                &self.settings,
                &self.store,
                &self.connection,
                &self.publisher,
                &road,
                &lifecycle,
            );
        }
        if self.has(Room::Board) {
            let board = Board::new(self.settings.notices.queue, self.settings.notices.streams);
            notify::start(
                &self.settings,
                &board,
                &self.store,
                &self.connection,
                &lifecycle,
            );
            v1 = v1.merge(notify::router(self.notify(board, road, origins.clone())));
        }
        if self.has(Room::Web) {
            v1 = v1.merge(api::router(Api {
                store: self.store.clone(),
                keys: self.keys.clone(),
            }));
        }
        if self.has(Room::Board) || self.has(Room::Web) {
            lifecycle.run("api keys", keep_keys(self.keys.clone(), lifecycle.clone()));
        }
        // No resource offers OPTIONS: what a browser asks before its request is answered by the
        // layer, which must lie over that answer too.
        let v1 = v1.method_not_allowed_fallback(server::not_offered);
        router = router.merge(v1.layer(origins.cors()));

        tracing::info!(address = %address, "serving on http://{address}");
        tokio::select! {
            () = server::serve(listener, router, lifecycle.clone()) => {}
            // Whoever sent half a request may never send the rest.
            () = lifecycle.nearly_over(FOR_ROOMS) => tracing::warn!("some connections did not end, and are cut off"),
        }
        lifecycle.ended().await;
        // A Postgres that hangs does not answer to a farewell either.
        let _ = tokio::time::timeout(FAREWELL, self.store.close()).await;
        tracing::info!("stopped");
        Ok(())
    }

    /// The rooms whose absence means that something goes unseen.
    fn watched_rooms(&self) -> Vec<&'static str> {
        let named = [
            (Room::Intake, "intake"),
            (Room::Board, "board"),
            (Room::Ledger, "ledger"),
        ];
        named
            .into_iter()
            .filter(|(room, _)| self.has(*room))
            .map(|(_, name)| name)
            .collect()
    }

    fn has(&self, room: Room) -> bool {
        self.rooms.contains(&room)
    }

    fn notify(&self, board: Board, road: Road, origins: Origins) -> Notify {
        let sources = self.sources.clone();
        Notify {
            board,
            clerk: Clerk::start(road.clone(), self.settings.notices.streams, &self.lifecycle),
            pace: Pace::default(),
            tokens: self.tokens.clone(),
            keys: self.keys.clone(),
            road,
            lifecycle: self.lifecycle.clone(),
            origins,
            resources: Arc::new(move |tenant: &Tenant| {
                notify::resource_ids(sources.all().values(), tenant)
            }),
        }
    }

    /// Migrates the schema and makes the topics, as soon as either store is there.
    fn prepare_stores(&self) {
        let (store, no_migrate) = (self.store.clone(), self.no_migrate);
        tokio::spawn(async move {
            loop {
                let outcome = if no_migrate {
                    store.is_migrated().await
                } else {
                    store.migrate(clock::now()).await.map(|()| true)
                };
                match outcome {
                    Ok(true) => return,
                    Ok(false) => tracing::warn!(
                        "the schema is older than this version wants; run `onrecord migrate`"
                    ),
                    Err(error) => {
                        tracing::warn!(error = %error, "the schema is not ready, trying again: {error}")
                    }
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
        });
        let (connection, layout) = (
            self.connection.clone(),
            TopicLayout::of(&self.settings.kafka),
        );
        let soft = self.lifecycle.soft().clone();
        self.lifecycle.run("topics", async move {
            while !soft.is_cancelled() {
                let again = match ensure_topics(&connection, layout).await {
                    Ok(()) => TOPICS_EVERY,
                    Err(error) => {
                        tracing::warn!(error = %error, "the topics are not ready, trying again: {error}");
                        TRY_AGAIN
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(again) => {}
                    () = soft.cancelled() => {}
                }
            }
        });
    }

    fn check_stores(&self) {
        let (store, publisher, lifecycle) = (
            self.store.clone(),
            self.publisher.clone(),
            self.lifecycle.clone(),
        );
        let readiness = lifecycle.readiness().clone();
        let soft = lifecycle.soft().clone();
        lifecycle.run("store checks", async move {
            while !soft.is_cancelled() {
                let (postgres, ()) = tokio::join!(store.is_migrated(), publisher.check());
                match postgres {
                    Ok(true) => readiness.well("postgres", CHECK_EVERY * 10),
                    Ok(false) => {
                        readiness.unwell("postgres", "the schema is not migrated to this version")
                    }
                    Err(error) => readiness.unwell("postgres", error.to_string()),
                }
                tokio::select! {
                    () = tokio::time::sleep(CHECK_EVERY) => {}
                    () = soft.cancelled() => {}
                }
            }
        });
    }
}

async fn keep_keys(keys: KeyBook, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        if let Err(error) = keys.refresh().await {
            tracing::debug!(error = %error, "api keys stay as they were: {error}");
        }
        tokio::select! {
            () = tokio::time::sleep(KEYS_EVERY) => {}
            () = soft.cancelled() => {}
        }
    }
}
