//! The health of the node that answers, the lag of the record, and what was not observed.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::display::length::length;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
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
}

impl HealthTemplate {
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
    let PageVisit { visit, reader, .. } = visit;
    let through = reader.snapshot().await?.evaluated_through().await?;
    let outages = read_outages(&reader, OutageListQuery::default()).await?;
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
        f: PageFrame::of(&visit, Section::Health, visit.words.t("health.title"))
            .complete_through(through),
    })
}
