//! Attachments: what a client says of itself by its reports.

use std::collections::BTreeMap;

use super::name;
use crate::domain::calling_event::{Report, Statement, Testimony};
use crate::domain::fact::Identity;
use crate::domain::instant::Millis;
use crate::domain::span::Extent;

/// A client's leg of the call, with all its reports.
#[derive(Debug)]
pub struct Attachment<'t> {
    /// The client's own id. The door lets no report pass without one; should one come another way,
    /// the raw id of its participant stands in.
    pub id: &'t str,
    /// In the order of its own count: (sequence, t, id). Never empty.
    pub reports: Vec<Reported<'t>>,
}

/// One report of it.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'t> {
    /// The event.
    pub testimony: &'t Testimony,
    /// What it says.
    pub report: &'t Report,
    /// The least instant of the report and its successors, at which it counts: Unix milliseconds.
    pub counted: Millis,
}

impl<'t> Attachment<'t> {
    /// All attachments that report, by id.
    pub fn all(testimonies: &[&'t Testimony]) -> Vec<Self> {
        let mut attachments: BTreeMap<&str, Vec<Reported<'_>>> = BTreeMap::new();
        for &testimony in testimonies {
            let Statement::Report(report) = &testimony.event.statement else {
                continue;
            };
            let named = testimony.event.ids.attachment.as_deref();
            let id = named.unwrap_or(&report.participant.raw_id);
            attachments.entry(id).or_default().push(Reported {
                testimony,
                report,
                counted: testimony.t,
            });
        }
        attachments
            .into_iter()
            .map(|(id, reports)| Self {
                id,
                reports: in_own_order(reports),
            })
            .collect()
    }

    /// The raw id of its token: that of its first report, should there be several.
    pub fn raw_id(&self) -> Option<&'t str> {
        let first = self.reports.first()?;
        Some(&first.report.participant.raw_id)
    }

    /// The first participantId that it names.
    pub fn participant_id(&self) -> Option<String> {
        let mut reports = self.reports.iter();
        reports.find_map(|reported| name::participant_id(&reported.testimony.event.ids))
    }

    /// When its first report counts.
    pub fn first_report(&self) -> Option<Millis> {
        self.reports.first().map(|reported| reported.counted)
    }

    /// Whether its token is for a Teams identity that uses our own client.
    pub fn claims_teams_custom(&self) -> bool {
        let mut reports = self.reports.iter();
        reports.any(|reported| reported.report.participant.identity == Identity::TeamsCustom)
    }
}

fn in_own_order(mut reports: Vec<Reported<'_>>) -> Vec<Reported<'_>> {
    reports.sort_unstable_by_key(|reported| {
        let Testimony { t, id, .. } = reported.testimony;
        (reported.report.sequence, *t, *id)
    });
    let mut least = Millis::MAX;
    for reported in reports.iter_mut().rev() {
        least = least.min(reported.counted);
        reported.counted = least;
    }
    reports
}

/// What the reports of some attachments tell of coming and going.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// All reports.
    pub reports: Extent,
    /// Those that do not take leave.
    pub staying: Extent,
    /// Those that do.
    pub leaving: Extent,
}

impl Signs {
    /// Those of all reports of `attachments`.
    pub fn of(attachments: &[Attachment<'_>]) -> Self {
        let mut signs = Self::default();
        for reported in attachments
            .iter()
            .flat_map(|attachment| &attachment.reports)
        {
            signs.reports.add(reported.counted);
            if reported.report.leaving {
                signs.leaving.add(reported.counted);
            } else {
                signs.staying.add(reported.counted);
            }
        }
        signs
    }
}
