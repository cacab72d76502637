//! Attachments: the clients of a call, with their reports.

use std::collections::BTreeMap;

use super::key;
use crate::capture::span::Extent;
use crate::event::calling_event::{ObservedEvent, ReportStatement, Statement};
use crate::event::instant::{Millis, lower_to_successors};
use crate::fact::kinds::Identity;

/// An attachment with all its reports.
#[derive(Debug)]
pub(super) struct Attachment<'t> {
    /// The client's own id. The service accepts no report without one; an imported report without
    /// one has the raw id of its participant here.
    pub(super) id: &'t str,
    /// In the order of (sequence, instant, key). Never empty.
    pub(super) reports: Vec<AttachmentReport<'t>>,
}

/// One report of an attachment.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttachmentReport<'t> {
    /// The event.
    pub(super) observed: &'t ObservedEvent,
    /// The statement of the event.
    pub(super) report: &'t ReportStatement,
    /// The instant at which the report counts, in Unix milliseconds: the least instant of the report
    /// and its successors.
    pub(super) counts_at: Millis,
}

impl<'t> Attachment<'t> {
    /// All attachments that report, in the order of their ids.
    pub(super) fn all(events: &[&'t ObservedEvent]) -> Vec<Self> {
        let mut attachments: BTreeMap<&str, Vec<AttachmentReport<'_>>> = BTreeMap::new();
        for &observed in events {
            let Statement::Report(report) = &observed.event.statement else {
                continue;
            };
            let stated = observed.event.ids.attachment.as_deref();
            let id = stated.unwrap_or(&report.participant.raw_id);
            attachments.entry(id).or_default().push(AttachmentReport {
                observed,
                report,
                counts_at: observed.at,
            });
        }
        attachments
            .into_iter()
            .map(|(id, mut reports)| {
                reports.sort_unstable_by_key(|it| {
                    (it.report.sequence, it.observed.at, it.observed.id)
                });
                lower_to_successors(reports.iter_mut().map(|it| &mut it.counts_at));
                Self { id, reports }
            })
            .collect()
    }

    /// The raw id of the client's token; of several, that of the first report.
    pub(super) fn raw_id(&self) -> Option<&'t str> {
        let first = self.reports.first()?;
        Some(&first.report.participant.raw_id)
    }

    /// The first participantId that a report names.
    pub(super) fn participant_id(&self) -> Option<String> {
        let mut reports = self.reports.iter();
        reports.find_map(|it| key::participant_id(&it.observed.event.ids))
    }

    /// When the first report counts.
    pub(super) fn first_report(&self) -> Option<Millis> {
        self.reports.first().map(|it| it.counts_at)
    }

    /// Whether the client's token is for a Teams identity in the tenant's own app.
    pub(super) fn claims_teams_custom(&self) -> bool {
        let mut reports = self.reports.iter();
        reports.any(|it| it.report.participant.identity == Identity::TeamsCustom)
    }
}

/// The first and last instants at which reports of a session count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReportInstants {
    /// Of all reports.
    pub(super) all: Extent,
    /// Of the reports that do not state `leaving`.
    pub(super) staying: Extent,
    /// Of the reports that state `leaving`.
    pub(super) leaving: Extent,
}

impl ReportInstants {
    /// Adds a report that counts at `at`.
    pub(super) fn add(&mut self, at: Millis, leaving: bool) {
        self.all.add(at);
        if leaving {
            self.leaving.add(at);
        } else {
            self.staying.add(at);
        }
    }

    /// The instants of all reports of `attachments`.
    pub(super) fn of(attachments: &[Attachment<'_>]) -> Self {
        let mut instants = Self::default();
        for it in attachments.iter().flat_map(|it| &it.reports) {
            instants.add(it.counts_at, it.report.leaving);
        }
        instants
    }
}
