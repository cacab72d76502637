//! The page of a call.

use askama::Template;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::call_chart::{
    CallChart, CallChartSource, instant_text, moment, parse_window, window_text,
};
use super::shown_report::{ObligationCounts, ShownObligation, ShownReport, name_of, session_flags};
use crate::console::display::length::exact_ms;
use crate::console::display::mark::CodeMark;
use crate::console::drawing::time_scale::TimeWindow;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::{PageVisit, Visit};
use crate::http::auth::ReaderRole;
use crate::http::body::QueryParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{
    CallDetails, ExceptionFilter, ExceptionRow, SessionDetailRow, UnseenInterval, VersionRow,
};
use crate::query::access_log::{Access, Logged};
use crate::query::calls::evidence::{
    EvidenceReading, ObligationExplanation, VersionQuery, read_evidence,
};
use crate::query::calls::one::read_call;
use crate::query::context::{CallPath, Reader};
use crate::query::time_range::parse_zone;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, JsonWord as _};

/// Maximum number of exceptions of a call on its page.
const MAX_EXCEPTIONS: i64 = 100;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::console) struct CallPageQuery {
    version: Option<String>,
    then: Option<String>,
    tz: Option<String>,
    /// The part of the call that the chart shows.
    window: Option<String>,
}

/// A participant who had to be told, as a row of the page.
struct ObligationLine {
    who: String,
    raw_id: Option<String>,
    flags: Vec<(String, &'static str)>,
    type_word: &'static str,
    type_name: &'static str,
    status: CodeMark,
    status_code: String,
    status_meaning: &'static str,
    consent: CodeMark,
    proof: Option<CodeMark>,
    obligation: ShownObligation,
    /// The address of the chart around the instant at which the notice was due.
    moment: String,
    /// The rule that applied, what would have changed it, and the deciding facts.
    why: Option<(String, String, Vec<String>)>,
}

/// The report of the page, and what it is shown with.
struct CallReportPart {
    report: ShownReport,
    counts: ObligationCounts,
    version: Option<i32>,
    is_latest: bool,
    is_recomputed: Option<bool>,
    as_of: Option<DateTime<Utc>>,
    chart: CallChart,
    zooms: Vec<(&'static str, String)>,
    lines: Vec<ObligationLine>,
    unseen: Vec<UnseenInterval>,
    versions: Vec<VersionRow>,
}

#[derive(Template)]
#[template(path = "call.html")]
struct CallTemplate {
    f: PageFrame,
    details: CallDetails,
    exceptions: Vec<ExceptionRow>,
    /// The other: no fact of the call bears a report, in a sentence.
    part: Result<Box<CallReportPart>, String>,
}

impl CallTemplate {
    fn ms(&self, ms: &Millis) -> String {
        exact_ms(*ms)
    }

    fn text(&self, at: &Millis) -> String {
        instant_text(*at, self.f.zone)
    }

    fn verdict_meaning(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("verdict.{code}.meaning")).unwrap_or_default()
    }

    fn consent_meaning(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("consent.{code}.meaning")).unwrap_or_default()
    }

    fn unseen_word(&self, interval: &UnseenInterval) -> String {
        let kind = serde_json::to_value(interval.kind).ok();
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        self.f.words.find(&format!("unseen.{kind}.word")).unwrap_or_default().to_owned()
    }

    /// The verdict in numbers.
    fn counted(&self, counts: &ObligationCounts) -> String {
        let key = if counts.due == 0 { "call.counted_none" } else { "call.counted" };
        self.f.words.with(
            key,
            &[
                ("due", &counts.due),
                ("in_time", &counts.in_time),
                ("late", &counts.late),
                ("not_proven", &counts.not_proven),
                ("pending", &counts.pending),
                ("brief", &counts.brief),
            ],
        )
    }

