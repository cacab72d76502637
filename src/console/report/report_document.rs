//! The document of the evidence report: summary, one part for each person, what it does not prove.
//!
//! As a file it has no reference to another one, so that it can be kept and sent as it is.

use askama::Template;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use crate::console::assets::{asset_path, asset_text};
use crate::console::call::call_chart::{CallChart, CallChartSource, instant_text};
use crate::console::call::shown_report::{
    ObligationCounts, ShownObligation, ShownReport, ShownSession, name_of, session_flags,
};
use crate::console::display::length::{exact_ms, length};
use crate::console::display::mark::CodeMark;
use crate::console::drawing::time_scale::TimeWindow;
use crate::console::glossary_page::{GlossaryGroup, groups};
use crate::console::words::catalogue::Words;
use crate::console::words::language::ConsoleLanguage;
use crate::http::problem::Problem;
use crate::postgres::{NoticeRow, SessionDetailRow, UnseenInterval};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Fact, JsonWord as _, Witness};
use onrecord_evidence::report::explanation::Explanation;

/// Why an obligation has its status.
pub(crate) struct ReportReason {
    pub session: String,
    pub capture_type: CaptureType,
    pub due_at: Millis,
    pub proof: Option<Witness>,
    pub explanation: Explanation,
}

/// A text that an app states to have shown, and the registered words of it.
pub(crate) struct ShownWords {
    /// The raw id of the participant.
    pub raw_id: String,
    pub capture_type: String,
    pub state: String,
    pub version: String,
    pub locale: String,
    pub sha256: String,
    /// `None`: no text of this version and locale is registered.
    pub words: Option<String>,
}

impl ShownWords {
    /// The texts that statements name, each once, without their words.
    pub(crate) fn of(rows: &[NoticeRow]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for row in rows {
            let text = |pointer: &str| {
                row.fact.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let one = Self {
                raw_id: text("/by/raw_id"),
                capture_type: text("/type"),
                state: text("/state"),
                version: text("/text/version"),
                locale: text("/text/locale"),
                sha256: text("/text/sha256"),
                words: None,
            };
            let is_same = |it: &Self| {
                (&it.raw_id, &it.capture_type, &it.state, &it.version, &it.locale, &it.sha256)
                    == (
                        &one.raw_id,
                        &one.capture_type,
                        &one.state,
                        &one.version,
                        &one.locale,
                        &one.sha256,
                    )
            };
            if !one.version.is_empty() && !found.iter().any(is_same) {
                found.push(one);
            }
        }
        found
    }
}

/// What a report is made of.
pub(crate) struct ReportSource<'a> {
    pub tenant: &'a str,
    /// Id of the call now.
    pub call: &'a str,
    /// The stored report, or the computed one.
    pub report: &'a Value,
    pub facts: &'a [Fact],
    pub sessions: &'a [SessionDetailRow],
    pub reasons: Vec<ReportReason>,
    pub shown_words: Vec<ShownWords>,
    pub unseen: &'a [UnseenInterval],
    pub version: Option<i32>,
    /// Whether the facts give the stored report; `None`: none is stored.
    pub is_recomputed: Option<bool>,
    pub as_of: Millis,
    pub complete_through: Option<DateTime<Utc>>,
    pub zone: Tz,
}

/// A notice that was due, with its reason.
struct ReportObligation {
    type_word: &'static str,
    type_name: &'static str,
    status: CodeMark,
    status_meaning: &'static str,
    consent: CodeMark,
    proof: Option<CodeMark>,
    obligation: ShownObligation,
    why: Option<Explanation>,
}

/// A person in the call.
struct ReportPerson {
    name: String,
    raw_id: Option<String>,
    identity: String,
    user_agent: Option<String>,
    /// Codes of what an auditor must know about the clients of the session, with their meanings.
    flags: Vec<(String, &'static str)>,
    session: ShownSession,
    obligations: Vec<ReportObligation>,
    texts: Vec<ShownWords>,
}

#[derive(Template)]
#[template(path = "report.html")]
pub(crate) struct ReportDocument {
    words: Words,
    zone: Tz,
    /// The nonce of the page; `None`: a file, with its styles in it.
    page: Option<ReportTools>,
    tenant: String,
    call: String,
    report: ShownReport,
    counts: ObligationCounts,
    persons: Vec<ReportPerson>,
    chart: CallChart,
    unseen: Vec<UnseenInterval>,
    version: Option<i32>,
    is_recomputed: Option<bool>,
    as_of: Millis,
    complete_through: Option<DateTime<Utc>>,
    glossary: Vec<GlossaryGroup>,
}

/// What the page has besides the document.
pub(in crate::console) struct ReportTools {
    /// The address of the file.
    pub download: String,
    /// The address of the call.
    pub back: String,
}

impl ReportDocument {
    /// # Errors
    ///
    /// The report is of rules that are not shown.
    pub(in crate::console) fn of(
        source: ReportSource<'_>,
        words: Words,
        page: Option<ReportTools>,
    ) -> Result<Self, Problem> {
        let report = ShownReport::parse(source.report)?;
        let all = TimeWindow::new(report.call.started_at, report.end(source.as_of));
        let chart = CallChart::of(
            &CallChartSource {
                report: &report,
                facts: source.facts,
                sessions: source.sessions,
                unseen: source.unseen,
                as_of: source.as_of,
            },
            all,
            words,
            source.zone,
        );
        let mut reasons: Vec<Option<ReportReason>> = source.reasons.into_iter().map(Some).collect();
        let mut shown_words: Vec<Option<ShownWords>> =
            source.shown_words.into_iter().map(Some).collect();
        let mut sessions: Vec<&ShownSession> = report.sessions.iter().collect();
        sessions.sort_by_key(|it| (!it.ours, it.joined_at));
        let persons = sessions
            .into_iter()
            .map(|session| {
                let row = source.sessions.iter().find(|row| row.session == session.session);
                let raw_id = row.and_then(|row| row.raw_id.clone());
                let identity = format!("identity.{}.word", session.identity);
                let obligations =
                    report.obligations.iter().filter(|it| it.session == session.session);
                ReportPerson {
                    name: name_of(source.sessions, &session.session),
                    identity: words.find(&identity).unwrap_or(&session.identity).to_owned(),
                    user_agent: row.and_then(|row| row.user_agent.clone()),
                    flags: row.map(|row| session_flags(row, words)).unwrap_or_default(),
                    session: session.clone(),
                    obligations: obligations
                        .map(|it| report_obligation(it, &mut reasons, words))
                        .collect(),
                    texts: shown_words
                        .iter_mut()
                        .filter_map(|text| {
                            let is_of = text.as_ref().map(|it| &it.raw_id) == raw_id.as_ref();
                            if is_of { text.take() } else { None }
                        })
                        .collect(),
                    raw_id,
                }
            })
            .collect();
        Ok(Self {
            counts: report.counts(),
            persons,
            chart,
            unseen: source.unseen.to_vec(),
            version: source.version,
            is_recomputed: source.is_recomputed,
            as_of: source.as_of,
            complete_through: source.complete_through,
            glossary: groups(words),
            tenant: source.tenant.to_owned(),
            call: source.call.to_owned(),
            zone: source.zone,
            words,
            page,
            report,
        })
    }

