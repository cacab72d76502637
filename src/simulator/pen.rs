//! What a script is written with: it lets deliveries be late, overtaken and repeated.

use chrono::{DateTime, TimeDelta, Utc};

use super::chance::Chance;
use super::course::LATEST;
use super::script::{Delivery, DeliveryId, Door, SimulatedEvent, Wrap};
use crate::domain::instant::Millis;

/// The act of the clients' first reports, on which no change rests.
pub(super) const FIRST_REPORTS: u32 = 0;

/// What is of no act may be so late, ms.
const LATEST_OF_ALL: Millis = 2_500;
/// A delivery is on its way so long at least and, if it is not late, at most, ms.
const ON_ITS_WAY: (Millis, Millis) = (5, 40);
/// A delivery that comes again does so within this time, ms.
const AGAIN_WITHIN: Millis = 1_500;

/// Everything that has been written of a script.
#[derive(Clone, Debug)]
pub(super) struct Pen {
    pub chance: Chance,
    start: DateTime<Utc>,
    disorder: f64,
    duplicates: f64,
    deliveries: Vec<Delivery>,
}

impl Pen {
    pub fn new(start: DateTime<Utc>, disorder: f64, duplicates: f64, chance: Chance) -> Self {
        Self {
            chance,
            start,
            disorder,
            duplicates,
            deliveries: Vec::new(),
        }
    }

    /// The time of something that happens so long after the beginning.
    pub fn time(&self, offset: Millis) -> DateTime<Utc> {
        self.start + TimeDelta::milliseconds(offset)
    }

    /// The id that the next delivery will have.
    pub fn next(&self) -> DeliveryId {
        self.deliveries.len()
    }

    /// Lets events that happened at an instant be delivered some time after it.
    pub fn deliver(
        &mut self,
        door: Door,
        wrap: Wrap,
        mut events: Vec<SimulatedEvent>,
        happened: Millis,
        act: Option<u32>,
    ) -> DeliveryId {
        for event in &mut events {
            event.decides = act.is_some_and(|act| act > FIRST_REPORTS);
        }
        let id = self.next();
        let at = self.posted(happened, if act.is_some() { LATEST } else { LATEST_OF_ALL });
        let comes_again = self.chance.happens(self.duplicates);
        let again = comes_again.then(|| self.chance.between(0, AGAIN_WITHIN));
        self.deliveries.push(Delivery {
            id,
            door,
            wrap,
            events,
            at,
            act,
            again,
        });
        id
    }

    fn posted(&mut self, happened: Millis, latest: Millis) -> Millis {
        let (least, most) = ON_ITS_WAY;
        let usual = happened + self.chance.between(least, most);
        if self.chance.happens(self.disorder) {
            usual + self.chance.between(0, latest - most)
        } else {
            usual
        }
    }

    /// All deliveries in the order of posting.
    pub fn deliveries(mut self) -> Vec<Delivery> {
        self.deliveries
            .sort_by_key(|delivery| (delivery.at, delivery.act));
        self.deliveries
    }
}
