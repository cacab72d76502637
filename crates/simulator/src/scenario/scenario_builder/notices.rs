//! The notices that the clients show, and their acknowledgements.

use crate::call::faulty_client::FaultyClient;
use crate::call::script::{BodyFormat, DeliveryTarget, SimulatedEvent};
use crate::formats::client_leg::NoticeAction;
use crate::scenario::scenario_builder::ScenarioBuilder;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Level};

/// The probability that a participant answers a notice.
const ANSWER_PROBABILITY: f64 = 0.8;
/// The probability that a participant consents, if asked.
const CONSENT_PROBABILITY: f64 = 0.9;

impl ScenarioBuilder<'_> {
    /// A client shows its participant that these types are captured, unless it is faulty.
    pub(super) fn show_notices(&mut self, leg: usize, on: &[CaptureType], at: Millis) {
        let Some(client) = self.legs.get_mut(leg) else {
            return;
        };
        let action = match client.fault {
            None => {
                client.showing.extend(on);
                NoticeAction::Displayed(Level::On)
            }
            Some(FaultyClient::Unseen) => NoticeAction::DisplayedInvisibly,
            Some(FaultyClient::Silent | FaultyClient::Late) => return,
        };
        let items = on
            .iter()
            .map(|capture_type| (*capture_type, action))
            .collect();
        self.post_acknowledgements(leg, items, at);
    }

    /// A client replaces or hides the notices of these types, as far as it shows them.
    pub(super) fn withdraw_notices(
        &mut self,
        leg: usize,
        over: &[CaptureType],
        action: NoticeAction,
        at: Millis,
    ) {
        let Some(client) = self.legs.get_mut(leg) else {
            return;
        };
        let shown = over
            .iter()
            .filter(|capture_type| client.showing.remove(*capture_type));
        let items = shown.map(|capture_type| (*capture_type, action)).collect();
        self.post_acknowledgements(leg, items, at);
    }

    /// Participants answer the notices that are visible, or do not.
    pub(super) fn answer_notices(&mut self, at: Millis) {
        for leg in self.present_legs() {
            if !self.scheduler.rng.random_bool(ANSWER_PROBABILITY) {
                continue;
            }
            let Some(client) = self.legs.get(leg) else {
                continue;
            };
            let mut items = Vec::new();
            for capture_type in &client.showing {
                items.push((*capture_type, NoticeAction::Acknowledged));
                if client.asks_consent {
                    let consents = self.scheduler.rng.random_bool(CONSENT_PROBABILITY);
                    let answer = if consents {
                        NoticeAction::Consented
                    } else {
                        NoticeAction::Declined
                    };
                    items.push((*capture_type, answer));
                }
            }
            self.post_acknowledgements(leg, items, at);
        }
    }

    /// The clients that are late show the notices that were due long ago.
    pub(super) fn show_late_notices(&mut self, at: Millis) {
        let on = self.types_on();
        for leg in self.present_legs() {
            let Some(client) = self.legs.get_mut(leg) else {
                continue;
            };
            if client.fault != Some(FaultyClient::Late) {
                continue;
            }
            client.showing.extend(&on);
            self.post_report(leg, &on, false, at, self.phase);
            let action = NoticeAction::Displayed(Level::On);
            let items = on
                .iter()
                .map(|capture_type| (*capture_type, action))
                .collect();
            self.post_acknowledgements(leg, items, at);
        }
    }

    /// A client posts a batch of acknowledgements, if it has any.
    fn post_acknowledgements(
        &mut self,
        leg: usize,
        items: Vec<(CaptureType, NoticeAction)>,
        at: Millis,
    ) {
        let Some(client) = self.legs.get(leg) else {
            return;
        };
        let rng = &mut self.scheduler.rng;
        let events: Vec<SimulatedEvent> = items
            .into_iter()
            .map(|(capture_type, action)| client.acknowledgement(capture_type, action, rng))
            .collect();
        if events.is_empty() {
            return;
        }
        let target = DeliveryTarget::Acknowledgements {
            raw_id: client.raw_id.clone(),
        };
        let (format, phase) = (BodyFormat::Acknowledgements, Some(self.phase));
        self.scheduler.schedule(target, format, events, at, phase);
    }
}