    /// A capture in a sentence.
    fn captured(&self, capture: &super::shown_report::ShownCapture) -> String {
        let zone = self.f.zone;
        let until = match capture.ended_at {
            Some(end) => instant_text(end, zone),
            None => self.f.t("call.goes_on").to_owned(),
        };
        let word = |group: &str, code: &str| {
            self.f.words.find(&format!("{group}.{code}.word")).unwrap_or(code).to_owned()
        };
        let sources: Vec<String> =
            capture.sources.iter().map(|source| word("source", source)).collect();
        let kinds = if capture.kinds.is_empty() {
            String::new()
        } else {
            format!(" · {}", capture.kinds.join(", "))
        };
        self.f.words.with(
            "call.captured",
            &[
                ("from", &instant_text(capture.started_at, zone)),
                ("until", &until),
                ("sources", &sources.join(", ")),
                ("kinds", &kinds),
            ],
        )
    }

    fn changed_by(&self, version: &VersionRow) -> String {
        let number = |name: &str| version.changed_by[name].as_array().map_or(0, Vec::len);
        match number("added") + number("removed") {
            0 => String::new(),
            count => self.f.words.with("call.changed_by", &[("count", &count)]),
        }
    }

    fn kind(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("exception_kind.{code}")).unwrap_or_default()
    }

    /// Why a version was made.
    fn reason(&self, code: &str) -> String {
        self.f.words.find(&format!("version_reason.{code}")).unwrap_or(code).to_owned()
    }

    fn people(&self) -> String {
        self.details.call.names.join(", ")
    }
}

pub(in crate::console) async fn call(
    visit: PageVisit<ReaderRole>,
    CallPath(asked): CallPath,
    QueryParameters(query): QueryParameters<CallPageQuery>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let zone = match &query.tz {
        Some(tz) => parse_zone(Some(tz))?,
        None => visit.zone(),
    };
    let (details, complete_through) = match read_call(&reader, &asked).await {
        Err(problem) if problem.kind() == ProblemKind::NotFound => {
            return unknown_call_page(&visit, &reader, &asked).await;
        }
        found => found?,
    };
    let asked_version = VersionQuery {
        version: query.version.clone(),
        then: query.then.clone(),
        ..VersionQuery::default()
    };
    let reading = match read_evidence(&reader, &details.call.call, &asked_version).await {
        Ok(reading) => Ok(reading),
        // The call is shown all the same.
        Err(problem)
            if matches!(problem.kind(), ProblemKind::NotFound | ProblemKind::AnswerTooLarge) =>
        {
            Err(problem.detail().to_owned())
        }
        Err(problem) => return Err(problem),
    };
    let filter = ExceptionFilter {
        call: Some(details.call.call.clone()),
        limit: MAX_EXCEPTIONS,
        ..ExceptionFilter::default()
    };
    let exceptions = reader.snapshot().await?.exceptions(&filter).await?;
    let mut f = PageFrame::of(&visit, Section::Calls, visit.words.t("call.title"))
        .complete_through(complete_through);
    f.zone = zone;
    let part = match reading {
        Ok(reading) => Ok(Box::new(report_part(&f, reading, &query)?)),
        Err(reason) => Err(reason),
    };
    let access = Access::Call(details.call.call.clone());
    let template = CallTemplate { f, details, exceptions, part };
    page(&Logged::of(&reader, access, template).await?.into_answer())
}

fn report_part(
    f: &PageFrame,
    reading: EvidenceReading,
    query: &CallPageQuery,
) -> Result<CallReportPart, Problem> {
    let report = ShownReport::parse(&reading.report)?;
    let (words, zone) = (f.words, f.zone);
    let as_of = reading.found.as_of;
    let all = TimeWindow::new(report.call.started_at, report.end(as_of));
    let window = parse_window(query.window.as_deref(), all);
    let chart = CallChart::of(
        &CallChartSource {
            report: &report,
            facts: &reading.found.facts,
            sessions: &reading.sessions,
            unseen: &reading.unseen,
            as_of,
        },
        window,
        words,
        zone,
    );
    let address = |window: TimeWindow| {
        let mut pairs = vec![("window", window_text(window, all))];
        for (name, value) in [("version", &query.version), ("then", &query.then), ("tz", &query.tz)]
        {
            pairs.extend(value.as_ref().map(|value| (name, value.clone())));
        }
        // Pairs of texts can always be written.
        format!("?{}#chart", serde_urlencoded::to_string(pairs).unwrap_or_default())
    };
    let step = window.length() / 2;
    let zooms = vec![
        ("call.zoom_in", address(window.zoomed(window.length() / 2))),
        ("call.zoom_out", address(window.zoomed(window.length().saturating_mul(2)))),
        ("call.earlier", address(window.shifted(-step))),
        ("call.later", address(window.shifted(step))),
        ("call.whole", address(all)),
    ];
    let mut why: Vec<Option<ObligationExplanation>> = reading.why.into_iter().map(Some).collect();
    let sessions = &reading.sessions;
    let lines = report_lines(f, sessions, &report, &mut why, &address);
    let latest = reading.versions.first().map(|version| version.version);
    Ok(CallReportPart {
        counts: report.counts(),
        is_latest: reading.found.version == latest,
        version: reading.found.version,
        is_recomputed: reading.is_recomputed,
        as_of: DateTime::from_timestamp_millis(as_of),
        chart,
        zooms,
        lines,
        unseen: reading.unseen,
        versions: reading.versions,
        report,
    })
}

