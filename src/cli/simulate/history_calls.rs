//! The calls of a history: their scripts, and the rows that the ledger would have made of them.
//!
//! # Why
//!
//! Each delivery of a script takes the way of a real one as far as it needs no store and no broker: ingest encodes
//! it, a report and an acknowledgement are parsed as from a client, and the ledger decodes what is on the log then.
//! Only what the live state states itself has no such way: that notices were dispatched and delivered.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context as _, anyhow, bail};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Timelike as _, Utc, Weekday};
use onrecord_simulator::{
    CallScript, ChangeTrigger, DeliveryNumber, DeliveryTarget, EnabledTargets, ExpectedChange,
    ScenarioConfig, SeededRng, SimulatedDelivery, SimulatedResource,
};
use uuid::Builder;

use crate::clients::acknowledge::AcknowledgementBatch;
use crate::clients::report::event_message;
use crate::clients::report_body::ReportBody;
use crate::config::{Source, SourceKind};
use crate::http::body::RequestBody as _;
use crate::http::subscriber_token::SubscriberClaims;
use crate::ingest::DecodedBody;
use crate::ingest::message_batch::{DeliveryContext, EncodedDelivery, encode_delivery};
use crate::kafka::WireMessage;
use crate::ledger::known_calls::KnownCalls;
use crate::postgres::{ClosingKey, ExceptionClosing, ExceptionStep, HistoryRows};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, JsonWord as _, Level};
use onrecord_evidence::notice::indication::IndicationState;
use onrecord_evidence::notice::notice_fact::{
    NoticeFact, NoticeKind, NoticePlace, StatedBy, Transport, id_by_transport,
};

/// Interval between the last event of a call and its evaluation.
const EVALUATED_AFTER: TimeDelta = TimeDelta::seconds(30);
/// The client's off takes effect after this many ms.
const SETTLES_AFTER: Millis = 5_000;
/// How many calls there are for each person.
const CALLS_OF_PERSON: u64 = 25;
/// Minimum number of persons.
const MIN_PEOPLE: u64 = 40;
/// The labels of sources and credentials.
const EVENT_GRID: &str = "event-grid";
const CALL_AUTOMATION: &str = "call-automation";
const CREDENTIAL: &str = "000000000000";
/// Why auditors close exceptions.
const REASONS: [&str; 3] = [
    "the participant was informed by phone",
    "a known fault of the app, fixed since",
    "the recording was deleted",
];

/// The calls of a history.
pub(super) struct HistoryCalls {
    seed: u64,
    resource: SimulatedResource,
    tenants: Vec<Tenant>,
    event_grid: Vec<Source>,
    call_automation: Vec<Source>,
    calls: u64,
    people: u64,
    until: DateTime<Utc>,
    keeps_keys_from: NaiveDate,
    presume_end_after: TimeDelta,
    /// The hours, each with the sum of the weights up to its end.
    hours: Vec<(DateTime<Utc>, f64)>,
}

/// The leg of a client: its attachment, its raw id, and when it is there.
#[derive(Clone, Debug)]
struct ClientPresence {
    raw_id: String,
    attachment: String,
    from: Millis,
    until: Option<Millis>,
}

impl HistoryCalls {
    pub(super) fn new(
        seed: u64,
        tenants: Vec<Tenant>,
        calls: u64,
        period: Range<DateTime<Utc>>,
        keeps_keys_from: NaiveDate,
        presume_end_after: TimeDelta,
    ) -> Self {
        let resource = SimulatedResource::new(seed, None);
        let source = |kind| {
            let of_tenant = |tenant: &Tenant| Source {
                kind,
                tenant: tenant.clone(),
                keys: Vec::new(),
                resource_ids: vec![resource.resource_id.clone()],
                jwt: None,
            };
            tenants.iter().map(of_tenant).collect::<Vec<Source>>()
        };
        Self {
            seed,
            event_grid: source(SourceKind::EventGrid),
            call_automation: source(SourceKind::CallAutomation),
            calls,
            people: (calls / CALLS_OF_PERSON).max(MIN_PEOPLE),
            until: period.end,
            keeps_keys_from,
            presume_end_after,
            hours: weighted_hours(&period),
            resource,
            tenants,
        }
    }

