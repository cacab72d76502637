//! Rosters: who was in the call when, by raw id, as the legs of ours saw it.
//!
//! Each roster is a whole picture of one leg's call; who is in it for the first time has joined,
//! who no longer is has left. A leg that was disconnected sees nobody leave.
//!
//! # Why
//!
//! *Order.* A leg's rosters count in the order (sequenceNumber, time, id). One without a
//! sequenceNumber comes before all that have one: such payloads are of 2022, so a leg has it
//! everywhere or nowhere, and then time decides.
//!
//! *Time.* A roster counts at the least instant of itself and its successors, like a report. One
//! that was overtaken on its way would else put a leaving after the return that followed it, and
//! somebody who is there would look gone.
//!
//! *Several legs.* A leg that saw somebody and then no more (it was disconnected) is contradicted by
//! the first leaving that another leg sees after that: else everybody it saw would stay until the
//! call's end. Presences of one raw id that overlap or touch, of whatever legs, are one.
//!
//! *Placeholders.* A raw id that names nobody counts once per roster by its text: somebody is there,
//! how many cannot be told.

use std::collections::BTreeMap;

use super::stay::Stay;
use crate::domain::calling_event::{Participant, Roster, Statement, Testimony};
use crate::domain::fact::Identity;
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;

/// Rosters and Call Automation events that do not name their leg are of this one: a call has
/// hardly ever two of them.
pub const UNNAMED_LEG: &str = "unnamed";

/// One uninterrupted presence of a raw id, as rosters show it.
#[derive(Clone, Copy, Debug)]
pub struct RosterPresence<'t> {
    /// The roster that showed it first.
    pub joined: Sighting<'t>,
    /// The roster that no longer showed it; `None`: none did.
    pub left: Option<Sighting<'t>>,
    /// Who it is, as the first roster has it.
    pub participant: &'t Participant,
    /// The first, by precedence, of the identities that the legs claim.
    pub identity: Identity,
}

/// A roster that tells of a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sighting<'t> {
    /// The instant at which it counts, Unix milliseconds.
    pub t: Millis,
    /// The roster.
    pub testimony: &'t Testimony,
}

impl Sighting<'_> {
    fn order(&self) -> (Millis, Digest) {
        (self.t, self.testimony.id)
    }
}

impl RosterPresence<'_> {
    /// When.
    pub fn stay(&self) -> Stay {
        Stay::new(Some(self.joined.t), self.left.map(|left| left.t))
    }
}

/// What one leg sees of one raw id without a break.
#[derive(Clone, Copy, Debug)]
struct Spell<'t> {
    presence: RosterPresence<'t>,
    /// When a roster of the leg showed it last.
    seen: Millis,
}

/// The presences of every raw id that any roster shows, in the order of time; those of one raw id
/// neither overlap nor touch.
pub fn presences<'t>(testimonies: &[&'t Testimony]) -> BTreeMap<&'t str, Vec<RosterPresence<'t>>> {
    let mut legs: BTreeMap<&str, Vec<(&Testimony, &Roster)>> = BTreeMap::new();
    for &testimony in testimonies {
        if let Statement::Roster(roster) = &testimony.event.statement {
            let leg = leg(testimony);
            legs.entry(leg).or_default().push((testimony, roster));
        }
    }
    let mut spells: BTreeMap<&str, Vec<Spell<'_>>> = BTreeMap::new();
    for rosters in legs.into_values() {
        watch(rosters, &mut spells);
    }
    spells
        .into_iter()
        .map(|(raw_id, spells)| (raw_id, united(spells)))
        .collect()
}

/// The leg that an event of Call Automation is of.
pub fn leg(testimony: &Testimony) -> &str {
    let ids = &testimony.event.ids;
    ids.call_connection_id.as_deref().unwrap_or(UNNAMED_LEG)
}

/// Follows the rosters of one leg.
fn watch<'t>(
    mut rosters: Vec<(&'t Testimony, &'t Roster)>,
    spells: &mut BTreeMap<&'t str, Vec<Spell<'t>>>,
) {
    rosters
        .sort_unstable_by_key(|(testimony, roster)| (roster.sequence, testimony.t, testimony.id));
    let mut present: BTreeMap<&str, Spell<'_>> = BTreeMap::new();
    for (t, (testimony, roster)) in counted(&rosters).into_iter().zip(rosters) {
        let sighting = Sighting { t, testimony };
        let mut still_present = BTreeMap::new();
        for participant in &roster.participants {
            let raw_id = participant.raw_id.as_str();
            let before = present.remove(raw_id);
            let known = before.or_else(|| still_present.get(raw_id).copied());
            let mut spell = known.unwrap_or(Spell {
                presence: RosterPresence {
                    joined: sighting,
                    left: None,
                    participant,
                    identity: participant.identity,
                },
                seen: t,
            });
            spell.seen = t;
            spell.presence.identity = spell.presence.identity.min(participant.identity);
            still_present.insert(raw_id, spell);
        }
        for (raw_id, mut gone) in std::mem::replace(&mut present, still_present) {
            gone.presence.left = Some(sighting);
            spells.entry(raw_id).or_default().push(gone);
        }
    }
    for (raw_id, spell) in present {
        spells.entry(raw_id).or_default().push(spell);
    }
}