fn report_lines(
    f: &PageFrame,
    sessions: &[SessionDetailRow],
    report: &ShownReport,
    why: &mut [Option<ObligationExplanation>],
    address: &impl Fn(TimeWindow) -> String,
) -> Vec<ObligationLine> {
    let words = f.words;
    let mut lines: Vec<ObligationLine> = report
        .obligations
        .iter()
        .map(|obligation| {
            let explanation = why.iter_mut().find(|it| {
                it.as_ref().is_some_and(|it| {
                    it.session == obligation.session
                        && it.r#type == obligation.capture_type
                        && it.due_at == obligation.due_at
                })
            });
            let explanation = explanation.and_then(Option::take);
            let proof = explanation.as_ref().and_then(|it| it.proof);
            let until = obligation.shown_at.unwrap_or(obligation.due_at);
            let row = sessions.iter().find(|row| row.session == obligation.session);
            ObligationLine {
                who: name_of(sessions, &obligation.session),
                raw_id: row.and_then(|row| row.raw_id.clone()),
                flags: row.map(|row| session_flags(row, words)).unwrap_or_default(),
                type_word: words.t(&format!("type.{}.word", obligation.capture_type.as_str())),
                type_name: obligation.capture_type.as_str(),
                status: CodeMark::of(words, "status", &obligation.status),
                status_code: obligation.status.clone(),
                status_meaning: words
                    .find(&format!("status.{}.meaning", obligation.status))
                    .unwrap_or_default(),
                consent: CodeMark::of(words, "consent", &obligation.consent),
                proof: proof.map(|proof| CodeMark::of(words, "proof", proof.as_str())),
                moment: address(moment(obligation.due_at, until)),
                why: explanation.map(|it| (it.why.rule, it.why.would_change, it.why.facts)),
                obligation: obligation.clone(),
            }
        })
        .collect();
    // What needs attention first.
    let weight = |code: &str| match code {
        "NOT_SENT" => 0,
        "UNDELIVERED" => 1,
        "UNCONFIRMED" => 2,
        "LATE" => 3,
        "PENDING" => 4,
        "MET" => 5,
        "BRIEF" => 6,
        _ => 7,
    };
    lines.sort_by_key(|line| weight(&line.status_code));
    lines
}

#[derive(Template)]
#[template(path = "unknown_call.html")]
struct UnknownCallTemplate {
    f: PageFrame,
    asked: String,
    /// The calls in which the text occurs as a person, an app or a group.
    search: String,
}

/// The page of an id that names no call of the tenant. That of another tenant looks the same
/// (`TENANT_ISOLATION`).
async fn unknown_call_page(
    visit: &Visit,
    reader: &Reader,
    asked: &str,
) -> Result<Response, Problem> {
    let through = reader.snapshot().await?.evaluated_through().await?;
    let search = serde_urlencoded::to_string([("q", asked)]).unwrap_or_default();
    let title = visit.words.t("unknown_call.title");
    let shown = page(&UnknownCallTemplate {
        f: PageFrame::of(visit, Section::Calls, title).complete_through(through),
        asked: asked.to_owned(),
        search: format!("/console/calls?{search}"),
    })?;
    Ok((StatusCode::NOT_FOUND, shown).into_response())
}
