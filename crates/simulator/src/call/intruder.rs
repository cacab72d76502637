//! A stranger that reports to a call that it is not in. A few calls of a run have one.
//!
//! # Why
//!
//! *What it states must change nothing.* It states that everything is captured, claims the session
//! of a participant, and shows and accepts that participant's notices. The expected changes of the
//! call are the same without it, and that participant's notice stays as late as it is.

use crate::call::call_ids::SimulatedCallIds;
use crate::call::participants::{PersonKind, SimulatedPerson, SimulatedResource};
use crate::call::script::SimulatedEvent;
use crate::formats::client_leg::{ClientLeg, NoticeAction};
use crate::formats::event_grid::ParticipantJoin;
use crate::rng::SeededRng;
use onrecord_evidence::fact::kinds::{CaptureType, Level};

/// A user of the resource who was given the serverCallId of a call and is not in the call.
#[derive(Debug)]
pub(crate) struct Intruder {
    leg: ClientLeg,
    rng: SeededRng,
}

impl Intruder {
    pub(crate) fn new(resource: &SimulatedResource, mut rng: SeededRng) -> Self {
        let person = SimulatedPerson::random(PersonKind::AcsUser, resource, &mut rng);
        let join = ParticipantJoin::random(&person, &mut rng);
        let mut leg = ClientLeg::random(&join, false, &mut rng);
        leg.knows_call = true;
        leg.participant_id = None;
        Self { leg, rng }
    }

    pub(crate) fn raw_id(&self) -> &str {
        &self.leg.raw_id
    }

    pub(crate) fn attachment(&self) -> &str {
        &self.leg.attachment
    }

    /// A report that claims a participant's session.
    pub(crate) fn report(
        &mut self,
        claimed: &ParticipantJoin,
        ids: &SimulatedCallIds,
    ) -> SimulatedEvent {
        self.leg.participant_id = Some(claimed.participant_id.clone());
        let on = CaptureType::ALL.map(|capture_type| (capture_type, Level::On));
        self.leg.report(ids, &on.into(), &CaptureType::ALL, false, &mut self.rng)
    }

    /// The acknowledgements of every notice, and consent to it.
    pub(crate) fn acknowledgements(&mut self) -> Vec<SimulatedEvent> {
        let actions = [NoticeAction::Displayed(Level::On), NoticeAction::Consented];
        let all = CaptureType::ALL
            .into_iter()
            .flat_map(|capture_type| actions.map(|action| (capture_type, action)));
        all.map(|(capture_type, action)| {
            self.leg.acknowledgement(capture_type, action, &mut self.rng)
        })
        .collect()
    }
}
