//! What happens in a call: who tells of what, which levels change in which order, and when.
//!
//! # Why
//!
//! What a listener must hear has to be certain in spite of disorder. So the steps lie further apart
//! than the deliveries of one step may be late ([`LATEST`]), and what follows a client's off waits
//! until that is believed ([`SETTLED`]). A call gets longer for it if need be.

use super::chance::Chance;
use super::lapse::Lapse;
use crate::domain::fact::{CaptureType, Level};
use crate::domain::instant::Millis;

/// A delivery that decides a level is posted so late at most after what it tells of, ms.
pub(super) const LATEST: Millis = 450;
/// Two steps are so far apart at least, ms.
const APART: Millis = 650;
/// A step that follows a client's off comes so much later: the bridge of the evidence rules, and
/// more than the rule's own clock may be late.
const SETTLED: Millis = 6_300;
/// Nothing changes before everybody is there, ms.
const FIRST_STEP: Millis = 1_300;
/// Where an app fails to tell of a capture in time, that goes on for so long at least, ms: less is
/// over before anybody has to be told.
const EXPOSED: Millis = 3_800;
/// An app that is late shows its notice so long after what it is about began, ms.
const LATE_BY: Millis = 2_700;
/// People answer a notice so much later at most, ms.
const ANSWERED: Millis = 1_200;
/// Clients report so often although nothing changes, ms.
const HEARTBEAT: Millis = 30_000;

/// The sorts of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// An ACS user and a Teams user: Event Grid tells of the former only, and nobody but the
    /// client tells of a recording.
    OneToOne,
    /// ACS users and a Teams user, with a leg of Call Automation.
    GroupCall,
    /// A customer, a bot, an agent in Teams; no app of ours is in the call, so that nobody tells the
    /// bot, which is an ACS user like others.
    ContactCentre,
    /// ACS users in a Teams meeting: Event Grid tells of nothing.
    Meeting,
}

/// Who tells of one type of capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tellers {
    pub clients: bool,
    pub provider: bool,
}

/// What a step brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Levels change.
    Levels(Vec<(CaptureType, Level)>),
    /// The only client states off, and will soon state on again.
    FlapOff(CaptureType),
    /// It does.
    FlapOn(CaptureType),
    /// The last client's connection breaks.
    Drops,
    /// It comes back as another join.
    Returns,
    /// Those who see a notice answer it.
    Answers,
    /// The app that is late shows its notice.
    LateShowing,
    /// Nothing; the clients say so.
    Heartbeat,
}

impl Turn {
    /// Whether something is captured from now on.
    fn begins_capture(&self) -> bool {
        matches!(self, Self::Levels(changed) if changed.iter().any(|(_, level)| *level == Level::On))
    }
}

/// A turn with its time, milliseconds after the beginning of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub at: Millis,
    pub turn: Turn,
}

/// The course of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub steps: Vec<Step>,
    /// Milliseconds after the beginning.
    pub end: Millis,
}

/// What is known before the course is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Premises {
    pub recording: Tellers,
    pub transcription: Tellers,
    /// How many clients report.
    pub clients: usize,
    /// How long the call should last, ms.
    pub length: Millis,
    /// How one of the clients fails.
    pub lapse: Option<Lapse>,
}

impl Premises {
    pub fn tellers(&self, capture: CaptureType) -> Tellers {
        match capture {
            CaptureType::Recording => self.recording,
            CaptureType::Transcription => self.transcription,
        }
    }

    fn is_told(&self, capture: CaptureType) -> bool {
        let tellers = self.tellers(capture);
        tellers.clients || tellers.provider
    }

    /// How long a capture goes on at least, ms: there is time to answer its notice, and to see that
    /// an app fails.
    fn least_capture(&self) -> Millis {
        match (self.lapse, self.clients) {
            (Some(_), _) => EXPOSED,
            (None, 0) => APART,
            (None, _) => 2 * APART,
        }
    }

    /// Whether a turn is a client's off that has to be believed before the next.
    fn settles(&self, turn: &Turn) -> bool {
        matches!(turn, Turn::Levels(changed) if changed.iter().any(|(capture, level)| *level == Level::Off && self.tellers(*capture).clients))
    }
}

