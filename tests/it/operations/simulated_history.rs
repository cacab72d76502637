//! `onrecord simulate history`: the rows that it copies are those that the ledger writes for the same events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use onrecord::kafka::{EventMessage, NoticeFactsToWrite, Provenance, WireMessage};
use onrecord_evidence::event::calling_event::CallingEvent;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::notice_fact::NoticeFact;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;

use crate::live::notices::bulk_producer;
use crate::support::app::{TestApp, TestStores, until};
use crate::support::postgres::fresh_database;

/// An instant before which nothing depends on the time of the test.
const UNTIL: &str = "2025-03-05T12:00:00Z";
const CALLS: usize = 60;

/// What the rows of a tenant say, without when and in which transaction they were written.
const COMPARED: [(&str, &str); 14] = [
    (
        "entries",
        "select received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time, at_ms, key, sha256, original, content_coding, charset, event, flags from entry where tenant = 'contoso'",
    ),
    (
        "facts",
        "select anchor, key, content_digest, kind, at_ms, event, received_ms, at_history from fact where tenant = 'contoso'",
    ),
    ("links", "select lower_id, upper_id from alias_link where tenant = 'contoso'"),
    ("aliases", "select anchor, resolves_to, ambiguous from call_alias where tenant = 'contoso'"),
    (
        "notice facts",
        "select anchor, fact_id, content_digest, at_ms, kind, fact, flags, at_history from notice_fact where tenant = 'contoso'",
    ),
    (
        "calls",
        "select call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale, group_id, kind, apps, terms_digest, flags, fact_count, last_activity_at from call where tenant = 'contoso'",
    ),
    ("sessions", "select * from session where tenant = 'contoso'"),
    ("captures", "select * from capture where tenant = 'contoso'"),
    // The ledger keeps what it said of an attachment before it was part of its call.
    (
        "verdicts",
        "select distinct on (call) call, rules, verdict, report, fingerprint, anchors, proofs from verdict
         where tenant = 'contoso' and exists (select from call where call.tenant = verdict.tenant and call.call = verdict.call)
         order by call, version desc",
    ),
    ("obligations", "select * from obligation where tenant = 'contoso'"),
    (
        "exceptions",
        "select kind, severity, call, source, subject, at_ms, facts, sentence from exception where tenant = 'contoso' and closed_by is distinct from 'itself'",
    ),
    // The ledger opened the exceptions before it had the notice facts, and recorded what changed then.
    (
        "histories of exceptions",
        "select exception.kind, exception.call, exception.subject, exception.at_ms, line.change, line.actor
         from exception_history as line join exception on exception.tenant = line.tenant and exception.id = line.exception_id
         where line.tenant = 'contoso' and exception.closed_by is distinct from 'itself' and line.position = 1",
    ),
    // An exception that was opened and ended so is one of the call.
    (
        "terms",
        "select term, started_at, call from call_term where tenant = 'contoso' and term not like 'exceptions=%'",
    ),
    ("parts of names", "select part, name from name_part where tenant = 'contoso'"),
];

async fn simulate(database_url: &str, more: &[&str]) -> (bool, String) {
    let calls = CALLS.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["simulate", "history", "--days", "3", "--until", UNTIL, "--calls", &calls])
        .args(more)
        .env("ONRECORD_DATABASE_URL", database_url)
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// The rows of each compared query as text, in an order of their own.
async fn rows(database: &PgPool) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for (name, query) in COMPARED {
        let query = format!("select found::text from ({query}) as found order by 1");
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(database).await.unwrap();
        all.insert(name, rows);
    }
    all
}

fn assert_equal(one: &BTreeMap<&str, Vec<String>>, other: &BTreeMap<&str, Vec<String>>) {
    for (name, rows) in one {
        let others = &other[name];
        let lacks = |rows: &[String], of: &[String]| {
            rows.iter().filter(|row| !of.contains(row)).take(2).cloned().collect::<Vec<_>>()
        };
        assert!(
            rows == others,
            "{name}: {} and {} rows\nonly on one side: {:#?}\nonly on the other: {:#?}",
            rows.len(),
            others.len(),
            lacks(rows, others),
            lacks(others, rows),
        );
    }
}

#[derive(sqlx::FromRow)]
struct StoredEvent {
    received_at: DateTime<Utc>,
    provenance: String,
    source: String,
    ce_source: String,
    ce_id: String,
    ce_time: Option<String>,
    sha256: Vec<u8>,
    content_digest: Vec<u8>,
    original: Vec<u8>,
    event: String,
}

