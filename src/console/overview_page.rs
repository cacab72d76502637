//! The first page: what needs a person now, and the last seven days.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::context::ConsoleContext;
use super::display::length::{counted, grouped, length};
use super::frame::{PageFrame, Section, page};
use super::visit::PageVisit;
use crate::clock;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::postgres::{CallCount, CallRow, ExceptionRow, MAX_COUNTED_OPEN};
use crate::query::calls::filter::CallListQuery;
use crate::query::calls::list::read_page;
use crate::query::exceptions::{ExceptionQuery, read_exceptions};
use crate::query::stats::answers::{NoticeNumbers, StatQuery, read_notices};

/// Number of rows of each list.
const ROWS: &str = "5";
/// Lag of the record from which it is a matter of attention, ms.
const LONG_LAG: i64 = 60_000;

/// A day of the last seven.
struct DayLine {
    day: String,
    due: String,
    in_time: String,
    never: i64,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewTemplate {
    f: PageFrame,
    /// Severity, number of open ones, number of those that are new.
    counts: Vec<(&'static str, i64, i64)>,
    /// Calls in progress of which a participant was told late or never.
    calls: Vec<CallRow>,
    call_count: Option<CallCount>,
    /// Open exceptions of sources.
    sources: Vec<ExceptionRow>,
    /// How far the record is behind; `None`: not known.
    lag_ms: Option<i64>,
    week: NoticeNumbers,
    days: Vec<DayLine>,
}

impl OverviewTemplate {
    fn kind(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("exception_kind.{code}")).unwrap_or_default()
    }

    fn lag(&self) -> String {
        self.lag_ms.map_or_else(|| "?".to_owned(), length)
    }

    fn is_behind(&self) -> bool {
        self.lag_ms.is_none_or(|lag| lag > LONG_LAG)
    }

    fn share(&self) -> String {
        percent(self.week.share_told_in_time)
    }

    fn p95(&self) -> String {
        let none = if self.week.obligations > 0 { self.f.t("overview.p95_none") } else { "–" };
        self.week.shown.p95_ms.map_or_else(|| none.to_owned(), |ms| format!("≤ {}", length(ms)))
    }

    fn counted(&self, number: &i64) -> String {
        counted(*number, MAX_COUNTED_OPEN)
    }

    fn number(&self, number: &i64) -> String {
        grouped(*number)
    }

    fn names(&self, row: &CallRow) -> String {
        row.names.join(", ")
    }

    fn open_calls(&self) -> i64 {
        self.call_count.map_or(0, |count| count.value)
    }
}

/// A share in percent with one digit, rounded down: only all of them are 100.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |it| format!("{:.1} %", (it * 1_000.0).floor() / 10.0))
}

/// How far an instant lies back, ms.
fn lag(through: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<i64> {
    through.map(|through| (now - through).num_milliseconds().max(0))
}

pub(super) async fn overview(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let last_visit = context.sessions.last_visit(&signed_in).await?;
    let mut snapshot = reader.snapshot().await?;
    let through = snapshot.evaluated_through().await?;
    let open = snapshot.open_exception_counts(last_visit).await?;
    drop(snapshot);
    let count = |severity: &'static str| {
        let found = open.iter().find(|it| it.severity == severity);
        (severity, found.map_or(0, |it| it.open), found.map_or(0, |it| it.new))
    };
    let not_told = CallListQuery {
        state: vec!["open".to_owned()],
        verdict: vec!["EXCEPTIONS".to_owned()],
        limit: Some(ROWS.to_owned()),
        ..CallListQuery::default()
    };
    let calls = read_page(&reader, &not_told).await?;
    let mut sources = Vec::new();
    for kind in ["SILENT_SOURCE", "REJECTED_CREDENTIALS"] {
        let query = ExceptionQuery {
            kind: Some(kind.to_owned()),
            state: Some("open".to_owned()),
            limit: Some(ROWS.to_owned()),
            ..ExceptionQuery::default()
        };
        sources.extend(read_exceptions(&reader, query, None).await?.exceptions);
    }
    let zone = Some(visit.zone().name().to_owned());
    let week = read_notices(&reader, StatQuery { tz: zone, ..StatQuery::default() }).await?;
    let days = week.intervals.iter().map(|interval| DayLine {
        day: interval.local_from.chars().take("2026-11-23".len()).collect(),
        due: grouped(interval.numbers.obligations),
        in_time: percent(interval.numbers.share_told_in_time),
        never: interval.numbers.never_told,
    });
    page(&OverviewTemplate {
        counts: ["critical", "major", "minor"].map(count).to_vec(),
        calls: calls.calls,
        call_count: calls.count,
        sources,
        lag_ms: lag(through, clock::now()),
        days: days.collect(),
        week: week.total,
        f: PageFrame::of(&visit, Section::Overview, visit.words.t("overview.title"))
            .complete_through(through),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_so_that_only_all_are_a_hundred() {
        for (share, text) in
            [(Some(1.0), "100.0 %"), (Some(0.999_99), "99.9 %"), (Some(0.0), "0.0 %"), (None, "–")]
        {
            assert_eq!(percent(share), text);
        }
        let now = clock::now();
        assert_eq!(lag(Some(now), now), Some(0));
        assert_eq!(lag(None, now), None);
    }
}
