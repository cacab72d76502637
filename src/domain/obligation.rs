//! Obligations: one session that was there during one stretch, and so had to be told of it.

use serde::Serialize;

use super::consent::Consent;
use super::fact::CaptureType;
use super::instant::Millis;
use super::parameters::Parameters;
use super::presence::{Session, Silence};
use super::shown::{Shown, Told};
use super::span::{FOR_EVER, Span};
use super::stretch::Stretch;
use super::telling::{Step, Telling, Tellings};

/// Somebody who had to be told of a capture, and how that went. Instants are in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obligation {
    /// Who.
    pub session: String,
    /// Of what.
    #[serde(rename = "type")]
    pub capture: CaptureType,
    /// From then on they had to be told.
    pub due: Millis,
    /// Until then they had to be told. None: still.
    pub end: Option<Millis>,
    /// When the first notice was handed to a transport.
    pub dispatched: Option<Millis>,
    /// When their machine took the first one.
    pub delivered: Option<Millis>,
    /// The first instant at which the notice was surely on the screen.
    pub told: Option<Millis>,
    /// When they first confirmed it.
    pub acknowledged: Option<Millis>,
    /// The notice was there before it had to be.
    pub already_shown: bool,
    /// For how many milliseconds they were captured before they were told. None: not ours.
    pub exposure: Option<Millis>,
    /// The same if the client's own stopwatch is believed.
    pub exposure_min: Option<Millis>,
    /// For how many milliseconds the notice was on the screen. None: not ours.
    pub shown_ms: Option<Millis>,
    /// How many notices and receipts came when it was over.
    pub too_late: usize,
    /// How it stands.
    pub status: Status,
    /// Whether they agree.
    pub consent: Consent,
}

/// How it stands with an obligation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Somebody else tells them.
    NotOurs,
    /// They were told in time.
    Met,
    /// They were told, but late.
    Late,
    /// It was over before anyone had to be told.
    Brief,
    /// The notice reached their machine; nobody states that it was shown.
    Unconfirmed,
    /// The notice was sent; nobody states that it arrived.
    Undelivered,
    /// No notice was sent.
    NotSent,
    /// There is time yet.
    Pending,
}

impl Status {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotOurs => "NOT_OURS",
            Self::Met => "MET",
            Self::Late => "LATE",
            Self::Brief => "BRIEF",
            Self::Unconfirmed => "UNCONFIRMED",
            Self::Undelivered => "UNDELIVERED",
            Self::NotSent => "NOT_SENT",
            Self::Pending => "PENDING",
        }
    }

    /// Whether somebody must look at it.
    #[must_use]
    pub fn is_exception(self) -> bool {
        match self {
            Self::Late | Self::Unconfirmed | Self::Undelivered | Self::NotSent => true,
            Self::NotOurs | Self::Met | Self::Brief | Self::Pending => false,
        }
    }
}

/// One session, one stretch, and what lies around them: what an obligation is made out of.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Who had to be told.
    pub session: &'a Session,
    /// Of what.
    pub stretch: &'a Stretch,
    /// When the capture of this type before it was over.
    pub previous_end: Option<Millis>,
    /// When the next capture of this type began.
    pub next_start: Option<Millis>,
    /// The instant of asking, in Unix milliseconds.
    pub now: Millis,
}

/// What told somebody, fact by fact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proofs<'f> {
    /// A notice was handed to a transport.
    pub dispatched: Option<Step<'f>>,
    /// Their machine took it.
    pub delivered: Option<Step<'f>>,
    /// It was on the screen.
    pub told: Option<Told<'f>>,
    /// They confirmed it.
    pub acknowledged: Option<Step<'f>>,
}

impl<'a> Case<'a> {
    /// The cases of one session, among the stretches of one type in order of time.
    pub fn all(
        session: &'a Session,
        stretches: &'a [Stretch],
        now: Millis,
    ) -> impl Iterator<Item = Self> {
        let over = |stretch: &Stretch| stretch.end.is_some_and(|end| end <= session.joined);
        let first = stretches.partition_point(over);
        (first..stretches.len())
            .map_while(move |index| {
                let stretch = &stretches[index];
                let previous = index.checked_sub(1).and_then(|index| stretches.get(index));
                let left = session.left.unwrap_or(FOR_EVER);
                (stretch.start < left).then(|| Self {
                    session,
                    stretch,
                    previous_end: previous.and_then(|previous| previous.end),
                    next_start: stretches.get(index + 1).map(|next| next.start),
                    now,
                })
            })
            .filter(|case| case.due() < case.reached() && !case.after_the_last_sign())
    }

    /// From when on they had to be told.
    #[must_use]
    pub fn due(&self) -> Millis {
        self.stretch.start.max(self.session.joined)
    }

