//! Consents: what a participant answered to the question whether they agree.
//!
//! A consent never changes whether somebody was told, and that for one type of capture never
//! answers for the other.

use serde::Serialize;

use super::fact::ConsentDecision;
use super::instant::Millis;

/// How it stands with a session's consent to one type of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Consent {
    /// They agreed last.
    Given,
    /// They declined last.
    Declined,
    /// They were to be asked, and no answer is known.
    Required,
    /// Nobody had to ask them.
    NotRequired,
}

impl Consent {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "GIVEN",
            Self::Declined => "DECLINED",
            Self::Required => "REQUIRED",
            Self::NotRequired => "NOT_REQUIRED",
        }
    }
}

/// What is known of a session's consent to one type of capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consents {
    last: Option<(Millis, ConsentDecision)>,
    required: bool,
}

impl Consents {
    /// Takes in that the participant answered.
    pub fn answered(&mut self, t: Millis, decision: ConsentDecision) {
        self.last = self.last.max(Some((t, decision)));
    }

    /// Takes in that the participant's client had to ask.
    pub fn required(&mut self) {
        self.required = true;
    }

    /// What they come to.
    #[must_use]
    pub fn standing(self) -> Consent {
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

    fn standing(required: bool, answers: &[(Millis, ConsentDecision)]) -> Consent {
        let mut consents = Consents::default();
        if required {
            consents.required();
        }
        for &(t, decision) in answers {
            consents.answered(t, decision);
        }
        consents.standing()
    }

    #[test]
    fn the_last_answer_holds_and_declined_wins_a_tie() {
        let (given, declined) = (ConsentDecision::Given, ConsentDecision::Declined);
        assert_eq!(standing(true, &[(5, declined), (6, given)]), Consent::Given);
        assert_eq!(standing(true, &[(6, given), (5, declined)]), Consent::Given);
        let tie = [(6, declined), (6, given)];
        assert_eq!(standing(true, &tie), Consent::Declined);
    }

    #[test]
    fn without_an_answer_it_depends_on_whether_they_had_to_be_asked() {
        assert_eq!(standing(true, &[]), Consent::Required);
        assert_eq!(standing(false, &[]), Consent::NotRequired);
    }
}
