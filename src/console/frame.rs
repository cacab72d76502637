//! What each page has around its content: head, navigation, who is signed in, and the instant up to which the
//! record is complete.

use askama::Template;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::assets::asset_path;
use super::display::instant_mark::InstantMark;
use super::display::mark::CodeMark;
use super::session::store::SignedIn;
use super::visit::{Theme, Visit};
use super::words::catalogue::Words;
use super::words::language::ConsoleLanguage;
use crate::http::api_role::ApiRole;
use crate::http::problem::{Problem, ProblemKind};

/// The zones that the form offers first.
const FREQUENT_ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Vienna",
    "Europe/Zurich",
    "Europe/London",
    "Europe/Paris",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Australia/Sydney",
];

/// A page of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Calls,
    Live,
    Exceptions,
    People,
    Analytics,
    Exports,
    Sources,
    Health,
    Access,
    Quarantine,
    Deliveries,
    Settings,
    Glossary,
    /// None of the navigation.
    Other,
}

/// An entry of the navigation.
pub(super) struct NavigationEntry {
    pub path: &'static str,
    pub text: &'static str,
    pub is_here: bool,
}

/// What each page has around its content.
pub(super) struct PageFrame {
    pub words: Words,
    pub zone: Tz,
    pub theme: Theme,
    pub nonce: String,
    /// Path and query of this page.
    pub path: String,
    pub title: String,
    section: Section,
    pub signed_in: Option<SignedIn>,
    /// Whether the service is a demonstration.
    pub is_demo: bool,
    /// The low watermark of what the page shows. `None`: the page shows nothing of the record.
    watermark: Option<Option<DateTime<Utc>>>,
}

impl PageFrame {
    pub(super) fn of(visit: &Visit, section: Section, title: impl Into<String>) -> Self {
        Self {
            words: visit.words,
            zone: visit.zone(),
            theme: visit.preferences.theme,
            nonce: visit.nonce.clone(),
            path: visit.path.clone(),
            title: title.into(),
            section,
            signed_in: visit.signed_in().cloned(),
            is_demo: visit.is_demo,
            watermark: None,
        }
    }

    /// Adds the instant up to which what the page shows is complete.
    #[must_use]
    pub(super) fn complete_through(self, at: Option<DateTime<Utc>>) -> Self {
        Self { watermark: Some(at), ..self }
    }

    /// The text of a key.
    pub(super) fn t(&self, key: &str) -> &'static str {
        self.words.t(key)
    }

    /// An instant in the zone of the page.
    pub(super) fn at(&self, at: &DateTime<Utc>) -> InstantMark {
        InstantMark::of(*at, self.zone)
    }

    /// A code of the record in words, with its meaning.
    pub(super) fn mark(&self, group: &'static str, code: &str) -> CodeMark {
        CodeMark::of(self.words, group, code)
    }

    pub(super) fn lang(&self) -> &'static str {
        self.words.language.tag()
    }

    pub(super) fn asset(&self, file: &str) -> &'static str {
        asset_path(file)
    }

    /// `None`: the page shows nothing of the record; `Some(None)`: the instant is not known.
    pub(super) fn watermark(&self) -> Option<Option<InstantMark>> {
        self.watermark.map(|at| at.map(|at| InstantMark::of(at, self.zone)))
    }

    /// The pages that the role of the reader may see.
    pub(super) fn navigation(&self) -> Vec<NavigationEntry> {
        let Some(signed_in) = &self.signed_in else { return Vec::new() };
        if signed_in.caller.role == ApiRole::App {
            return Vec::new();
        }
        let entry = |section, path, key| NavigationEntry {
            path,
            text: self.words.t(key),
            is_here: section == self.section,
        };
        let mut entries = vec![
            entry(Section::Overview, "/console/", "nav.overview"),
            entry(Section::Calls, "/console/calls", "nav.calls"),
            entry(Section::Live, "/console/live", "nav.live"),
            entry(Section::Exceptions, "/console/exceptions", "nav.exceptions"),
            entry(Section::People, "/console/people", "nav.people"),
            entry(Section::Analytics, "/console/analytics", "nav.analytics"),
            entry(Section::Exports, "/console/exports", "nav.exports"),
            entry(Section::Sources, "/console/sources", "nav.sources"),
            entry(Section::Health, "/console/health", "nav.health"),
        ];
        if matches!(signed_in.caller.role, ApiRole::Auditor | ApiRole::Admin) {
            entries.extend([
                entry(Section::Quarantine, "/console/quarantine", "nav.quarantine"),
                entry(Section::Access, "/console/access", "nav.access"),
                entry(Section::Deliveries, "/console/deliveries", "nav.deliveries"),
            ]);
        }
        if signed_in.caller.role == ApiRole::Admin {
            entries.push(entry(Section::Settings, "/console/settings", "nav.settings"));
        }
        entries.push(entry(Section::Glossary, "/console/glossary", "nav.glossary"));
        entries
    }

    /// Whether this is the page at a path.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.path.split('?').next() == Some(path)
    }

    /// The languages: tag, name, whether it is that of the page.
    pub(super) fn languages(&self) -> Vec<(&'static str, &'static str, bool)> {
        [ConsoleLanguage::En, ConsoleLanguage::De]
            .into_iter()
            .map(|it| (it.tag(), it.own_name(), it == self.words.language))
            .collect()
    }

    /// The themes: value, name, whether it is that of the page.
    pub(super) fn themes(&self) -> Vec<(&'static str, &'static str, bool)> {
        [
            (Theme::Auto, "frame.theme_auto"),
            (Theme::Light, "frame.theme_light"),
            (Theme::Dark, "frame.theme_dark"),
        ]
        .into_iter()
        .map(|(theme, key)| (theme.as_str(), self.words.t(key), theme == self.theme))
        .collect()
    }

    /// The zones that are offered, and whether each is that of the page.
    pub(super) fn zones(&self) -> Vec<(&'static str, bool)> {
        let here = self.zone.name();
        let mut zones: Vec<(&str, bool)> =
            FREQUENT_ZONES.iter().map(|zone| (*zone, *zone == here)).collect();
        if !FREQUENT_ZONES.contains(&here) {
            zones.push((here, true));
        }
        zones
    }

    pub(super) fn form_token(&self) -> &str {
        self.signed_in.as_ref().map_or("", |signed_in| &signed_in.form_token)
    }
}

/// A page as an answer.
///
/// # Errors
///
/// The template failed.
pub(super) fn page(template: &impl Template) -> Result<Response, Problem> {
    match template.render() {
        Ok(html) => {
            let headers = [(header::CACHE_CONTROL, "no-store")];
            Ok((headers, Html(html)).into_response())
        }
        Err(error) => {
            tracing::error!(error = %error, "a page could not be made: {error}");
            Err(Problem::new(ProblemKind::Internal, "the page could not be made"))
        }
    }
}
