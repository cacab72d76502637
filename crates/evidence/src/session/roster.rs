//! Rosters: which raw ids were in the call when, by the participant lists of Call Automation.
//!
//! Each roster lists all participants that one leg observes. A participant that the previous roster of
//! the leg did not list has joined; one that the next roster does not list has left. The disconnection
//! of a leg states no leaving.
//!
//! # Why
//!
//! *Order.* The rosters of a leg count in the order of (sequenceNumber, instant, key). A roster without
//! a sequenceNumber comes before all others: such payloads are of 2022, so either all rosters of a leg
//! have a sequenceNumber or none has, and then the instant decides.
//!
//! *Time.* A roster counts at the least instant of itself and its successors, like a report. Otherwise
//! an overtaken roster would state a leaving after the rejoin that followed it, and a participant who
//! is present would count as left.
//!
//! *Several legs.* A leg that was disconnected states no leaving of the participants that it listed.
//! The first leaving that another leg states after that ends their presence; otherwise all of them
//! would count as present until the end of the call. Presences of one raw id that overlap or touch are
//! one presence, whichever legs state them.
//!
//! *Placeholders.* A placeholder counts once for each roster and text: a participant is present, but
//! the number of participants is unknown.

use std::collections::BTreeMap;

use super::interval::PresenceInterval;
use crate::event::calling_event::{ObservedEvent, Participant, Roster, Statement};
use crate::event::ids::Digest;
use crate::event::instant::{Millis, lower_to_successors};
use crate::fact::kinds::Identity;

/// The leg of Call Automation events that do not name their leg. All of them share it, because a call
/// hardly ever has two such legs.
const UNNAMED_LEG: &str = "unnamed";

/// One uninterrupted presence of a raw id, as rosters state it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RosterPresence<'t> {
    /// The first roster that lists it.
    pub(super) joined: CountedRoster<'t>,
    /// The first roster that no longer lists it; `None` if there is none.
    pub(super) left: Option<CountedRoster<'t>>,
    /// The participant, as the first roster describes it.
    pub(super) participant: &'t Participant,
    /// The identity with the highest precedence of those that the rosters state.
    pub(super) identity: Identity,
}

/// A roster with the instant at which it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CountedRoster<'t> {
    /// The least instant of the roster and its successors, in Unix milliseconds.
    pub(super) counts_at: Millis,
    /// The event of the roster.
    pub(super) observed: &'t ObservedEvent,
}

impl CountedRoster<'_> {
    /// The order of rosters that count.
    pub(super) fn order(&self) -> (Millis, Digest) {
        (self.counts_at, self.observed.id)
    }
}

impl RosterPresence<'_> {
    /// The interval of the presence.
    pub(super) fn interval(&self) -> PresenceInterval {
        let left = self.left.map(|left| left.counts_at);
        PresenceInterval::new(Some(self.joined.counts_at), left)
    }
}

/// One uninterrupted presence of a raw id, as the rosters of one leg state it.
#[derive(Clone, Copy, Debug)]
struct LegPresence<'t> {
    presence: RosterPresence<'t>,
    /// When the last roster that lists it counts, in Unix milliseconds.
    last_listed_at: Millis,
}

