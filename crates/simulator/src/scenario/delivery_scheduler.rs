//! Schedules the deliveries of a script: some are late, overtaken or repeated.

use chrono::{DateTime, TimeDelta, Utc};

use crate::call::script::{
    BodyFormat, DeliveryNumber, DeliveryTarget, SimulatedDelivery, SimulatedEvent,
};
use crate::rng::SeededRng;
use crate::scenario::call_timeline::MAX_DELAY;
use onrecord_evidence::event::instant::Millis;

/// The phase of the clients' first reports, on which no expected change depends.
pub(crate) const FIRST_REPORTS_PHASE: u32 = 0;

/// Maximum delay of a delivery without a phase, ms.
const MAX_DELAY_WITHOUT_PHASE: Millis = 2_500;
/// Minimum and maximum transit time of a delivery that is not late, ms.
const TRANSIT_TIME: (Millis, Millis) = (5, 40);
/// Maximum interval between the answer to a delivery and its repetition, ms.
const MAX_REPEAT_INTERVAL: Millis = 1_500;

/// The deliveries of a script so far.
#[derive(Debug)]
pub(crate) struct DeliveryScheduler {
    pub rng: SeededRng,
    pub start: DateTime<Utc>,
    /// The probability that a delivery is late, 0 to 1.
    pub disorder: f64,
    /// The probability that a delivery is repeated, 0 to 1.
    pub duplicates: f64,
    pub deliveries: Vec<SimulatedDelivery>,
}

impl DeliveryScheduler {
    /// The time of an offset from the start of the call.
    pub(crate) fn time(&self, offset: Millis) -> DateTime<Utc> {
        self.start + TimeDelta::milliseconds(offset)
    }

    /// Schedules a delivery of events some time after they happened.
    pub(crate) fn schedule(
        &mut self,
        target: DeliveryTarget,
        body_format: BodyFormat,
        mut events: Vec<SimulatedEvent>,
        happened: Millis,
        phase: Option<u32>,
    ) -> DeliveryNumber {
        for event in &mut events {
            event.decides = phase.is_some_and(|phase| phase > FIRST_REPORTS_PHASE);
        }
        let id = self.deliveries.len();
        let (least, most) = TRANSIT_TIME;
        let mut at = happened + self.rng.between(least, most);
        if self.rng.random_bool(self.disorder) {
            let latest = if phase.is_some() { MAX_DELAY } else { MAX_DELAY_WITHOUT_PHASE };
            at += self.rng.between(0, latest - most);
        }
        let is_repeated = self.rng.random_bool(self.duplicates);
        let repeat_after = is_repeated.then(|| self.rng.between(0, MAX_REPEAT_INTERVAL));
        let delivery =
            SimulatedDelivery { id, target, body_format, events, at, phase, repeat_after };
        self.deliveries.push(delivery);
        id
    }

    /// Marks the last delivery as one that must not be withheld.
    pub(crate) fn keep_last(&mut self) {
        let events = self.deliveries.last_mut().map(|delivery| &mut delivery.events);
        for event in events.into_iter().flatten() {
            event.decides = true;
        }
    }

    /// All deliveries in the order in which they are posted.
    pub(crate) fn into_deliveries(mut self) -> Vec<SimulatedDelivery> {
        self.deliveries.sort_by_key(|delivery| (delivery.at, delivery.phase));
        self.deliveries
    }
}
