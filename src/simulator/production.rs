//! What a run's calls are like, and who is in each.

use chrono::{DateTime, Utc};

use super::author::{Author, Cast};
use super::call_automation::{CallAutomation, RecordingKind};
use super::cast::{CallIds, Kind, Person, World};
use super::chance::Chance;
use super::course::{Course, Premises, Setting, Tellers};
use super::event_grid::{EventGrid, Generation, Schema};
use super::lapse::Lapse;
use super::pen::Pen;
use super::script::Script;
use crate::domain::instant::Millis;

/// Who can be posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    pub event_grid: bool,
    pub call_automation: bool,
    /// There are subscriber tokens for reports and acknowledgements.
    pub reports: bool,
}

/// What a run's calls are like.
#[derive(Clone, Debug)]
pub struct Production {
    pub seed: u64,
    pub world: World,
    pub channels: Channels,
    /// Drawn from for each call; none: all of them.
    pub generations: Vec<Generation>,
    /// How long a call should last, ms. It lasts longer where its course needs it.
    pub call_length: Millis,
    /// How probable it is that a delivery is late, 0 to 1.
    pub disorder: f64,
    /// How probable it is that a delivery comes twice, 0 to 1.
    pub duplicates: f64,
}

impl Production {
    /// The script of a call that begins at `start`. Nothing but the times in it depends on that.
    #[must_use]
    pub fn script(&self, number: u64, start: DateTime<Utc>) -> Script {
        let mut chance = Chance::new(self.seed, "call", number);
        let lapse = Lapse::draw(self.seed, number).filter(|_| self.channels.reports);
        let setting = self.setting(lapse.is_some(), &mut chance);
        let cast = self.cast(setting, start, &mut chance);
        let premises = self.premises(setting, &cast, lapse, &mut chance);
        let course = Course::draw(&premises, &mut chance);
        let generation = self.generation(&mut chance);
        let event_grid = EventGrid {
            world: &self.world,
            ids: &cast.ids,
            generation,
            schema: chance.one_of([Schema::EventGrid, Schema::CloudEvents]),
            started_by: &cast.caller,
            is_two_party: setting == Setting::OneToOne,
            states_correlation: generation != Generation::G2021 || chance.happens(0.5),
        };
        let call_automation = CallAutomation {
            ids: &cast.ids,
            api_version: chance.one_of(["2024-09-15", "2025-05-15", "2025-06-15"]),
        };
        let recording_kind = match setting {
            Setting::ContactCentre => chance.one_of([
                RecordingKind::AzureCommunicationServices,
                RecordingKind::TeamsCompliance,
            ]),
            _ => chance.one_of([
                RecordingKind::Teams,
                RecordingKind::TeamsCompliance,
                RecordingKind::AzureCommunicationServices,
            ]),
        };
        let is_told_by_event_grid = self.channels.event_grid && setting != Setting::Meeting;
        let pen = Pen::new(start, self.disorder, self.duplicates, chance);
        let author = Author::new(
            &cast,
            premises,
            is_told_by_event_grid.then_some(event_grid),
            self.has_leg(setting).then_some(call_automation),
            recording_kind,
            pen,
        );
        author.write(number, &course)
    }

    fn generation(&self, chance: &mut Chance) -> Generation {
        let every = [Generation::G2021, Generation::G2022, Generation::G2025];
        let chosen = chance.any_of(&self.generations).copied();
        chosen.unwrap_or_else(|| chance.one_of(every))
    }

    /// Which sort of call it is; one with an app of ours, if so wanted.
    fn setting(&self, with_clients: bool, chance: &mut Chance) -> Setting {
        let mut settings = Vec::new();
        if self.channels.event_grid || self.channels.reports {
            settings.extend([Setting::OneToOne; 4]);
        }
        if self.channels.call_automation {
            settings.extend([Setting::GroupCall; 3]);
            if !with_clients {
                settings.extend([Setting::ContactCentre; 2]);
            }
        }
        if self.channels.reports {
            settings.push(Setting::Meeting);
        }
        chance
            .any_of(&settings)
            .copied()
            .unwrap_or(Setting::OneToOne)
    }