    /// The numbers of the calls, in parts of at most this many.
    pub(super) fn parts(&self, most: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let calls = self.calls;
        let step = usize::try_from(most.max(1)).unwrap_or(usize::MAX);
        (0..calls).step_by(step).map(move |start| start..calls.min(start + most))
    }

    /// The rows of the calls with these numbers, by tenant.
    pub(super) fn rows(&self, numbers: Range<u64>) -> anyhow::Result<Vec<HistoryRows>> {
        let rows = self.tenants.iter().map(|tenant| HistoryRows::new(tenant.as_str()));
        let mut rows: Vec<HistoryRows> = rows.collect();
        for number in numbers {
            let tenant = usize::try_from(number % rows.len() as u64)?;
            self.add_call(number, tenant, &mut rows[tenant])
                .with_context(|| format!("the call {number} of the seed {}", self.seed))?;
        }
        Ok(rows)
    }

    fn add_call(&self, number: u64, tenant: usize, rows: &mut HistoryRows) -> anyhow::Result<()> {
        let mut rng = SeededRng::new(self.seed, "history", number);
        let start = self.start(number, &mut rng);
        let config = ScenarioConfig {
            seed: self.seed,
            resource: self.resource.clone(),
            targets: EnabledTargets { event_grid: true, call_automation: true, reports: true },
            generations: Vec::new(),
            call_length: call_length(&mut rng),
            disorder: 0.3,
            duplicates: 0.0,
            people: Some(self.people),
        };
        let mut script = config.script(number, start);
        // What is after the end of the history has not happened.
        script.deliveries.retain(|delivery| received(start, delivery) <= self.until);
        let (mut events, mut notices) = (Vec::new(), Vec::new());
        for delivery in &script.deliveries {
            let received_at = received(start, delivery);
            self.encode(tenant, delivery, received_at, &mut events, &mut notices)?;
        }
        self.add_transport_facts(tenant, &script, start, &mut rng, &mut notices);
        let last = script.deliveries.iter().map(|delivery| delivery.at).max().unwrap_or(0);
        let calls = KnownCalls {
            events: &events,
            notices: &notices,
            evaluated_at: self.until.min(at(start, last) + EVALUATED_AFTER),
            now: self.until,
            keeps_keys_from: self.keeps_keys_from,
            presume_end_after: self.presume_end_after,
            seed: self.seed,
        };
        calls.add_to(rows, |step, opened_at| self.closing(step, opened_at))?;
        Ok(())
    }

    /// When the call with this number starts. Calls follow each other; more of them in the working hours.
    fn start(&self, number: u64, rng: &mut SeededRng) -> DateTime<Utc> {
        let whole = self.hours.last().map_or(0.0, |(_, sum)| *sum);
        let place = (number as f64 + rng.random_fraction()) / self.calls as f64 * whole;
        let index = self.hours.partition_point(|(_, sum)| *sum <= place);
        let index = index.min(self.hours.len().saturating_sub(1));
        let before = index.checked_sub(1).map_or(0.0, |before| self.hours[before].1);
        let Some((hour, sum)) = self.hours.get(index) else { return self.until };
        let part = (place - before) / (sum - before);
        *hour + TimeDelta::milliseconds((part * 3_600_000.0) as i64)
    }

