//! How the clients tell their participants, and say what became of the notices.

use super::Author;
use crate::domain::fact::{CaptureType, Level};
use crate::domain::instant::Millis;
use crate::simulator::client_leg::Became;
use crate::simulator::lapse::Lapse;
use crate::simulator::script::{Door, SimulatedEvent, Wrap};

/// How probable it is that somebody answers a notice at all.
const ANSWERED: f64 = 0.8;
/// And agrees, if asked.
const AGREED: f64 = 0.9;

impl Author<'_> {
    /// A client tells its participant that this is captured, unless it fails to.
    pub(super) fn tells(&mut self, leg: usize, on: &[CaptureType], at: Millis) {
        let Some(client) = self.legs.get_mut(leg) else {
            return;
        };
        let became = match client.lapse {
            None => {
                client.showing.extend(on);
                Became::Displayed(Level::On)
            }
            Some(Lapse::Unseen) => Became::DisplayedUnseen,
            Some(Lapse::Silent | Lapse::Late) => return,
        };
        let items = on.iter().map(|capture| (*capture, became)).collect();
        self.acknowledges(leg, items, at);
    }

    /// A client takes the notices of these back that it shows.
    pub(super) fn takes_back(
        &mut self,
        leg: usize,
        over: &[CaptureType],
        became: Became,
        at: Millis,
    ) {
        let Some(client) = self.legs.get_mut(leg) else {
            return;
        };
        let shown = over
            .iter()
            .filter(|capture| client.showing.remove(*capture));
        let items = shown.map(|capture| (*capture, became)).collect();
        self.acknowledges(leg, items, at);
    }

    /// Those who see a notice answer it, or not.
    pub(super) fn all_answer(&mut self, at: Millis) {
        for leg in self.present() {
            if !self.pen.chance.happens(ANSWERED) {
                continue;
            }
            let Some(client) = self.legs.get(leg) else {
                continue;
            };
            let (asks_consent, showing) = (client.asks_consent, client.showing.clone());
            let mut items = Vec::new();
            for capture in showing {
                items.push((capture, Became::Acknowledged));
                if asks_consent {
                    let agrees = self.pen.chance.happens(AGREED);
                    let answer = if agrees {
                        Became::Consented
                    } else {
                        Became::Declined
                    };
                    items.push((capture, answer));
                }
            }
            self.acknowledges(leg, items, at);
        }
    }

    /// The app that is late shows what it should have shown long ago.
    pub(super) fn late_show(&mut self, at: Millis) {
        let on = self.types_on();
        for leg in self.present() {
            let Some(client) = self.legs.get_mut(leg) else {
                continue;
            };
            if client.lapse != Some(Lapse::Late) {
                continue;
            }
            client.showing.extend(&on);
            self.report(leg, &on, false, at, self.act);
            let became = Became::Displayed(Level::On);
            let items = on.iter().map(|capture| (*capture, became)).collect();
            self.acknowledges(leg, items, at);
        }
    }

    /// One batch of a client, if there is anything in it.
    fn acknowledges(&mut self, leg: usize, items: Vec<(CaptureType, Became)>, at: Millis) {
        let Some(client) = self.legs.get(leg) else {
            return;
        };
        let events: Vec<SimulatedEvent> = items
            .into_iter()
            .map(|(capture, became)| client.acknowledgement(capture, became, &mut self.pen.chance))
            .collect();
        if events.is_empty() {
            return;
        }
        let door = Door::Acknowledgements {
            raw_id: client.raw_id.clone(),
        };
        self.pen
            .deliver(door, Wrap::Acknowledgements, events, at, Some(self.act));
    }
}
