//! What PostgreSQL refuses or cannot complete is set aside, and what is around it is appended.

use std::time::{Duration, Instant};

use onrecord::kafka::EventMessage;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::live::notices::{bulk_producer, put, recorded_for_a_while};
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call};
use crate::support::requirements::print_line;

/// Number of messages that PostgreSQL refuses.
const REFUSED: i64 = 5_000;
/// Maximum time until all of them are in quarantine, without optimization and beside other tests.
const REFUSED_DEADLINE: Duration = Duration::from_secs(120);
/// Maximum number of transactions that are rolled back for them: a few attempts of the batches between
/// them, and none for each message.
const MAX_ROLLBACKS: i64 = 100;
/// Maximum time until a transaction that takes too long is ended, and its batch is appended in another
/// way: the timeout of a statement is 12 s.
const ISOLATION_DEADLINE: Duration = Duration::from_secs(40);

const ENTRIES: &str = "select count(*) from entry where ce_id = $1";

/// Makes a message one that PostgreSQL refuses, in one of several ways.
fn refused(number: usize, message: EventMessage) -> EventMessage {
    let mut message = EventMessage { ce_id: Uuid::new_v4().to_string(), ..message };
    match number % 4 {
        0 => message.event.source_type.push('\0'),
        1 => message.event.ids.participant_id = Some("a \0 b".to_owned()),
        2 => message.event.ids.participant_id = Some("x".repeat(20_000)),
        _ => message.ce_id.push('\0'),
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_refused_messages_go_to_quarantine_without_a_transaction_for_each() {
    let app = TestApp::open().await;
    let database = app.stores.database().await;
    let topic = format!("{}calling-events.v1", app.stores.prefix);
    let messages: Vec<EventMessage> = recorded_for_a_while(&Call::new(), REFUSED)
        .into_iter()
        .enumerate()
        .map(|(number, message)| refused(number, message))
        .collect();
    let good = recorded_for_a_while(&Call::new(), 40);
    let before = rollbacks(&database).await;
    let began = Instant::now();
    let producer = bulk_producer(&app.stores.brokers);
    let now = chrono::Utc::now().timestamp_millis();
    // The good messages are before, between and behind the others.
    for (part, good) in messages.chunks(500).zip(good.chunks(4)) {
        put(&producer, &topic, 0, good, now).await;
        put(&producer, &topic, 0, part, now).await;
    }
    let other = Call::new().started();
    app.event_grid_posts(&other).await;
    is_appended(&database, other[0]["id"].as_str().unwrap()).await;
    print_line(&format!("an event beside them is appended after {:.1?}", began.elapsed()));
    let in_quarantine = "select count(*) from quarantine where reason = 'store_refused'";
    while count(&database, in_quarantine).await < REFUSED {
        assert!(began.elapsed() < REFUSED_DEADLINE, "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    print_line(&format!("they are in quarantine after {:.1?}", began.elapsed()));
    for message in &good {
        is_appended(&database, &message.ce_id).await;
    }
    let rolled_back = rollbacks(&database).await - before;
    assert!(rolled_back < MAX_ROLLBACKS, "{rolled_back} transactions were rolled back");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_exhausts_the_store_delays_only_its_partition_until_it_can_be_appended() {
    let app = TestApp::open().await;
    let database = app.stores.database().await;
    let call = Call::new();
    let joins: Vec<_> = (0..20).map(|_| call.joined(ALICE, &Uuid::new_v4().to_string())).collect();
    let ids: Vec<&str> = joins.iter().map(|join| join[0]["id"].as_str().unwrap()).collect();
    // As PostgreSQL does when the lock table is full.
    fails_at(
        &database,
        "entry",
        &format!("new.ce_id = '{}'", ids[7]),
        "raise exception 'out of shared memory' using errcode = '53200'",
    )
    .await;
    let events: Vec<_> = joins.iter().map(|join| join[0].clone()).collect();
    app.event_grid_posts(&serde_json::json!(events)).await;
    for id in &ids[..7] {
        is_appended(&database, id).await;
    }
    // Of this many calls, most are in other partitions.
    let others: Vec<_> = (0..24).map(|_| Call::new().started()).collect();
    for other in &others {
        app.event_grid_posts(other).await;
    }
    until("the other partitions are read", || async {
        let appended = count(&database, "select count(*) from entry").await;
        (appended > 7 + 12).then_some(())
    })
    .await;
    assert_eq!(count_of(&database, ENTRIES, ids[7]).await, 0);
    fails_no_more(&database).await;
    let others = others.iter().map(|other| other[0]["id"].as_str().unwrap());
    for id in ids.iter().copied().chain(others) {
        is_appended(&database, id).await;
    }
    assert_eq!(count(&database, "select count(*) from quarantine").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_projection_exceeds_the_statement_timeout_is_set_aside_and_others_go_on() {
    let app = TestApp::open().await;
    let database = app.stores.database().await;
    let (slow, other) = (Call::new(), Call::new());
    // The statement that stores the row of this call never ends by itself.
    let is_slow = format!("new.call = '{}'", slow.correlation);
    fails_at(&database, "call", &is_slow, "perform pg_sleep(600)").await;
    let began = Instant::now();
    for call in [&slow, &other] {
        let started = call.started();
        app.event_grid_posts(&started).await;
        let id = started[0]["id"].as_str().unwrap();
        while count_of(&database, ENTRIES, id).await == 0 {
            assert!(began.elapsed() < ISOLATION_DEADLINE, "{:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    print_line(&format!("both are appended after {:.1?}", began.elapsed()));
    let set_aside = "select count(*) from exception where kind = 'NOT_EVALUATED' and call = $1";
    while count_of(&database, set_aside, &slow.correlation).await == 0 {
        assert!(began.elapsed() < 2 * ISOLATION_DEADLINE, "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let evaluated = "select count(*) from call where call = $1";
    assert_eq!(count_of(&database, evaluated, &other.correlation).await, 1);
    app.stop().await;
}

/// Lets each insert into a table do this if the row is the one.
async fn fails_at(database: &PgPool, table: &str, is_the_row: &str, action: &str) {
    let statements = format!(
        "create function act() returns trigger language plpgsql as
             $$ begin if {is_the_row} then {action}; end if; return new; end $$;
         create trigger act before insert on {table} for each row execute function act();"
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(database).await.unwrap();
}

/// Ends what [`fails_at`] began. To drop the trigger would lock the table and its partitions, which a transaction that
/// inserts rows locks in another order.
async fn fails_no_more(database: &PgPool) {
    let nothing = "create or replace function act() returns trigger language plpgsql as $$ begin return new; end $$";
    sqlx::raw_sql(nothing).execute(database).await.unwrap();
}

async fn is_appended(database: &PgPool, id: &str) {
    until("it is appended", || async {
        let found = count_of(database, ENTRIES, id).await;
        (found == 1).then_some(())
    })
    .await;
}

async fn count(database: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

async fn count_of(database: &PgPool, query: &'static str, what: &str) -> i64 {
    sqlx::query_scalar(query).bind(what).fetch_one(database).await.unwrap()
}

/// Transactions of the database that were rolled back.
async fn rollbacks(database: &PgPool) -> i64 {
    count(database, "select xact_rollback from pg_stat_database where datname = current_database()")
        .await
}
