//! The health of the node that answers, the lag of the record, and what was not observed.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::display::length::length;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::doctor::finding::{CheckedFinding, FindingLevel};
use crate::http::api_role::ApiRole;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::lifecycle::Health;
use crate::postgres::UnseenInterval;
use crate::query::outages::{OutageListQuery, read_outages};

#[derive(Template)]
#[template(path = "health.html")]
struct HealthTemplate {
    f: PageFrame,
    /// Name, code of the health, reason.
    components: Vec<(&'static str, &'static str, String)>,
    lag: Option<String>,
    outages: Vec<UnseenInterval>,
    findings: ShownFindings,
}

/// What the page shows of the doctor.
enum ShownFindings {
    /// The role of the reader has no findings.
    NotForRole,
    /// An examination goes on, and there are no recent findings.
    Examining,
    Found(DoctorFindings),
}

impl ShownFindings {
    /// After how many seconds the page is read again.
    fn again(&self) -> u32 {
        match self {
            Self::Examining => 2,
            Self::NotForRole | Self::Found(_) => 15,
        }
    }
}

/// What the doctor found, for auditors and admins: the findings name parts of the deployment.
struct DoctorFindings {
    at: DateTime<Utc>,
    /// Those that say what to do.
    to_do: Vec<CheckedFinding>,
    ok: Vec<CheckedFinding>,
    /// Those that could not be checked.
    unknown: Vec<CheckedFinding>,
}

impl DoctorFindings {
    fn of(at: DateTime<Utc>, findings: Vec<CheckedFinding>) -> Self {
        let (ok, rest): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|it| it.finding.level == FindingLevel::Ok);
        let (unknown, mut to_do): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|it| it.finding.level == FindingLevel::Unknown);
        to_do.sort_by_key(|it| it.finding.level != FindingLevel::Error);
        Self { at, to_do, ok, unknown }
    }
}

/// The code of a level in the words of the console.
fn level_code(level: FindingLevel) -> &'static str {
    match level {
        FindingLevel::Ok => "ok",
        FindingLevel::Warning => "warning",
        FindingLevel::Error => "error",
        FindingLevel::Unknown => "not_checked",
    }
}

impl HealthTemplate {
    fn level(&self, finding: &CheckedFinding) -> &'static str {
        level_code(finding.finding.level)
    }

    fn unseen_word(&self, interval: &UnseenInterval) -> String {
        let kind = serde_json::to_value(interval.kind).ok();
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        self.f.words.find(&format!("unseen.{kind}.word")).unwrap_or_default().to_owned()
    }
}

pub(in crate::console) async fn health(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let through = reader.snapshot().await?.evaluated_through().await?;
    let outages = read_outages(&reader, OutageListQuery::default()).await?;
    let caller = &signed_in.caller;
    let findings = if matches!(caller.role, ApiRole::Auditor | ApiRole::Admin) {
        let found = context.doctor.findings_of(&caller.tenant).await;
        found.map_or(ShownFindings::Examining, |(at, findings)| {
            ShownFindings::Found(DoctorFindings::of(at, findings))
        })
    } else {
        ShownFindings::NotForRole
    };
    let components = context.readiness.view().into_iter().map(|(name, health)| match health {
        Health::Healthy => (name, "healthy", String::new()),
        Health::Starting => (name, "starting", String::new()),
        Health::Stale => (name, "stale", String::new()),
        Health::Unhealthy(why) => (name, "unhealthy", why),
    });
    page(&HealthTemplate {
        components: components.collect(),
        lag: through.map(|through| length((clock::now() - through).num_milliseconds())),
        outages: outages.outages,
        findings,
        f: PageFrame::of(&visit, Section::Health, visit.words.t("health.title"))
            .complete_through(through),
    })
}
