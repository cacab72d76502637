//! One question: its answer as a table, as a drawing and as CSV, and how to ask it elsewhere.
//!
//! # Why
//!
//! An answer over a long history takes up to seconds. So the page of a question comes without it, and the script of
//! the console puts it there from a page of its own, to which a browser without scripts is sent.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, NaiveDate, Utc};

use super::analytics_page::{PATH, title};
use super::answer_plot::{self, AnswerPlot};
use super::answer_table::{AnswerCell, AnswerColumn, cell, columns, number};
use super::asked_period::AskedPeriod;
use super::question_view::QuestionView;
use crate::clock;
use crate::console::calls::typed_filter::TypedFilter;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::shown_origin::shown_origin;
use crate::console::visit::{PageVisit, Visit};
use crate::export::encode::csv::{end_row, separate, write_cell};
use crate::http::auth::ReaderRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::purpose::checked_purpose;
use crate::postgres::{
    Cell, QuestionAnswer, QuestionPerson, ReadingQuestion, StoreError, TenantSnapshot,
};
use crate::query::access_log::{Access, Logged};
use crate::query::context::Reader;

/// Maximum number of rows of the table. The file has more.
const MAX_TABLE_ROWS: usize = 200;
/// The same beside a drawing over time, which has all of them, and whose script makes the page larger.
const MAX_ROWS_BESIDE_TIME: usize = 60;
/// Maximum number of rows that are read, and of the file.
const MAX_ROWS: usize = 10_000;

/// An answer, and the instant up to which it is complete.
struct CompleteAnswer {
    answer: QuestionAnswer,
    through: Option<DateTime<Utc>>,
}

/// A question that can be asked.
struct AskedQuestion {
    question: &'static ReadingQuestion,
    period: AskedPeriod,
    /// Who it is about, and why it is asked.
    person: Option<(QuestionPerson, String)>,
}

/// What a page has of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerPart {
    /// Where the answer is.
    Address,
    Answer,
}

#[derive(Template)]
#[template(path = "question.html")]
struct QuestionTemplate {
    f: PageFrame,
    number: u32,
    /// The question after this one.
    next: Option<u32>,
    typed: TypedFilter,
    /// What the form shows: that of the address, else the last seven days.
    days: (String, String),
    is_about_person: bool,
    refusal: Option<(String, String)>,
    sql: Option<String>,
    curl: Option<String>,
    columns: Vec<AnswerColumn>,
    /// Whether the drawing is one that a pointer helps to read.
    follows_pointer: bool,
    /// The page that has the answer, unless it is this one.
    answer_address: Option<String>,
    /// `None`: it was not asked here, or has no answer.
    answer: Option<QuestionAnswer>,
    plot: Option<AnswerPlot>,
}

impl QuestionTemplate {
    /// The cells of a row, each with its column.
    fn cells(&self, row: &[Option<String>]) -> Vec<(&AnswerColumn, AnswerCell)> {
        let cells = self.columns.iter().zip(row);
        cells.map(|(column, text)| (column, cell(&self.f, column, text.as_deref()))).collect()
    }

    fn max_rows(&self) -> usize {
        if self.follows_pointer { MAX_ROWS_BESIDE_TIME } else { MAX_TABLE_ROWS }
    }

    fn rows<'a>(&self, answer: &'a QuestionAnswer) -> &'a [Vec<Option<String>>] {
        answer.rows.get(..self.max_rows()).unwrap_or(&answer.rows)
    }

    /// What is said of rows that the table does not have.
    fn cut(&self, answer: &QuestionAnswer) -> Option<String> {
        let (shown, all) = (self.max_rows(), answer.rows.len());
        (all > shown)
            .then(|| self.f.words.with("analytics.cut", &[("shown", &shown), ("all", &all)]))
    }

    fn note(&self) -> &'static str {
        let number = self.number;
        self.f.words.find(&format!("question.{number}.note")).unwrap_or_default()
    }

    fn csv_address(&self) -> String {
        self.typed.same_at(&format!("{PATH}/{}/csv", self.number))
    }

    fn list_address(&self) -> String {
        let typed = [("from", &self.days.0), ("to", &self.days.1)];
        let pairs = typed.into_iter().map(|(name, day)| (name.to_owned(), day.clone()));
        let zone = ("tz".to_owned(), self.f.zone.name().to_owned());
        TypedFilter::of_pairs(pairs.chain([zone])).same_at(PATH)
    }
}