/// The messages of the log that the entries of a tenant were made of.
async fn messages(database: &PgPool, tenant: &Tenant) -> Vec<WireMessage> {
    let events: Vec<StoredEvent> = sqlx::query_as(
        "select entry.received_at, entry.provenance, entry.source, entry.ce_source, entry.ce_id, entry.ce_time, entry.sha256, fact.content_digest, entry.original, fact.event
         from entry join fact on fact.tenant = entry.tenant and fact.anchor = entry.anchor and fact.key = entry.key
         where entry.tenant = $1 order by entry.received_at, entry.id",
    )
    .bind(tenant.as_str())
    .fetch_all(database)
    .await
    .unwrap();
    // The text of the event stays as it is: a number that is read and written again may differ in its last digit.
    let message = |row: StoredEvent| {
        let message = EventMessage {
            tenant: tenant.clone(),
            provenance: row.provenance.parse::<Provenance>().unwrap(),
            source: row.source,
            credential: None,
            ce_source: row.ce_source,
            ce_id: row.ce_id,
            ce_time: row.ce_time,
            received: row.received_at,
            sha256: Digest::from_bytes(&row.sha256).unwrap(),
            content: Digest::from_bytes(&row.content_digest).unwrap(),
            original: String::from_utf8(row.original).unwrap(),
            content_coding: None,
            charset: None,
            event: CallingEvent::from_json(&row.event).unwrap(),
        };
        WireMessage { value: row.event, ..message.to_wire().unwrap() }
    };
    events.into_iter().map(message).collect()
}

async fn notice_messages(database: &PgPool, tenant: &Tenant) -> Vec<WireMessage> {
    let facts: Vec<(String, String)> = sqlx::query_as(
        "select anchor, fact::text from notice_fact where tenant = $1 order by at_ms, timeline_id",
    )
    .bind(tenant.as_str())
    .fetch_all(database)
    .await
    .unwrap();
    let message = |(anchor, fact): (String, String)| {
        let facts: [NoticeFact; 1] = [serde_json::from_str(&fact).unwrap()];
        let call = Anchor::from_stored(anchor);
        NoticeFactsToWrite { tenant, call: &call, facts: &facts, shared: &[] }.to_wire().unwrap()
    };
    facts.into_iter().map(message).collect()
}

async fn publish(producer: &FutureProducer, topic: &str, messages: Vec<WireMessage>) {
    let mut sent = Vec::new();
    for wire in &messages {
        let headers = wire.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = FutureRecord::to(topic).key(&wire.key).payload(&wire.value).headers(headers);
        sent.push(producer.send_result(record).unwrap());
    }
    for confirmed in sent {
        confirmed.await.unwrap().unwrap();
    }
}