/// The presences of each raw id that a roster lists, in the order of time. Presences of one raw id
/// neither overlap nor touch.
pub(super) fn presences<'t>(
    events: &[&'t ObservedEvent],
) -> BTreeMap<&'t str, Vec<RosterPresence<'t>>> {
    let mut legs: BTreeMap<&str, Vec<(CountedRoster<'_>, &Roster)>> = BTreeMap::new();
    for &observed in events {
        if let Statement::Roster(roster) = &observed.event.statement {
            let counted = CountedRoster { counts_at: observed.at, observed };
            legs.entry(leg(observed)).or_default().push((counted, roster));
        }
    }
    let mut presences: BTreeMap<&str, Vec<LegPresence<'_>>> = BTreeMap::new();
    for rosters in legs.into_values() {
        add_presences_of_leg(rosters, &mut presences);
    }
    presences.into_iter().map(|(raw_id, of_legs)| (raw_id, merge_legs(of_legs))).collect()
}

/// The leg of a Call Automation event.
pub(super) fn leg(observed: &ObservedEvent) -> &str {
    let ids = &observed.event.ids;
    ids.call_connection_id.as_deref().unwrap_or(UNNAMED_LEG)
}

/// Adds the presences that the rosters of one leg state.
fn add_presences_of_leg<'t>(
    mut rosters: Vec<(CountedRoster<'t>, &'t Roster)>,
    presences: &mut BTreeMap<&'t str, Vec<LegPresence<'t>>>,
) {
    rosters.sort_unstable_by_key(|(counted, roster)| {
        (roster.sequence, counted.observed.at, counted.observed.id)
    });
    lower_to_successors(rosters.iter_mut().map(|(counted, _)| &mut counted.counts_at));
    let mut present: BTreeMap<&str, LegPresence<'_>> = BTreeMap::new();
    for (counted, roster) in rosters {
        let mut still_present = BTreeMap::new();
        for participant in &roster.participants {
            let raw_id = participant.raw_id.as_str();
            let before = present.remove(raw_id);
            let known = before.or_else(|| still_present.get(raw_id).copied());
            let mut of_leg = known.unwrap_or(LegPresence {
                presence: RosterPresence {
                    joined: counted,
                    left: None,
                    participant,
                    identity: participant.identity,
                },
                last_listed_at: counted.counts_at,
            });
            of_leg.last_listed_at = counted.counts_at;
            of_leg.presence.identity = of_leg.presence.identity.min(participant.identity);
            still_present.insert(raw_id, of_leg);
        }
        for (raw_id, mut ended) in std::mem::replace(&mut present, still_present) {
            ended.presence.left = Some(counted);
            presences.entry(raw_id).or_default().push(ended);
        }
    }
    for (raw_id, of_leg) in present {
        presences.entry(raw_id).or_default().push(of_leg);
    }
}

/// Merges the presences of one raw id on several legs.
fn merge_legs(mut of_legs: Vec<LegPresence<'_>>) -> Vec<RosterPresence<'_>> {
    let mut leavings: Vec<CountedRoster<'_>> =
        of_legs.iter().filter_map(|of_leg| of_leg.presence.left).collect();
    leavings.sort_unstable_by_key(CountedRoster::order);
    for of_leg in &mut of_legs {
        if of_leg.presence.left.is_none() {
            let later =
                leavings.partition_point(|leaving| leaving.counts_at <= of_leg.last_listed_at);
            of_leg.presence.left = leavings.get(later).copied();
        }
    }
    of_legs.sort_unstable_by_key(|of_leg| of_leg.presence.joined.order());
    let mut merged: Vec<RosterPresence<'_>> = Vec::new();
    for LegPresence { presence, .. } in of_legs {
        let joined_at = presence.joined.counts_at;
        match merged.last_mut() {
            Some(last) if last.left.is_none_or(|left| joined_at <= left.counts_at) => {
                last.left = match (last.left, presence.left) {
                    (Some(one), Some(other)) if one.order() < other.order() => Some(other),
                    (Some(one), Some(_)) => Some(one),
                    (None, _) | (_, None) => None,
                };
                last.identity = last.identity.min(presence.identity);
            }
            _ => merged.push(presence),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::test_events::{leg_disconnected, roster};

    const ANNA: &str = "8:acs:res_anna";
    const BEN: &str = "8:acs:res_ben";

    /// The presences of Anna by rosters: (joined, left).
    fn anna(events: &[ObservedEvent]) -> Vec<(Millis, Option<Millis>)> {
        let refs: Vec<&ObservedEvent> = events.iter().collect();
        let presences = presences(&refs).remove(ANNA).unwrap_or_default();
        let times = presences
            .iter()
            .map(|presence| (presence.joined.counts_at, presence.left.map(|left| left.counts_at)));
        times.collect()
    }

    #[test]
    fn a_first_listing_is_a_joining_and_a_missing_listing_is_a_leaving() {
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
        let all = [roster("leg", Some(1), 100, &[]), roster("leg", None, 50, &[ANNA])];
        assert_eq!(anna(&all), [(50, Some(100))]);
    }

    #[test]
    fn an_overtaken_roster_counts_when_the_later_roster_arrived() {
        // Otherwise the leaving at 900 would follow the rejoin at 500.
        let all = [
            roster("leg", Some(1), 100, &[ANNA]),
            roster("leg", Some(2), 900, &[]),
            roster("leg", Some(3), 500, &[ANNA]),
        ];
        assert_eq!(anna(&all), [(100, None)]);
    }

    #[test]
    fn the_disconnection_of_a_leg_states_no_leaving() {
        let all = [roster("leg", Some(1), 100, &[ANNA]), leg_disconnected("leg", 200)];
        assert_eq!(anna(&all), [(100, None)]);
    }

    #[test]
    fn the_last_roster_of_a_leg_holds_until_another_leg_states_the_leaving() {
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
    fn a_leaving_on_one_leg_does_not_end_a_later_listing_on_another_leg() {
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