    /// Encodes a delivery as the service does that receives it.
    fn encode(
        &self,
        tenant: usize,
        delivery: &SimulatedDelivery,
        received_at: DateTime<Utc>,
        events: &mut Vec<WireMessage>,
        notices: &mut Vec<NoticeFact>,
    ) -> anyhow::Result<()> {
        let request = delivery.request();
        let body = request.body.as_bytes();
        let claims = |raw_id: &String| {
            SubscriberClaims::new(self.tenants[tenant].clone(), raw_id.clone(), None, 0)
        };
        let (name, source) = match &delivery.target {
            DeliveryTarget::EventGrid => (EVENT_GRID, &self.event_grid[tenant]),
            DeliveryTarget::CallAutomation => (CALL_AUTOMATION, &self.call_automation[tenant]),
            DeliveryTarget::Reports(raw_id) => {
                let report =
                    ReportBody::of_bytes(body).map_err(|problem| anyhow!("{problem:?}"))?;
                report.validate().map_err(|problem| anyhow!("{problem:?}"))?;
                let resource_ids = [self.resource.resource_id.clone()];
                let claims = claims(raw_id);
                let message = event_message(&claims, &resource_ids, report, body, received_at);
                events.push(message.to_wire()?);
                return Ok(());
            }
            DeliveryTarget::Acknowledgements(raw_id) => {
                let batch = AcknowledgementBatch::of_bytes(body);
                let facts = batch.and_then(|batch| batch.into_facts(&claims(raw_id), received_at));
                notices.extend(facts.map_err(|problem| anyhow!("{problem:?}"))?);
                return Ok(());
            }
        };
        let context =
            DeliveryContext { name, source, credential: CREDENTIAL, received_at, seal_to: None };
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            headers.append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_bytes(value.as_bytes())?,
            );
        }
        match encode_delivery(context, &headers, DecodedBody::uncoded(body))? {
            EncodedDelivery::Events(batch) if batch.counts.quarantined() == 0 => {
                events.extend(batch.messages);
            }
            EncodedDelivery::Events(_) => bail!("a generated event would go to quarantine"),
            EncodedDelivery::Handshake(_) => bail!("a generated delivery is a handshake"),
        }
        Ok(())
    }

    /// Adds that each change of a level was dispatched to the clients that are there, and delivered; in a few
    /// cases late or never.
    fn add_transport_facts(
        &self,
        tenant: usize,
        script: &CallScript,
        start: DateTime<Utc>,
        rng: &mut SeededRng,
        notices: &mut Vec<NoticeFact>,
    ) {
        let until = (self.until - start).num_milliseconds();
        let clients = presences(script);
        for (number, change) in script.changes.iter().enumerate() {
            let (Some(changed_at), Some(state)) = (changed_at(script, change), level(change.state))
            else {
                continue;
            };
            for client in &clients {
                let is_there =
                    client.from < changed_at && client.until.is_none_or(|until| changed_at < until);
                if !is_there || rng.random_bool(0.01) {
                    continue;
                }
                let slow = if rng.random_bool(0.02) { rng.between(500, 9_000) } else { 0 };
                let dispatched = changed_at + rng.between(1, 40) + slow;
                let delivered = dispatched + rng.between(15, 400);
                let steps =
                    [(NoticeKind::Dispatched, dispatched), (NoticeKind::Delivered, delivered)];
                let reached = if rng.random_bool(0.03) { 1 } else { steps.len() };
                for (kind, step_at) in steps.into_iter().take(reached) {
                    if step_at > until {
                        continue;
                    }
                    let place = NoticePlace::Attachment(client.attachment.clone());
                    let by = StatedBy { raw_id: client.raw_id.clone(), place };
                    let (tenant, capture_type) = (&self.tenants[tenant], change.capture_type);
                    let started = Some(at(start, changed_at).timestamp_millis());
                    notices.push(NoticeFact {
                        id: id_by_transport(tenant, kind, &by, capture_type, state, started),
                        at: at(start, step_at).timestamp_millis(),
                        kind,
                        capture_type,
                        state: Some(state),
                        elapsed_ms: None,
                        by,
                        client_id: None,
                        notice: Some(notice_id(script, capture_type, number)),
                        text: None,
                        transport: Some(Transport::Sse),
                    });
                }
            }
        }
    }

    /// Who closes an exception, if anybody has: most of them within days.
    fn closing(&self, step: &ExceptionStep, opened_at: DateTime<Utc>) -> Option<ExceptionClosing> {
        let digest = Digest::of_parts(&["closing", &step.id.to_string()]);
        let number = digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let mut rng = SeededRng::new(self.seed, "closing", number);
        let hours = if rng.random_bool(0.8) { rng.between(1, 72) } else { rng.between(73, 1_000) };
        let closed_at = opened_at + TimeDelta::minutes(hours * 60 + rng.between(0, 59));
        let is_closed = rng.random_bool(0.75) && closed_at <= self.until;
        is_closed.then(|| {
            let id = Digest::of_parts(&["auditor", &self.seed.to_string()]);
            let id = id.as_bytes().first_chunk().copied().unwrap_or_default();
            ExceptionClosing {
                key: ClosingKey {
                    id: Builder::from_random_bytes(id).into_uuid(),
                    name: "auditor of the history".to_owned(),
                },
                at: closed_at,
                reason: rng.one_of(REASONS),
            }
        })
    }
}

