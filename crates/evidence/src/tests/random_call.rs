//! Random calls for property tests: clients that join, report, flap, whose reports arrive out of
//! order or stop; providers that contradict themselves; files, notices, presumed ends, ids in
//! conflict.
//!
//! A call takes some 200 ms, and [`PARAMETERS`] are short accordingly, so a test can evaluate
//! every single millisecond.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use crate::call::parameters::Parameters;
use crate::event::instant::Millis;
use crate::fact::kinds::{
    CaptureType, ConsentDecision, ConsentFact, Fact, FactKind, FileFact, Identity, Level,
    NoticeFactKind, NoticeStep, ProviderState, ProviderStatement, ReportFact, ShownNotice, Witness,
};

/// Parameters in proportion to the length of a random call.
pub(crate) const PARAMETERS: Parameters =
    Parameters { slo: 3, deadline: 20, bridge: 5, stale: 30, edge: 5 };

/// Every fact of a random call lies before this.
pub(crate) const AFTER_ALL: Millis = 400;

/// A fact without its id, and when it happened.
type RandomEvent = (Millis, FactKind);

/// The facts of one random call, in no particular order.
pub(crate) fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let clients = vec(client(), 0..4).prop_map(|clients| {
        let named = clients.into_iter().enumerate();
        named.flat_map(|(index, client)| client.events(&format!("s{index}"))).collect::<Vec<_>>()
    });
    let others = (frame(), vec(provider(), 0..3), vec(file(), 0..3), vec(answer(), 0..10));
    let conflicts = vec((any::<prop::sample::Index>(), -20..20_i64), 0..3);
    (clients, others, conflicts).prop_map(
        |(clients, (frame, providers, files, answers), doubles)| {
            let mut events = clients;
            events.extend(frame);
            events.extend(providers.into_iter().flatten());
            events.extend(files);
            events.extend(answers);
            let mut facts: Vec<Fact> = events
                .into_iter()
                .enumerate()
                .map(|(index, (t, kind))| Fact::new(format!("f{index}"), t, kind))
                .collect();
            for (which, shift) in doubles {
                if !facts.is_empty() {
                    let double = which.get(&facts);
                    let shifted =
                        Fact::new(double.id(), double.at() + shift, double.kind().clone());
                    facts.push(shifted);
                }
            }
            facts
        },
    )
}

/// Facts, each up to three times, in any order.
pub(crate) fn shuffled(facts: Vec<Fact>) -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    let times = vec(1..4_usize, facts.len());
    times.prop_flat_map(move |times| {
        let repeated = facts.iter().zip(times);
        let repeated: Vec<Fact> =
            repeated.flat_map(|(fact, times)| std::iter::repeat_n(fact.clone(), times)).collect();
        (Just(facts.clone()), Just(repeated).prop_shuffle())
    })
}

/// Start, ends and legs of the call itself.
fn frame() -> impl Strategy<Value = Vec<RandomEvent>> {
    let leg = || "leg".to_owned();
    (
        weighted(0.7, 0..20_i64),
        weighted(0.4, (150..250_i64, any::<bool>())),
        weighted(0.2, 100..250_i64),
        weighted(0.3, (10..100_i64, 0..100_i64)),
    )
        .prop_map(move |(started, ended, presumed_again, leg_for)| {
            let mut events = Vec::new();
            events.extend(started.map(|t| (t, FactKind::CallStarted)));
            events.extend(ended.map(|(t, presumed)| (t, FactKind::CallEnded { presumed })));
            events.extend(presumed_again.map(|t| (t, FactKind::CallEnded { presumed: true })));
            if let Some((connected, length)) = leg_for {
                events.push((connected, FactKind::LegConnected { leg: leg() }));
                let disconnected = FactKind::LegDisconnected { leg: leg() };
                events.push((connected + length, disconnected));
            }
            events
        })
}

/// One participant on one endpoint.
#[derive(Clone, Debug)]
struct RandomClient {
    joined: Millis,
    /// A participant event states the join.
    has_joined_event: bool,
    /// The identity that it claims.
    identity: Option<Identity>,
    /// The statements of each reporter.
    reporters: Vec<Vec<RandomStatement>>,
    ending: RandomEnding,
}

#[derive(Clone, Debug)]
struct RandomStatement {
    /// Time since the statement before, ms.
    after: Millis,
    /// Time until it arrives, ms.
    delay: Millis,
    recording: Option<Level>,
    transcription: Option<Level>,
    consent_required: Vec<CaptureType>,
    shown: Vec<ShownNotice>,
    witness: Witness,
}

#[derive(Clone, Copy, Debug)]
enum RandomEnding {
    None,
    Report,
    Event,
}

impl RandomClient {
    fn events(self, session: &str) -> Vec<RandomEvent> {
        let mut events = Vec::new();
        let mut last = self.joined;
        if self.has_joined_event {
            let joined =
                FactKind::SessionJoined { session: session.to_owned(), identity: self.identity };
            events.push((self.joined, joined));
        }
        for (reporter, statements) in self.reporters.into_iter().enumerate() {
            let reporter = format!("{session}-{reporter}");
            let mut clock = self.joined;
            let mut sequence = 0;
            for statement in statements {
                clock += statement.after;
                sequence += 1;
                let report = ReportFact {
                    session: session.to_owned(),
                    reporter: reporter.clone(),
                    sequence,
                    recording: statement.recording,
                    transcription: statement.transcription,
                    consent_required: statement.consent_required,
                    shown: statement.shown,
                    leaving: false,
                    witness: statement.witness,
                    unbroken: false,
                };
                events.push((clock + statement.delay, FactKind::Report(report)));
            }
            last = last.max(clock);
            if let RandomEnding::Report = self.ending {
                let leaving = ReportFact {
                    session: session.to_owned(),
                    reporter,
                    sequence: sequence + 1,
                    recording: None,
                    transcription: None,
                    consent_required: Vec::new(),
                    shown: Vec::new(),
                    leaving: true,
                    witness: Witness::Platform,
                    unbroken: false,
                };
                events.push((clock + 1, FactKind::Report(leaving)));
            }
        }
        if let RandomEnding::Event = self.ending {
            let session = session.to_owned();
            events.push((last + 2, FactKind::SessionLeft { session }));
        }
        events
    }
}

