//! The configuration of a run, and the choices for each of its calls.

use std::iter::repeat_n;

use chrono::{DateTime, Utc};

use crate::call::call_ids::SimulatedCallIds;
use crate::call::faulty_client::FaultyClient;
use crate::call::intruder::Intruder;
use crate::call::participants::{
    CallType, Participants, PersonKind, SimulatedPerson, SimulatedResource,
};
use crate::call::script::CallScript;
use crate::formats::call_automation::{CallAutomation, SimulatedRecordingKind};
use crate::formats::event_grid::{DeliverySchema, EventGrid, EventGridGeneration};
use crate::rng::SeededRng;
use crate::scenario::call_timeline::{CallTimeline, CaptureReporters, TimelineInputs};
use crate::scenario::delivery_scheduler::DeliveryScheduler;
use crate::scenario::scenario_builder::ScenarioBuilder;
use onrecord_evidence::event::instant::Millis;

/// The endpoints that deliveries can be posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnabledTargets {
    pub event_grid: bool,
    pub call_automation: bool,
    /// Subscriber tokens for reports and acknowledgements can be had.
    pub reports: bool,
}

/// The configuration of a run.
#[derive(Clone, Debug)]
pub struct ScenarioConfig {
    pub seed: u64,
    pub resource: SimulatedResource,
    pub targets: EnabledTargets,
    /// The generations to choose from for each call; empty: all of them.
    pub generations: Vec<EventGridGeneration>,
    /// The wanted length of a call, ms. A call is longer if its timeline needs it.
    pub call_length: Millis,
    /// The probability that a delivery is late, 0 to 1.
    pub disorder: f64,
    /// The probability that a delivery is repeated, 0 to 1.
    pub duplicates: f64,
    /// How many persons the calls have in all, who are in several of them. `None`: each call has persons of
    /// its own.
    pub people: Option<u64>,
}

impl ScenarioConfig {
    /// The script of a call that starts at `start`. Only the times in it depend on `start`.
    #[must_use]
    pub fn script(&self, number: u64, start: DateTime<Utc>) -> CallScript {
        use EventGridGeneration::{G2021, G2022, G2025};
        use SimulatedRecordingKind::{AzureCommunicationServices, Teams, TeamsCompliance};
        let mut rng = SeededRng::new(self.seed, "call", number);
        let fault = FaultyClient::of_call(self.seed, number).filter(|_| self.targets.reports);
        // The call with a faulty client has an intruder too, who cannot make up for it. Without Event
        // Grid no event names the participants, and each client that reports is one.
        let has_intruder = fault.is_some() && self.targets.event_grid;
        let call_type = self.call_type(fault.is_some(), has_intruder, &mut rng);
        let participants = self.participants(call_type, start, &mut rng);
        let inputs = self.inputs(call_type, &participants, fault, &mut rng);
        let timeline = CallTimeline::random(&inputs, &mut rng);
        let chosen = rng.any_of(&self.generations).copied();
        let generation = chosen.unwrap_or_else(|| rng.one_of([G2021, G2022, G2025]));
        let event_grid = EventGrid {
            resource: &self.resource,
            ids: &participants.ids,
            generation,
            schema: rng.one_of([DeliverySchema::EventGrid, DeliverySchema::CloudEvents]),
            started_by: &participants.caller,
            is_two_party: call_type == CallType::OneToOne,
            states_correlation: generation != G2021 || rng.random_bool(0.5),
        };
        let call_automation = CallAutomation {
            ids: &participants.ids,
            api_version: rng.one_of(["2024-09-15", "2025-05-15", "2025-06-15"]),
        };
        let recording_kind = match call_type {
            CallType::ContactCentre => rng.one_of([AzureCommunicationServices, TeamsCompliance]),
            _ => rng.one_of([Teams, TeamsCompliance, AzureCommunicationServices]),
        };
        let has_event_grid = self.targets.event_grid && call_type != CallType::Meeting;
        let (disorder, duplicates, deliveries) = (self.disorder, self.duplicates, Vec::new());
        let scheduler = DeliveryScheduler { rng, start, disorder, duplicates, deliveries };
        let intruder_rng = SeededRng::new(self.seed, "intruder", number);
        let intruder = has_intruder.then(|| Intruder::new(&self.resource, intruder_rng));
        let builder = ScenarioBuilder::new(
            &participants,
            inputs,
            has_event_grid.then_some(event_grid),
            self.has_leg(call_type).then_some(call_automation),
            recording_kind,
            intruder,
            scheduler,
        );
        builder.build(number, &timeline)
    }

