//! The requests that are measured: each resource and each filter, with ids of the history.

use anyhow::ensure;
use sqlx::PgConnection;

use crate::measure::environment::TENANT;

/// How many ids of each sort are asked for in turn.
const IDS: i64 = 25;

/// Requests that differ in ids only.
pub struct RequestKind {
    pub name: &'static str,
    pub paths: Vec<String>,
    /// Whether a smaller history has as much to answer.
    pub is_of_any_size: bool,
}

/// All kinds, in the order of the report.
pub async fn request_kinds(database: &mut PgConnection) -> anyhow::Result<Vec<RequestKind>> {
    let ids = async |database: &mut PgConnection, query: &'static str| {
        let found: Vec<String> =
            sqlx::query_scalar(query).bind(TENANT).bind(IDS).fetch_all(database).await?;
        ensure!(!found.is_empty(), "the history has nothing for: {query}");
        anyhow::Ok(found)
    };
    let calls = ids(
        database,
        "select call from (select call, row_number() over (order by started_at) as number, count(*) over () as all_calls
             from call where tenant = $1 and ended_at is not null) as numbered
         where number % greatest(all_calls / $2, 1) = 0 limit $2",
    )
    .await?;
    let persons = ids(
        database,
        "select raw_id from session where tenant = $1 and ours and raw_id is not null group by raw_id order by count(*) desc, raw_id offset 5 limit $2",
    )
    .await?;
    let names = ids(
        database,
        "select distinct lower(split_part(display_name, ' ', 2)) from session where tenant = $1 and display_name is not null limit $2",
    )
    .await?;
    let of = |name: &'static str, paths: Vec<String>| RequestKind {
        name,
        paths,
        is_of_any_size: !name.ends_with("days") && !name.ends_with("weeks"),
    };
    let one = |name, path: &str| of(name, vec![path.to_owned()]);
    let each = |name, ids: &[String], path: &dyn Fn(&str) -> String| {
        of(name, ids.iter().map(|id| path(&encoded(id))).collect())
    };
    Ok(vec![
        one("calls", "/v1/calls"),
        one("calls, sort=started_at", "/v1/calls?sort=started_at"),
        one("calls, state=ended", "/v1/calls?state=ended"),
        one("calls, state=open", "/v1/calls?state=open"),
        one("calls, verdict=EXCEPTIONS", "/v1/calls?verdict=EXCEPTIONS"),
        one("calls, consent=DECLINED", "/v1/calls?consent=DECLINED"),
        one("calls, type=transcription", "/v1/calls?type=transcription"),
        one("calls, kind=two_party", "/v1/calls?kind=two_party"),
        one("calls, app", "/v1/calls?app=contoso-ios"),
        one("calls, min_duration", "/v1/calls?min_duration=2m"),
        one("calls, has_exceptions=open", "/v1/calls?has_exceptions=open"),
        each("calls, participant by raw id", &persons, &|id| format!("/v1/calls?participant={id}")),
        each("calls, participant by a part of a name", &names, &|id| {
            format!("/v1/calls?participant={id}")
        }),
        each("calls, q", &persons, &|id| format!("/v1/calls?q={id}")),
        one("calls, two filters", "/v1/calls?verdict=EXCEPTIONS&kind=group"),
        one("calls, three filters", "/v1/calls?verdict=EXCEPTIONS&consent=GIVEN&app=contoso-web"),
        one("calls, filters that exclude each other", "/v1/calls?verdict=UNOBSERVED&consent=GIVEN"),
        one("calls, changed_after", "/v1/calls?changed_after=beginning"),
        each("call", &calls, &|id| format!("/v1/calls/{id}")),
        each("timeline", &calls, &|id| format!("/v1/calls/{id}/timeline")),
        each("evidence", &calls, &|id| format!("/v1/calls/{id}/evidence")),
        each("participant", &persons, &|id| {
            format!("/v1/participants/{id}?purpose=measurement&limit=10")
        }),
        one("events, newest first", "/v1/events?sort=-entered"),
        one("exceptions", "/v1/exceptions?state=open"),
        one("stats of calls, 7 days", "/v1/stats/calls"),
        one("stats of notices, 7 days", "/v1/stats/notices"),
        one("stats of captures, 7 days", "/v1/stats/captures"),
        one("stats of exceptions, 7 days", "/v1/stats/exceptions"),
        one("stats of notices by hour", "/v1/stats/notices?by=hour"),
        one("stats of notices, 12 weeks", "/v1/stats/notices?by=week"),
    ])
}

/// Percent-encoded for a path or a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