fn client() -> impl Strategy<Value = RandomClient> {
    let ending = prop_oneof![
        3 => Just(RandomEnding::None),
        1 => Just(RandomEnding::Report),
        1 => Just(RandomEnding::Event),
    ];
    let identity = prop_oneof![
        3 => Just(Identity::Acs),
        1 => Just(Identity::TeamsUser),
        1 => Just(Identity::AcsForeign),
        1 => Just(Identity::TeamsCustom),
        1 => Just(Identity::Unknown),
    ];
    (
        0..100_i64,
        prop::bool::weighted(0.6),
        weighted(0.8, identity),
        vec(vec(statement(), 0..8), 0..3),
        ending,
    )
        .prop_map(|(joined, has_joined_event, identity, reporters, ending)| RandomClient {
            joined,
            has_joined_event,
            identity,
            reporters,
            ending,
        })
}

fn statement() -> impl Strategy<Value = RandomStatement> {
    let after = prop_oneof![3 => 0..8_i64, 3 => 8..25_i64, 1 => 25..60_i64];
    let delay = prop_oneof![3 => Just(0_i64), 1 => 0..20_i64];
    (
        after,
        delay,
        weighted(0.8, level()),
        weighted(0.5, level()),
        vec(capture_type(), 0..2),
        vec(showing(), 0..3),
        witness(),
    )
        .prop_map(
            |(after, delay, recording, transcription, consent_required, shown, witness)| {
                RandomStatement {
                    after,
                    delay,
                    recording,
                    transcription,
                    consent_required,
                    shown,
                    witness,
                }
            },
        )
}

fn showing() -> impl Strategy<Value = ShownNotice> {
    (capture_type(), level(), weighted(0.5, 0..40_u64)).prop_map(
        |(capture_type, state, elapsed_ms)| ShownNotice { capture_type, state, elapsed_ms },
    )
}

/// Most reports are not of outsiders, because those state no levels.
fn witness() -> impl Strategy<Value = Witness> {
    prop_oneof![
        6 => Just(Witness::Platform),
        1 => Just(Witness::Granted),
        1 => Just(Witness::Asserted),
        2 => Just(Witness::Outsider),
    ]
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![3 => Just(Level::On), 1 => Just(Level::Paused), 3 => Just(Level::Off)]
}

fn capture_type() -> impl Strategy<Value = CaptureType> {
    prop_oneof![Just(CaptureType::Recording), Just(CaptureType::Transcription)]
}

fn recording_id() -> impl Strategy<Value = String> {
    prop_oneof![Just("r1".to_owned()), Just("r2".to_owned())]
}

/// The states of one recording by the provider, sometimes two in one millisecond.
fn provider() -> impl Strategy<Value = Vec<RandomEvent>> {
    let state = prop_oneof![Just(ProviderState::Active), Just(ProviderState::Inactive)];
    let states = vec((0..40_i64, state, weighted(0.5, -40..10_i64)), 0..5);
    (capture_type(), recording_id(), 10..120_i64, states).prop_map(
        |(capture_type, recording, begin, states)| {
            let mut t = begin;
            let mut events = Vec::new();
            for (after, state, start) in states {
                t += after;
                let statement = ProviderStatement {
                    capture_type,
                    recording: recording.clone(),
                    capture_kind: Some("teams".to_owned()),
                    state,
                    started_at: start.map(|offset| t + offset),
                };
                events.push((t, FactKind::ProviderState(statement)));
            }
            events
        },
    )
}

fn file() -> impl Strategy<Value = RandomEvent> {
    (recording_id(), 0..200_i64, 0..100_u64, 0..80_i64).prop_map(
        |(recording, start, duration, late)| {
            let file = FileFact { recording, index: 0, started_at: start, duration_ms: duration };
            (start + late, FactKind::File(file))
        },
    )
}

/// A notice fact or a consent, of a session that may be known from nothing else.
fn answer() -> impl Strategy<Value = RandomEvent> {
    let step = prop_oneof![
        Just(Some(NoticeStep::Dispatched)),
        Just(Some(NoticeStep::Delivered)),
        Just(Some(NoticeStep::Displayed)),
        Just(Some(NoticeStep::Hidden)),
        Just(Some(NoticeStep::Acknowledged)),
        Just(None),
    ];
    let elapsed = weighted(0.5, 0..40_u64);
    let decision = prop_oneof![Just(ConsentDecision::Given), Just(ConsentDecision::Declined)];
    let about = (capture_type(), level());
    (0..250_i64, step, 0..5_usize, about, elapsed, decision).prop_map(
        |(t, step, session, (capture_type, state), elapsed, decision)| {
            let session = format!("s{session}");
            let kind = match step {
                Some(step) => FactKind::Notice(NoticeFactKind {
                    step,
                    session,
                    capture_type,
                    state,
                    elapsed_ms: match step {
                        NoticeStep::Displayed | NoticeStep::Acknowledged => elapsed,
                        _ => None,
                    },
                }),
                None => FactKind::Consent(ConsentFact { decision, session, capture_type }),
            };
            (t, kind)
        },
    )
}