    /// Until when they had to be told; None: still.
    #[must_use]
    pub fn end(&self) -> Option<Millis> {
        [self.stretch.end, self.session.left]
            .into_iter()
            .flatten()
            .min()
    }

    /// Up to which instant a telling counts.
    fn reached(&self) -> Millis {
        self.end().unwrap_or(self.now)
    }

    /// Whoever was lost may have been gone before there was anything to tell.
    fn after_the_last_sign(&self) -> bool {
        match self.session.silence {
            Silence::Lost { last_sign } => self.due() > last_sign,
            Silence::MeansNothing | Silence::Bearable { .. } => false,
        }
    }

    /// What told them.
    #[must_use]
    pub fn proofs<'f>(&self, telling: &Telling<'f>, shown: &Shown<'f>) -> Proofs<'f> {
        let (after, to) = (self.previous_end, self.reached());
        Proofs {
            dispatched: telling.dispatched.first_within(after, to),
            delivered: telling.delivered.first_within(after, to),
            told: shown.latest.told(self.due(), to),
            acknowledged: telling.acknowledged.first_within(after, to),
        }
    }

    fn obligation(
        &self,
        telling: &Telling<'_>,
        shown: &Shown<'_>,
        parameters: &Parameters,
    ) -> Obligation {
        let (due, reached) = (self.due(), self.reached());
        let proofs = self.proofs(telling, shown);
        let at_the_earliest = shown.earliest.told(due, reached);
        let exposure = |told: Option<Told<'_>>| {
            let told = told.map_or(reached, |told| told.at);
            told.saturating_sub(due)
        };
        let on_screen = Span::new(due, reached).map(|span| shown.latest.length_within(span));
        let ours = self.session.ours;
        Obligation {
            session: self.session.id.clone(),
            capture: self.stretch.capture,
            due,
            end: self.end(),
            dispatched: proofs.dispatched.map(|step| step.t),
            delivered: proofs.delivered.map(|step| step.t),
            told: proofs.told.map(|told| told.at),
            acknowledged: proofs.acknowledged.map(|step| step.t),
            already_shown: proofs.told.is_some_and(|told| told.already),
            exposure: ours.then(|| exposure(proofs.told)),
            exposure_min: ours.then(|| exposure(at_the_earliest)),
            shown_ms: ours.then_some(on_screen.unwrap_or(0)),
            too_late: self.too_late(telling),
            status: self.status(&proofs, exposure(proofs.told), parameters),
            consent: telling.consents.standing(),
        }
    }

    fn too_late(&self, telling: &Telling<'_>) -> usize {
        let Some(end) = self.end() else {
            return 0;
        };
        [&telling.dispatched, &telling.delivered, &telling.displayed]
            .iter()
            .map(|steps| steps.count_between(end, self.next_start))
            .sum()
    }

    fn status(&self, proofs: &Proofs<'_>, exposure: Millis, parameters: &Parameters) -> Status {
        if !self.session.ours {
            return Status::NotOurs;
        }
        if proofs.told.is_some() {
            return if exposure <= parameters.slo {
                Status::Met
            } else {
                Status::Late
            };
        }
        // Nobody told them, so they have been exposed for as long as it lasted.
        let over = self.end().is_some();
        if over && exposure <= parameters.slo {
            return Status::Brief;
        }
        let overdue = self.now.saturating_sub(self.due()) >= parameters.deadline;
        if !over && !overdue {
            return Status::Pending;
        }
        match (proofs.delivered, proofs.dispatched) {
            (Some(_), _) => Status::Unconfirmed,
            (None, Some(_)) => Status::Undelivered,
            (None, None) => Status::NotSent,
        }
    }
}

/// All obligations of a call, by type, due and session; `stretches` by type and start.
#[must_use]
pub fn obligations(
    sessions: &[Session],
    stretches: &[Stretch],
    tellings: &Tellings<'_>,
    now: Millis,
    parameters: &Parameters,
) -> Vec<Obligation> {
    let untold = Telling::default();
    let mut obligations = Vec::new();
    for capture in CaptureType::ALL {
        let stretches = of_type(stretches, capture);
        for session in sessions {
            let telling = tellings.get(&session.id, capture).unwrap_or(&untold);
            let shown = Shown::of(telling, stretches, parameters.stale);
            let cases = Case::all(session, stretches, now);
            obligations.extend(cases.map(|case| case.obligation(telling, &shown, parameters)));
        }
    }
    // Sessions come by id.
    obligations.sort_by_key(|obligation| (obligation.capture, obligation.due));
    obligations
}

/// Those of one type, of stretches by type and start.
#[must_use]
pub fn of_type(stretches: &[Stretch], capture: CaptureType) -> &[Stretch] {
    let from = stretches.partition_point(|stretch| stretch.capture < capture);
    let to = stretches.partition_point(|stretch| stretch.capture <= capture);
    &stretches[from..to]
}
