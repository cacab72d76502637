//! The reports of one attachment, stored in little memory.
//!
//! A client sends a report every 30 s, and most of its reports state the same as the one before. A
//! *run* is a series of successive reports that state the same, each at most `stale` after the one
//! before. The projection of a call needs only the first and the last report of a run; the last one is
//! marked `unbroken`. Of the reports between them (*heartbeats*), only sequence, instant and key are
//! stored, by which a late or repeated report finds its place.
//!
//! # Why
//!
//! *The projection of the retained reports equals the projection of all reports*
//! ([`crate::call::project`]); a property test checks it. A report counts at the least instant
//! of itself and its successors. Within a run the instants do not decrease, so each report of a run
//! counts at its own instant or at that of a later report of the run, and the intervals between the
//! reports only become shorter.
//!
//! *No report is deleted.* A late report may belong into the middle of a run, and then the run is
//! divided; the heartbeats restore its reports (`NOTHING_LOST`).
//!
//! *A conflict ends the compaction.* If two reports with different contents have one key, the
//! resolution of sessions decides which one counts, so all reports of the attachment are retained.

use std::collections::HashSet;

use crate::event::calling_event::{CallingEvent, ObservedEvent, ReportStatement, Statement};
use crate::event::ids::Digest;
use crate::event::instant::Millis;

/// How a report changed the history that it was inserted into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportEffect {
    /// The history contained the report.
    Duplicate,
    /// The report states the same as the last report of its client, at most `stale` after it.
    Heartbeat,
    /// Any other report.
    New,
}

/// The reports of one attachment.
#[derive(Clone, Debug, Default)]
pub struct ReportHistory {
    /// In the order of (sequence, instant, key).
    runs: Vec<ReportRun>,
    /// The keys of all reports.
    keys: HashSet<Digest>,
    /// Two reports with different contents have one key.
    has_conflict: bool,
    /// The approximate memory of all reports.
    stored_bytes: usize,
}

/// Successive reports that state the same, each at most `stale` after the one before.
#[derive(Clone, Debug)]
struct ReportRun {
    first: ObservedEvent,
    /// The reports between `first` and `last`.
    between: Vec<Heartbeat>,
    /// The last report; `None` if the run has only one.
    last: Option<ObservedEvent>,
}

/// A report within a run. It differs from the first report of the run only in these members.
#[derive(Clone, Copy, Debug)]
struct Heartbeat {
    sequence: i64,
    at: Millis,
    key: Digest,
}

impl ReportHistory {
    /// Inserts a report. `now` is the instant of the insertion: a report with a later instant does not
    /// count yet, so it does not belong to a run. `stale` is how long a client is live after a report.
    /// All in (Unix) milliseconds.
    pub fn insert(&mut self, report: ObservedEvent, now: Millis, stale: Millis) -> ReportEffect {
        if !self.keys.insert(report.id) {
            return self.insert_known_key(report, now, stale);
        }
        let is_last = self.runs.last().is_none_or(|run| order(run.end()) < order(&report));
        if is_last {
            return self.append(report, now, stale);
        }
        let mut all = self.all();
        all.push(report);
        self.rebuild(all, now, stale);
        ReportEffect::New
    }

    /// The reports that the projection of the call needs.
    pub fn retained(&self) -> impl Iterator<Item = &ObservedEvent> {
        self.runs.iter().flat_map(|run| std::iter::once(&run.first).chain(&run.last))
    }

    /// The number of reports that state something else than the report before. Two runs that state the
    /// same are no change.
    #[must_use]
    pub fn changes(&self) -> usize {
        let neighbours = self.runs.array_windows();
        neighbours
            .filter(|[before, after]| !states_the_same(&before.first.event, &after.first.event))
            .count()
    }

    /// The sequences of the first and the last report of the last run.
    #[must_use]
    pub fn last_run(&self) -> Option<(i64, i64)> {
        let run = self.runs.last()?;
        Some((sequence(&run.first.event), sequence(&run.end().event)))
    }

    /// The number of reports that the projection of the call needs.
    #[must_use]
    pub fn retained_count(&self) -> usize {
        self.retained().count()
    }

    /// The approximate memory of the reports, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// Inserts a report whose key the history contains: a duplicate or a conflict.
    fn insert_known_key(
        &mut self,
        report: ObservedEvent,
        now: Millis,
        stale: Millis,
    ) -> ReportEffect {
        let mut all = self.all();
        let is_same =
            |known: &&mut ObservedEvent| known.id == report.id && known.event == report.event;
        match all.iter_mut().find(is_same) {
            Some(known) if known.at <= report.at => return ReportEffect::Duplicate,
            // The earliest instant of a report counts.
            Some(known) => known.at = report.at,
            None => {
                self.has_conflict = true;
                all.push(report);
            }
        }
        self.rebuild(all, now, stale);
        ReportEffect::New
    }

