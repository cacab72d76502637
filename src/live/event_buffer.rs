//! The stored events of one anchor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::calling_event::{ObservedEvent, Statement};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::session::report_history::{ReportEffect, ReportHistory};

/// The events of one anchor. It may be empty: an event without facts makes a call known all the
/// same.
#[derive(Default)]
pub(crate) struct EventBuffer {
    /// By attachment; that of a report without one is its raw id.
    reports: HashMap<Anchor, Arc<ReportHistory>>,
    /// All events but reports.
    others: Vec<Arc<ObservedEvent>>,
    keys: HashSet<Digest>,
    /// An event states that the call ended.
    pub has_end: bool,
}

impl EventBuffer {
    /// Stores a report of an attachment and returns what it adds to those before it.
    pub(crate) fn add_report(
        &mut self,
        attachment: Anchor,
        report: ObservedEvent,
        now: Millis,
    ) -> ReportEffect {
        let reports = self.reports.entry(attachment).or_default();
        // A running fold that shares the reports keeps them as they are.
        Arc::make_mut(reports).insert(report, now, Parameters::default().stale)
    }

    /// Stores any other event and returns what it adds to those before it.
    pub(crate) fn add(&mut self, observed: ObservedEvent) -> ReportEffect {
        if !self.keys.insert(observed.id) {
            let same = |known: &&mut Arc<ObservedEvent>| {
                known.id == observed.id && known.event == observed.event
            };
            match self.others.iter_mut().find(same) {
                Some(known) if known.at <= observed.at => return ReportEffect::Duplicate,
                // The earliest arrival of an event counts.
                Some(known) => {
                    Arc::make_mut(known).at = observed.at;
                    return ReportEffect::New;
                }
                // The same key with another content is kept as well; the fold decides which one
                // counts.
                None => {}
            }
        }
        self.has_end |=
            matches!(&observed.event.statement, Statement::CallEnded(ended) if !ended.presumed);
        // Most calls have few events of half a kilobyte each: the buffer grows by a quarter, not to
        // double its size.
        if self.others.len() == self.others.capacity() {
            self.others.reserve_exact(1 + self.others.len() / 4);
        }
        self.others.push(Arc::new(observed));
        ReportEffect::New
    }

    /// The reports of an attachment.
    pub(crate) fn reports(&self, attachment: &Anchor) -> Option<&ReportHistory> {
        self.reports.get(attachment).map(Arc::as_ref)
    }

    /// The events that a fold reads.
    pub(crate) fn events(&self) -> impl Iterator<Item = &ObservedEvent> {
        let reports = self.reports.values().flat_map(|reports| reports.retained());
        self.others.iter().map(Arc::as_ref).chain(reports)
    }
}

/// The events of a call at an instant, shared with its buffers.
#[derive(Default)]
pub(crate) struct SharedEvents {
    reports: Vec<Arc<ReportHistory>>,
    others: Vec<Arc<ObservedEvent>>,
}

impl SharedEvents {
    /// Adds the events of a buffer.
    pub(crate) fn add(&mut self, buffer: &EventBuffer) {
        self.reports.extend(buffer.reports.values().cloned());
        self.others.extend_from_slice(&buffer.others);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.others.is_empty()
    }

    /// The events that a fold reads.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ObservedEvent> {
        let reports = self.reports.iter().flat_map(|reports| reports.retained());
        self.others.iter().map(Arc::as_ref).chain(reports)
    }
}