    fn t(&self, key: &str) -> &'static str {
        self.words.t(key)
    }

    fn lang(&self) -> &'static str {
        self.words.language.tag()
    }

    fn asset(&self, file: &str) -> &'static str {
        asset_path(file)
    }

    fn styles(&self) -> &'static str {
        asset_text("console.css")
    }

    fn report_styles(&self) -> &'static str {
        asset_text("report.css")
    }

    /// An instant in UTC, and in the zone if it is another one.
    fn both(&self, at: &Millis) -> String {
        let utc = instant_text(*at, Tz::UTC);
        if self.zone == Tz::UTC { utc } else { format!("{utc} = {}", instant_text(*at, self.zone)) }
    }

    fn both_of(&self, at: &DateTime<Utc>) -> String {
        self.both(&at.timestamp_millis())
    }

    fn ms(&self, ms: &Millis) -> String {
        let (exact, words) = (exact_ms(*ms), length(*ms));
        if exact == words { exact } else { format!("{exact} ({words})") }
    }

    fn mark(&self, group: &'static str, code: &str) -> CodeMark {
        CodeMark::of(self.words, group, code)
    }

    fn meaning(&self, group: &str, code: &str) -> &'static str {
        self.words.find(&format!("{group}.{code}.meaning")).unwrap_or_default()
    }

    fn word(&self, group: &str, code: &str) -> String {
        self.words.find(&format!("{group}.{code}.word")).unwrap_or(code).to_owned()
    }

    fn type_name(&self, capture_type: &CaptureType) -> &'static str {
        capture_type.as_str()
    }

    fn unseen_word(&self, interval: &UnseenInterval) -> String {
        let kind = serde_json::to_value(interval.kind).ok();
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        self.word("unseen", kind)
    }

    fn counted(&self) -> String {
        let counts = &self.counts;
        let key = if counts.due == 0 { "call.counted_none" } else { "call.counted" };
        self.words.with(
            key,
            &[
                ("due", &counts.due),
                ("in_time", &counts.in_time),
                ("late", &counts.late),
                ("not_proven", &counts.not_proven),
                ("pending", &counts.pending),
                ("brief", &counts.brief),
            ],
        )
    }

    /// The command that repeats the report from its facts.
    fn recompute(&self) -> String {
        let version = self.version.map(|it| format!("?version={it}")).unwrap_or_default();
        format!(
            "curl -s \"$ONRECORD/v1/calls/{}/facts{version}\" -H \"authorization: Bearer $API_KEY\" > facts.json && onrecord evidence recompute facts.json",
            self.call
        )
    }
}

fn report_obligation(
    obligation: &ShownObligation,
    reasons: &mut [Option<ReportReason>],
    words: Words,
) -> ReportObligation {
    let reason = reasons.iter_mut().find(|it| {
        it.as_ref().is_some_and(|it| {
            it.session == obligation.session
                && it.capture_type == obligation.capture_type
                && it.due_at == obligation.due_at
        })
    });
    let reason = reason.and_then(Option::take);
    let proof = reason.as_ref().and_then(|it| it.proof);
    ReportObligation {
        type_word: words.t(&format!("type.{}.word", obligation.capture_type.as_str())),
        type_name: obligation.capture_type.as_str(),
        status: CodeMark::of(words, "status", &obligation.status),
        status_meaning: words
            .find(&format!("status.{}.meaning", obligation.status))
            .unwrap_or_default(),
        consent: CodeMark::of(words, "consent", &obligation.consent),
        proof: proof.map(|proof| CodeMark::of(words, "proof", proof.as_str())),
        why: reason.map(|it| it.explanation),
        obligation: obligation.clone(),
    }
}

/// The report as a file in English.
///
/// # Errors
///
/// A sentence: the report is of rules that are not shown, or the document cannot be made.
pub(crate) fn report_file(source: ReportSource<'_>) -> Result<String, String> {
    let words = Words::of(ConsoleLanguage::En);
    let document = ReportDocument::of(source, words, None);
    let document = document.map_err(|problem| problem.detail().to_owned())?;
    document.render().map_err(|error| format!("the report cannot be made: {error}"))
}
