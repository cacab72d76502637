//! The events at one anchor, as the board keeps them.

use std::collections::{HashMap, HashSet};

use crate::domain::calling_event::{Statement, Testimony};
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;
use crate::domain::reports::{Reports, Taken};

/// Events that belong together by their own ids. It may be empty: an event without facts makes a
/// call known all the same.
#[derive(Default)]
pub(super) struct Shelf {
    /// By reporter.
    reports: HashMap<String, Reports>,
    /// Everything else.
    others: Vec<Testimony>,
    keys: HashSet<Digest>,
    /// Somebody says that the call ended.
    pub end_told: bool,
}

impl Shelf {
    /// Puts an event where it belongs.
    pub fn take_in(&mut self, testimony: Testimony, now: Millis) -> Taken {
        if let Statement::Report(report) = &testimony.event.statement {
            let named = testimony.event.ids.attachment.as_ref();
            let reporter = named.unwrap_or(&report.participant.raw_id).clone();
            let reports = self.reports.entry(reporter).or_default();
            return reports.take_in(testimony, now, Parameters::default().stale);
        }
        if !self.keys.insert(testimony.id) {
            let same =
                |known: &&mut Testimony| known.id == testimony.id && known.event == testimony.event;
            match self.others.iter_mut().find(same) {
                Some(known) if known.t <= testimony.t => return Taken::Known,
                // When it came first counts.
                Some(known) => {
                    known.t = testimony.t;
                    return Taken::New;
                }
                // The same key with another content is kept beside the first: the fold settles it.
                None => {}
            }
        }
        self.end_told |=
            matches!(&testimony.event.statement, Statement::CallEnded(ended) if !ended.presumed);
        // Most calls have few events, and one takes half a kilobyte: no place for twice as many.
        if self.others.len() == self.others.capacity() {
            self.others.reserve_exact(1 + self.others.len() / 4);
        }
        self.others.push(testimony);
        Taken::New
    }

    /// How often the reports of an attachment said something else than before.
    pub fn changes_of(&self, attachment: &str) -> usize {
        self.reports.get(attachment).map_or(0, Reports::changes)
    }

    /// How many reports of an attachment a fold is given.
    pub fn weight_of(&self, attachment: &str) -> usize {
        self.reports.get(attachment).map_or(0, Reports::weight)
    }

    /// What a fold must be given.
    pub fn testimonies(&self) -> impl Iterator<Item = &Testimony> {
        let reports = self.reports.values().flat_map(Reports::testimonies);
        self.others.iter().chain(reports)
    }
}