impl Course {
    pub fn draw(premises: &Premises, chance: &mut Chance) -> Self {
        let turns = turns(premises, chance);
        let mut steps = Vec::with_capacity(turns.len());
        // Each turn gets about an equal share of the call.
        let share = premises.length / i64::try_from(turns.len() + 2).unwrap_or(i64::MAX);
        let mut at = FIRST_STEP.max(chance.between(share / 2, share));
        for turn in turns {
            let wait = match &turn {
                Turn::FlapOff(_) => chance.between(APART, 2 * APART),
                turn if premises.settles(turn) => SETTLED.max(chance.between(share / 2, share)),
                turn if turn.begins_capture() => {
                    let least = premises.least_capture();
                    least.max(chance.between(share / 2, share))
                }
                _ => APART.max(chance.between(share / 2, share)),
            };
            steps.push(Step { at, turn });
            at += wait;
        }
        let end = premises.length.max(at);
        if premises.clients > 0 {
            steps = with_answers(steps, end, premises.lapse);
            steps = with_heartbeats(steps, end);
        }
        Self { steps, end }
    }
}

fn turns(premises: &Premises, chance: &mut Chance) -> Vec<Turn> {
    use CaptureType::{Recording, Transcription};
    let told: Vec<CaptureType> = CaptureType::ALL
        .into_iter()
        .filter(|capture| premises.is_told(*capture))
        .collect();
    let drawn = chance.between(0, 99);
    let mut turns = match told.as_slice() {
        [] => Vec::new(),
        _ if drawn < 6 && premises.lapse.is_none() => Vec::new(),
        [_, _] if drawn < 40 => both(chance),
        [_, _] if drawn < 55 => one(Transcription, premises, chance),
        [only] => one(*only, premises, chance),
        _ => one(Recording, premises, chance),
    };
    let flaps = turns.iter().any(|turn| matches!(turn, Turn::FlapOff(_)));
    let may_drop = premises.clients > 1 && premises.lapse.is_none();
    if may_drop && !flaps && !turns.is_empty() && chance.happens(0.25) {
        turns.splice(1..1, [Turn::Drops, Turn::Returns]);
    }
    turns
}

fn to(capture: CaptureType, level: Level) -> Turn {
    Turn::Levels(vec![(capture, level)])
}

/// One type is captured.
fn one(capture: CaptureType, premises: &Premises, chance: &mut Chance) -> Vec<Turn> {
    let tellers = premises.tellers(capture);
    let only_one_tells = tellers.clients && !tellers.provider && premises.clients == 1;
    let (on, off) = (|| to(capture, Level::On), || to(capture, Level::Off));
    match chance.between(0, 9) {
        // It goes on until the end of the call.
        0..=2 => vec![on()],
        3..=4 if only_one_tells && capture == CaptureType::Recording => {
            vec![on(), to(capture, Level::Paused), on(), off()]
        }
        5..=6 if only_one_tells => vec![on(), Turn::FlapOff(capture), Turn::FlapOn(capture), off()],
        3..=6 if !tellers.clients => vec![on(), off(), on(), off()],
        _ => vec![on(), off()],
    }
}

/// Both types are captured.
fn both(chance: &mut Chance) -> Vec<Turn> {
    use CaptureType::{Recording, Transcription};
    let together = |level| Turn::Levels(vec![(Recording, level), (Transcription, level)]);
    match chance.between(0, 3) {
        0 => vec![together(Level::On), together(Level::Off)],
        1 => vec![
            to(Recording, Level::On),
            to(Transcription, Level::On),
            together(Level::Off),
        ],
        2 => vec![together(Level::On), to(Transcription, Level::Off)],
        _ => vec![
            to(Transcription, Level::On),
            to(Recording, Level::On),
            to(Recording, Level::Off),
        ],
    }
}

/// Lets notices be answered, and be shown by the app that is late.
fn with_answers(steps: Vec<Step>, end: Millis, lapse: Option<Lapse>) -> Vec<Step> {
    let nexts: Vec<Millis> = steps
        .iter()
        .skip(1)
        .map(|step| step.at)
        .chain([end])
        .collect();
    let mut answered = Vec::with_capacity(2 * steps.len());
    for (step, next) in steps.into_iter().zip(nexts) {
        let Step { at, .. } = step;
        let begins_capture = step.turn.begins_capture();
        answered.push(step);
        if begins_capture {
            answered.push(Step {
                at: at + ANSWERED.min((next - at) / 2),
                turn: Turn::Answers,
            });
        }
        if begins_capture && lapse == Some(Lapse::Late) {
            answered.push(Step {
                at: at + LATE_BY,
                turn: Turn::LateShowing,
            });
        }
    }
    answered
}

