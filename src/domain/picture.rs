//! The one way from a call's events to its picture, for board, ledger and command line.

use std::collections::BTreeSet;

use super::calling_event::Testimony;
use super::flag::Flag;
use super::fold::{CallPicture, fold};
use super::instant::Millis;
use super::notice_fact::{self, NoticeFact};
use super::parameters::Parameters;
use super::session::{Resolved, SessionWho, resolve};

/// What a call's events come to at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct CallAccount {
    /// Who the sessions are.
    pub who: Vec<SessionWho>,
    /// What they are told, and everything else.
    pub picture: CallPicture,
    /// The attachments whose session is there now, in a call that goes on: as long as time alone
    /// changes nothing ([`CallPicture::next_change`]), neither does it if one of them says once
    /// more what it said last.
    pub there: BTreeSet<String>,
}

/// Resolves the sessions and folds the facts; blind to order and repetition. `notices` are the
/// notice facts of the call.
#[must_use]
pub fn account<'t>(
    testimonies: impl IntoIterator<Item = &'t Testimony>,
    notices: impl IntoIterator<Item = &'t NoticeFact>,
    now: Millis,
    parameters: &Parameters,
) -> CallAccount {
    let mut all_past = true;
    let testimonies = testimonies
        .into_iter()
        .inspect(|testimony| all_past &= testimony.t <= now);
    let mut resolved = resolve(testimonies);
    let of_notices = notice_fact::attribute(&resolved, notices);
    resolved.add(of_notices);
    let Resolved {
        facts,
        sessions,
        conflicts,
        ..
    } = resolved;
    let mut picture = fold(&facts, now, parameters);
    picture
        .flags
        .extend(conflicts.iter().map(|key| Flag::Conflict(key.to_string())));
    // What does not count yet decides already who is who, so it may decide otherwise then.
    let there = if all_past {
        there(&sessions, &picture)
    } else {
        BTreeSet::new()
    };
    CallAccount {
        who: sessions,
        picture,
        there,
    }
}

fn there(who: &[SessionWho], picture: &CallPicture) -> BTreeSet<String> {
    if picture.call.is_none_or(|call| call.end.is_some()) {
        return BTreeSet::new();
    }
    let present: BTreeSet<&str> = picture
        .sessions
        .iter()
        .filter(|session| session.left.is_none())
        .map(|session| session.id.as_str())
        .collect();
    who.iter()
        .filter(|who| present.contains(who.session.as_str()))
        .flat_map(|who| &who.attachments)
        .map(|client| client.attachment.clone())
        .collect()
}