/// The instant at which each roster counts.
fn counted(rosters: &[(&Testimony, &Roster)]) -> Vec<Millis> {
    let mut counted: Vec<Millis> = rosters.iter().map(|(testimony, _)| testimony.t).collect();
    let mut least = Millis::MAX;
    for t in counted.iter_mut().rev() {
        least = least.min(*t);
        *t = least;
    }
    counted
}

/// The presences that the spells of one raw id make together.
fn united(mut spells: Vec<Spell<'_>>) -> Vec<RosterPresence<'_>> {
    let mut leavings: Vec<Sighting<'_>> = spells
        .iter()
        .filter_map(|spell| spell.presence.left)
        .collect();
    leavings.sort_unstable_by_key(Sighting::order);
    for spell in &mut spells {
        if spell.presence.left.is_none() {
            let later = leavings.partition_point(|leaving| leaving.t <= spell.seen);
            spell.presence.left = leavings.get(later).copied();
        }
    }
    spells.sort_unstable_by_key(|spell| spell.presence.joined.order());
    let mut united: Vec<RosterPresence<'_>> = Vec::new();
    for Spell { presence, .. } in spells {
        match united.last_mut() {
            Some(last) if last.left.is_none_or(|left| presence.joined.t <= left.t) => {
                last.left = match (last.left, presence.left) {
                    (Some(one), Some(other)) if one.order() < other.order() => Some(other),
                    (Some(one), Some(_)) => Some(one),
                    (None, _) | (_, None) => None,
                };
                last.identity = last.identity.min(presence.identity);
            }
            _ => united.push(presence),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::testimonies::{leg_disconnected, roster};

    const ANNA: &str = "8:acs:res_anna";
    const BEN: &str = "8:acs:res_ben";

    /// When rosters show Anna: (joined, left).
    fn anna(testimonies: &[Testimony]) -> Vec<(Millis, Option<Millis>)> {
        let refs: Vec<&Testimony> = testimonies.iter().collect();
        let presences = presences(&refs).remove(ANNA).unwrap_or_default();
        let times = presences
            .iter()
            .map(|presence| (presence.joined.t, presence.left.map(|left| left.t)));
        times.collect()
    }

    #[test]
    fn absent_to_present_is_joined_and_present_to_absent_is_left() {
        let all = [
            roster("leg", Some(1), 100, &[BEN]),
            roster("leg", Some(3), 200, &[BEN, ANNA]),
            roster("leg", Some(4), 300, &[ANNA]),
            roster("leg", Some(9), 400, &[]),
            roster("leg", Some(10), 500, &[ANNA]),
        ];
        assert_eq!(anna(&all), [(200, Some(400)), (500, None)]);
    }

    #[test]
    fn rosters_of_one_sequence_number_are_in_the_order_of_time() {
        let all = [
            roster("leg", Some(7), 300, &[ANNA]),
            roster("leg", Some(7), 100, &[ANNA]),
            roster("leg", Some(7), 200, &[]),
        ];
        assert_eq!(anna(&all), [(100, Some(200)), (300, None)]);
    }

    #[test]
    fn rosters_without_a_sequence_number_come_first() {
        let all = [
            roster("leg", Some(1), 100, &[]),
            roster("leg", None, 50, &[ANNA]),
        ];
        assert_eq!(anna(&all), [(50, Some(100))]);
    }

    #[test]
    fn a_roster_that_was_overtaken_counts_when_the_overtaker_came() {
        // Without that the leaving at 900 would follow the return at 500.
        let all = [
            roster("leg", Some(1), 100, &[ANNA]),
            roster("leg", Some(2), 900, &[]),
            roster("leg", Some(3), 500, &[ANNA]),
        ];
        assert_eq!(anna(&all), [(100, None)]);
    }

    #[test]
    fn a_leg_that_was_disconnected_leaves_nobody() {
        let all = [
            roster("leg", Some(1), 100, &[ANNA]),
            leg_disconnected("leg", 200),
        ];
        assert_eq!(anna(&all), [(100, None)]);
    }

    #[test]
    fn what_a_leg_saw_last_holds_until_another_leg_sees_the_leaving() {
        let all = [
            roster("gone", Some(1), 100, &[ANNA]),
            roster("gone", Some(2), 200, &[ANNA]),
            roster("leg", Some(1), 150, &[ANNA]),
            roster("leg", Some(2), 700, &[]),
            roster("leg", Some(3), 900, &[ANNA]),
        ];
        assert_eq!(anna(&all), [(100, Some(700)), (900, None)]);
    }

    #[test]
    fn a_leaving_that_a_leg_has_not_seen_yet_does_not_end_what_it_sees_later() {
        let all = [
            roster("leg", Some(1), 100, &[ANNA]),
            roster("leg", Some(2), 200, &[]),
            roster("other leg", Some(1), 150, &[ANNA]),
            roster("other leg", Some(2), 250, &[ANNA]),
        ];
        assert_eq!(anna(&all), [(100, None)]);
    }

    #[test]
    fn presences_of_several_legs_that_overlap_or_touch_are_one() {
        let all = [
            roster("leg", Some(1), 100, &[ANNA]),
            roster("leg", Some(2), 200, &[]),
            roster("other leg", Some(1), 200, &[ANNA]),
            roster("other leg", Some(2), 400, &[]),
        ];
        assert_eq!(anna(&all), [(100, Some(400))]);
    }
}
