//! The page of the evidence report, and its file.

use askama::Template as _;
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};
use serde::Deserialize;

use super::report_document::{ReportDocument, ReportReason, ReportSource, ReportTools, ShownWords};
use crate::console::frame::page;
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::body::QueryParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::query::access_log::{Access, Logged};
use crate::query::calls::evidence::{VersionQuery, read_evidence};
use crate::query::context::CallPath;
use crate::query::time_range::parse_zone;

/// Maximum number of statements about notices whose texts are looked up.
const MAX_STATEMENTS: i64 = 5_000;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::console) struct ReportQuery {
    version: Option<String>,
    then: Option<String>,
    tz: Option<String>,
    /// As a file.
    file: Option<String>,
}

pub(in crate::console) async fn report(
    visit: PageVisit<ReaderRole>,
    CallPath(asked): CallPath,
    QueryParameters(query): QueryParameters<ReportQuery>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let zone = match &query.tz {
        Some(tz) => parse_zone(Some(tz))?,
        None => visit.zone(),
    };
    let asked_version = VersionQuery {
        version: query.version.clone(),
        then: query.then.clone(),
        ..VersionQuery::default()
    };
    let reading = read_evidence(&reader, &asked, &asked_version).await?;
    let mut snapshot = reader.snapshot().await?;
    let anchors = snapshot.anchors_of(&reading.call).await?;
    let statements = snapshot.notice_timeline(&anchors, None, MAX_STATEMENTS).await?;
    let mut shown_words = ShownWords::of(&statements);
    for text in &mut shown_words {
        let registered = snapshot.notice_texts(&text.version).await?;
        let registered = registered.into_iter().find(|it| it.locale == text.locale);
        text.words = registered.map(|it| it.text);
    }
    drop(snapshot);
    let reasons = reading.why.into_iter().map(|it| ReportReason {
        session: it.session,
        capture_type: it.r#type,
        due_at: it.due_at,
        proof: it.proof,
        explanation: it.why,
    });
    let source = ReportSource {
        tenant: reader.caller.tenant.as_str(),
        call: &reading.call,
        report: &reading.report,
        facts: &reading.found.facts,
        sessions: &reading.sessions,
        reasons: reasons.collect(),
        shown_words,
        unseen: &reading.unseen,
        version: reading.found.version,
        is_recomputed: reading.is_recomputed,
        as_of: reading.found.as_of,
        complete_through: reading.complete_through,
        zone,
    };
    let is_file = query.file.is_some();
    let tools = (!is_file).then(|| {
        let mut pairs = vec![("file", "1".to_owned()), ("tz", zone.name().to_owned())];
        for (name, value) in [("version", query.version), ("then", query.then)] {
            pairs.extend(value.map(|value| (name, value)));
        }
        // Pairs of texts can always be written.
        let parameters = serde_urlencoded::to_string(pairs).unwrap_or_default();
        ReportTools {
            download: format!("?{parameters}"),
            back: format!("/console/calls/{}", reading.call),
        }
    });
    let document = ReportDocument::of(source, visit.words, tools)?;
    let access = Access::Call(reading.call.clone());
    let document = Logged::of(&reader, access, document).await?.into_answer();
    if !is_file {
        return page(&document);
    }
    let file = document.render().map_err(|error| {
        tracing::error!(error = %error, "a report could not be made: {error}");
        Problem::new(ProblemKind::Internal, "the report could not be made")
    })?;
    let name = format!("attachment; filename=\"evidence-{}.html\"", reading.call);
    Ok(([(header::CONTENT_DISPOSITION, name)], Html(file)).into_response())
}
