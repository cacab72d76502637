//! The answer to a question as a table: each cell as its column says.

use chrono::{DateTime, Utc};

use crate::console::display::instant_mark::InstantMark;
use crate::console::display::length::grouped;
use crate::console::frame::PageFrame;
use crate::postgres::QuestionAnswer;

/// A cell of the table.
pub(super) enum AnswerCell {
    /// Null.
    Nothing,
    Text(String),
    Number(String),
    /// A latency that was never reached.
    Never,
    Instant(InstantMark),
    /// The id of a call.
    Call(String),
}

/// A column of the table.
pub(super) struct AnswerColumn {
    pub name: String,
    pub heading: String,
    pub is_number: bool,
}

/// The words of the codes of a column.
fn code_group(column: &str) -> Option<&'static str> {
    Some(match column {
        "status" => "status",
        "type" => "type",
        "verdict" => "verdict",
        "consent" | "recording_consent" => "consent",
        _ => return None,
    })
}

/// A value of a column in words.
pub(super) fn value_word(f: &PageFrame, column: &str, value: Option<&str>) -> String {
    let Some(value) = value else { return f.t("analytics.nothing").to_owned() };
    let key = match (column, code_group(column)) {
        (_, Some(group)) => format!("{group}.{value}.word"),
        // Kinds of exceptions are in capitals, those of captures are not.
        ("kind", None) => format!("exception_kind.{value}"),
        _ => return value.to_owned(),
    };
    f.words.find(&key).unwrap_or(value).to_owned()
}

/// The heading of a column.
pub(super) fn heading(f: &PageFrame, column: &str) -> String {
    f.words.find(&format!("answer.{column}")).unwrap_or(column).to_owned()
}

/// A number as PostgreSQL writes it.
pub(super) fn number(text: &str) -> Option<f64> {
    // The words of infinity and of what is no number are none of a count.
    let is_number =
        text.starts_with(|c: char| c.is_ascii_digit() || c == '-') || text == "Infinity";
    text.parse().ok().filter(|_| is_number)
}

/// An instant as PostgreSQL writes it in UTC.
pub(super) fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok().map(|at| at.to_utc())
}

/// The columns of an answer.
pub(super) fn columns(f: &PageFrame, answer: &QuestionAnswer) -> Vec<AnswerColumn> {
    let columns = answer.columns.iter().enumerate().map(|(at, name)| {
        let mut cells = answer.rows.iter().filter_map(|row| row.get(at)?.as_deref());
        let has_some = cells.clone().next().is_some();
        AnswerColumn {
            name: name.clone(),
            heading: heading(f, name),
            is_number: has_some && cells.all(|cell| number(cell).is_some()),
        }
    });
    columns.collect()
}

/// A cell of an answer.
pub(super) fn cell(f: &PageFrame, column: &AnswerColumn, text: Option<&str>) -> AnswerCell {
    let Some(text) = text else { return AnswerCell::Nothing };
    if column.is_number {
        return match text.parse::<i64>() {
            Ok(number) => AnswerCell::Number(grouped(number)),
            Err(_) if text == "Infinity" => AnswerCell::Never,
            Err(_) => AnswerCell::Number(text.to_owned()),
        };
    }
    if let Some(at) = instant(text) {
        return AnswerCell::Instant(f.at(&at));
    }
    if column.name == "call" {
        return AnswerCell::Call(text.to_owned());
    }
    AnswerCell::Text(value_word(f, &column.name, Some(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_instants_are_those_that_postgres_writes() {
        assert_eq!(number("12"), Some(12.0));
        assert_eq!(number("-0.5"), Some(-0.5));
        assert_eq!(number("Infinity"), Some(f64::INFINITY));
        for text in ["inf", "nan", "2025-10-24", "", "NOT_SENT"] {
            assert_eq!(number(text), None, "{text}");
        }
        let at = instant("2025-10-23 22:00:00+00").unwrap();
        assert_eq!(at.to_rfc3339(), "2025-10-23T22:00:00+00:00");
        assert_eq!(instant("2025-10-24"), None);
    }
}