    fn rebuild(&mut self, mut all: Vec<ObservedEvent>, now: Millis, stale: Millis) {
        all.sort_by_key(order);
        self.runs.clear();
        self.stored_bytes = 0;
        for report in all {
            self.append(report, now, stale);
        }
    }

    /// Adds a report that comes after all others.
    fn append(&mut self, mut report: ObservedEvent, now: Millis, stale: Millis) -> ReportEffect {
        if !self.has_conflict
            && let Some(run) = self.runs.last_mut()
            && continues_run(run.end(), &report, now, stale)
        {
            report.unbroken = true;
            if let Some(last) = run.last.replace(report) {
                run.between.push(Heartbeat {
                    sequence: sequence(&last.event),
                    at: last.at,
                    key: last.id,
                });
                self.stored_bytes += size_of::<Heartbeat>();
            } else {
                self.stored_bytes += stored_bytes(run.end());
            }
            return ReportEffect::Heartbeat;
        }
        self.stored_bytes += stored_bytes(&report);
        self.runs.push(ReportRun { first: report, between: Vec::new(), last: None });
        ReportEffect::New
    }

    /// All reports, restored.
    fn all(&self) -> Vec<ObservedEvent> {
        self.runs.iter().flat_map(ReportRun::all).collect()
    }
}

impl ReportRun {
    fn end(&self) -> &ObservedEvent {
        self.last.as_ref().unwrap_or(&self.first)
    }

    fn all(&self) -> Vec<ObservedEvent> {
        let between = self.between.iter().map(|heartbeat| {
            let mut event = self.first.event.clone();
            if let Statement::Report(report) = &mut event.statement {
                report.sequence = heartbeat.sequence;
            }
            ObservedEvent::new(heartbeat.key, heartbeat.at, event)
        });
        let last =
            self.last.iter().map(|last| ObservedEvent::new(last.id, last.at, last.event.clone()));
        std::iter::once(self.first.clone()).chain(between).chain(last).collect()
    }
}

/// The order of the reports of an attachment.
fn order(report: &ObservedEvent) -> (i64, Millis, Digest) {
    (sequence(&report.event), report.at, report.id)
}

fn sequence(event: &CallingEvent) -> i64 {
    match &event.statement {
        Statement::Report(report) => report.sequence,
        _ => 0,
    }
}

/// The approximate memory of a report.
fn stored_bytes(observed: &ObservedEvent) -> usize {
    let ids = &observed.event.ids;
    let ids = [&ids.server_call_id, &ids.participant_id, &ids.attachment, &ids.group_id];
    let mut texts: usize = ids.into_iter().flatten().map(String::len).sum();
    if let Statement::Report(report) = &observed.event.statement {
        let grant = report.grant.calls().iter().chain(report.grant.participant_ids());
        let optional = [&report.thread_id, &report.app, &report.sdk];
        texts += report.persons().map(str::len).sum::<usize>();
        texts += grant.chain(optional.into_iter().flatten()).map(String::len).sum::<usize>();
        for shown in &report.shown {
            texts += size_of_val(shown);
            let words = shown.text.iter();
            texts += words
                .map(|text| text.version.len() + text.sha256.len() + text.locale.len())
                .sum::<usize>();
        }
    }
    size_of::<ObservedEvent>() + texts
}

/// Whether `next` only states that its client is still live.
fn continues_run(last: &ObservedEvent, next: &ObservedEvent, now: Millis, stale: Millis) -> bool {
    let in_time = last.at <= next.at && next.at <= now && next.at.saturating_sub(last.at) <= stale;
    in_time && states_the_same(&last.event, &next.event)
}

fn states_the_same(one: &CallingEvent, other: &CallingEvent) -> bool {
    let (Statement::Report(report), Statement::Report(again)) = (&one.statement, &other.statement)
    else {
        return false;
    };
    // The pattern lists all members, so that a new member does not compile without a decision here.
    let ReportStatement {
        participant,
        other_raw_ids,
        grant,
        sequence: _,
        recording,
        transcription,
        consent_required,
        shown,
        leaving,
        thread_id,
        app,
        sdk,
    } = report;
    *participant == again.participant
        && *other_raw_ids == again.other_raw_ids
        && *grant == again.grant
        && *recording == again.recording
        && *transcription == again.transcription
        && *consent_required == again.consent_required
        // Shown notices and the leaving of the client have an instant of their own.
        && shown.is_empty()
        && again.shown.is_empty()
        && !leaving
        && !again.leaving
        && *thread_id == again.thread_id
        && *app == again.app
        && *sdk == again.sdk
        && one.ids == other.ids
        && one.source_type == other.source_type
        && one.generation == other.generation
        && one.redacted == other.redacted
}

#[cfg(test)]
mod tests;
