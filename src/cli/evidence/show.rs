//! `onrecord evidence show`: the evidence of a stored call as a table, and as an HTML page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Args;

use super::display_zone::DisplayZone;
use super::evidence_html::{self, PageSource};
use super::evidence_table::{
    EvidenceRow, EvidenceTable, consent_words, flag_note, instant, verdict_words,
};
use crate::config::Settings;
use crate::console::report::report_document::ShownWords;
use crate::postgres::{
    CallDetails, Postgres, SessionDetailRow, TenantSnapshot, UnseenInterval, VersionSelector,
    VersionWithFacts,
};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::capture::merge::Capture;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{Identity, JsonWord};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::identity::person_name::person_name;
use onrecord_evidence::report::evidence_report::Evidence;
use onrecord_evidence::session::presence::SessionPresence;
use onrecord_evidence::session::resolution::SessionFlag;

/// Maximum number of statements about notices whose texts are looked up.
const MAX_STATEMENTS: i64 = 5_000;

/// The options of `onrecord evidence show`.
#[derive(Args)]
pub(super) struct ShowOptions {
    /// Any id of the call.
    #[arg(long, value_name = "ID")]
    call: String,
    /// The tenant of the call; by default the one that has a call with this id.
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// The version of the report, instead of the latest.
    #[arg(long, value_name = "N")]
    version: Option<i32>,
    /// The time zone in which instants are shown beside UTC, by its IANA name; by default that of this
    /// machine.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Also write the evidence as an HTML page to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The evidence of the call as text; its HTML page is written.
///
/// # Errors
///
/// PostgreSQL cannot be read, there is no such call or report, or the file cannot be written.
pub(super) async fn show(options: ShowOptions, config: Option<&Path>) -> anyhow::Result<String> {
    let ShowOptions { call, tenant, version, zone, html } = options;
    let zone = DisplayZone::named(zone.as_deref())?;
    let settings = Settings::load(config)?;
    let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
    let tenants = match tenant {
        Some(tenant) => vec![Tenant::parse(&tenant)?],
        None => tenants(&settings, &store).await?,
    };
    let (mut snapshot, tenant, details) = find(&store, &tenants, &call).await?;
    let stored = read(&mut snapshot, details, version).await?;
    let table = table(&tenant, &stored, zone)?;
    if let Some(file) = html {
        let source = PageSource {
            tenant: tenant.as_str(),
            call: &stored.details.call.call,
            version: &stored.version,
            sessions: &stored.details.sessions,
            shown_words: shown_words(&mut snapshot, &stored.details.anchors).await?,
            unseen: &stored.unseen,
            complete_through: snapshot.call_complete_through(&stored.details.call.call).await?,
            zone: zone.zone(),
        };
        let version = &stored.version;
        let evidence = Evidence::at(&version.facts, version.as_of, &Parameters::default())?;
        let page = evidence_html::page(source, &evidence)?;
        std::fs::write(&file, page)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(table.text())
}

/// The tenants that the settings name or that have API keys.
async fn tenants(settings: &Settings, store: &Postgres) -> anyhow::Result<Vec<Tenant>> {
    let sources = settings.sources.values().map(|source| source.tenant.clone());
    let keys = store.api_keys().await?.into_iter().map(|key| key.tenant);
    let mut tenants: Vec<Tenant> =
        sources.chain(settings.tenants.keys().cloned()).chain(keys).collect();
    tenants.sort();
    tenants.dedup();
    ensure!(
        !tenants.is_empty(),
        "the settings name no tenant and there is no API key; name the tenant with --tenant"
    );
    Ok(tenants)
}

/// The one call that an id names, in whichever of these tenants.
async fn find(
    store: &Postgres,
    tenants: &[Tenant],
    id: &str,
) -> anyhow::Result<(TenantSnapshot, Tenant, CallDetails)> {
    let candidates = Anchor::candidates(id);
    let mut found = None;
    for tenant in tenants {
        let mut snapshot = store.read(tenant).await?;
        let Some(details) = snapshot.call(&candidates).await? else {
            continue;
        };
        if let Some((_, other, _)) = &found {
            bail!(
                "the tenants {other} and {tenant} have a call with the id {id}; name one with --tenant"
            );
        }
        found = Some((snapshot, tenant.clone(), details));
    }
    found.with_context(|| {
        let tenants: Vec<&str> = tenants.iter().map(Tenant::as_str).collect();
        format!("no call of the tenant {} has the id {id}", tenants.join(" or "))
    })
}

/// The texts that apps state to have shown in a call, with their registered words.
async fn shown_words(
    snapshot: &mut TenantSnapshot,
    anchors: &[String],
) -> anyhow::Result<Vec<ShownWords>> {
    let statements = snapshot.notice_timeline(anchors, None, MAX_STATEMENTS).await?;
    let mut shown = ShownWords::of(&statements);
    for text in &mut shown {
        let registered = snapshot.notice_texts(&text.version).await?;
        text.words = registered.into_iter().find(|it| it.locale == text.locale).map(|it| it.text);
    }
    Ok(shown)
}

/// What is stored of a call and of one version of its report.
struct StoredEvidence {
    details: CallDetails,
    version: VersionWithFacts,
    /// Intervals of the call that were not observed, or were observed late.
    unseen: Vec<UnseenInterval>,
}

async fn read(
    snapshot: &mut TenantSnapshot,
    details: CallDetails,
    version: Option<i32>,
) -> anyhow::Result<StoredEvidence> {
    let call = &details.call;
    let selector = match version {
        None => VersionSelector::Latest,
        Some(version) => VersionSelector::Version { call: None, version },
    };
    let anchors = snapshot.anchors_of(&call.call).await?;
    let found = snapshot.version(&call.call, &anchors, selector).await?;
    let found = found.with_context(|| match version {
        Some(version) => format!("the call {} has no version {version} of its report", call.call),
        None => format!(
            "the call {} has no report: it was offered or failed, but no participant is known to have been in it",
            call.call
        ),
    })?;
    let until = call.ended_at.or_else(|| instant(found.as_of)).unwrap_or(call.started_at);
    let unseen = snapshot.unseen(call.started_at, until).await?;
    Ok(StoredEvidence { details, version: found, unseen })
}

/// The table of a stored report.
fn table(
    tenant: &Tenant,
    stored: &StoredEvidence,
    zone: DisplayZone,
) -> anyhow::Result<EvidenceTable> {
    let StoredEvidence { details, version, unseen } = stored;
    let evidence = Evidence::at(&version.facts, version.as_of, &Parameters::default())?;
    let recomputed = serde_json::to_value(&evidence.report)?;
    let report = match &version.report {
        Some(report) if *report != recomputed => {
            "DIFFERS from the one that its facts give, which is shown here; `onrecord evidence recompute` explains it"
        }
        _ => "its facts give it again",
    };
    let names = names(&details.sessions);
    let who = |session: &str| {
        names.get(session).cloned().unwrap_or_else(|| person_name(None, None, session))
    };
    let at = |at: Option<Millis>| {
        at.and_then(instant).map_or_else(|| "unknown".to_owned(), |at| in_zones(zone, at))
    };
    let call = &evidence.report.call;
    let ended = match call.ended_at {
        None => "goes on".to_owned(),
        Some(_) if call.end_presumed => format!("{}, presumed", at(call.ended_at)),
        Some(_) => at(call.ended_at),
    };
    let number = version.version.map_or_else(String::new, |number| format!("version {number}, "));
    let mut summary = vec![
        ("tenant", tenant.to_string()),
        ("started", at(Some(call.started_at))),
        ("ended", ended),
    ];
    summary.extend(evidence.report.captures.iter().map(|it| ("captured", captured(it, &at))));
    summary.extend([
        ("verdict", verdict_words(evidence.report.verdict.as_str())),
        ("consent", consent_words(evidence.report.consent.as_str())),
        ("report", format!("{number}as of {}; {report}", at(Some(version.as_of)))),
    ]);
    let obligations = evidence.report.obligations.iter().zip(evidence.explanations());
    let rows = obligations.map(|(obligation, explanation)| EvidenceRow {
        who: who(&obligation.session),
        capture_type: obligation.capture_type.as_str().to_owned(),
        due_at: obligation.due_at,
        shown_at: obligation.shown_at,
        exposure_ms: obligation.exposure_ms,
        status: obligation.status.as_str().to_owned(),
        consent: obligation.consent.as_str().to_owned(),
        why: Some(explanation.rule),
    });
    let flagged = evidence.report.sessions.iter().filter_map(|session| {
        let flags = flags(session, &details.sessions);
        flag_note(&who(&session.id), flags.into_iter().map(<&str>::from))
    });
    let not_observed = unseen.iter().map(|interval| {
        let time = |time: Option<DateTime<Utc>>, otherwise: &str| {
            time.map_or_else(|| otherwise.to_owned(), |time| in_zones(zone, time))
        };
        format!(
            "Not observed from {} to {}: {}",
            time(interval.from, "an unknown instant"),
            time(interval.to, "now"),
            interval.detail
        )
    });
    Ok(EvidenceTable {
        title: format!("Evidence of the call {}", version.call),
        summary,
        rows: rows.collect(),
        notes: flagged.chain(not_observed).collect(),
        zone,
    })
}

/// A capture in words.
fn captured(capture: &Capture, at: &impl Fn(Option<Millis>) -> String) -> String {
    let sources: Vec<&str> = capture.sources.iter().map(JsonWord::as_str).collect();
    let until = match capture.ended_at {
        None => "on".to_owned(),
        Some(_) => format!("to {}", at(capture.ended_at)),
    };
    format!(
        "{} from {} {until}, by {}",
        capture.capture_type.as_str(),
        at(Some(capture.started_at)),
        sources.join(" and ")
    )
}

/// What an auditor must know about the clients of a session. That it is an outsider's is a conclusion
/// from the facts; that a claim was refused is stored with the session, because no fact states it.
fn flags(session: &SessionPresence, stored: &[SessionDetailRow]) -> Vec<SessionFlag> {
    let row = stored.iter().find(|row| row.session == session.id);
    let claim_refused = SessionFlag::ClaimRefused;
    let is_refused =
        row.is_some_and(|row| row.flags.iter().any(|flag| flag == <&str>::from(claim_refused)));
    let is_outsider = session.identity == Identity::Outsider;
    let refused = is_refused.then_some(claim_refused);
    refused.into_iter().chain(is_outsider.then_some(SessionFlag::Outsider)).collect()
}

/// The name of the person of each session.
fn names(sessions: &[SessionDetailRow]) -> BTreeMap<String, String> {
    let names = sessions.iter().map(|row| {
        let name = person_name(row.display_name.as_deref(), row.raw_id.as_deref(), &row.session);
        (row.session.clone(), name)
    });
    names.collect()
}

/// An instant in each of the zones.
fn in_zones(zone: DisplayZone, at: DateTime<Utc>) -> String {
    let texts =
        zone.shown().into_iter().map(|zone| format!("{} {}", zone.date_and_time(at), zone.name()));
    texts.collect::<Vec<_>>().join(" = ")
}
