//! The glossary: each code of the record, its word, and what it means.

use askama::Template;
use axum::response::Response;

use super::display::mark::CodeMark;
use super::frame::{PageFrame, Section, page};
use super::visit::PageVisit;
use super::words::catalogue::Words;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;

/// The groups of codes, in the order of the page.
pub(super) const GROUPS: [(&str, &[&str]); 6] = [
    ("verdict", &["COMPLIANT", "EXCEPTIONS", "PENDING", "UNOBSERVED"]),
    (
        "status",
        &["MET", "LATE", "UNCONFIRMED", "UNDELIVERED", "NOT_SENT", "BRIEF", "PENDING", "NOT_OURS"],
    ),
    ("consent", &["GIVEN", "DECLINED", "OUTSTANDING", "REQUIRED", "NOT_REQUIRED"]),
    ("proof", &["platform", "granted", "asserted", "outsider"]),
    ("severity", &["critical", "major", "minor"]),
    ("unseen", &["outage", "rejected", "spool", "stream_gap"]),
];

/// A code with its meaning.
pub(super) struct GlossaryTerm {
    pub code: &'static str,
    pub mark: CodeMark,
    pub meaning: &'static str,
}

/// Codes of one kind.
pub(super) struct GlossaryGroup {
    pub name: &'static str,
    pub heading: &'static str,
    pub terms: Vec<GlossaryTerm>,
}

/// All codes with their meanings.
pub(super) fn groups(words: Words) -> Vec<GlossaryGroup> {
    GROUPS
        .iter()
        .map(|&(name, codes)| GlossaryGroup {
            name,
            heading: words.t(&format!("{name}.heading")),
            terms: codes
                .iter()
                .map(|&code| GlossaryTerm {
                    code,
                    mark: CodeMark::of(words, name, code),
                    meaning: words.t(&format!("{name}.{code}.meaning")),
                })
                .collect(),
        })
        .collect()
}

#[derive(Template)]
#[template(path = "glossary.html")]
struct GlossaryTemplate {
    f: PageFrame,
    groups: Vec<GlossaryGroup>,
}

pub(super) async fn glossary(visit: PageVisit<ReaderRole>) -> Result<Response, Problem> {
    let words = visit.visit.words;
    page(&GlossaryTemplate {
        f: PageFrame::of(&visit.visit, Section::Glossary, words.t("glossary.title")),
        groups: groups(words),
    })
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::console::words::language::ConsoleLanguage;

    #[test]
    fn each_code_has_a_word_and_a_meaning_in_each_language() {
        for language in ConsoleLanguage::iter() {
            let words = Words::of(language);
            for (group, codes) in GROUPS {
                for code in codes {
                    for part in ["word", "meaning"] {
                        let key = format!("{group}.{code}.{part}");
                        assert!(words.find(&key).is_some(), "{language:?} {key}");
                    }
                }
                assert!(words.find(&format!("{group}.heading")).is_some(), "{group}");
            }
        }
    }
}
