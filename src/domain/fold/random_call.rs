//! Random calls for the laws: clients that come, report, flap, are overtaken and fall silent;
//! providers that contradict themselves; files, notices, presumed ends, ids in conflict.
//!
//! A call takes some 200 ms, and [`PARAMETERS`] are short accordingly, so that a test can look
//! at every single millisecond.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use crate::domain::fact::{
    CaptureType, ConsentDecision, Fact, FactKind, Identity, Level, NoticeFact, NoticeStep,
    ProviderState, ProviderStatement, RecordingFile, Report, Showing,
};
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;

/// In proportion to the length of a random call.
pub(in crate::domain) const PARAMETERS: Parameters = Parameters {
    slo: 3,
    deadline: 20,
    bridge: 5,
    stale: 30,
    edge: 5,
};

/// Every fact of a random call lies before this.
pub(in crate::domain) const AFTER_ALL: Millis = 400;

/// What happened and when; ids come last, when all facts are together.
type Happening = (Millis, FactKind);

/// The facts of one random call, in no particular order.
pub(in crate::domain) fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let clients = vec(client(), 0..4).prop_map(|clients| {
        let named = clients.into_iter().enumerate();
        named
            .flat_map(|(index, client)| client.happenings(&format!("s{index}")))
            .collect::<Vec<_>>()
    });
    let others = (
        frame(),
        vec(provider(), 0..3),
        vec(file(), 0..3),
        vec(answer(), 0..10),
    );
    let conflicts = vec((any::<prop::sample::Index>(), -20..20_i64), 0..3);
    (clients, others, conflicts).prop_map(
        |(clients, (frame, providers, files, answers), doubles)| {
            let mut happenings = clients;
            happenings.extend(frame);
            happenings.extend(providers.into_iter().flatten());
            happenings.extend(files);
            happenings.extend(answers);
            let mut facts: Vec<Fact> = happenings
                .into_iter()
                .enumerate()
                .map(|(index, (t, kind))| Fact::new(format!("f{index}"), t, kind))
                .collect();
            for (which, shift) in doubles {
                if !facts.is_empty() {
                    let double = which.get(&facts);
                    let shifted = Fact::new(double.id(), double.t() + shift, double.kind().clone());
                    facts.push(shifted);
                }
            }
            facts
        },
    )
}

/// Facts, each up to three times, in any order.
pub(in crate::domain) fn shuffled(
    facts: Vec<Fact>,
) -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    let times = vec(1..4_usize, facts.len());
    times.prop_flat_map(move |times| {
        let repeated = facts.iter().zip(times);
        let repeated: Vec<Fact> = repeated
            .flat_map(|(fact, times)| std::iter::repeat_n(fact.clone(), times))
            .collect();
        (Just(facts.clone()), Just(repeated).prop_shuffle())
    })
}

/// Start, ends and legs of the call itself.
fn frame() -> impl Strategy<Value = Vec<Happening>> {
    let leg = || "leg".to_owned();
    (
        weighted(0.7, 0..20_i64),
        weighted(0.4, (150..250_i64, any::<bool>())),
        weighted(0.2, 100..250_i64),
        weighted(0.3, (10..100_i64, 0..100_i64)),
    )
        .prop_map(move |(started, ended, presumed_again, leg_for)| {
            let mut happenings = Vec::new();
            happenings.extend(started.map(|t| (t, FactKind::CallStarted)));
            happenings.extend(ended.map(|(t, presumed)| (t, FactKind::CallEnded { presumed })));
            happenings.extend(presumed_again.map(|t| (t, FactKind::CallEnded { presumed: true })));
            if let Some((connected, length)) = leg_for {
                happenings.push((connected, FactKind::LegConnected { leg: leg() }));
                let disconnected = FactKind::LegDisconnected { leg: leg() };
                happenings.push((connected + length, disconnected));
            }
            happenings
        })
}

/// One participant on one endpoint.
#[derive(Clone, Debug)]
struct Client {
    joined: Millis,
    /// A participant event tells of the joining.
    join_told: bool,
    /// What it claims.
    identity: Option<Identity>,
    /// Per reporter: what it states, after how long, and for how long that is on its way.
    reporters: Vec<Vec<Statement>>,
    ending: Ending,
}

#[derive(Clone, Debug)]
struct Statement {
    after: Millis,
    on_its_way: Millis,
    recording: Option<Level>,
    transcription: Option<Level>,
    consent_required: Vec<CaptureType>,
    shown: Vec<Showing>,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Silence,
    Reported,
    Told,
}