fn at(start: DateTime<Utc>, offset: Millis) -> DateTime<Utc> {
    start + TimeDelta::milliseconds(offset)
}

fn received(start: DateTime<Utc>, delivery: &SimulatedDelivery) -> DateTime<Utc> {
    at(start, delivery.at)
}

/// The hours of a period, each with the sum of the weights up to its end.
fn weighted_hours(period: &Range<DateTime<Utc>>) -> Vec<(DateTime<Utc>, f64)> {
    let mut hours = Vec::new();
    let (mut hour, mut sum) = (period.start, 0.0);
    while hour < period.end {
        let is_weekend = matches!(hour.weekday(), Weekday::Sat | Weekday::Sun);
        let weight = match hour.hour() {
            8..=16 => 10.0,
            6..=7 | 17..=19 => 4.0,
            _ => 1.0,
        };
        sum += if is_weekend { weight / 5.0 } else { weight };
        hours.push((hour, sum));
        hour += TimeDelta::hours(1);
    }
    hours
}

/// The length of a call: most are short.
fn call_length(rng: &mut SeededRng) -> Millis {
    match rng.between(0, 9) {
        0..=4 => rng.between(8_000, 40_000),
        5..=7 => rng.between(40_000, 180_000),
        _ => rng.between(180_000, 480_000),
    }
}

/// When a level changes, in ms after the start of the call. `None`: no notice announces it.
fn changed_at(script: &CallScript, change: &ExpectedChange) -> Option<Millis> {
    let at = |numbers: &[DeliveryNumber]| {
        let deliveries = script.deliveries.iter().filter(|it| numbers.contains(&it.id));
        deliveries.map(|delivery| delivery.at).collect::<Vec<Millis>>()
    };
    match &change.trigger {
        ChangeTrigger::FirstOf(numbers) => at(numbers).into_iter().min(),
        ChangeTrigger::LastOf(numbers) => at(numbers).into_iter().max(),
        ChangeTrigger::SettledOff(numbers) => {
            at(numbers).into_iter().max().map(|at| at + SETTLES_AFTER)
        }
        ChangeTrigger::Flapped { .. } | ChangeTrigger::CallEnded(_) => None,
    }
}

fn level(state: IndicationState) -> Option<Level> {
    match state {
        IndicationState::On => Some(Level::On),
        IndicationState::Paused => Some(Level::Paused),
        IndicationState::Off => Some(Level::Off),
        IndicationState::Unknown => None,
    }
}

/// The id of a notice, which has the form of those of the live state.
fn notice_id(script: &CallScript, capture_type: CaptureType, number: usize) -> String {
    let parts = [&*script.public_id, capture_type.as_str(), &number.to_string()];
    Digest::of_parts(&parts).first_half()
}

/// The clients that report, by their attachments.
fn presences(script: &CallScript) -> Vec<ClientPresence> {
    let mut found: BTreeMap<String, ClientPresence> = BTreeMap::new();
    for delivery in &script.deliveries {
        let DeliveryTarget::Reports(raw_id) = &delivery.target else { continue };
        for event in &delivery.events {
            let Some(attachment) = event.body.get("attachment").and_then(|it| it.as_str()) else {
                continue;
            };
            let presence = found.entry(attachment.to_owned()).or_insert_with(|| ClientPresence {
                raw_id: raw_id.clone(),
                attachment: attachment.to_owned(),
                from: delivery.at,
                until: None,
            });
            if event.body.get("leaving").is_some() {
                presence.until = Some(delivery.at);
            }
        }
    }
    found.into_values().collect()
}
