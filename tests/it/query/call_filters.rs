//! `GET /v1/calls` on the history of `tests/data/sql`: each filter gives the calls that the schema `reading`
//! has, pages are complete, and what makes no sense is refused.

use chrono::Utc;
use onrecord::cli::serve::{Role, ServeOptions};
use onrecord::http::api_role::ApiRole;
use onrecord::postgres::{Postgres, statements};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::empty_summary;
use crate::support::app::{TestApp, TestStores, until};
use crate::support::client::http;
use crate::support::history::{SUMMARIZE_CALLS, write_history};

/// A node on the history, with a key of an analyst.
pub struct HistoryApp {
    pub app: TestApp,
    pub database: PgPool,
    analyst: String,
}

impl HistoryApp {
    pub async fn open() -> Self {
        let stores = TestStores::shared().await;
        let store = Postgres::new(&stores.database_url, 2).unwrap();
        store.migrate(Utc::now()).await.unwrap();
        store.close().await;
        let database = stores.database().await;
        let mut rows = database.begin().await.unwrap();
        write_history(&mut rows).await;
        for statement in [
            "update call set kind = seen.kind from reading.calls as seen where seen.tenant = call.tenant and seen.call = call.call",
            "update call set apps = array(
                 select distinct session.app from reading.sessions as session
                 where session.tenant = call.tenant and session.call = call.call and session.app is not null)",
            include_str!("../../data/sql/terms_of_rows.sql"),
            "select terms_of_rows(tenant, array_agg(call)) from call group by tenant",
            SUMMARIZE_CALLS,
        ] {
            sqlx::raw_sql(statement).execute(&mut *rows).await.unwrap();
        }
        rows.commit().await.unwrap();
        // Without the ledger, whose maintenance would presume the ends of the calls that go on.
        let options = ServeOptions::of_roles(vec![Role::Query, Role::Console]);
        let app = TestApp::with_options(stores, "", options).await;
        let analyst = app.api_key("contoso", ApiRole::Analyst).await;
        let history = Self { app, database, analyst };
        until("the key is known", || async {
            (history.get("/v1/calls?limit=1").await.0 == StatusCode::OK).then_some(())
        })
        .await;
        history
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response =
            http().get(self.app.url(path)).bearer_auth(&self.analyst).send().await.unwrap();
        (response.status(), response.json().await.unwrap_or_default())
    }

    /// An answer that must be given.
    pub(super) async fn reads(&self, path: &str) -> Value {
        let (status, answer) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer:#}");
        answer
    }

    /// The calls of a list in its order, page by page.
    async fn list(&self, query: &str, limit: usize) -> Vec<String> {
        let mut calls = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/calls?{query}&limit={limit}{cursor}");
            let page = self.reads(&path).await;
            let page_calls = page["calls"].as_array().unwrap();
            assert!(page_calls.len() <= limit);
            calls.extend(page_calls.iter().map(|call| call["call"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return calls,
            }
        }
    }

    /// The calls of contoso for which the condition on `reading.calls` holds, newest first.
    async fn expected(&self, condition: &str) -> Vec<String> {
        let sql = format!(
            "select call from reading.calls as seen where tenant = 'contoso' and ({condition}) order by started_at desc, call desc"
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.database).await.unwrap()
    }
}