async fn has_rows(database: &PgPool, table: &str, wanted: usize) {
    let query = format!("select count(*) from {table} where tenant = 'contoso'");
    until(&format!("{wanted} rows of {table}"), || async {
        let query = sqlx::query_scalar(AssertSqlSafe(query.clone()));
        let rows: i64 = query.fetch_one(database).await.ok()?;
        (usize::try_from(rows).ok()? >= wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_writes_the_same_rows_for_the_same_events() {
    let generated_url = fresh_database().await;
    let (is_written, text) = simulate(&generated_url, &["--seed", "7"]).await;
    assert!(is_written, "{text}");
    let generated = PgPool::connect(&generated_url).await.unwrap();
    let tenant = Tenant::parse("contoso").unwrap();
    let stores = TestStores::shared().await;
    let app = TestApp::on(stores.clone()).await;
    app.is_ready().await;
    let recorded = stores.database().await;
    let producer = bulk_producer(&stores.brokers);
    let events = messages(&generated, &tenant).await;
    let notices = notice_messages(&generated, &tenant).await;
    let (event_count, notice_count) = (events.len(), notices.len());
    assert!(event_count > 12 * CALLS && notice_count > 2 * CALLS, "{event_count} {notice_count}");
    publish(&producer, &format!("{}calling-events.v1", stores.prefix), events).await;
    has_rows(&recorded, "entry", event_count).await;
    publish(&producer, &format!("{}notice-facts.v1", stores.prefix), notices).await;
    has_rows(&recorded, "notice_fact", notice_count).await;
    let expected = rows(&generated).await;
    // The maintenance evaluates what a change of time is due for.
    until("the calls are evaluated", || async {
        let due: i64 = sqlx::query_scalar(
            "select count(*) from call where next_evaluation_at <= now() or exists (select from postponed_call)",
        )
        .fetch_one(&recorded)
        .await
        .ok()?;
        (due == 0).then_some(())
    })
    .await;
    assert_equal(&expected, &rows(&recorded).await);
    app.stop().await;
    for database in [&generated, &recorded] {
        let stored = terms(database).await;
        for statement in [
            include_str!("../../data/sql/terms_of_rows.sql"),
            "select terms_of_rows(tenant, array_agg(call)) from call group by tenant",
        ] {
            sqlx::raw_sql(statement).execute(database).await.unwrap();
        }
        assert_eq!(stored, terms(database).await, "the terms are what the other rows say");
        let summaries = include_str!("../../data/sql/summary_of_rows.sql");
        sqlx::raw_sql(summaries).execute(database).await.unwrap();
        let others: Vec<(serde_json::Value, serde_json::Value)> = sqlx::query_as(
            "select it.summary, summary_of_rows(it) from call as it where it.summary <> summary_of_rows(it)",
        )
        .fetch_all(database)
        .await
        .unwrap();
        assert_eq!(others, [], "the summaries are what the other rows say");
    }
}

async fn terms(database: &PgPool) -> Vec<String> {
    let query = sqlx::query_scalar(
        "select term || ' ' || call || ' ' || started_at from call_term order by 1",
    );
    query.fetch_all(database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_whole_repeatable_and_only_of_tenants_without_rows() {
    let (one, other) = (fresh_database().await, fresh_database().await);
    let tenants = ["--seed", "3", "--tenant", "contoso,fabrikam"];
    for url in [&one, &other] {
        let (is_written, text) = simulate(url, &tenants).await;
        assert!(is_written, "{text}");
        assert!(text.contains(&format!("{CALLS} calls with ")), "{text}");
    }
    let (one_pool, other_pool) =
        (PgPool::connect(&one).await.unwrap(), PgPool::connect(&other).await.unwrap());
    assert_equal(&rows(&one_pool).await, &rows(&other_pool).await);
    let ids = "select string_agg(id::text, ',' order by id) from (select id from entry union all select id from exception union all select timeline_id from notice_fact) as all_ids";
    let of = |pool: PgPool| async move {
        sqlx::query_scalar::<_, String>(ids).fetch_one(&pool).await.unwrap()
    };
    assert_eq!(of(one_pool.clone()).await, of(other_pool).await);
    let counts: Vec<(String, i64, i64)> = sqlx::query_as(
        "select tenant, count(*), count(distinct started_at::date) from call group by tenant order by 1",
    )
    .fetch_all(&one_pool)
    .await
    .unwrap();
    assert_eq!(counts.len(), 2);
    assert!(counts.iter().all(|(_, calls, days)| *calls >= 30 && *days >= 3), "{counts:?}");
    // Every month has a partition of its own.
    let in_default: i64 = sqlx::query_scalar("select count(*) from entry_default")
        .fetch_one(&one_pool)
        .await
        .unwrap();
    assert_eq!(in_default, 0);

    let (is_written, text) = simulate(&one, &["--tenant", "fabrikam"]).await;
    assert!(!is_written && text.contains("has calls or events already"), "{text}");
    let (is_written, text) = simulate(&one, &["--tenant", "wingtip"]).await;
    assert!(is_written, "{text}");

    for tenant in ["contoso", "fabrikam", "wingtip"] {
        let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(["evidence", "recompute", "--tenant", tenant, "--all"])
            .env("ONRECORD_DATABASE_URL", &one)
            .current_dir(std::env::temp_dir())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_of_a_history_agree_with_each_other() {
    let url = fresh_database().await;
    let (is_written, text) = simulate(&url, &["--seed", "11"]).await;
    assert!(is_written, "{text}");
    let database = PgPool::connect(&url).await.unwrap();
    for (what, query) in [
        (
            "participants of calls",
            "select calls.call from reading.calls where participants_ours <> (
                 select count(distinct coalesce(raw_id, session)) from reading.sessions where sessions.tenant = calls.tenant and sessions.call = calls.call and ours)",
        ),
        (
            "captures of calls",
            "select call from reading.calls where recorded <> exists (
                 select from reading.captures where captures.tenant = calls.tenant and captures.call = calls.call and captures.type = 'recording')",
        ),
        (
            "exceptions of calls",
            "select call from reading.calls where open_exceptions <> (
                 select count(*) from reading.exceptions where exceptions.tenant = calls.tenant and exceptions.call = calls.call and exceptions.closed_at is null)",
        ),
        (
            "the roll-up of notices",
            "select type from (
                 select type, sum(obligations) as counted from reading.notice_latency_hourly where step = 'shown' group by type) as hourly
             where counted <> (select count(*) from reading.obligations where obligations.type = hourly.type and obligations.status <> 'NOT_OURS')",
        ),
        (
            "events without a call",
            "select event::text from reading.events where call is not null and not exists (
                 select from reading.calls where calls.tenant = events.tenant and calls.call = events.call)",
        ),
    ] {
        let found: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&database).await.unwrap();
        assert!(found.is_empty(), "{what}: {found:?}");
    }
    // Something of everything, so that queries have something to find.
    let (verdicts, statuses, consents, kinds, closed): (i64, i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(distinct verdict) from reading.calls), (select count(distinct status) from reading.obligations),
             (select count(distinct consent) from reading.calls), (select count(distinct kind) from reading.calls),
             (select count(*) from reading.exceptions where closed_at is not null)",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert!(
        verdicts >= 3 && statuses >= 4 && consents >= 2 && kinds >= 2 && closed >= 3,
        "{verdicts} {statuses} {consents} {kinds} {closed}"
    );
}
