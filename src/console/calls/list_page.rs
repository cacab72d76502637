//! The page with the list of calls.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use strum::IntoEnumIterator as _;

use super::columns::CallColumn;
use super::saved_filters::owner;
use super::typed_filter::{ActiveFilter, TypedFilter};
use crate::console::context::ConsoleContext;
use crate::console::display::length::{grouped, length};
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{CallRow, SavedFilter};
use crate::query::calls::list::{CallListPage, read_page};

/// The path of the list.
const PATH: &str = "/console/calls";
/// Maximum number of names in a row.
const MAX_ROW_NAMES: usize = 3;
/// A filter that is one click away: key of its text, parameters.
const SHORTCUTS: [(&str, &str, &str); 5] = [
    ("calls.shortcut.exceptions", "verdict", "EXCEPTIONS"),
    ("calls.shortcut.open", "state", "open"),
    ("calls.shortcut.recorded", "type", "recording"),
    ("calls.shortcut.declined", "consent", "DECLINED"),
    ("calls.shortcut.unobserved", "verdict", "UNOBSERVED"),
];

/// A filter that is one click away.
struct Shortcut {
    text: &'static str,
    address: String,
    is_on: bool,
}

/// A group of values of one parameter.
struct ValueChoice {
    name: &'static str,
    legend: &'static str,
    /// Value, text, whether it is chosen.
    values: Vec<(&'static str, String, bool)>,
}

#[derive(Template)]
#[template(path = "calls.html")]
struct CallListTemplate {
    f: PageFrame,
    typed: TypedFilter,
    columns: Vec<CallColumn>,
    all_columns: Vec<(CallColumn, bool)>,
    shortcuts: Vec<Shortcut>,
    choices: Vec<ValueChoice>,
    active: Vec<ActiveFilter>,
    saved: Vec<SavedFilter>,
    refusal: Option<(String, String)>,
    /// `None`: the filter cannot be read.
    found: Option<CallListPage>,
}

impl CallListTemplate {
    fn count(&self) -> String {
        let Some(found) = &self.found else { return String::new() };
        let words = self.f.words;
        match found.count {
            Some(count) if count.exact => {
                words.with("calls.count_exact", &[("count", &grouped(count.value))])
            }
            Some(count) => words.with("calls.count_about", &[("count", &grouped(count.value))]),
            None => words.with("calls.count_page", &[("count", &found.calls.len())]),
        }
    }

    fn length(&self, row: &CallRow) -> String {
        row.duration_ms.map_or_else(|| self.f.t("calls.goes_on").to_owned(), length)
    }

    fn captured(&self, ms: &i64) -> String {
        length(*ms)
    }

    fn names(&self, row: &CallRow) -> String {
        let mut names: Vec<&str> =
            row.names.iter().take(MAX_ROW_NAMES).map(String::as_str).collect();
        let more = row.names.len().saturating_sub(MAX_ROW_NAMES);
        let more = format!("+{more}");
        if row.names.len() > MAX_ROW_NAMES {
            names.push(&more);
        }
        names.join(", ")
    }

    fn people(&self, row: &CallRow) -> String {
        let words = self.f.words;
        words.with(
            "calls.people",
            &[("ours", &row.participants_ours), ("others", &row.participants_others)],
        )
    }

    /// The parameters that are saved under a name.
    fn kept(&self) -> String {
        self.typed.kept()
    }

    fn is_kept(&self, saved: &SavedFilter) -> bool {
        saved.query == self.typed.kept()
    }

    fn saved_address(&self, saved: &SavedFilter) -> String {
        if saved.query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{}", saved.query) }
    }

    fn sorted_address(&self) -> String {
        let other = if self.typed.first("sort") == "started_at" { "" } else { "started_at" };
        self.typed.address(PATH, "sort", other)
    }

    fn next_address(&self, cursor: &str) -> String {
        self.typed.address(PATH, "cursor", cursor)
    }

    fn csv_address(&self) -> String {
        self.typed.same_at("/console/calls.csv")
    }

    fn is_oldest_first(&self) -> bool {
        self.typed.first("sort") == "started_at"
    }

    fn heading(&self, column: &CallColumn) -> &'static str {
        self.f.t(&column.heading())
    }
}

pub(in crate::console) async fn list(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let zone = typed.zone(visit.zone());
    let found = match typed.query(zone) {
        Ok(query) => read_page(&reader, &query).await,
        Err(problem) => Err(problem),
    };
    let (found, refusal) = match found {
        Ok(found) => (Some(found), None),
        Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
            let member = problem.member().unwrap_or_default().to_owned();
            (None, Some((member, problem.detail().to_owned())))
        }
        Err(problem) => return Err(problem),
    };
    let turn = reader.snapshot_turn().await?;
    let saved = context.query.store.console_filters(owner(&signed_in)).await?;
    drop(turn);
    let words = visit.words;
    let mut f = PageFrame::of(&visit, Section::Calls, words.t("calls.title"));
    f.zone = zone;
    if let Some(found) = &found {
        f = f.complete_through(found.complete_through);
    }
    let columns = typed.columns();
    let choice = |name: &'static str, legend, group: &'static str, values: &[&'static str]| {
        let values = values.iter().map(|value| {
            let text = words.find(&format!("{group}.{value}.word")).unwrap_or(value).to_owned();
            (*value, text, typed.has(name, value))
        });
        ValueChoice { name, legend: words.t(legend), values: values.collect() }
    };
    let choices = vec![
        choice(
            "verdict",
            "calls.column.verdict",
            "verdict",
            &["COMPLIANT", "EXCEPTIONS", "PENDING", "UNOBSERVED"],
        ),
        choice("type", "calls.field.type", "type", &["recording", "transcription", "none"]),
        choice(
            "consent",
            "calls.column.consent",
            "consent",
            &["GIVEN", "DECLINED", "OUTSTANDING", "NOT_REQUIRED"],
        ),
        choice("state", "calls.field.state", "state", &["open", "ended"]),
        choice(
            "kind",
            "calls.column.kind",
            "kind",
            &["room", "meeting", "two_party", "group", "unknown"],
        ),
    ];
    let shortcuts = SHORTCUTS.iter().map(|(key, name, value)| {
        let is_on = typed.has(name, value);
        Shortcut {
            text: words.t(key),
            address: typed.address(PATH, name, if is_on { "" } else { value }),
            is_on,
        }
    });
    let template = CallListTemplate {
        shortcuts: shortcuts.collect(),
        all_columns: CallColumn::iter().map(|column| (column, columns.contains(&column))).collect(),
        active: typed.active(PATH),
        saved,
        f,
        columns,
        choices,
        refusal,
        found,
        typed,
    };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}
