//! The parts of the design on one page, to be looked at.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::analytics::answer_plot::{BarsOfAnswer, sample};
use super::display::instant_mark::InstantMark;
use super::frame::{PageFrame, Section, page};
use super::glossary_page::{GlossaryGroup, groups};
use super::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;

#[derive(Template)]
#[template(path = "styleguide.html")]
struct StyleguideTemplate {
    f: PageFrame,
    groups: Vec<GlossaryGroup>,
    example: InstantMark,
    drawing: BarsOfAnswer,
}

pub(super) async fn styleguide(visit: PageVisit<ReaderRole>) -> Result<Response, Problem> {
    let visit = visit.visit;
    let words = visit.words;
    let f = PageFrame::of(&visit, Section::Other, words.t("styleguide.title"));
    page(&StyleguideTemplate {
        drawing: sample(&f),
        groups: groups(words),
        example: InstantMark::of(DateTime::<Utc>::UNIX_EPOCH, visit.zone()),
        f,
    })
}
