//! Attachments: the clients of a call, with their reports.
//!
//! # Why
//!
//! *An attachment belongs to one participant: that of its earliest received report.* The sequence does
//! not decide, because it is the sender's to choose. Reports of another participant under the same id
//! are an attachment of that participant, so no report is added to the client of another person.
//!
//! *An attachment has one witness.* An app whose first token grants nothing gets a token with a grant
//! later, for the same participant. Were its first reports those of an outsider, its session would be
//! the session of an outsider although the grant proves that the participant is in the call.

use std::collections::{BTreeMap, BTreeSet};

use super::key::{self, SessionKey};
use super::trust::CallTrust;
use crate::capture::span::Extent;
use crate::event::calling_event::{ObservedEvent, ReportStatement, Statement};
use crate::event::instant::{Millis, lower_to_successors};
use crate::fact::kinds::{Identity, Witness};
use crate::identity::placeholder::is_placeholder_raw_id;
use crate::identity::raw_id::{IdentifierKind, parse_raw_id};

/// An attachment of one participant with all its reports.
#[derive(Debug)]
pub(super) struct Attachment<'t> {
    /// The client's own id. The service accepts no report without one; an imported report without
    /// one has the raw id of its participant here.
    pub(super) id: &'t str,
    /// The raw id that the tokens of all its reports name.
    pub(super) raw_id: &'t str,
    /// The earliest received report under the id names another raw id.
    pub(super) is_foreign: bool,
    /// How its participant belongs to the call.
    pub(super) witness: Witness,
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
    /// All attachments that report, in the order of their ids and raw ids.
    pub(super) fn all(events: &[&'t ObservedEvent], trust: &CallTrust) -> Vec<Self> {
        let mut attachments: BTreeMap<(&str, &str), Vec<AttachmentReport<'_>>> = BTreeMap::new();
        // The instant of the earliest report of each id, and its raw id. Of several reports of one
        // instant that with the least raw id decides: the live state, which does not keep all reports
        // of an attachment, knows it too.
        let mut owners: BTreeMap<&str, (Millis, &str)> = BTreeMap::new();
        for &observed in events {
            let Statement::Report(report) = &observed.event.statement else {
                continue;
            };
            let raw_id = report.participant.raw_id.as_str();
            let id = observed.event.ids.attachment.as_deref().unwrap_or(raw_id);
            let earliest = owners.entry(id).or_insert((observed.at, raw_id));
            *earliest = (*earliest).min((observed.at, raw_id));
            attachments.entry((id, raw_id)).or_default().push(AttachmentReport {
                observed,
                report,
                counts_at: observed.at,
            });
        }
        attachments
            .into_iter()
            .map(|((id, raw_id), mut reports)| {
                let witness = witness(&reports, trust);
                reports.sort_unstable_by_key(|it| {
                    (it.report.sequence, it.observed.at, it.observed.id)
                });
                lower_to_successors(reports.iter_mut().map(|it| &mut it.counts_at));
                let is_foreign = owners.get(id).is_some_and(|(_, owner)| *owner != raw_id);
                Self { id, raw_id, is_foreign, witness, reports }
            })
            .collect()
    }

    /// The session of the attachment if it belongs to no participantId.
    pub(super) fn own_session(&self) -> SessionKey<'t> {
        if self.is_foreign {
            SessionKey::ForeignAttachment(self.id, self.raw_id)
        } else {
            SessionKey::Attachment(self.id)
        }
    }

    /// The reporter of its facts. Two participants with one attachment are two reporters.
    pub(super) fn reporter(&self) -> String {
        if self.is_foreign {
            key::foreign_attachment(self.id, self.raw_id)
        } else {
            self.id.to_owned()
        }
    }

    /// All raw ids of its participant, without placeholders, as its tokens list them.
    pub(super) fn persons(&self) -> BTreeSet<&'t str> {
        let persons = self.reports.iter().flat_map(|it| it.report.persons());
        persons.filter(|raw_id| !is_placeholder_raw_id(raw_id)).collect()
    }

    /// The participantIds that its reports name, in the order of the reports; each once.
    pub(super) fn claimed_participant_ids(&self) -> Vec<String> {
        let mut claimed = Vec::new();
        let named = self.reports.iter();
        for id in named.filter_map(|it| key::participant_id(&it.observed.event.ids)) {
            if !claimed.contains(&id) {
                claimed.push(id);
            }
        }
        claimed
    }

    /// Whether a token of its reports grants the participantId.
    pub(super) fn is_granted(&self, participant_id: &str) -> bool {
        self.reports.iter().any(|it| it.report.grant.names_participant(participant_id))
    }

    /// When the first report counts.
    pub(super) fn first_report(&self) -> Option<Millis> {
        self.reports.first().map(|it| it.counts_at)
    }

    /// Whether the client's token is for a Teams identity in the tenant's own app, and the client
    /// belongs to the call.
    pub(super) fn claims_teams_custom(&self) -> bool {
        let mut reports = self.reports_of_the_call();
        reports.any(|report| report.participant.identity == Identity::TeamsCustom)
    }

    /// Whether a Teams identity is one of the raw ids of the client's token, and the client belongs to
    /// the call.
    pub(super) fn has_teams_identity(&self) -> bool {
        let is_teams = |raw_id: &String| {
            let kind = parse_raw_id(raw_id).kind;
            matches!(kind, IdentifierKind::MicrosoftTeamsUser | IdentifierKind::TeamsExtensionUser)
        };
        self.claims_teams_custom()
            || self.reports_of_the_call().any(|it| it.other_raw_ids.iter().any(is_teams))
    }

    /// The reports whose sender belongs to the call.
    fn reports_of_the_call(&self) -> impl Iterator<Item = &'t ReportStatement> {
        let reports = self.reports.iter().filter(|_| self.witness != Witness::Outsider);
        reports.map(|it| it.report)
    }
}

/// How the participant of an attachment belongs to the call, by what the tokens of all its reports say
/// together. They are of one participant, so what a later token proves holds for the earlier reports
/// too.
fn witness(reports: &[AttachmentReport<'_>], trust: &CallTrust) -> Witness {
    let server_call_ids: BTreeSet<&str> =
        reports.iter().filter_map(|it| it.observed.event.ids.server_call_id.as_deref()).collect();
    let witness_of = |report: &ReportStatement| {
        trust.witness_of(report.persons(), &report.grant, server_call_ids.iter().copied())
    };
    reports.iter().map(|it| witness_of(it.report)).min().unwrap_or_default()
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