impl Client {
    fn happenings(self, session: &str) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let mut last = self.joined;
        if self.join_told {
            let joined = FactKind::SessionJoined {
                session: session.to_owned(),
                identity: self.identity,
            };
            happenings.push((self.joined, joined));
        }
        for (reporter, statements) in self.reporters.into_iter().enumerate() {
            let reporter = format!("{session}-{reporter}");
            let mut clock = self.joined;
            let mut sequence = 0;
            for statement in statements {
                clock += statement.after;
                sequence += 1;
                let report = Report {
                    session: session.to_owned(),
                    reporter: reporter.clone(),
                    sequence,
                    recording: statement.recording,
                    transcription: statement.transcription,
                    consent_required: statement.consent_required,
                    shown: statement.shown,
                    leaving: false,
                    unbroken: false,
                };
                happenings.push((clock + statement.on_its_way, FactKind::Report(report)));
            }
            last = last.max(clock);
            if let Ending::Reported = self.ending {
                let goodbye = Report {
                    session: session.to_owned(),
                    reporter,
                    sequence: sequence + 1,
                    recording: None,
                    transcription: None,
                    consent_required: Vec::new(),
                    shown: Vec::new(),
                    leaving: true,
                    unbroken: false,
                };
                happenings.push((clock + 1, FactKind::Report(goodbye)));
            }
        }
        if let Ending::Told = self.ending {
            let session = session.to_owned();
            happenings.push((last + 2, FactKind::SessionLeft { session }));
        }
        happenings
    }
}

fn client() -> impl Strategy<Value = Client> {
    let ending = prop_oneof![
        3 => Just(Ending::Silence),
        1 => Just(Ending::Reported),
        1 => Just(Ending::Told),
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
        .prop_map(|(joined, join_told, identity, reporters, ending)| Client {
            joined,
            join_told,
            identity,
            reporters,
            ending,
        })
}

fn statement() -> impl Strategy<Value = Statement> {
    let after = prop_oneof![3 => 0..8_i64, 3 => 8..25_i64, 1 => 25..60_i64];
    let on_its_way = prop_oneof![3 => Just(0_i64), 1 => 0..20_i64];
    (
        after,
        on_its_way,
        weighted(0.8, level()),
        weighted(0.5, level()),
        vec(capture_type(), 0..2),
        vec(showing(), 0..3),
    )
        .prop_map(
            |(after, on_its_way, recording, transcription, consent_required, shown)| Statement {
                after,
                on_its_way,
                recording,
                transcription,
                consent_required,
                shown,
            },
        )
}

fn showing() -> impl Strategy<Value = Showing> {
    (capture_type(), level(), weighted(0.5, 0..40_u64)).prop_map(|(capture, state, elapsed)| {
        Showing {
            capture,
            state,
            elapsed,
        }
    })
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![3 => Just(Level::On), 1 => Just(Level::Paused), 3 => Just(Level::Off)]
}

fn capture_type() -> impl Strategy<Value = CaptureType> {
    prop_oneof![
        Just(CaptureType::Recording),
        Just(CaptureType::Transcription)
    ]
}

fn recording_id() -> impl Strategy<Value = String> {
    prop_oneof![Just("r1".to_owned()), Just("r2".to_owned())]
}

/// What the platform says of one recording; at times twice in one millisecond.
fn provider() -> impl Strategy<Value = Vec<Happening>> {
    let state = prop_oneof![Just(ProviderState::Active), Just(ProviderState::Inactive)];
    let states = vec((0..40_i64, state, weighted(0.5, -40..10_i64)), 0..5);
    (capture_type(), recording_id(), 10..120_i64, states).prop_map(
        |(capture, recording, begin, states)| {
            let mut t = begin;
            let mut happenings = Vec::new();
            for (after, state, start) in states {
                t += after;
                let statement = ProviderStatement {
                    capture,
                    recording: recording.clone(),
                    capture_kind: Some("teams".to_owned()),
                    state,
                    start: start.map(|offset| t + offset),
                };
                happenings.push((t, FactKind::ProviderState(statement)));
            }
            happenings
        },
    )
}

fn file() -> impl Strategy<Value = Happening> {
    (recording_id(), 0..200_i64, 0..100_u64, 0..80_i64).prop_map(
        |(recording, start, duration, late)| {
            let file = RecordingFile {
                recording,
                index: 0,
                start,
                duration,
            };
            (start + late, FactKind::File(file))
        },
    )
}

/// A notice's step or a consent, of a session that may be known from nothing else.
fn answer() -> impl Strategy<Value = Happening> {
    let step = prop_oneof![
        Just(Some(NoticeStep::Dispatched)),
        Just(Some(NoticeStep::Delivered)),
        Just(Some(NoticeStep::Displayed)),
        Just(Some(NoticeStep::Hidden)),
        Just(Some(NoticeStep::Acknowledged)),
        Just(None),
    ];
    let elapsed = weighted(0.5, 0..40_u64);
    let decision = prop_oneof![
        Just(ConsentDecision::Given),
        Just(ConsentDecision::Declined)
    ];
    let about = (capture_type(), level());
    (0..250_i64, step, 0..5_usize, about, elapsed, decision).prop_map(
        |(t, step, session, (capture, state), elapsed, decision)| {
            let session = format!("s{session}");
            let kind = match step {
                Some(step) => FactKind::Notice(NoticeFact {
                    step,
                    session,
                    capture,
                    state,
                    elapsed: match step {
                        NoticeStep::Displayed | NoticeStep::Acknowledged => elapsed,
                        _ => None,
                    },
                }),
                None => FactKind::Consent {
                    decision,
                    session,
                    capture,
                },
            };
            (t, kind)
        },
    )
}
