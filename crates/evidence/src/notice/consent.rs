//! Consent: the answer of a participant to a capture (`docs/evidence-rules.md`, section 5).
//!
//! A consent never changes the status of an obligation, and an answer for one type of capture is no
//! answer for the other.

use serde::Serialize;

use crate::event::instant::Millis;
use crate::fact::kinds::ConsentDecision;

/// The consent of a session to one type of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Consent {
    /// The last answer is consent.
    Given,
    /// The last answer is refusal.
    Declined,
    /// The participant was to be asked, and no answer is known.
    Required,
    /// The participant did not have to be asked.
    NotRequired,
}

/// The consent of a report: the worst of its obligations that are ours (`docs/evidence-rules.md`,
/// section 5). It is separate from the verdict, which is about notice only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ReportConsent {
    /// At least one is declined.
    Declined,
    /// None is declined, and at least one answer is missing.
    Outstanding,
    /// At least one is given, and no answer is missing.
    Given,
    /// No participant had to be asked.
    NotRequired,
}

impl ReportConsent {
    /// The worst of the consents of the obligations that are ours.
    pub(crate) fn of(ours: impl Iterator<Item = Consent> + Clone) -> Self {
        let any = |consent: Consent| ours.clone().any(|it| it == consent);
        if any(Consent::Declined) {
            Self::Declined
        } else if any(Consent::Required) {
            Self::Outstanding
        } else if any(Consent::Given) {
            Self::Given
        } else {
            Self::NotRequired
        }
    }
}

/// The facts about a session's consent to one type of capture.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consents {
    last: Option<(Millis, ConsentDecision)>,
    required: bool,
}

impl Consents {
    /// Records an answer of the participant at an instant (Unix milliseconds).
    pub(crate) fn record_answer(&mut self, at: Millis, decision: ConsentDecision) {
        self.last = self.last.max(Some((at, decision)));
    }

    /// Records that the client has to ask.
    pub(crate) fn record_required(&mut self) {
        self.required = true;
    }

    /// The consent that results.
    pub(crate) fn consent(self) -> Consent {
        match (self.last, self.required) {
            (Some((_, ConsentDecision::Given)), _) => Consent::Given,
            (Some((_, ConsentDecision::Declined)), _) => Consent::Declined,
            (None, true) => Consent::Required,
            (None, false) => Consent::NotRequired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(required: bool, answers: &[(Millis, ConsentDecision)]) -> Consent {
        let mut consents = Consents::default();
        if required {
            consents.record_required();
        }
        for &(t, decision) in answers {
            consents.record_answer(t, decision);
        }
        consents.consent()
    }

    #[test]
    fn the_last_answer_counts_and_declined_wins_a_tie() {
        let (given, declined) = (ConsentDecision::Given, ConsentDecision::Declined);
        assert_eq!(consent(true, &[(5, declined), (6, given)]), Consent::Given);
        assert_eq!(consent(true, &[(6, given), (5, declined)]), Consent::Given);
        let tie = [(6, declined), (6, given)];
        assert_eq!(consent(true, &tie), Consent::Declined);
    }

    #[test]
    fn without_an_answer_it_depends_on_whether_the_client_had_to_ask() {
        assert_eq!(consent(true, &[]), Consent::Required);
        assert_eq!(consent(false, &[]), Consent::NotRequired);
    }
}
