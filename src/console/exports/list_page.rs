//! The exports of the tenant, and the form for a new one.

use std::collections::HashMap;

use askama::Template;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Days, Utc};
use strum::VariantNames as _;
use uuid::Uuid;

use super::export_words::{ExportProgress, PATH, progress, size, state_code, view_word};
use crate::clock;
use crate::console::calls::typed_filter::TypedFilter;
use crate::console::display::length::grouped;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::{PageVisit, Visit};
use crate::http::auth::ReaderRole;
use crate::http::paging::ListBinding;
use crate::http::problem::Problem;
use crate::postgres::{ExportFormat, ExportedView, StoredExport};
use crate::query::context::Reader;

/// Exports of a page.
const PAGE_ROWS: i64 = 30;
/// Days that the form offers first.
const DAYS: u64 = 7;

#[derive(Template)]
#[template(path = "exports.html")]
struct ExportListTemplate {
    f: PageFrame,
    typed: TypedFilter,
    /// Name, word, what a row is, whether it is chosen.
    views: Vec<(&'static str, &'static str, &'static str, bool)>,
    formats: Vec<(&'static str, &'static str, bool)>,
    verdicts: Vec<(&'static str, String, bool)>,
    /// The first and the last day that the form shows.
    days: (String, String),
    is_form_open: bool,
    refusal: Option<(String, String)>,
    exports: Vec<StoredExport>,
    /// Number and bytes of the files of exports that have some.
    sizes: HashMap<Uuid, (i64, i64)>,
    next: Option<String>,
}

impl ExportListTemplate {
    fn progress(&self, export: &StoredExport) -> ExportProgress {
        progress(export)
    }

    fn state(&self, export: &StoredExport) -> &'static str {
        state_code(&export.state)
    }

    fn what(&self, export: &StoredExport) -> String {
        let words = export.request.what.iter().map(|view| view_word(&self.f, view.name()));
        words.collect::<Vec<_>>().join(", ")
    }

    fn number(&self, number: &i64) -> String {
        grouped(*number)
    }

    /// The number and the size of the files of an export.
    fn files(&self, export: &StoredExport) -> Option<String> {
        let (files, bytes) = self.sizes.get(&export.id)?;
        Some(self.f.words.with("exports.file_count", &[("files", files), ("size", &size(*bytes))]))
    }

    fn is_working(&self) -> bool {
        self.exports.iter().any(|it| matches!(state_code(&it.state), "queued" | "running"))
    }

    fn next_address(&self, cursor: &str) -> String {
        self.typed.address(PATH, "cursor", cursor)
    }
}

pub(in crate::console) async fn list(
    visit: PageVisit<ReaderRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    shown(&visit, &reader, typed, None).await
}

/// The list, with the form as it was typed and why it was refused.
pub(super) async fn shown(
    visit: &Visit,
    reader: &Reader,
    typed: TypedFilter,
    refusal: Option<(StatusCode, Problem)>,
) -> Result<Response, Problem> {
    let zone = typed.zone(visit.zone());
    let binding = ListBinding::of("exports", &())?;
    let cursor = Some(typed.first("cursor")).filter(|cursor| !cursor.is_empty());
    let after = binding.parse_cursor::<(DateTime<Utc>, Uuid)>(cursor)?;
    let mut snapshot = reader.snapshot().await?;
    let exports = snapshot.exports(after, PAGE_ROWS).await?;
    let ids: Vec<Uuid> = exports.iter().map(|export| export.id).collect();
    let sizes = snapshot.export_sizes(&ids).await?;
    drop(snapshot);
    let next = binding.next_cursor(&exports, PAGE_ROWS, |last| (last.requested_at, last.id));
    let mut f = PageFrame::of(visit, Section::Exports, visit.words.t("exports.title"));
    f.zone = zone;
    let words = visit.words;
    let views = ExportedView::VARIANTS.iter().map(|name| {
        let text =
            |part: &str| words.find(&format!("export_view.{name}.{part}")).unwrap_or_default();
        (*name, text("word"), text("meaning"), typed.has("what", name))
    });
    let is_chosen = |format: &str| match typed.first("format") {
        "" => format == "csv",
        chosen => format == chosen,
    };
    let formats = ExportFormat::VARIANTS
        .iter()
        .filter(|format| **format != "parquet" || cfg!(feature = "parquet"))
        .map(|format| {
            let word = words.find(&format!("export_format.{format}.word"));
            (*format, word.unwrap_or(format), is_chosen(format))
        });
    let verdicts = ["COMPLIANT", "EXCEPTIONS", "PENDING", "UNOBSERVED"]
        .map(|verdict| (verdict, f.mark("verdict", verdict).text, typed.has("verdict", verdict)));
    let today = clock::now().with_timezone(&zone).date_naive();
    let first = today.checked_sub_days(Days::new(DAYS - 1)).unwrap_or(today);
    let or = |name: &str, day: chrono::NaiveDate| match typed.first(name) {
        "" => day.to_string(),
        typed => typed.to_owned(),
    };
    let (status, refusal) = refusal.map_or((StatusCode::OK, None), |(status, problem)| {
        // The form names its fields without the pointers of the API.
        let member = problem.member().unwrap_or_default();
        let member = member.trim_start_matches("/filter/").trim_start_matches('/');
        let member = member.split('/').next().unwrap_or_default().to_owned();
        (status, Some((member, problem.detail().to_owned())))
    });
    let template = ExportListTemplate {
        views: views.collect(),
        formats: formats.collect(),
        verdicts: verdicts.to_vec(),
        days: (or("from", first), or("to", today)),
        is_form_open: refusal.is_some() || !typed.first("what").is_empty(),
        refusal,
        exports,
        sizes: sizes.into_iter().map(|(id, files, bytes)| (id, (files, bytes))).collect(),
        next,
        typed,
        f,
    };
    Ok((status, page(&template)?).into_response())
}
