//! The rows of the list that a page shows, as CSV with its columns.

use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::columns::CallColumn;
use super::typed_filter::TypedFilter;
use crate::console::visit::PageVisit;
use crate::export::encode::csv::{end_row, separate, write_cell};
use crate::http::auth::ReaderRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{CallRow, Cell};
use crate::query::calls::list::read_page;

/// A column of the file, and its value in a row.
type CsvColumn = (&'static str, for<'r> fn(&'r CallRow) -> Cell<'r>);

/// A column of the file.
fn column(name: &'static str, cell: for<'r> fn(&'r CallRow) -> Cell<'r>) -> CsvColumn {
    (name, cell)
}

/// What the file has of a column of the page.
fn csv_columns(of: CallColumn) -> Vec<CsvColumn> {
    match of {
        CallColumn::Started => vec![
            column("call", |row| Cell::Text(&row.call)),
            column("started_at", |row| Cell::Instant(row.started_at)),
        ],
        CallColumn::Length => vec![
            column("ended_at", |row| row.ended_at.map_or(Cell::Null, Cell::Instant)),
            column("end_presumed", |row| Cell::Bool(row.end_presumed)),
            column("duration_ms", |row| row.duration_ms.map_or(Cell::Null, Cell::Int64)),
        ],
        CallColumn::People => vec![
            column("names", |row| {
                Cell::TextList(row.names.iter().map(|name| Some(name.as_str())).collect())
            }),
            column("participants_ours", |row| Cell::Int64(row.participants_ours)),
            column("participants_others", |row| Cell::Int64(row.participants_others)),
        ],
        CallColumn::Captured => vec![
            column("recorded", |row| Cell::Bool(row.recorded)),
            column("recording_captured_ms", |row| Cell::Int64(row.recording_captured_ms)),
            column("transcribed", |row| Cell::Bool(row.transcribed)),
            column("transcription_captured_ms", |row| Cell::Int64(row.transcription_captured_ms)),
        ],
        CallColumn::Verdict => vec![column("verdict", |row| text(row.verdict.as_deref()))],
        CallColumn::Exceptions => vec![
            column("exceptions", |row| Cell::Int64(row.exceptions)),
            column("open_exceptions", |row| Cell::Int64(row.open_exceptions)),
        ],
        CallColumn::Consent => vec![column("consent", |row| text(row.consent.as_deref()))],
        CallColumn::Kind => vec![column("kind", |row| text(row.kind.as_deref()))],
        CallColumn::App => vec![column("apps", |row| {
            Cell::TextList(row.apps.iter().map(|app| Some(app.as_str())).collect())
        })],
        CallColumn::Id => vec![column("group_id", |row| text(row.group_id.as_deref()))],
    }
}

fn text(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Null, Cell::Text)
}

/// The file of these rows.
fn file(rows: &[CallRow], columns: &[CallColumn]) -> Result<Vec<u8>, serde_json::Error> {
    let columns: Vec<CsvColumn> = columns.iter().copied().flat_map(csv_columns).collect();
    let mut file = Vec::new();
    for (at, (name, _)) in columns.iter().enumerate() {
        separate(at, &mut file);
        file.extend_from_slice(name.as_bytes());
    }
    end_row(&mut file);
    for row in rows {
        for (at, (_, cell)) in columns.iter().enumerate() {
            separate(at, &mut file);
            write_cell(&cell(row), &mut file)?;
        }
        end_row(&mut file);
    }
    Ok(file)
}

pub(in crate::console) async fn csv(
    visit: PageVisit<ReaderRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let query = typed.query(typed.zone(visit.zone()))?;
    let found = read_page(&reader, &query).await?;
    let file = file(&found.calls, &typed.columns()).map_err(|error| {
        tracing::error!(error = %error, "a list of calls cannot be written as CSV: {error}");
        Problem::new(ProblemKind::Internal, "the list cannot be written as CSV")
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"calls.csv\""),
    ];
    Ok((headers, file).into_response())
}