/// The question of a path.
fn found(number: Result<Path<String>, PathRejection>) -> Result<&'static ReadingQuestion, Problem> {
    let number = number.ok().and_then(|Path(number)| number.parse().ok());
    let question = number.and_then(ReadingQuestion::find);
    question.ok_or_else(|| Problem::not_found("there is no question of this number"))
}

/// The question of an address. `None`: the person is not named yet.
fn asked(
    question: &'static ReadingQuestion,
    typed: &TypedFilter,
    visit: &Visit,
) -> Result<Option<AskedQuestion>, Problem> {
    let period = AskedPeriod::parse(typed, visit.zone(), clock::now())?;
    if !question.is_about_person() {
        return Ok(Some(AskedQuestion { question, period, person: None }));
    }
    let person = match typed.first("person") {
        "" => return Ok(None),
        text => QuestionPerson::parse(text).ok_or_else(|| {
            Problem::invalid(
                "person",
                "a raw id has letters, digits and the signs : _ - . + @, for example 8:acs:…",
            )
        })?,
    };
    let purpose = checked_purpose("purpose", typed.first("purpose"))?;
    Ok(Some(AskedQuestion { question, period, person: Some((person, purpose)) }))
}

/// Asks a question as the tenant of the reader. One about a person is logged with its purpose.
async fn answered(reader: &mut Reader, asked: &AskedQuestion) -> Result<CompleteAnswer, Problem> {
    let mut snapshot = reader.snapshot().await?;
    let answer = match ask(&mut snapshot, asked).await {
        // Both are of one instant.
        Ok(answer) => Ok(CompleteAnswer { answer, through: snapshot.evaluated_through().await? }),
        Err(problem) => Err(problem),
    };
    // A row of the log needs a share of the tenant.
    drop(snapshot);
    match &asked.person {
        None => answer,
        Some((person, purpose)) => {
            reader.purpose = Some(purpose.clone());
            let access = Access::Person(person.as_str().to_owned());
            Ok(Logged::of(reader, access, answer?).await?.into_answer())
        }
    }
}

async fn ask(
    snapshot: &mut TenantSnapshot,
    asked: &AskedQuestion,
) -> Result<QuestionAnswer, Problem> {
    let AskedQuestion { question, period, person } = asked;
    let person = person.as_ref().map(|(person, _)| person);
    let answer = snapshot.answer_question(question, period.of_question(), person, MAX_ROWS).await;
    answer.map_err(|error| match error {
        StoreError::Exhausted(error) => {
            tracing::info!(question = question.number, error = %error, "the question {} was not answered in time: {error}", question.number);
            Problem::invalid(
                "from",
                "the database did not answer in the time that a page has; choose a shorter period, or take an export",
            )
        }
        error => error.into(),
    })
}

/// The page of a question, without its answer.
pub(in crate::console) async fn question(
    visit: PageVisit<ReaderRole>,
    number: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    shown(AnswerPart::Address, visit, number, &headers, &uri).await
}

/// The page of a question with its answer.
pub(in crate::console) async fn answer(
    visit: PageVisit<ReaderRole>,
    number: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    shown(AnswerPart::Answer, visit, number, &headers, &uri).await
}

