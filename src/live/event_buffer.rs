//! The stored events of one anchor.

use std::collections::{HashMap, HashSet};

use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::calling_event::{ObservedEvent, Statement};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::session::report_history::{ReportEffect, ReportHistory};

/// The events of one anchor. It may be empty: an event without facts makes a call known all the
/// same.
#[derive(Default)]
pub(crate) struct EventBuffer {
    /// By reporter: the attachment, or the raw id of the participant.
    reports: HashMap<String, ReportHistory>,
    /// All events but reports.
    others: Vec<ObservedEvent>,
    keys: HashSet<Digest>,
    /// An event states that the call ended.
    pub has_end: bool,
}

impl EventBuffer {
    /// Stores an event and returns what it adds to those before it.
    pub(crate) fn add(&mut self, observed: ObservedEvent, now: Millis) -> ReportEffect {
        if let Statement::Report(report) = &observed.event.statement {
            let named = observed.event.ids.attachment.as_ref();
            let reporter = named.unwrap_or(&report.participant.raw_id).clone();
            let reports = self.reports.entry(reporter).or_default();
            return reports.insert(observed, now, Parameters::default().stale);
        }
        if !self.keys.insert(observed.id) {
            let same = |known: &&mut ObservedEvent| {
                known.id == observed.id && known.event == observed.event
            };
            match self.others.iter_mut().find(same) {
                Some(known) if known.at <= observed.at => return ReportEffect::Duplicate,
                // The earliest arrival of an event counts.
                Some(known) => {
                    known.at = observed.at;
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
        self.others.push(observed);
        ReportEffect::New
    }

    /// The reports of an attachment.
    pub(crate) fn reports(&self, attachment: &str) -> Option<&ReportHistory> {
        self.reports.get(attachment)
    }

    /// The events that a fold reads.
    pub(crate) fn events(&self) -> impl Iterator<Item = &ObservedEvent> {
        let reports = self.reports.values().flat_map(ReportHistory::retained);
        self.others.iter().chain(reports)
    }
}