    /// The type of a call; one in which client apps report, if `with_clients`, and of which Event
    /// Grid has events, if `with_event_grid`.
    fn call_type(
        &self,
        with_clients: bool,
        with_event_grid: bool,
        rng: &mut SeededRng,
    ) -> CallType {
        let EnabledTargets { event_grid, call_automation, reports } = self.targets;
        let shares = [
            (CallType::OneToOne, 4, event_grid || reports),
            (CallType::GroupCall, 3, call_automation),
            (CallType::ContactCentre, 2, call_automation && !with_clients),
            (CallType::Meeting, 1, reports && !with_event_grid),
        ];
        let possible = shares.into_iter().filter(|(.., is_possible)| *is_possible);
        let shares = possible.flat_map(|(call_type, share, _)| repeat_n(call_type, share));
        let call_types: Vec<CallType> = shares.collect();
        rng.any_of(&call_types).copied().unwrap_or(CallType::OneToOne)
    }

    fn has_leg(&self, call_type: CallType) -> bool {
        self.targets.call_automation
            && matches!(call_type, CallType::GroupCall | CallType::ContactCentre)
    }

    fn participants(
        &self,
        call_type: CallType,
        start: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> Participants {
        let is_group = matches!(call_type, CallType::GroupCall | CallType::Meeting);
        let ids = SimulatedCallIds::random(is_group, start, rng);
        let acs_users = match call_type {
            CallType::OneToOne | CallType::ContactCentre => 1,
            CallType::GroupCall => rng.between(1, 3),
            CallType::Meeting => rng.between(1, 2),
        };
        // Those of a call follow each other, so that no person is in it twice.
        let first = self.people.map(|people| rng.below(people));
        let mut following = 0;
        let mut person = |kind| match (self.people, first) {
            (Some(people), Some(first)) => {
                following += 1;
                let number = (first + following) % people.max(1);
                SimulatedPerson::numbered(kind, &self.resource, self.seed, number)
            }
            _ => SimulatedPerson::random(kind, &self.resource, rng),
        };
        let acs: Vec<_> = (0..acs_users).map(|_| person(PersonKind::AcsUser)).collect();
        let (teams_user, customer) = (person(PersonKind::TeamsUser), person(PersonKind::Phone));
        let caller = match call_type {
            CallType::ContactCentre => customer.clone(),
            _ if rng.random_bool(0.3) => teams_user.clone(),
            _ => acs.first().unwrap_or(&teams_user).clone(),
        };
        let others = match call_type {
            CallType::ContactCentre => vec![teams_user, customer],
            _ => vec![teams_user],
        };
        Participants { call_type, ids, acs, others, caller }
    }

    fn inputs(
        &self,
        call_type: CallType,
        participants: &Participants,
        fault: Option<FaultyClient>,
        rng: &mut SeededRng,
    ) -> TimelineInputs {
        let clients_report = self.targets.reports && call_type != CallType::ContactCentre;
        let clients = if clients_report { participants.acs.len() } else { 0 };
        let provider = self.has_leg(call_type);
        TimelineInputs {
            recording: CaptureReporters { clients: clients > 0, provider },
            transcription: CaptureReporters {
                // Older SDKs cannot report transcription, and few apps transcribe by themselves.
                clients: clients > 0 && rng.random_bool(0.7),
                provider: provider && rng.random_bool(0.6),
            },
            clients,
            length: self.call_length,
            fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::call::script::{ACKNOWLEDGEMENT, ChangeTrigger, DeliveryTarget, SimulatedEvent};
    use crate::scenario::call_timeline::MAX_DELAY;
    use onrecord_evidence::fact::kinds::JsonWord as _;
    use onrecord_evidence::notice::indication::IndicationState;

    const ALL: EnabledTargets =
        EnabledTargets { event_grid: true, call_automation: true, reports: true };

    fn config(seed: u64) -> ScenarioConfig {
        ScenarioConfig {
            seed,
            resource: SimulatedResource::new(seed, None),
            targets: ALL,
            generations: Vec::new(),
            call_length: 6_000,
            disorder: 0.4,
            duplicates: 0.2,
            people: None,
        }
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    #[test]
    fn a_run_has_every_call_type_event_and_format() {
        let scripts: Vec<CallScript> =
            (0..120).map(|number| config(1).script(number, start())).collect();
        let titles: BTreeSet<&str> = scripts.iter().map(|script| script.title).collect();
        assert_eq!(titles.len(), 4);
        let deliveries = || scripts.iter().flat_map(|script| &script.deliveries);
        let types: BTreeSet<&str> = deliveries()
            .flat_map(|delivery| &delivery.events)
            .map(|event| event.source_type.as_str())
            .collect();
        for name in [
            "IncomingCall",
            "CallStarted",
            "CallParticipantAdded",
            "CallParticipantRemoved",
            "CallEnded",
            "RecordingFileStatusUpdated",
            "CallConnected",
            "ParticipantsUpdated",
            "AddParticipantSucceeded",
            "RecognizeCompleted",
            "RecordingStateChanged",
            "TranscriptionStarted",
            "TranscriptionStopped",
            "CallDisconnected",
        ] {
            assert!(types.contains(&*format!("Microsoft.Communication.{name}")), "{name}");
        }
        assert!(types.contains("onrecord.report"));
        assert!(types.contains(ACKNOWLEDGEMENT));
        let formats: BTreeSet<String> =
            deliveries().map(|delivery| format!("{:?}", delivery.body_format)).collect();
        assert_eq!(formats.len(), 8, "{formats:?}");
        assert!(deliveries().any(|delivery| delivery.repeat_after.is_some()));
        let states: BTreeSet<&str> = scripts
            .iter()
            .flat_map(|script| &script.changes)
            .map(|change| change.state.as_str())
            .collect();
        assert_eq!(states, BTreeSet::from(["off", "on", "paused"]));
        let triggers: BTreeSet<String> = scripts
            .iter()
            .flat_map(|script| &script.changes)
            .map(|change| format!("{:?}", change.trigger).chars().take(4).collect())
            .collect();
        assert_eq!(
            triggers,
            BTreeSet::from(["Call", "Firs", "Flap", "Last", "Sett"].map(str::to_owned))
        );
    }

    #[test]
    fn nothing_is_posted_to_a_target_that_is_not_enabled() {
        for (targets, allowed) in [
            (
                EnabledTargets { event_grid: true, call_automation: false, reports: false },
                DeliveryTarget::EventGrid,
            ),
            (
                EnabledTargets { event_grid: false, call_automation: true, reports: false },
                DeliveryTarget::CallAutomation,
            ),
        ] {
            let config = ScenarioConfig { targets, ..config(1) };
            for number in 0..50 {
                let script = config.script(number, start());
                assert!(
                    script.deliveries.iter().all(|delivery| delivery.target == allowed),
                    "{targets:?}"
                );
            }
        }
    }

    /// The clients of a call that report, and whether each displays a visible notice.
    fn clients(script: &CallScript) -> BTreeMap<&str, bool> {
        let mut clients = BTreeMap::new();
        let events = script.deliveries.iter().flat_map(|delivery| &delivery.events);
        for SimulatedEvent { source, source_type, body, .. } in events {
            if source_type == "onrecord.report" || source_type == ACKNOWLEDGEMENT {
                *clients.entry(source.as_str()).or_default() |=
                    body["kind"] == "displayed" && body["visible"] != false;
            }
        }
        clients
    }

    #[test]
    fn every_app_displays_notices_but_the_faulty_one() {
        for number in 0..100 {
            let script = config(1).script(number, start());
            if script.changes.is_empty() {
                continue;
            }
            let clients = clients(&script);
            let without_display = clients.values().filter(|displays| !**displays).count();
            let expected = match FaultyClient::of_call(1, number) {
                Some(FaultyClient::Silent | FaultyClient::Unseen) => 1,
                Some(FaultyClient::Late) | None => 0,
            };
            assert_eq!(without_display, expected, "{number}: {clients:?}");
            assert!(expected == 0 || !clients.is_empty());
        }
    }

    #[test]
    fn the_first_calls_of_every_seed_have_an_intruder_that_comes_after_the_participants() {
        for seed in 0..20 {
            let mut intruders = 0;
            for number in 0..5 {
                let script = config(seed).script(number, start());
                let of_call = |kind: &str| {
                    let events = script.deliveries.iter().flat_map(move |delivery| {
                        delivery.events.iter().map(move |event| (delivery, event))
                    });
                    let kind = kind.to_owned();
                    events.filter(move |(_, event)| event.source_type.ends_with(&kind))
                };
                let person = |event: &SimulatedEvent| {
                    let subject = event.body["subject"].as_str()?;
                    Some(subject.split_once("/participant/")?.1.to_owned())
                };
                let joined: BTreeSet<String> = of_call("CallParticipantAdded")
                    .filter_map(|(_, event)| person(event))
                    .collect();
                let reports = of_call("onrecord.report");
                let foreign: Vec<_> = reports
                    .filter(|(delivery, _)| !joined.contains(delivery.target.raw_id().unwrap()))
                    .collect();
                if joined.is_empty() || foreign.is_empty() {
                    continue;
                }
                intruders += 1;
                assert!(of_call("CallParticipantAdded").all(|(_, event)| event.decides));
                for (delivery, event) in foreign {
                    assert!(delivery.phase > Some(0));
                    assert_eq!(event.body["recording"], "on");
                    assert!(event.body["participant_id"].is_string());
                }
            }
            assert_eq!(intruders, 1, "{seed}");
        }
    }

    #[test]
    fn an_acknowledgement_has_the_format_of_its_endpoint() {
        let mut kinds = BTreeSet::new();
        for number in 0..100 {
            for delivery in config(2).script(number, start()).deliveries {
                let DeliveryTarget::Acknowledgements(_) = delivery.target else {
                    continue;
                };
                let items: Vec<serde_json::Value> =
                    serde_json::from_str(&delivery.request().body).unwrap();
                for (item, event) in items.iter().zip(&delivery.events) {
                    assert_eq!(item["id"], event.id.as_str());
                    assert!(event.source.ends_with(item["attachment"].as_str().unwrap()));
                    assert!(event.decides);
                    kinds.insert(item["kind"].as_str().unwrap().to_owned());
                }
            }
        }
        let all = ["acknowledged", "consented", "declined", "displayed", "hidden"];
        assert_eq!(kinds, BTreeSet::from(all.map(str::to_owned)));
    }

    proptest! {
        #[test]
        fn a_seed_gives_the_same_call(seed in any::<u64>(), number in 0..50_u64) {
            prop_assert_eq!(config(seed).script(number, start()), config(seed).script(number, start()));
        }

        #[test]
        fn no_two_events_of_a_run_have_the_same_id(seed in any::<u64>()) {
            let ids: Vec<String> = (0..20)
                .flat_map(|number| config(seed).script(number, start()).deliveries)
                .flat_map(|delivery| delivery.events)
                .map(|event| event.id)
                .collect();
            prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        }

        #[test]
        fn phases_follow_each_other_and_do_not_mix(seed in any::<u64>(), number in 0..50_u64, disorder in 0.0..1.0) {
            let script = ScenarioConfig { disorder, ..config(seed) }.script(number, start());
            let phases: Vec<u32> = script.deliveries.iter().filter_map(|delivery| delivery.phase).collect();
            prop_assert!(phases.is_sorted(), "{phases:?}");
            for phase in phases.iter().filter(|phase| **phase > 0) {
                let of_phase = || script.deliveries.iter().filter(|delivery| delivery.phase == Some(*phase)).map(|delivery| delivery.at);
                prop_assert!(of_phase().max().unwrap() - of_phase().min().unwrap() <= MAX_DELAY);
            }
        }

        #[test]
        fn levels_change_to_another_one_and_end_off(seed in any::<u64>(), number in 0..50_u64) {
            use onrecord_evidence::fact::kinds::CaptureType;
            let script = config(seed).script(number, start());
            for capture_type in CaptureType::ALL {
                let mut last = IndicationState::Off;
                for change in script.changes.iter().filter(|change| change.capture_type == capture_type) {
                    if matches!(change.trigger, ChangeTrigger::Flapped { .. }) {
                        prop_assert_eq!(last, IndicationState::On);
                        continue;
                    }
                    prop_assert_ne!(change.state, last);
                    last = change.state;
                }
                prop_assert_eq!(last, IndicationState::Off);
            }
        }
    }
}