/// Fills every silence of the clients.
fn with_heartbeats(steps: Vec<Step>, end: Millis) -> Vec<Step> {
    let mut filled = Vec::with_capacity(steps.len());
    let mut last = 0;
    let mut fill = |filled: &mut Vec<Step>, until: Millis| {
        while until - last > HEARTBEAT + SETTLED {
            last += HEARTBEAT;
            filled.push(Step {
                at: last,
                turn: Turn::Heartbeat,
            });
        }
        last = until;
    };
    for step in steps {
        fill(&mut filled, step.at);
        filled.push(step);
    }
    fill(&mut filled, end);
    filled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tellers() -> impl Strategy<Value = Tellers> {
        (any::<bool>(), any::<bool>()).prop_map(|(clients, provider)| Tellers { clients, provider })
    }

    fn lapses() -> impl Strategy<Value = Option<Lapse>> {
        prop::option::of(prop::sample::select(vec![
            Lapse::Silent,
            Lapse::Unseen,
            Lapse::Late,
        ]))
    }

    proptest! {
        #[test]
        fn steps_are_far_enough_apart_for_what_they_are(
            recording in tellers(), transcription in tellers(), clients in 0..3_usize, length in 1_000..200_000_i64, lapse in lapses(), seed in any::<u64>(),
        ) {
            let premises = Premises { recording, transcription, clients, length, lapse };
            let course = Course::draw(&premises, &mut Chance::new(seed, "course", 0));
            prop_assert!(course.end >= length);
            let ends = course.steps.iter().skip(1).map(|step| step.at).chain([course.end]);
            for (step, next) in course.steps.iter().zip(ends) {
                let apart = next - step.at;
                prop_assert!(apart > LATEST, "{course:?}");
                prop_assert!(!premises.settles(&step.turn) || apart >= SETTLED, "{course:?}");
                prop_assert!(clients == 0 || apart <= HEARTBEAT + SETTLED, "{course:?}");
                if let Turn::FlapOff(_) = step.turn {
                    prop_assert!(apart < 2_000);
                }
            }
            prop_assert!(course.steps.first().is_none_or(|step| step.at >= FIRST_STEP));
        }

        #[test]
        fn there_is_time_to_answer_and_where_an_app_fails_to_see_it(
            transcription in tellers(), clients in 1..3_usize, length in 1_000..20_000_i64, lapse in lapses(), seed in any::<u64>(),
        ) {
            let recording = Tellers { clients: true, provider: false };
            let premises = Premises { recording, transcription, clients, length, lapse };
            let course = Course::draw(&premises, &mut Chance::new(seed, "course", 0));
            let changes: Vec<&Step> = course.steps.iter().filter(|step| matches!(step.turn, Turn::Levels(_) | Turn::FlapOff(_))).collect();
            prop_assert!(lapse.is_none() || !changes.is_empty());
            let ends = changes.iter().skip(1).map(|step| step.at).chain([course.end]);
            for (step, end) in changes.iter().zip(ends).filter(|(step, _)| step.turn.begins_capture()) {
                prop_assert!(lapse.is_none() || end - step.at >= EXPOSED, "{course:?}");
                let answers = course.steps.iter().any(|answers| answers.turn == Turn::Answers && (step.at + APART..=end - APART).contains(&answers.at));
                prop_assert!(answers, "{course:?}");
                let late = course.steps.iter().any(|late| late.turn == Turn::LateShowing && late.at == step.at + LATE_BY);
                prop_assert_eq!(late, lapse == Some(Lapse::Late));
            }
        }

        #[test]
        fn nobody_tells_of_what_they_cannot(clients in 0..3_usize, seed in any::<u64>()) {
            let nobody = Premises { recording: Tellers::default(), transcription: Tellers::default(), clients, length: 5_000, lapse: None };
            prop_assert!(Course::draw(&nobody, &mut Chance::new(seed, "course", 0)).steps.is_empty());
        }
    }
}
