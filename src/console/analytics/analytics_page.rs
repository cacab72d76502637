//! The list of the questions, by what they are about.

use askama::Template;
use axum::http::Uri;
use axum::response::Response;
use strum::IntoEnumIterator as _;

use super::question_view::{QuestionSubject, QuestionView};
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::postgres::ReadingQuestion;

/// The path of the list.
pub(super) const PATH: &str = "/console/analytics";

/// A question of the list.
struct QuestionLink {
    number: u32,
    title: &'static str,
    address: String,
}

#[derive(Template)]
#[template(path = "analytics.html")]
struct AnalyticsTemplate {
    f: PageFrame,
    subjects: Vec<(&'static str, Vec<QuestionLink>)>,
}

/// The title of a question.
pub(super) fn title(f: &PageFrame, number: u32) -> &'static str {
    f.words.find(&format!("question.{number}.title")).unwrap_or_default()
}

pub(in crate::console) async fn analytics(
    visit: PageVisit<ReaderRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let f = PageFrame::of(&visit.visit, Section::Analytics, visit.visit.words.t("analytics.title"));
    // A period that was chosen on the page of one question holds for the others.
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let subjects = QuestionSubject::iter().map(|subject| {
        let questions = ReadingQuestion::all().iter().map(|question| question.number);
        let questions = questions
            .filter(|number| QuestionView::of(*number).is_some_and(|it| it.subject == subject));
        let links = questions.map(|number| QuestionLink {
            number,
            title: title(&f, number),
            address: format!("{PATH}/{number}{query}"),
        });
        let name: &'static str = subject.into();
        let heading = f.words.find(&format!("analytics.subject.{name}")).unwrap_or_default();
        (heading, links.collect())
    });
    page(&AnalyticsTemplate { subjects: subjects.collect(), f })
}
