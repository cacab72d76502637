//! The notices that the clients show, and their acknowledgements.

use crate::call::faulty_client::FaultyClient;
use crate::call::script::{BodyFormat, DeliveryTarget};
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
        let client = &mut self.legs[leg];
        let action = match client.fault {
            None => {
                client.showing.extend(on);
                NoticeAction::Displayed(Level::On)
            }
            Some(FaultyClient::Unseen) => NoticeAction::DisplayedInvisibly,
            Some(FaultyClient::Silent | FaultyClient::Late) => return,
        };
        self.post_acknowledgements(leg, items(on, action), at);
    }

    /// A client replaces or hides the notices of these types, as far as it shows them.
    pub(super) fn withdraw_notices(
        &mut self,
        leg: usize,
        over: &[CaptureType],
        action: NoticeAction,
        at: Millis,
    ) {
        let mut shown = over.to_vec();
        shown.retain(|capture_type| self.legs[leg].showing.remove(capture_type));
        self.post_acknowledgements(leg, items(&shown, action), at);
    }

    /// Participants answer the notices that are visible, or do not.
    pub(super) fn answer_notices(&mut self, at: Millis) {
        for leg in self.present_legs() {
            if !self.scheduler.rng.random_bool(ANSWER_PROBABILITY) {
                continue;
            }
            let client = &self.legs[leg];
            let mut items = Vec::new();
            for capture_type in &client.showing {
                items.push((*capture_type, NoticeAction::Acknowledged));
                if client.asks_consent {
                    let consents = self.scheduler.rng.random_bool(CONSENT_PROBABILITY);
                    let answer =
                        if consents { NoticeAction::Consented } else { NoticeAction::Declined };
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
            let client = &mut self.legs[leg];
            if client.fault != Some(FaultyClient::Late) {
                continue;
            }
            client.showing.extend(&on);
            self.post_report(leg, &on, false, at, self.phase);
            let items = items(&on, NoticeAction::Displayed(Level::On));
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
        if items.is_empty() {
            return;
        }
        let client = &self.legs[leg];
        let events = items
            .into_iter()
            .map(|(capture_type, action)| {
                client.acknowledgement(capture_type, action, &mut self.scheduler.rng)
            })
            .collect();
        let target = DeliveryTarget::Acknowledgements(client.raw_id.clone());
        let (format, phase) = (BodyFormat::Acknowledgements, Some(self.phase));
        self.scheduler.schedule(target, format, events, at, phase);
    }
}

/// The same action for notices of several types.
fn items(capture_types: &[CaptureType], action: NoticeAction) -> Vec<(CaptureType, NoticeAction)> {
    capture_types.iter().map(|capture_type| (*capture_type, action)).collect()
}
