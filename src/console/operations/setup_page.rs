//! The set-up of a source: the commands filled in, and ticks that appear when the source does what it should. It
//! ends only when a real event has passed, and a client has reported in a call.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;

use super::setup_commands::{FilledCommand, SetupValues, commands};
use crate::clock;
use crate::config::{Source, SourceKind};
use crate::console::calls::typed_filter::TypedFilter;
use crate::console::context::ConsoleContext;
use crate::console::display::length::grouped;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::shown_origin::shown_origin;
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{EventOfSource, LastHandshake, LastSourceUse, ReportedCall, SourceRejection};
use crate::query::context::Reader;

/// The path of the page.
const PATH: &str = "/console/sources/setup";
/// How far back refusals are shown.
const REJECTIONS: TimeDelta = TimeDelta::days(1);
/// How long before the last use of a credential its event may have been received.
const BEFORE_USE: TimeDelta = TimeDelta::hours(1);

/// What a source has done.
#[derive(Default)]
struct SetupProgress {
    kind: Option<SourceKind>,
    handshake: Option<LastHandshake>,
    used: Option<LastSourceUse>,
    event: Option<EventOfSource>,
    call: Option<ReportedCall>,
    rejections: Vec<SourceRejection>,
}

impl SetupProgress {
    /// Whether a handshake is part of it: callbacks have none.
    fn has_handshake(&self) -> bool {
        self.kind != Some(SourceKind::CallAutomation)
    }

    /// Whether the source is connected.
    fn is_complete(&self) -> bool {
        self.event.is_some() && self.call.is_some()
    }
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupTemplate {
    f: PageFrame,
    typed: TypedFilter,
    /// Name, whether it is chosen.
    sources: Vec<(String, bool)>,
    origin: String,
    /// Whether Azure cannot reach the address.
    is_local: bool,
    refusal: Option<(String, String)>,
    commands: Vec<FilledCommand>,
    progress: SetupProgress,
}

impl SetupTemplate {
    fn address(&self) -> String {
        self.typed.same_at(PATH)
    }

    fn number(&self, number: &i64) -> String {
        grouped(*number)
    }

    fn reason(&self, code: &str) -> String {
        self.f.words.find(&format!("rejection.{code}")).unwrap_or(code).to_owned()
    }

    fn command_heading(&self, key: &str) -> &'static str {
        self.f.words.find(&format!("setup.command.{key}")).unwrap_or_default()
    }

    fn command_hint(&self, key: &str) -> &'static str {
        self.f.words.find(&format!("setup.hint.{key}")).unwrap_or_default()
    }
}

async fn read(
    context: &ConsoleContext,
    reader: &Reader,
    name: &str,
    source: Option<&Source>,
) -> Result<SetupProgress, Problem> {
    let (store, tenant) = (&context.query.store, &reader.caller.tenant);
    let turn = reader.snapshot_turn().await?;
    let handshake = store.last_handshake(tenant, name).await?;
    let uses = store.source_uses_of(tenant).await?;
    let rejections = store.rejections_of(tenant, clock::now() - REJECTIONS).await?;
    drop(turn);
    let used = uses.into_iter().filter(|used| used.source == name);
    let used = used.max_by_key(|used| used.last_used_at);
    // What was refused before the source was accepted is over.
    let is_later = |rejection: &SourceRejection| {
        used.as_ref().is_none_or(|used| rejection.ended_at > used.last_used_at)
    };
    let rejections = rejections.into_iter().filter(|it| it.source == name && is_later(it));
    let rejections = rejections.collect();
    let (event, call) = match &used {
        None => (None, None),
        Some(used) => {
            let mut snapshot = reader.snapshot().await?;
            let after = used.last_used_at - BEFORE_USE;
            let event = snapshot.last_event_of_source(name, after).await?;
            (event, snapshot.last_reported_call(name).await?)
        }
    };
    let kind = source.map(|source| source.kind);
    Ok(SetupProgress { kind, handshake, used, event, call, rejections })
}

pub(in crate::console) async fn setup(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let configured = context.doctor.sources_of(&reader.caller.tenant);
    let origin = match typed.first("origin") {
        "" => shown_origin(&headers),
        origin => origin.to_owned(),
    };
    let values = SetupValues::parse(&typed, &origin, reader.caller.tenant.as_str());
    let (values, refusal) = match values {
        Ok(values) => (values, None),
        Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
            let member = problem.member().unwrap_or_default().to_owned();
            let empty = SetupValues::unfilled(reader.caller.tenant.as_str());
            (empty, Some((member, problem.detail().to_owned())))
        }
        Err(problem) => return Err(problem),
    };
    let name = match typed.first("source") {
        "" => configured.keys().next().cloned().unwrap_or_default(),
        name => name.to_owned(),
    };
    let source = configured.get(&name);
    let progress = if name.is_empty() || refusal.is_some() {
        SetupProgress::default()
    } else {
        read(&context, &reader, &name, source).await?
    };
    let values = if refusal.is_none() { values.for_source(&name, source) } else { values };
    let mut sources: Vec<(String, bool)> =
        configured.keys().map(|known| (known.clone(), *known == name)).collect();
    if !name.is_empty() && source.is_none() && refusal.is_none() {
        sources.push((name.clone(), true));
    }
    let template = SetupTemplate {
        f: PageFrame::of(&visit, Section::Sources, visit.words.t("setup.title")),
        is_local: origin.starts_with("http://"),
        commands: commands(&values),
        sources,
        origin,
        refusal,
        progress,
        typed,
    };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}
