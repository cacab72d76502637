//! The reports of one attachment, kept so that hours of heartbeats weigh little.
//!
//! A client repeats itself every 30 s. Of reports that say the same, one after the other and without
//! a silence, the first and the last tell all that the rules of evidence ask: the last one is marked
//! `unbroken`. Of those in between only count, time and key are kept, by which a late or repeated
//! report still finds its place.
//!
//! # Why
//!
//! *The fold's answer is the same*, whatever is asked of it ([`super::picture::account`]; a
//! property test holds on to that). A report counts at the least instant of itself and its
//! successors; within a run instants rise, so every one counts at its own or at that of one
//! successor of the run, and gaps only shrink.
//!
//! *Nothing is thrown away.* A report that comes late may stand in the middle of a run, and then the
//! run must be taken apart again.
//!
//! *A contradiction ends it.* Where two contents came under one key, which of them counts is for the
//! fold to decide; such an attachment is kept as it is.

use std::collections::HashSet;

use super::calling_event::{CallingEvent, Report, Statement, Testimony};
use super::ids::Digest;
use super::instant::Millis;

/// What a report was to those that were there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was there.
    Known,
    /// It says again what its reporter said last, before that fell silent.
    Heartbeat,
    /// It says something.
    New,
}

/// The reports of one attachment.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// In the reporter's own order.
    runs: Vec<Run>,
    keys: HashSet<Digest>,
    /// Two contents came under one key.
    contradictory: bool,
}

/// Reports that say the same, in a row.
#[derive(Clone, Debug)]
struct Run {
    first: Testimony,
    between: Vec<Beat>,
    last: Option<Testimony>,
}

/// A report between two that say the same.
#[derive(Clone, Copy, Debug)]
struct Beat {
    sequence: i64,
    t: Millis,
    id: Digest,
}

impl Reports {
    /// Puts a report in its place. `now` is when this is done: what is later than that does not
    /// count yet, so nothing may be left out for it. `stale` is how long a client is believed.
    pub fn take_in(&mut self, report: Testimony, now: Millis, stale: Millis) -> Taken {
        if !self.keys.insert(report.id) {
            return self.take_in_again(report, now, stale);
        }
        let is_next = self
            .runs
            .last()
            .is_none_or(|run| order(run.end()) < order(&report));
        if is_next {
            return self.append(report, now, stale);
        }
        let mut all = self.all();
        all.push(report);
        self.arrange(all, now, stale);
        Taken::New
    }

    /// What a fold must be given.
    pub fn testimonies(&self) -> impl Iterator<Item = &Testimony> {
        self.runs
            .iter()
            .flat_map(|run| std::iter::once(&run.first).chain(&run.last))
    }

    /// How often the reporter said something else than before. A silence between two reports is no
    /// change, and neither is that a contradiction has them stand one by one.
    #[must_use]
    pub fn changes(&self) -> usize {
        let neighbours = self.runs.iter().zip(self.runs.iter().skip(1));
        neighbours
            .filter(|(before, after)| !says_the_same(&before.first.event, &after.first.event))
            .count()
    }

    /// How many reports a fold is given.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.testimonies().count()
    }

    /// A report with a known key: the same once more, or a contradiction.
    fn take_in_again(&mut self, report: Testimony, now: Millis, stale: Millis) -> Taken {
        let mut all = self.all();
        let same = |known: &&mut Testimony| known.id == report.id && known.event == report.event;
        match all.iter_mut().find(same) {
            Some(known) if known.t <= report.t => return Taken::Known,
            // When it came first counts.
            Some(known) => known.t = report.t,
            None => {
                self.contradictory = true;
                all.push(report);
            }
        }
        self.arrange(all, now, stale);
        Taken::New
    }

    fn arrange(&mut self, mut all: Vec<Testimony>, now: Millis, stale: Millis) {
        all.sort_by_key(order);
        self.runs.clear();
        for report in all {
            self.append(report, now, stale);
        }
    }

    /// Adds one that comes after all others.
    fn append(&mut self, mut report: Testimony, now: Millis, stale: Millis) -> Taken {
        if !self.contradictory
            && let Some(run) = self.runs.last_mut()
            && goes_on(run.end(), &report, now, stale)
        {
            report.unbroken = true;
            if let Some(last) = run.last.replace(report) {
                run.between.push(Beat {
                    sequence: sequence(&last.event),
                    t: last.t,
                    id: last.id,
                });
            }
            return Taken::Heartbeat;
        }
        self.runs.push(Run {
            first: report,
            between: Vec::new(),
            last: None,
        });
        Taken::New
    }

    /// Every report by itself.
    fn all(&self) -> Vec<Testimony> {
        self.runs.iter().flat_map(Run::all).collect()
    }
}

impl Run {
    fn end(&self) -> &Testimony {
        self.last.as_ref().unwrap_or(&self.first)
    }

    fn all(&self) -> Vec<Testimony> {
        let between = self.between.iter().map(|beat| {
            let mut event = self.first.event.clone();
            if let Statement::Report(report) = &mut event.statement {
                report.sequence = beat.sequence;
            }
            Testimony::new(beat.id, beat.t, event)
        });
        let last = self
            .last
            .iter()
            .map(|last| Testimony::new(last.id, last.t, last.event.clone()));
        std::iter::once(self.first.clone())
            .chain(between)
            .chain(last)
            .collect()
    }
}

/// The reporter's own order.
fn order(report: &Testimony) -> (i64, Millis, Digest) {
    (sequence(&report.event), report.t, report.id)
}

fn sequence(event: &CallingEvent) -> i64 {
    match &event.statement {
        Statement::Report(report) => report.sequence,
        _ => 0,
    }
}

/// Whether `next` only says that its reporter is still there.
fn goes_on(last: &Testimony, next: &Testimony, now: Millis, stale: Millis) -> bool {
    let in_time = last.t <= next.t && next.t <= now && next.t.saturating_sub(last.t) <= stale;
    in_time && says_the_same(&last.event, &next.event)
}

fn says_the_same(one: &CallingEvent, other: &CallingEvent) -> bool {
    let (Statement::Report(report), Statement::Report(again)) = (&one.statement, &other.statement)
    else {
        return false;
    };
    // All members by name: a new one must be thought of here.
    let Report {
        participant,
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
        && *recording == again.recording
        && *transcription == again.transcription
        && *consent_required == again.consent_required
        // Whoever shows something or leaves does so at an instant.
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