async fn shown(
    part: AnswerPart,
    visit: PageVisit<ReaderRole>,
    number: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, mut reader, .. } = visit;
    let question = found(number)?;
    let number = question.number;
    let view = QuestionView::of(number)
        .ok_or_else(|| Problem::new(ProblemKind::Internal, "the question has no view"))?;
    let typed = TypedFilter::of(uri.query())?;
    let asked = asked(question, &typed, &visit);
    let (asked, mut refusal) = match asked {
        Ok(asked) => (asked, None),
        Err(problem) => (None, Some(problem)),
    };
    let (mut answer, mut through, mut answer_address) = (None, None, None);
    match (&asked, part) {
        (None, _) => {}
        (Some(_), AnswerPart::Address) => {
            // A store that is away shows at once.
            through = Some(reader.snapshot().await?.evaluated_through().await?);
            answer_address = Some(typed.same_at(&format!("{PATH}/{number}/answer")));
        }
        (Some(asked), AnswerPart::Answer) => match answered(&mut reader, asked).await {
            Ok(complete) => (answer, through) = (Some(complete.answer), Some(complete.through)),
            Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
                refusal = Some(problem);
            }
            Err(problem) => return Err(problem),
        },
    }
    let zone = asked.as_ref().map_or_else(|| typed.zone(visit.zone()), |asked| asked.period.zone);
    let recent = AskedPeriod::recent(clock::now(), zone);
    let period = asked.as_ref().map_or(recent, |asked| asked.period);
    let day = |name: &str, day: NaiveDate| match typed.first(name) {
        "" => day.to_string(),
        typed => typed.to_owned(),
    };
    let mut f = PageFrame::of(&visit, Section::Analytics, "");
    f.title = title(&f, number).to_owned();
    f.zone = zone;
    if let Some(through) = through {
        f = f.complete_through(through);
    }
    let (person, purpose) = (typed.first("person"), typed.first("purpose"));
    let curl = view.api_path(&period, person, purpose).map(|path| {
        format!("curl -s '{}{path}' -H \"authorization: Bearer $API_KEY\"", shown_origin(headers))
    });
    let plot = answer
        .as_ref()
        .and_then(|answer| answer_plot::of(&f, &f.title, view.plan, answer, &period));
    let template = QuestionTemplate {
        number,
        next: ReadingQuestion::find(number + 1).map(|next| next.number),
        days: (day("from", period.first), day("to", period.last)),
        is_about_person: question.is_about_person(),
        refusal: refusal.map(|problem| {
            (problem.member().unwrap_or_default().to_owned(), problem.detail().to_owned())
        }),
        sql: asked.as_ref().map(|asked| {
            let person = asked.person.as_ref().map(|(person, _)| person);
            format!("{};", question.sql(asked.period.of_question(), person))
        }),
        curl,
        columns: answer.as_ref().map(|answer| columns(&f, answer)).unwrap_or_default(),
        follows_pointer: view.plan.is_over_time(),
        answer_address,
        answer,
        plot,
        typed,
        f,
    };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}

/// The answer as a file.
pub(in crate::console) async fn csv(
    visit: PageVisit<ReaderRole>,
    number: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, mut reader, .. } = visit;
    let question = found(number)?;
    let typed = TypedFilter::of(uri.query())?;
    let asked = asked(question, &typed, &visit)?
        .ok_or_else(|| Problem::invalid("person", "the question is about a person: name one"))?;
    let CompleteAnswer { answer, .. } = answered(&mut reader, &asked).await?;
    let file = file(&answer).map_err(|error| {
        tracing::error!(error = %error, "an answer cannot be written as CSV: {error}");
        Problem::new(ProblemKind::Internal, "the answer cannot be written as CSV")
    })?;
    let disposition = format!("attachment; filename=\"question-{}.csv\"", question.number);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, file).into_response())
}

/// An answer as CSV: values as PostgreSQL writes them, and texts that are safe in a spreadsheet.
fn file(answer: &QuestionAnswer) -> Result<Vec<u8>, serde_json::Error> {
    let mut file = Vec::new();
    for (at, name) in answer.columns.iter().enumerate() {
        separate(at, &mut file);
        write_cell(&Cell::Text(name), &mut file)?;
    }
    end_row(&mut file);
    for row in &answer.rows {
        for (at, value) in row.iter().enumerate() {
            separate(at, &mut file);
            match value.as_deref() {
                // A negative number is no formula.
                Some(text) if number(text).is_some() => file.extend_from_slice(text.as_bytes()),
                Some(text) => write_cell(&Cell::Text(text), &mut file)?,
                None => {}
            }
        }
        end_row(&mut file);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_numbers_as_they_are_and_no_formula() {
        let text = |text: &str| Some(text.to_owned());
        let answer = QuestionAnswer {
            columns: vec!["participant".to_owned(), "ms".to_owned()],
            rows: vec![vec![text("=1+1"), text("-5")], vec![None, text("Infinity")]],
            is_cut: false,
        };
        let file = String::from_utf8(file(&answer).unwrap()).unwrap();
        assert_eq!(file, "participant,ms\r\n'=1+1,-5\r\n,Infinity\r\n");
    }
}
