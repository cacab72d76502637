//! The sources of the tenant: their last events, the keys in use, and what was refused.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};

use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::display::length::{grouped, length};
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::postgres::{ExceptionRow, LastSourceUse, SourceRejection};
use crate::query::exceptions::{ExceptionQuery, read_exceptions};

/// How far back refusals are shown.
const REJECTIONS: TimeDelta = TimeDelta::days(7);
/// Maximum number of open exceptions of sources on the page.
const MAX_EXCEPTIONS: &str = "50";

/// A source, as far as the record has something of it.
struct SourceLine {
    name: String,
    last: Option<DateTime<Utc>>,
    /// How long it is silent.
    silent: Option<String>,
    uses: Vec<LastSourceUse>,
    rejections: Vec<SourceRejection>,
}

#[derive(Template)]
#[template(path = "sources.html")]
struct SourcesTemplate {
    f: PageFrame,
    sources: Vec<SourceLine>,
    exceptions: Vec<ExceptionRow>,
}

impl SourcesTemplate {
    fn number(&self, number: &i64) -> String {
        grouped(*number)
    }

    fn reason(&self, code: &str) -> String {
        self.f.words.find(&format!("rejection.{code}")).unwrap_or(code).to_owned()
    }

    fn kind(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("exception_kind.{code}")).unwrap_or_default()
    }
}

/// What is known of each source, by its name.
fn lines(
    uses: Vec<LastSourceUse>,
    rejections: Vec<SourceRejection>,
    now: DateTime<Utc>,
) -> Vec<SourceLine> {
    let mut lines: Vec<SourceLine> = Vec::new();
    let line = |lines: &mut Vec<SourceLine>, name: &str| {
        lines.iter().position(|it| it.name == name).unwrap_or_else(|| {
            lines.push(SourceLine {
                name: name.to_owned(),
                last: None,
                silent: None,
                uses: Vec::new(),
                rejections: Vec::new(),
            });
            lines.len() - 1
        })
    };
    for used in uses {
        let at = line(&mut lines, &used.source);
        lines[at].last = lines[at].last.max(Some(used.last_used_at));
        lines[at].uses.push(used);
    }
    for rejection in rejections {
        let at = line(&mut lines, &rejection.source);
        lines[at].rejections.push(rejection);
    }
    for line in &mut lines {
        line.silent = line.last.map(|last| length((now - last).num_milliseconds()));
    }
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    lines
}

pub(in crate::console) async fn sources(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let (store, tenant, now) = (&context.query.store, &signed_in.caller.tenant, clock::now());
    let turn = reader.snapshot_turn().await?;
    let uses = store.source_uses_of(tenant).await?;
    let rejections = store.rejections_of(tenant, now - REJECTIONS).await?;
    drop(turn);
    let mut exceptions = Vec::new();
    for kind in ["SILENT_SOURCE", "REJECTED_CREDENTIALS", "QUARANTINE", "CLOCK"] {
        let query = ExceptionQuery {
            kind: Some(kind.to_owned()),
            state: Some("open".to_owned()),
            limit: Some(MAX_EXCEPTIONS.to_owned()),
            ..ExceptionQuery::default()
        };
        exceptions.extend(read_exceptions(&reader, query, None).await?.exceptions);
    }
    page(&SourcesTemplate {
        sources: lines(uses, rejections, now),
        exceptions,
        f: PageFrame::of(&visit, Section::Sources, visit.words.t("sources.title")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_last_use_and_one_that_was_only_refused_is_there_too() {
        let now: DateTime<Utc> = "2026-11-23T18:00:00Z".parse().unwrap();
        let used = |source: &str, minutes: i64| LastSourceUse {
            source: source.to_owned(),
            credential: "key 1".to_owned(),
            last_used_at: now - TimeDelta::minutes(minutes),
        };
        let rejection = SourceRejection {
            source: "c".to_owned(),
            reason: "wrong_key".to_owned(),
            deliveries: 3,
            ended_at: now,
        };
        let found = lines(vec![used("b", 90), used("a", 5), used("b", 30)], vec![rejection], now);
        let names: Vec<&str> = found.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(found[1].silent.as_deref(), Some("30 min 00 s"));
        assert_eq!((found[1].uses.len(), found[2].rejections.len()), (2, 1));
        assert_eq!(found[2].last, None);
    }
}
