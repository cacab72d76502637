//! The questions of `docs/sql.md`: their SQL for a period and a person, and their answers.
//!
//! # Why
//!
//! The document is part of the program, so that a page runs the SQL that the document shows, which a test
//! compares with known answers. A question has no parameters: what a reader runs elsewhere has its values
//! written out. So values are put into the text here; a day is one of a calendar, a zone one of the database of
//! zones, and an id has only letters, digits and a few signs, none of which ends a literal.

use std::sync::LazyLock;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use futures_util::TryStreamExt as _;

use crate::postgres::{StoreError, TenantSnapshot};

/// The document with the questions.
const DOCUMENT: &str = include_str!("../../../docs/sql.md");
/// The period, zone and person of the document.
const DOCUMENTED_FIRST: &str = "2025-10-24";
const DOCUMENTED_LAST: &str = "2025-10-27";
const DOCUMENTED_END: &str = "2025-10-28";
const DOCUMENTED_WEEK_BEFORE: &str = "2025-10-17";
const DOCUMENTED_ZONE: &str = "Europe/Berlin";
const DOCUMENTED_PERSON: &str = "8:acs:4dad2986-ce83-4960-aa06-e9ab85a0bcc1_00000000";

/// All questions, in the order of the document.
static QUESTIONS: LazyLock<Vec<ReadingQuestion>> = LazyLock::new(|| of_document(DOCUMENT));

/// A question of the document.
#[derive(Debug)]
pub(crate) struct ReadingQuestion {
    pub number: u32,
    /// The SQL of the document, without the semicolon.
    sql: &'static str,
}

/// The days of a zone that a question is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuestionPeriod {
    pub first: NaiveDate,
    /// Included.
    pub last: NaiveDate,
    pub zone: Tz,
}

/// A raw id that can be part of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuestionPerson(String);

impl QuestionPerson {
    /// Parses a raw id. `None`: it has a sign that no raw id has.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_of_id = |c: char| c.is_ascii_alphanumeric() || ":_-.+@".contains(c);
        let is_id = !text.is_empty() && text.len() <= 256 && text.chars().all(is_of_id);
        is_id.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The answer to a question: texts as PostgreSQL writes them.
#[derive(Debug)]
pub(crate) struct QuestionAnswer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
    /// There are more rows.
    pub is_cut: bool,
}

