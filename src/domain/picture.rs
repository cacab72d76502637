//! The one way from a call's events to its picture, for board, ledger and command line.

use super::calling_event::Testimony;
use super::flag::Flag;
use super::fold::{CallPicture, fold};
use super::instant::Millis;
use super::parameters::Parameters;
use super::session::{Resolved, SessionWho, resolve};

/// What a call's events come to at an instant.
#[derive(Clone, Debug)]
pub struct CallAccount {
    /// Who the sessions are.
    pub who: Vec<SessionWho>,
    /// What they are told, and everything else.
    pub picture: CallPicture,
}

/// Resolves the sessions and folds the facts; blind to order and repetition.
#[must_use]
pub fn account<'t>(
    testimonies: impl IntoIterator<Item = &'t Testimony>,
    now: Millis,
    parameters: &Parameters,
) -> CallAccount {
    let Resolved {
        facts,
        sessions,
        conflicts,
        ..
    } = resolve(testimonies);
    let mut picture = fold(&facts, now, parameters);
    picture
        .flags
        .extend(conflicts.iter().map(|key| Flag::Conflict(key.to_string())));
    CallAccount {
        who: sessions,
        picture,
    }
}