    fn has_leg(&self, setting: Setting) -> bool {
        self.channels.call_automation
            && matches!(setting, Setting::GroupCall | Setting::ContactCentre)
    }

    fn cast(&self, setting: Setting, start: DateTime<Utc>, chance: &mut Chance) -> Cast {
        let ids = CallIds::draw(
            matches!(setting, Setting::GroupCall | Setting::Meeting),
            start,
            chance,
        );
        let acs_users = match setting {
            Setting::OneToOne | Setting::ContactCentre => 1,
            Setting::GroupCall => chance.between(1, 3),
            Setting::Meeting => chance.between(1, 2),
        };
        let acs = (0..acs_users)
            .map(|_| Person::draw(Kind::AcsUser, &self.world, chance))
            .collect::<Vec<_>>();
        let teams_user = Person::draw(Kind::TeamsUser, &self.world, chance);
        let customer = Person::draw(Kind::Phone, &self.world, chance);
        let caller = match setting {
            Setting::ContactCentre => customer.clone(),
            _ if chance.happens(0.3) => teams_user.clone(),
            _ => acs.first().unwrap_or(&teams_user).clone(),
        };
        let others = match setting {
            Setting::ContactCentre => vec![teams_user, customer],
            _ => vec![teams_user],
        };
        let clients_report = self.channels.reports && setting != Setting::ContactCentre;
        Cast {
            setting,
            ids,
            acs,
            others,
            caller,
            clients_report,
        }
    }

