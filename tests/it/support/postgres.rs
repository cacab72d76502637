//! One private PostgreSQL for all tests of the process, and a fresh database in it for each.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use onrecord_devstack::{BinarySource, PrivatePostgres};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::at_exit::at_exit;
use super::environment::environment;
use super::requirements::{Requirement, skip};
use super::time_limit::start_time_limit;

/// The server that all tests share. It must not be stopped: a test of outages starts its own.
pub struct SharedPostgres {
    server: Arc<Mutex<Option<PrivatePostgres>>>,
}

/// The shared server, started by the first test that asks.
pub async fn shared_postgres() -> &'static SharedPostgres {
    start_time_limit();
    static SHARED: OnceLock<Result<SharedPostgres, String>> = OnceLock::new();
    let started = tokio::task::spawn_blocking(|| {
        SHARED.get_or_init(|| {
            let server = on_own_thread(async {
                PrivatePostgres::start(BinarySource::default(), &environment())
                    .await
                    .map_err(|refused| refused.to_string())
            })?;
            let server = Arc::new(Mutex::new(Some(server)));
            let shared = Arc::clone(&server);
            at_exit(move || drop(shared.lock().unwrap().take()));
            Ok(SharedPostgres { server })
        })
    });
    match started.await.unwrap() {
        Ok(shared) => shared,
        Err(reason) => panic!("no postgres for the tests: {reason}"),
    }
}

/// The URL of an empty database on the shared server that no other test knows.
pub async fn fresh_database() -> String {
    shared_postgres().await.fresh_database().await
}

/// A server for one test alone, which may stop, kill, and pause it.
pub async fn own_postgres() -> PrivatePostgres {
    start_time_limit();
    PrivatePostgres::start(BinarySource::default(), &environment()).await.unwrap()
}

impl SharedPostgres {
    /// The URL of an empty database that no other test knows.
    pub async fn fresh_database(&self) -> String {
        let name = format!("t_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let server = self.server.lock().unwrap();
        server.as_ref().unwrap().url(database)
    }
}

/// Runs a start in a runtime that ends with it. Each test has its own runtime, and a shared server
/// must not depend on the runtime of the test that started it.
pub fn on_own_thread<T: Send>(start: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let starter = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(start)
        });
        starter.join().unwrap()
    })
}

mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use onrecord_devstack::{DevstackError, PostgresShutdown};
    use tokio::time::timeout;

    use super::*;

    async fn connect(url: &str) -> PgConnection {
        PgConnection::connect(url).await.unwrap()
    }

    async fn count_of_entries(postgres: &PrivatePostgres) -> i64 {
        let mut connection = connect(&postgres.admin_url()).await;
        sqlx::query_scalar("SELECT count(*) FROM entry").fetch_one(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn each_test_has_a_database_of_its_own() {
        let (one, other) = tokio::join!(fresh_database(), fresh_database());
        assert_ne!(one, other);
        let create = "CREATE TABLE entry (id int)";
        for url in [&one, &other] {
            let mut connection = connect(url).await;
            sqlx::query(create).execute(&mut connection).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_private_postgres_syncs_to_disk_and_refuses_a_wrong_password() {
        let url = fresh_database().await;
        let mut connection = connect(&url).await;
        let fsync: String =
            sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
        assert_eq!(fsync, "on");

        let wrong = url.replacen("onrecord:", "onrecord:not", 1);
        let refused = PgConnection::connect(&wrong).await.unwrap_err();
        assert!(refused.to_string().contains("password authentication"), "{refused}");
    }

    #[tokio::test]
    async fn a_private_postgres_restarts_on_its_port_with_all_committed_data() {
        let mut postgres = own_postgres().await;
        let port = postgres.port();
        let mut connection = connect(&postgres.admin_url()).await;
        sqlx::query("CREATE TABLE entry (id int)").execute(&mut connection).await.unwrap();

        let kinds = [PostgresShutdown::Fast, PostgresShutdown::Immediate, PostgresShutdown::Kill];
        for (inserted_before, kind) in (0..).zip(kinds) {
            assert_eq!(count_of_entries(&postgres).await, inserted_before);
            sqlx::query("INSERT INTO entry VALUES (1)").execute(&mut connection).await.unwrap();
            postgres.stop_server(kind).await;
            assert!(!postgres.is_running());
            assert!(PgConnection::connect(&postgres.admin_url()).await.is_err());
            postgres.start_server().await.unwrap();
            connection = connect(&postgres.admin_url()).await;
        }
        assert_eq!(count_of_entries(&postgres).await, 3);
        assert_eq!(postgres.port(), port);
        postgres.stop().await;
    }

    #[tokio::test]
    async fn a_paused_postgres_does_not_answer_until_it_is_resumed() {
        let postgres = own_postgres().await;
        let mut connection = connect(&postgres.admin_url()).await;
        postgres.pause();
        let query = sqlx::query("SELECT 1").execute(&mut connection);
        let mut query = Box::pin(query);
        assert!(timeout(Duration::from_millis(200), &mut query).await.is_err());
        postgres.resume();
        query.await.unwrap();
        postgres.pause();
        postgres.stop().await;
    }

    #[tokio::test]
    async fn a_port_taken_meanwhile_is_reported() {
        let mut postgres = own_postgres().await;
        postgres.stop_server(PostgresShutdown::Fast).await;
        let taker = TcpListener::bind(("127.0.0.1", postgres.port())).unwrap();
        let refused = postgres.start_server().await.unwrap_err();
        assert!(refused.to_string().contains("could not bind"), "{refused}");
        drop(taker);
        // A fork in another test may hold the socket for a moment.
        while postgres.start_server().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn a_private_postgres_comes_from_the_archive_where_none_is_installed() {
        let started = PrivatePostgres::start(BinarySource::Archive, &environment()).await;
        let postgres = match started {
            Ok(postgres) => postgres,
            Err(reason @ DevstackError::Archive { .. }) => {
                skip(Requirement::MavenCentral, &reason.to_string());
                return;
            }
            Err(reason) => panic!("{reason}"),
        };
        assert!(postgres.version().starts_with("17."), "{}", postgres.version());
        connect(&postgres.admin_url()).await;
        postgres.stop().await;
    }
}
