//! One export: how far it is, what it has, its files.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use uuid::Uuid;

use super::export_words::{ExportProgress, PATH, progress, size, state_code, view_word};
use crate::console::display::length::grouped;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::export::access::unknown_export;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{ExportFileRow, ExportState, StoredExport};

#[derive(Template)]
#[template(path = "export.html")]
struct ExportTemplate {
    f: PageFrame,
    export: StoredExport,
    files: Vec<ExportFileRow>,
}

impl ExportTemplate {
    fn progress(&self) -> ExportProgress {
        progress(&self.export)
    }

    fn state(&self) -> &'static str {
        state_code(&self.export.state)
    }

    /// The key of what the state means.
    fn meaning_key(&self) -> &'static str {
        match self.export.state {
            ExportState::Queued => "export_state.queued.meaning",
            ExportState::Running { .. } => "export_state.running.meaning",
            ExportState::Done { .. } => "export_state.done.meaning",
            ExportState::Failed { .. } => "export_state.failed.meaning",
        }
    }

    fn is_working(&self) -> bool {
        matches!(self.state(), "queued" | "running")
    }

    fn what(&self) -> String {
        let words = self.export.request.what.iter().map(|view| view_word(&self.f, view.name()));
        words.collect::<Vec<_>>().join(", ")
    }

    fn number(&self, number: &i64) -> String {
        grouped(*number)
    }

    fn bytes(&self, bytes: &i64) -> String {
        size(*bytes)
    }

    /// The size of all files.
    fn size(&self) -> String {
        size(self.files.iter().map(|file| file.bytes).sum())
    }

    fn format(&self) -> &'static str {
        let format = self.export.request.format.ending();
        self.f.words.find(&format!("export_format.{format}.word")).unwrap_or_default()
    }

    /// The values of the filter, each list with its column.
    fn filters(&self) -> Vec<(&'static str, String)> {
        let filter = &self.export.request.filter;
        let lists = [("app", &filter.app), ("verdict", &filter.verdict), ("kind", &filter.kind)];
        let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
        lists.map(|(name, values)| (name, values.join(", "))).collect()
    }

    /// The form for a new export with the same content.
    fn again_address(&self) -> String {
        let request = &self.export.request;
        let mut pairs: Vec<(&str, String)> =
            request.what.iter().map(|view| ("what", view.name().to_owned())).collect();
        pairs.push(("from", micros(request.from)));
        pairs.push(("to", micros(request.to)));
        pairs.push(("format", request.format.ending().to_owned()));
        for (name, values) in self.filters() {
            if name == "verdict" {
                pairs.extend(request.filter.verdict.iter().map(|it| (name, it.clone())));
            } else {
                pairs.push((name, values));
            }
        }
        // Pairs of texts can always be written.
        let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
        format!("{PATH}?{query}")
    }
}

/// The id of an export in a path.
pub(super) fn parsed(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.ok_or_else(unknown_export)
}

pub(in crate::console) async fn export(
    visit: PageVisit<ReaderRole>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let id = parsed(id)?;
    let found = reader.snapshot().await?.export(id).await?;
    let (export, files) = found.ok_or_else(unknown_export)?;
    let mut f = PageFrame::of(&visit, Section::Exports, visit.words.t("exports.one"));
    if let ExportState::Done { complete_through, .. } = &export.state {
        f = f.complete_through(*complete_through);
    }
    page(&ExportTemplate { f, export, files })
}