    fn premises(
        &self,
        setting: Setting,
        cast: &Cast,
        lapse: Option<Lapse>,
        chance: &mut Chance,
    ) -> Premises {
        let clients = if cast.clients_report {
            cast.acs.len()
        } else {
            0
        };
        let provider = self.has_leg(setting);
        Premises {
            recording: Tellers {
                clients: clients > 0,
                provider,
            },
            transcription: Tellers {
                // Older SDKs cannot tell, and few apps transcribe by themselves.
                clients: clients > 0 && chance.happens(0.7),
                provider: provider && chance.happens(0.6),
            },
            clients,
            length: self.call_length,
            lapse,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::course::LATEST;
    use super::super::script::{ACKNOWLEDGEMENT, Cause, Door, SimulatedEvent};
    use super::*;
    use crate::domain::indication::IndicationState;

    const ALL: Channels = Channels {
        event_grid: true,
        call_automation: true,
        reports: true,
    };

    fn production(seed: u64) -> Production {
        Production {
            seed,
            world: World::new(seed, None),
            channels: ALL,
            generations: Vec::new(),
            call_length: 6_000,
            disorder: 0.4,
            duplicates: 0.2,
        }
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    #[test]
    fn a_run_has_every_sort_of_call_generation_and_form() {
        let scripts: Vec<Script> = (0..120)
            .map(|number| production(1).script(number, start()))
            .collect();
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
            assert!(
                types.contains(&*format!("Microsoft.Communication.{name}")),
                "{name}"
            );
        }
        assert!(types.contains("onrecord.report"));
        assert!(types.contains(ACKNOWLEDGEMENT));
        let wraps: BTreeSet<String> = deliveries()
            .map(|delivery| format!("{:?}", delivery.wrap))
            .collect();
        assert_eq!(wraps.len(), 8, "{wraps:?}");
        assert!(deliveries().any(|delivery| delivery.again.is_some()));
        let states: BTreeSet<&str> = scripts
            .iter()
            .flat_map(|script| &script.changes)
            .map(|change| change.state.as_str())
            .collect();
        assert_eq!(states, BTreeSet::from(["off", "on", "paused"]));
        let causes: BTreeSet<String> = scripts
            .iter()
            .flat_map(|script| &script.changes)
            .map(|change| format!("{:?}", change.cause).chars().take(4).collect())
            .collect();
        assert_eq!(
            causes,
            BTreeSet::from(["Call", "Firs", "Flap", "Last", "Sett"].map(str::to_owned))
        );
    }

    #[test]
    fn what_cannot_be_posted_to_is_told_nothing() {
        for (channels, allowed) in [
            (
                Channels {
                    event_grid: true,
                    call_automation: false,
                    reports: false,
                },
                Door::EventGrid,
            ),
            (
                Channels {
                    event_grid: false,
                    call_automation: true,
                    reports: false,
                },
                Door::CallAutomation,
            ),
        ] {
            let production = Production {
                channels,
                ..production(1)
            };
            for number in 0..50 {
                let script = production.script(number, start());
                assert!(
                    script
                        .deliveries
                        .iter()
                        .all(|delivery| delivery.door == allowed),
                    "{channels:?}"
                );
            }
        }
    }

    /// The clients of a call that report, and whether each says that it displays a notice.
    fn clients(script: &Script) -> BTreeMap<&str, bool> {
        let mut clients = BTreeMap::new();
        let events = script
            .deliveries
            .iter()
            .flat_map(|delivery| &delivery.events);
        for SimulatedEvent {
            source,
            source_type,
            body,
            ..
        } in events
        {
            if source_type == "onrecord.report" || source_type == ACKNOWLEDGEMENT {
                *clients.entry(source.as_str()).or_default() |=
                    body["kind"] == "displayed" && body["visible"] != false;
            }
        }
        clients
    }

    #[test]
    fn every_app_displays_what_is_captured_but_the_one_that_fails() {
        for number in 0..100 {
            let script = production(1).script(number, start());
            if script.changes.is_empty() {
                continue;
            }
            let clients = clients(&script);
            let blind = clients.values().filter(|displays| !**displays).count();
            let expected = match Lapse::draw(1, number) {
                Some(Lapse::Silent | Lapse::Unseen) => 1,
                Some(Lapse::Late) | None => 0,
            };
            assert_eq!(blind, expected, "{number}: {clients:?}");
            assert!(expected == 0 || !clients.is_empty());
        }
    }

    #[test]
    fn what_a_client_says_of_a_notice_is_in_a_body_of_its_door() {
        let mut kinds = BTreeSet::new();
        for number in 0..100 {
            for delivery in production(2).script(number, start()).deliveries {
                let Door::Acknowledgements { .. } = delivery.door else {
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
        let all = [
            "acknowledged",
            "consented",
            "declined",
            "displayed",
            "hidden",
        ];
        assert_eq!(kinds, BTreeSet::from(all.map(str::to_owned)));
    }

    proptest! {
        #[test]
        fn a_seed_gives_the_same_call(seed in any::<u64>(), number in 0..50_u64) {
            prop_assert_eq!(production(seed).script(number, start()), production(seed).script(number, start()));
        }

        #[test]
        fn no_event_of_a_run_is_named_like_another(seed in any::<u64>()) {
            let names: Vec<String> = (0..20)
                .flat_map(|number| production(seed).script(number, start()).deliveries)
                .flat_map(|delivery| delivery.events)
                .map(|event| event.id)
                .collect();
            prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        }

        #[test]
        fn acts_follow_each_other_and_do_not_mix(seed in any::<u64>(), number in 0..50_u64, disorder in 0.0..1.0) {
            let script = Production { disorder, ..production(seed) }.script(number, start());
            let acts: Vec<u32> = script.deliveries.iter().filter_map(|delivery| delivery.act).collect();
            prop_assert!(acts.is_sorted(), "{acts:?}");
            for act in acts.iter().filter(|act| **act > 0) {
                let of_act = || script.deliveries.iter().filter(|delivery| delivery.act == Some(*act)).map(|delivery| delivery.at);
                prop_assert!(of_act().max().unwrap() - of_act().min().unwrap() <= LATEST);
            }
        }

        #[test]
        fn levels_change_to_another_one_and_end_off(seed in any::<u64>(), number in 0..50_u64) {
            use crate::domain::fact::CaptureType;
            let script = production(seed).script(number, start());
            for capture in CaptureType::ALL {
                let mut last = IndicationState::Off;
                for change in script.changes.iter().filter(|change| change.capture == capture) {
                    if matches!(change.cause, Cause::Flapped { .. }) {
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