impl ReadingQuestion {
    pub(crate) fn all() -> &'static [Self] {
        &QUESTIONS
    }

    pub(crate) fn find(number: u32) -> Option<&'static Self> {
        QUESTIONS.iter().find(|question| question.number == number)
    }

    /// Whether it is about one person.
    pub(crate) fn is_about_person(&self) -> bool {
        self.sql.contains(DOCUMENTED_PERSON)
    }

    /// The SQL for this period and person. Without a person it is that of the document.
    pub(crate) fn sql(&self, period: QuestionPeriod, person: Option<&QuestionPerson>) -> String {
        let end = period.last.succ_opt().unwrap_or(period.last);
        let week_before = period.first.checked_sub_days(Days::new(7)).unwrap_or(period.first);
        let parts = self.sql.split('\'').enumerate().map(|(at, part)| {
            let is_literal = at % 2 == 1;
            match part {
                DOCUMENTED_FIRST if is_literal => period.first.to_string(),
                DOCUMENTED_LAST if is_literal => period.last.to_string(),
                DOCUMENTED_END if is_literal => end.to_string(),
                DOCUMENTED_WEEK_BEFORE if is_literal => week_before.to_string(),
                DOCUMENTED_ZONE if is_literal => period.zone.name().to_owned(),
                DOCUMENTED_PERSON if is_literal => {
                    person.map_or(DOCUMENTED_PERSON, QuestionPerson::as_str).to_owned()
                }
                part => part.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join("'")
    }
}

/// The questions of a document: a heading with the number, and the first block of SQL below it.
fn of_document(document: &'static str) -> Vec<ReadingQuestion> {
    let sections = document.split("\n### ").skip(1);
    let questions = sections.filter_map(|section| {
        // Other sections have no number.
        let number = section.split_once(". ")?.0.parse().ok()?;
        let (_, rest) = section.split_once("```sql\n")?;
        let sql = rest.split("```").next()?.trim().trim_end_matches(';');
        Some(ReadingQuestion { number, sql })
    });
    questions.collect()
}

impl TenantSnapshot {
    /// Answers a question, with at most `limit` rows.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; `Exhausted` if it takes longer than a statement may.
    pub(crate) async fn answer_question(
        &mut self,
        question: &ReadingQuestion,
        period: QuestionPeriod,
        person: Option<&QuestionPerson>,
        limit: usize,
    ) -> Result<QuestionAnswer, StoreError> {
        let sql = question.sql(period, person);
        let copy = format!(
            "copy (select * from ({sql}) as answer limit {}) to stdout with (format csv, header)",
            limit + 1
        );
        let chunks = self.transaction.copy_out_raw(&copy).await?;
        let bytes = chunks.try_fold(Vec::new(), async |mut bytes, chunk| {
            bytes.extend_from_slice(&chunk);
            Ok(bytes)
        });
        let text = String::from_utf8(bytes.await?)
            .map_err(|_| StoreError::Inconsistent("an answer is not UTF-8".to_owned()))?;
        let mut rows = csv_rows(&text);
        if rows.is_empty() {
            return Err(StoreError::Inconsistent("an answer has no header".to_owned()));
        }
        let header = rows.remove(0);
        let is_cut = rows.len() > limit;
        rows.truncate(limit);
        let columns = header.into_iter().map(Option::unwrap_or_default).collect();
        Ok(QuestionAnswer { columns, rows, is_cut })
    }
}

/// The rows of a CSV text as `copy` writes it: an empty field without quotes is null.
fn csv_rows(text: &str) -> Vec<Vec<Option<String>>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut was_quoted) = (false, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => {
                is_quoted = !is_quoted;
                was_quoted = true;
            }
            ',' | '\n' if !is_quoted => {
                let text = std::mem::take(&mut field);
                row.push((was_quoted || !text.is_empty()).then_some(text));
                was_quoted = false;
                if letter == '\n' {
                    rows.push(std::mem::take(&mut row));
                }
            }
            letter => field.push(letter),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(first: &str, last: &str, zone: Tz) -> QuestionPeriod {
        QuestionPeriod { first: first.parse().unwrap(), last: last.parse().unwrap(), zone }
    }

    #[test]
    fn the_document_has_twenty_questions_each_with_its_period() {
        let numbers: Vec<u32> = ReadingQuestion::all().iter().map(|it| it.number).collect();
        assert_eq!(numbers, Vec::from_iter(1..=20));
        let documented = period(DOCUMENTED_FIRST, DOCUMENTED_LAST, Tz::Europe__Berlin);
        let other = period("2026-02-27", "2026-02-28", Tz::Asia__Tokyo);
        for question in ReadingQuestion::all() {
            // With the period of the document it is the SQL of the document.
            assert_eq!(question.sql(documented, None), question.sql);
            let sql = question.sql(other, QuestionPerson::parse("8:acs:x").as_ref());
            assert!(!sql.contains("2025-10-") && !sql.contains("Berlin"), "{sql}");
            assert!(sql.contains("2026-02-27") && sql.contains("'Asia/Tokyo'"), "{sql}");
            assert_eq!(sql.contains("8:acs:x"), question.number == 17);
            // The first instant after the period.
            assert_eq!(sql.contains("2026-03-01"), question.sql.contains(DOCUMENTED_END), "{sql}");
        }
    }

    #[test]
    fn an_id_with_a_sign_that_could_end_a_literal_is_none() {
        for text in ["", "a'b", "a\\b", "a b", "a\nb", "a;b", "ä", &"x".repeat(257)] {
            assert_eq!(QuestionPerson::parse(text), None, "{text}");
        }
        for text in ["8:acs:4dad2986_0-1", "4:+49301234", "28:bot", "8:orgid:a@b.example"] {
            assert_eq!(QuestionPerson::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn fields_of_a_copy_are_read_as_they_were_written() {
        let rows = csv_rows("day,calls\n2025-10-24,3\n\"a,\"\"b\"\"\n\",\n\"\",x\n");
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(rows[0], [text("day"), text("calls")]);
        assert_eq!(rows[1], [text("2025-10-24"), text("3")]);
        assert_eq!(rows[2], [text("a,\"b\"\n"), None]);
        assert_eq!(rows[3], [text(""), text("x")]);
        assert_eq!(rows.len(), 4);
    }
}