const SESSIONS: &str = "exists (select from reading.sessions as session where session.tenant = seen.tenant and session.call = seen.call and ";

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_gives_the_calls_that_sql_gives_on_whatever_pages() {
    let history = HistoryApp::open().await;
    let person: String = sqlx::query_scalar(
        "select raw_id from session where tenant = 'contoso' and raw_id is not null group by 1 order by count(*) desc, 1 limit 1",
    )
    .fetch_one(&history.database)
    .await
    .unwrap();
    let call: String = sqlx::query_scalar("select min(call) from call where tenant = 'contoso'")
        .fetch_one(&history.database)
        .await
        .unwrap();
    let filters = [
        ("", "true".to_owned()),
        ("state=open", "ended_at is null".to_owned()),
        ("state=ended", "ended_at is not null".to_owned()),
        ("state=open,ended", "true".to_owned()),
        ("verdict=EXCEPTIONS", "verdict = 'EXCEPTIONS'".to_owned()),
        ("verdict=PENDING&verdict=UNOBSERVED", "verdict in ('PENDING', 'UNOBSERVED')".to_owned()),
        ("consent=DECLINED,OUTSTANDING", "consent in ('DECLINED', 'OUTSTANDING')".to_owned()),
        ("type=recording", "recorded".to_owned()),
        ("type=none", "not recorded and not transcribed".to_owned()),
        ("type=recording,transcription", "recorded or transcribed".to_owned()),
        ("kind=meeting", "kind = 'meeting'".to_owned()),
        ("kind=room,two_party", "kind in ('room', 'two_party')".to_owned()),
        ("kind=unknown", "kind is null".to_owned()),
        ("min_duration=20m", "duration_ms >= 1200000".to_owned()),
        ("min_duration=1", "duration_ms >= 1000".to_owned()),
        ("min_duration=2h", "duration_ms >= 7200000".to_owned()),
        ("has_exceptions=true", "exceptions > 0".to_owned()),
        ("has_exceptions=open", "open_exceptions > 0".to_owned()),
        ("has_exceptions=false", "exceptions = 0".to_owned()),
        ("app=contoso-web", format!("{SESSIONS} session.app like 'contoso-web/%')")),
        ("app=contoso-web/7.1.0,contoso-ios/5.4.0", format!("{SESSIONS} session.app in ('contoso-web/7.1.0', 'contoso-ios/5.4.0'))")),
        ("participant=PERSON", format!("{SESSIONS} session.raw_id = '{person}')")),
        ("participant=son%204%20of", format!("{SESSIONS} lower(session.display_name) like '%son 4 of%')")),
        ("participant=SON%204%20OF&participant=PERSON", format!("{SESSIONS} (lower(session.display_name) like '%son 4 of%' or session.raw_id = '{person}'))")),
        ("q=league%201", format!("{SESSIONS} lower(session.display_name) like '%league 1%')")),
        ("q=CALL", format!("call = '{call}'")),
        ("q=contoso-web/7.1.0", format!("{SESSIONS} session.app = 'contoso-web/7.1.0')")),
        ("q=nothing-has-this", "false".to_owned()),
        ("from=2025-10-26&to=2025-10-26&tz=Europe/Berlin", "started_at >= '2025-10-25T22:00:00Z' and started_at < '2025-10-26T23:00:00Z'".to_owned()),
        ("from=2025-10-25T12:00:00Z&to=2025-10-26T12:00:00Z", "started_at >= '2025-10-25T12:00:00Z' and started_at < '2025-10-26T12:00:00Z'".to_owned()),
        ("verdict=EXCEPTIONS&kind=group,meeting&type=recording&min_duration=10m&from=2025-10-25",
            "verdict = 'EXCEPTIONS' and kind in ('group', 'meeting') and recorded and duration_ms >= 600000 and started_at >= '2025-10-25'".to_owned()),
        ("verdict=COMPLIANT&has_exceptions=open", "verdict = 'COMPLIANT' and open_exceptions > 0".to_owned()),
    ];
    let mut with_calls = 0;
    for (query, condition) in filters {
        let query = query.replace("PERSON", &person.replace(':', "%3A")).replace("CALL", &call);
        let expected = history.expected(&condition).await;
        with_calls += usize::from(!expected.is_empty());
        assert_eq!(history.list(&query, 1000).await, expected, "{query}");
        assert_eq!(history.list(&query, 7).await, expected, "{query} on pages");
        let reversed: Vec<String> = expected.iter().rev().cloned().collect();
        let oldest_first = history.list(&format!("{query}&sort=started_at"), 13).await;
        assert_eq!(oldest_first, reversed, "{query} oldest first");
        let page = history.reads(&format!("/v1/calls?{query}&limit=1000")).await;
        assert_eq!(page["count"], json!({ "value": expected.len(), "exact": true }), "{query}");
    }
    assert!(with_calls > 25, "{with_calls}");
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_before_it_is_full_where_few_of_many_calls_pass_all_filters() {
    let history = HistoryApp::open().await;
    // Half of the calls is of each filter; one in 2,000 is of both.
    let calls = format!(
        "insert into call (tenant, call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale, kind, apps, flags, summary, fact_count, evaluated_at)
         select 'contoso', 'many-' || number, timestamptz '2024-01-01' + number * interval '1 minute', timestamptz '2024-01-01' + (number + 1) * interval '1 minute', false, 'off', false, 'off', false,
             case when number % 2 = 0 then 'room' else 'group' end, case when number % 2 = 1 or number % 2000 = 0 then array['many/1'] else '{{}}' end, '{{}}', '{}', 1, now()
         from generate_series(1, 9000) as number",
        empty_summary()
    );
    for statement in [
        &calls,
        "select terms_of_rows(tenant, array_agg(call)) from call where call like 'many-%' group by tenant, left(md5(call), 1)",
        "analyze call_term",
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&history.database).await.unwrap();
    }
    let expected = ["many-8000", "many-6000", "many-4000", "many-2000"];
    let query = "kind=room&app=many&from=2024-01-01&to=2024-02-01";
    assert_eq!(history.list(query, 3).await, expected);
    let reversed: Vec<&str> = expected.iter().rev().copied().collect();
    assert_eq!(history.list(&format!("{query}&sort=started_at"), 100).await, reversed);
    let first = history.reads(&format!("/v1/calls?{query}")).await;
    if first["next"].is_string() {
        assert_eq!(first["count"]["exact"], false, "{first:#}");
    }
    // Every call has one term of each filter here, and none is left out where a page of several terms ends.
    let both = "kind=room,group&state=ended&from=2024-01-01&to=2024-02-01";
    let all = history.list(both, 1000).await;
    assert_eq!(all.len(), 9000);
    let number = |call: &String| call[5..].parse::<u32>().unwrap();
    assert!(all.windows(2).all(|pair| number(&pair[0]) > number(&pair[1])));
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_a_list_has_the_verdict_names_and_captured_times_that_sql_gives() {
    let history = HistoryApp::open().await;
    let page = history.reads("/v1/calls?limit=1000&to=2025-10-27").await;
    let calls = page["calls"].as_array().unwrap();
    assert!(calls.len() > 50, "{}", calls.len());
    for call in calls {
        let expected: Value = sqlx::query_scalar(
            "select jsonb_build_object('verdict', verdict, 'consent', consent, 'kind', kind, 'duration_ms', duration_ms, 'recorded', recorded,
                 'transcribed', transcribed, 'sessions', sessions, 'participants_ours', participants_ours,
                 'participants_others', participants_others, 'outsiders', outsiders, 'exceptions', exceptions, 'open_exceptions', open_exceptions)
             from reading.calls where tenant = 'contoso' and call = $1",
        )
        .bind(call["call"].as_str())
        .fetch_one(&history.database)
        .await
        .unwrap();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&call[name], value, "{name}: {call:#}");
        }
        let names: Vec<String> = sqlx::query_scalar(
            "select distinct display_name from session where tenant = 'contoso' and call = $1 and display_name is not null order by 1",
        )
        .bind(call["call"].as_str())
        .fetch_all(&history.database)
        .await
        .unwrap();
        assert_eq!(call["names"], json!(names), "{call:#}");
        if call["open_captures"] == 0 {
            let (recording, transcription): (i64, i64) = sqlx::query_as(
                "select recording_captured_ms, transcription_captured_ms from reading.calls where tenant = 'contoso' and call = $1",
            )
            .bind(call["call"].as_str())
            .fetch_one(&history.database)
            .await
            .unwrap();
            assert_eq!(call["recording_captured_ms"], recording, "{call:#}");
            assert_eq!(call["transcription_captured_ms"], transcription, "{call:#}");
        }
    }
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_answered_400_with_the_parameter_and_what_is_allowed() {
    let history = HistoryApp::open().await;
    let cursor = history.reads("/v1/calls?state=ended&limit=1").await["next"].clone();
    let cursor = cursor.as_str().unwrap();
    for (query, member) in [
        ("stat=open".to_owned(), "stat"),
        ("state=ajar".to_owned(), "state"),
        ("verdict=good".to_owned(), "verdict"),
        ("consent=yes".to_owned(), "consent"),
        ("type=video".to_owned(), "type"),
        ("kind=call".to_owned(), "kind"),
        ("min_duration=long".to_owned(), "min_duration"),
        ("has_exceptions=yes".to_owned(), "has_exceptions"),
        ("sort=name".to_owned(), "sort"),
        ("from=today".to_owned(), "from"),
        ("from=2025-10-26&to=2025-10-25".to_owned(), "to"),
        ("from=2025-10-26&tz=Berlin".to_owned(), "tz"),
        ("limit=0".to_owned(), "limit"),
        ("limit=5&limit=6".to_owned(), "limit"),
        ("participant=".to_owned(), "participant"),
        ("q=%20".to_owned(), "q"),
        ("cursor=abc".to_owned(), "cursor"),
        (format!("cursor={cursor}"), "cursor"),
        (format!("state=open&cursor={cursor}"), "cursor"),
        (format!("state=ended&sort=started_at&cursor={cursor}"), "cursor"),
        ("changed_after=yesterday".to_owned(), "changed_after"),
        ("changed_after=beginning&state=open".to_owned(), "changed_after"),
    ] {
        let (status, problem) = history.get(&format!("/v1/calls?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem:#}");
        assert_eq!(problem["member"], member, "{query}: {problem:#}");
    }
    let (_, problem) = history.get("/v1/calls?stat=open").await;
    assert!(problem["detail"].as_str().unwrap().contains("did you mean state?"), "{problem:#}");
    assert!(problem["allowed"].as_array().unwrap().len() > 15, "{problem:#}");
    // A page of the same list is not refused for another limit.
    history.reads(&format!("/v1/calls?limit=3&state=ended&cursor={cursor}")).await;
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_is_closed_by_hand_changes_its_call_and_the_lists_that_have_it() {
    let history = HistoryApp::open().await;
    let (call, exception): (String, String) = sqlx::query_as(
        "select call, min(id::text) from exception where tenant = 'contoso' and call is not null
         group by call having count(*) = 1 and bool_and(closed_at is null) order by 1 limit 1",
    )
    .fetch_one(&history.database)
    .await
    .unwrap();
    assert!(history.list("has_exceptions=open", 100).await.contains(&call));
    let changes = until("all calls come as changes", || async {
        let changes = history.reads("/v1/calls?changed_after=beginning&limit=1000").await;
        (changes["calls"].as_array().unwrap().len() == 110).then_some(changes)
    })
    .await;
    let through = changes["changed_through"].as_str().unwrap();
    let later = history.reads(&format!("/v1/calls?changed_after={through}")).await;
    assert_eq!((&later["calls"], &later["changed_through"]), (&json!([]), &json!(through)));

    let auditor = history.app.api_key("contoso", ApiRole::Auditor).await;
    let reason = json!({ "reason": "the notice was given by voice" });
    let path = format!("/v1/exceptions/{exception}/close");
    let (status, closed) = history.app.posts_json(&path, &auditor, &reason).await;
    assert_eq!(status, StatusCode::OK, "{closed:#}");
    assert!(!history.list("has_exceptions=open", 100).await.contains(&call));
    assert!(history.list("has_exceptions=true", 100).await.contains(&call));
    let later = until("the change comes", || async {
        let later = history.reads(&format!("/v1/calls?changed_after={through}")).await;
        (later["calls"] != json!([])).then_some(later)
    })
    .await;
    assert_eq!(later["calls"][0]["call"], call.as_str(), "{later:#}");
    assert_eq!(later["calls"][0]["open_exceptions"], 0, "{later:#}");
    assert_eq!(later["calls"].as_array().unwrap().len(), 1);
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_are_those_of_sql_and_of_whole_days_of_the_zone() {
    let history = HistoryApp::open().await;
    let range = "from=2025-10-24&to=2025-10-27&tz=Europe/Berlin";
    let calls = history.reads(&format!("/v1/stats/calls?{range}")).await;
    let days = calls["intervals"].as_array().unwrap();
    let starts: Vec<&str> = days.iter().map(|day| day["local_from"].as_str().unwrap()).collect();
    // The clocks go back on the 26th.
    assert_eq!(
        starts,
        [
            "2025-10-24T00:00:00.000+02:00",
            "2025-10-25T00:00:00.000+02:00",
            "2025-10-26T00:00:00.000+02:00",
            "2025-10-27T00:00:00.000+01:00"
        ]
    );
    let expected: Vec<(i64, i64, i64)> = sqlx::query_as(
        "select count(*), count(*) filter (where recorded), count(*) filter (where verdict = 'EXCEPTIONS')
         from reading.calls where tenant = 'contoso' group by (started_at at time zone 'Europe/Berlin')::date order by (started_at at time zone 'Europe/Berlin')::date",
    )
    .fetch_all(&history.database)
    .await
    .unwrap();
    let answered: Vec<(i64, i64, i64)> = days
        .iter()
        .map(|day| {
            let number = |value: &Value| value.as_i64().unwrap_or(0);
            (
                number(&day["calls"]),
                number(&day["recorded"]),
                number(&day["verdicts"]["EXCEPTIONS"]),
            )
        })
        .collect();
    assert_eq!(answered, expected);

    let (told_in_time, obligations, never): (i64, i64, i64) = sqlx::query_as(
        "select count(*) filter (where in_time), count(*) filter (where counts), count(*) filter (where outcome = 'never_told') from reading.obligations where tenant = 'contoso'",
    )
    .fetch_one(&history.database)
    .await
    .unwrap();
    let by_hour = history.reads(&format!("/v1/stats/notices?{range}&by=hour")).await;
    assert_eq!(by_hour["intervals"].as_array().unwrap().len(), 4 * 24 + 1);
    for by in ["hour", "day", "week"] {
        let notices = history.reads(&format!("/v1/stats/notices?{range}&by={by}")).await;
        let total = &notices["total"];
        assert_eq!(total["told_in_time"], told_in_time, "{total:#}");
        assert_eq!(total["obligations"], obligations, "{total:#}");
        assert_eq!(total["never_told"], never, "{total:#}");
        assert_eq!(total["shown"]["count"], obligations, "those never told count: {total:#}");
        assert_eq!(total, &by_hour["total"], "{by}");
    }
    // The histogram is that of the schema reading.
    let le: Vec<(i64, i64)> = sqlx::query_as(
        "select le_ms, sum(obligations)::bigint from reading.notice_latency_hourly
         where tenant = 'contoso' and step = 'shown' and outcome in ('told', 'never_told') and le_ms is not null group by 1 order by 1",
    )
    .fetch_all(&history.database)
    .await
    .unwrap();
    let le: Vec<Value> =
        le.into_iter().map(|(le_ms, count)| json!({ "le_ms": le_ms, "count": count })).collect();
    assert_eq!(by_hour["total"]["shown"]["buckets"], json!(le));

    let captures: i64 = sqlx::query_scalar(
        "select count(*) from reading.captures where tenant = 'contoso' and type = 'recording'
             and started_at >= '2025-10-23T22:00:00Z' and started_at < '2025-10-27T23:00:00Z'",
    )
    .fetch_one(&history.database)
    .await
    .unwrap();
    let answered = history.reads(&format!("/v1/stats/captures?{range}&type=recording")).await;
    assert_eq!(answered["total"]["captures"], captures, "{answered:#}");
    let (open, closed): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where state = 'open'), count(*) filter (where state = 'closed') from reading.exceptions
         where tenant = 'contoso' and opened_at >= '2025-10-23T22:00:00Z' and opened_at < '2025-10-27T23:00:00Z'",
    )
    .fetch_one(&history.database)
    .await
    .unwrap();
    let answered = history.reads(&format!("/v1/stats/exceptions?{range}")).await;
    assert_eq!(answered["total"]["open"], open, "{answered:#}");
    assert_eq!(answered["total"]["closed"], closed, "{answered:#}");
    assert_eq!(answered["total"]["time_to_close"]["never"], open, "{answered:#}");

    for (query, member) in [
        ("by=month", "by"),
        ("tz=Mars", "tz"),
        ("from=2020-01-01&to=2025-01-01&by=hour", "from"),
        ("type=video", "type"),
        ("per=hour", "per"),
    ] {
        let (status, problem) = history.get(&format!("/v1/stats/captures?{query}")).await;
        assert_eq!(
            (status, &problem["member"]),
            (StatusCode::BAD_REQUEST, &json!(member)),
            "{query}"
        );
    }
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_and_statistic_is_read_by_indexes() {
    let history = HistoryApp::open().await;
    let mut connection = history.database.acquire().await.unwrap();
    for setting in [
        "begin read only",
        "select set_config('role', 'onrecord_reader', true), set_config('onrecord.tenant', 'contoso', true)",
    ] {
        sqlx::raw_sql(setting).execute(&mut *connection).await.unwrap();
    }
    let statements = statements();
    let sql = |name: &str| statements.iter().find(|it| it.name == name).unwrap().sql;
    sqlx::raw_sql(sql("PLAN_ONCE")).execute(&mut *connection).await.unwrap();
    let hours = "array['2025-10-25'::timestamptz], array['2025-10-26'::timestamptz]";
    let positions = "array['verdict=EXCEPTIONS', 'verdict=PENDING'], null, null, now(), '', 1000, array[1, 2], array['kind=room', 'type=none'], array[null, 5]::bigint[], 2, 10, 100";
    let counted = |subject: &str| format!("'contoso', '{subject}', {hours}");
    for (name, values) in [
        ("SELECT_NEWEST_POSITIONS", format!("'contoso', {positions}")),
        ("SELECT_OLDEST_POSITIONS", format!("'contoso', {positions}")),
        ("SELECT_CALL_ROWS", "'contoso', array['one', 'another']".to_owned()),
        ("SELECT_CHANGES", "'contoso', '7', 'call', 10".to_owned()),
        ("SELECT_NAMES", "'contoso', 'part', 10".to_owned()),
        ("SELECT_SESSIONS_OF_PERSON", "'contoso', array['one'], 'person'".to_owned()),
        ("SELECT_OBLIGATIONS_OF_PERSON", "'contoso', array['one'], 'person'".to_owned()),
        ("SELECT_STATEMENTS_OF_PERSON", "'contoso', array['one'], 'person'".to_owned()),
        ("SELECT_MENTIONS_OF_PERSON", "'contoso', array['one'], 'person'".to_owned()),
        ("COUNT_CALLS", counted("calls")),
        ("COUNT_TERMS", counted("terms")),
        ("COUNT_NOTICES", counted("notices")),
        ("COUNT_CAPTURES", counted("captures")),
        ("COUNT_EXCEPTIONS", counted("exceptions")),
        (
            "SELECT_ACCESSES",
            "'contoso', null, null, 'call', 'one', null, null, null, null, 10".to_owned(),
        ),
    ] {
        let prepare = format!("prepare one as {}", sql(name));
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let explain = format!("explain execute one({values})");
        let plan: Vec<String> = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_all(&mut *connection)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .iter()
            .map(|row| row.get(0))
            .collect();
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan"), "{name}: {plan}");
        sqlx::raw_sql("deallocate one").execute(&mut *connection).await.unwrap();
    }
    history.app.stop().await;
}
