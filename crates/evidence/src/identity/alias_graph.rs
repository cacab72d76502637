//! Decides which events belong to one call.
//!
//! A call is identified by its correlationId; other ids are *aliases* that resolve to it. The
//! *anchor* of an event is the strongest id that the event carries itself. An anchor resolves to a
//! call by the ids that occurred together in any event. Both are functions of the set of events, so
//! the result does not depend on the order in which events arrive (`ORDER_FREE`).
//!
//! # Why
//!
//! The anchor of an event never changes; only the call that it resolves to changes. So two calls are
//! merged, or separated again when an alias becomes ambiguous, without moving an event.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::event::ids::{self, Digest, Ids};

/// The id of a call, or an alias in the form of one: the correlationId itself, `s-` and 32
/// hexadecimal digits for a serverCallId, `a-` and 32 hexadecimal digits for a callConnectionId,
/// recordingId or attachment. The API shows it as `{call}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Anchor(Arc<str>);

impl Anchor {
    /// The anchor of a correlationId in canonical form.
    #[must_use]
    pub fn correlation(id: &str) -> Self {
        Self(id.into())
    }

    /// The anchor of a serverCallId in canonical form.
    #[must_use]
    pub fn server(id: &str) -> Self {
        Self(hashed("s", "server", id).into())
    }

    /// The anchor of a callConnectionId in canonical form.
    #[must_use]
    pub fn connection(id: &str) -> Self {
        Self(hashed("a", "connection", id).into())
    }

    /// The anchor of a recordingId in canonical form.
    #[must_use]
    pub fn recording(id: &str) -> Self {
        Self(hashed("a", "recording", id).into())
    }

    /// The anchor of a client's attachment.
    #[must_use]
    pub fn attachment(id: &str) -> Self {
        Self(hashed("a", "attachment", id).into())
    }

    /// All anchors that `text` may name, the most likely first: a correlationId, a callConnectionId,
    /// an attachment, a call id of the API, a serverCallId, a recordingId.
    #[must_use]
    pub fn candidates(text: &str) -> Vec<Self> {
        let mut candidates = Vec::new();
        if let Some(guid) = ids::guid(text) {
            candidates.extend([
                Self::correlation(&guid),
                Self::connection(&guid),
                Self::attachment(&guid),
            ]);
        }
        if Self::is_alias(text) {
            candidates.push(Self(text.into()));
        }
        candidates.extend(ids::server_call_id(text).as_deref().map(Self::server));
        candidates.extend(ids::recording_id(text).as_deref().map(Self::recording));
        candidates
    }

    /// Restores an anchor from the text of [`Anchor::as_str`].
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The call id of the API.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the anchor of a serverCallId.
    #[must_use]
    pub fn is_server_call_id(&self) -> bool {
        self.0.starts_with("s-")
    }

    /// Whether `text` has the form of an alias. A GUID has its first hyphen at index 8.
    fn is_alias(text: &str) -> bool {
        matches!(text.as_bytes(), [b's' | b'a', b'-', ..])
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hashed(prefix: &str, kind: &str, id: &str) -> String {
    format!("{prefix}-{}", Digest::of_parts(&[kind, id]).first_half())
}

/// Two ids that occurred in one event; `lower` may resolve to `upper`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AliasLink {
    /// The weaker id.
    pub lower: Anchor,
    /// The stronger id.
    pub upper: Anchor,
}

/// How an event names its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallIds {
    /// The strongest id of the event; `None` if it names no call.
    pub anchor: Option<Anchor>,
    /// The links between the ids of the event.
    pub links: Vec<AliasLink>,
}

impl CallIds {
    /// Anchor and links of the ids of one event.
    #[must_use]
    pub fn of(ids: &Ids) -> Self {
        let correlation = ids.correlation_id.as_deref().map(Anchor::correlation);
        let server = ids.server_call_id.as_deref().map(Anchor::server);
        let locals = [
            ids.call_connection_id.as_deref().map(Anchor::connection),
            ids.recording_id.as_deref().map(Anchor::recording),
            ids.attachment.as_deref().map(Anchor::attachment),
        ];
        let of_locals = locals.iter().flat_map(|local| [(local, &server), (local, &correlation)]);
        let pairs = [(&server, &correlation)].into_iter().chain(of_locals);
        let links = pairs.filter_map(|(lower, upper)| {
            Some(AliasLink { lower: lower.clone()?, upper: upper.clone()? })
        });
        let links = links.collect();
        let anchor = correlation.or(server).or_else(|| locals.into_iter().flatten().next());
        Self { anchor, links }
    }
}

/// A new link changed the call of an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallChange {
    /// The anchor.
    pub anchor: Anchor,
    /// The call of the anchor before the change.
    pub from: Anchor,
    /// The call of the anchor after the change.
    pub to: Anchor,
}

/// Links between the ids of one tenant. The live state stores the links of all calls of a day; the
/// ledger loads the links of the anchors in a batch.
#[derive(Clone, Debug, Default)]
pub struct AliasGraph {
    /// By id: the stronger ids that it has a link to.
    uppers: HashMap<Anchor, AnchorSet>,
    /// By id: the weaker ids that have a link to it.
    lowers: HashMap<Anchor, AnchorSet>,
}

/// An anchor in the walk over the anchors of a call ([`AliasGraph::walk`]).
#[derive(Clone, Copy, Debug)]
pub struct PlaceInWalk<'g> {
    /// The id with a link to the call, by which the walk came to the anchor.
    lower: &'g Anchor,
    /// The anchor.
    pub anchor: &'g Anchor,
}

impl PlaceInWalk<'_> {
    /// The place, to continue the walk after it.
    #[must_use]
    pub fn to_place(self) -> WalkPlace {
        WalkPlace { lower: self.lower.clone(), anchor: self.anchor.clone() }
    }
}

/// Where a walk over the anchors of a call stopped.
#[derive(Clone, Debug)]
pub struct WalkPlace {
    lower: Anchor,
    anchor: Anchor,
}

/// A sorted set of anchors. It seldom has more than three: only a call with many clients has more
/// weaker ids.
#[derive(Clone, Debug, Default)]
struct AnchorSet(Vec<Anchor>);

impl AnchorSet {
    fn insert(&mut self, anchor: Anchor) {
        if let Err(at) = self.0.binary_search(&anchor) {
            if self.0.len() == self.0.capacity() {
                self.0.reserve_exact(1 + self.0.len() / 2);
            }
            self.0.insert(at, anchor);
        }
    }

    fn contains(&self, anchor: &Anchor) -> bool {
        self.0.binary_search(anchor).is_ok()
    }

    fn remove(&mut self, anchor: &Anchor) {
        if let Ok(at) = self.0.binary_search(anchor) {
            self.0.remove(at);
        }
    }
}

impl AliasGraph {
    /// Adds a link. Returns the anchors whose call changed.
    pub fn add_link(&mut self, link: AliasLink) -> Vec<CallChange> {
        if self.contains(&link) {
            return Vec::new();
        }
        // The ids below resolve by what this id resolves to: they change only if it does. A call with
        // very many clients has many ids below it.
        if self.call_with(&link) == self.call_of(&link.lower) {
            self.insert(link);
            return Vec::new();
        }
        let mut affected = self.below(&link.lower).to_vec();
        affected.push(link.lower.clone());
        let before: Vec<Anchor> = affected.iter().map(|it| self.call_of(it)).collect();
        self.insert(link);
        affected
            .into_iter()
            .zip(before)
            .map(|(anchor, from)| CallChange { to: self.call_of(&anchor), anchor, from })
            .filter(|change| change.to != change.from)
            .collect()
    }

    /// Adds links that are known already, without a comparison of what changes.
    pub fn insert_links(&mut self, links: impl IntoIterator<Item = AliasLink>) {
        links.into_iter().for_each(|link| self.insert(link));
    }

    /// The call that the lower id of a new link will belong to with it.
    fn call_with(&self, AliasLink { lower, upper }: &AliasLink) -> Anchor {
        let by_link = self.call_of(upper);
        if !Anchor::is_alias(&lower.0) {
            return lower.clone();
        }
        if !self.uppers.contains_key(lower) {
            return by_link;
        }
        let before = self.resolves_to(lower);
        before.filter(|call| *call == by_link).unwrap_or_else(|| lower.clone())
    }

    fn insert(&mut self, link: AliasLink) {
        let link = AliasLink { lower: self.interned(link.lower), upper: self.interned(link.upper) };
        self.uppers.entry(link.lower.clone()).or_default().insert(link.upper.clone());
        self.lowers.entry(link.upper).or_default().insert(link.lower);
    }

    /// The equal anchor of the graph, if it has one, so that their text is stored once.
    fn interned(&self, anchor: Anchor) -> Anchor {
        let upper = self.uppers.get_key_value(&anchor);
        let kept = upper.or_else(|| self.lowers.get_key_value(&anchor));
        kept.map_or(anchor, |(kept, _)| kept.clone())
    }

    fn contains(&self, link: &AliasLink) -> bool {
        self.uppers.get(&link.lower).is_some_and(|uppers| uppers.contains(&link.upper))
    }

    /// The call that an anchor resolves to, by all links of the graph; the anchor itself if no link to
    /// a stronger id exists. `None`: the anchor is ambiguous, because it has links to two or more
    /// calls. It belongs to none of them and is a call by itself.
    #[must_use]
    pub fn resolves_to(&self, anchor: &Anchor) -> Option<Anchor> {
        if !Anchor::is_alias(&anchor.0) {
            return Some(anchor.clone());
        }
        let uppers = self.uppers.get(anchor).map_or(&[][..], |set| &set.0);
        let mut calls = uppers.iter().map(|upper| self.call_of(upper));
        let Some(call) = calls.next() else {
            return Some(anchor.clone());
        };
        calls.all(|other| other == call).then_some(call)
    }

    /// The stronger ids that an anchor has a link to.
    #[must_use]
    pub fn uppers(&self, anchor: &Anchor) -> &[Anchor] {
        self.uppers.get(anchor).map_or(&[], |set| &set.0)
    }

    /// The weaker ids that have a link to `anchor`.
    #[must_use]
    pub fn below(&self, anchor: &Anchor) -> &[Anchor] {
        self.lowers.get(anchor).map_or(&[], |set| &set.0)
    }

    /// The call that an anchor belongs to: the one that it resolves to, or the anchor itself if it is
    /// ambiguous.
    #[must_use]
    pub fn call_of(&self, anchor: &Anchor) -> Anchor {
        self.resolves_to(anchor).unwrap_or_else(|| anchor.clone())
    }

    /// All anchors that belong to the call of `anchor`, including `anchor` and the call itself.
    #[must_use]
    pub fn members(&self, anchor: &Anchor) -> BTreeSet<Anchor> {
        let call = self.call_of(anchor);
        let below = self.walk(&call, None).map(|place| place.anchor);
        let below = below.filter(|anchor| self.call_of(anchor) == call);
        // Collected at once: to insert the anchors of a call of very many legs one by one takes longer.
        below.chain([anchor, &call]).cloned().collect()
    }

    /// The anchors that have links to `call`, and those that have links to them: all that may belong to
    /// the call, except the call itself. An anchor may occur several times. The walk continues after a
    /// place, although links were added or removed since.
    pub fn walk<'g>(
        &'g self,
        call: &Anchor,
        after: Option<&'g WalkPlace>,
    ) -> impl Iterator<Item = PlaceInWalk<'g>> {
        let lowers = self.below(call);
        let from = after.map_or(0, |it| lowers.partition_point(|lower| *lower < it.lower));
        lowers.get(from..).unwrap_or_default().iter().flat_map(move |lower| {
            let below = self.below(lower);
            let (own, from) = match after.filter(|it| it.lower == *lower) {
                None => (Some(lower), 0),
                Some(it) if it.anchor == *lower => (None, 0),
                Some(it) => (None, below.partition_point(|anchor| *anchor <= it.anchor)),
            };
            let below = below.get(from..).unwrap_or_default();
            own.into_iter().chain(below).map(move |anchor| PlaceInWalk { lower, anchor })
        })
    }

    /// Removes an anchor and its links, when its call is evicted from memory. Returns the weaker ids
    /// that had a link to it.
    pub fn remove(&mut self, anchor: &Anchor) -> Vec<Anchor> {
        let uppers = self.uppers.remove(anchor).unwrap_or_default();
        remove_from_sets(&mut self.lowers, &uppers, anchor);
        let lowers = self.lowers.remove(anchor).unwrap_or_default();
        remove_from_sets(&mut self.uppers, &lowers, anchor);
        lowers.0
    }
}

/// Removes `anchor` from the sets of `keys`, and the sets that become empty.
fn remove_from_sets(map: &mut HashMap<Anchor, AnchorSet>, keys: &AnchorSet, anchor: &Anchor) {
    for key in &keys.0 {
        if let Some(set) = map.get_mut(key) {
            set.remove(anchor);
            if set.0.is_empty() {
                map.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(
        correlation: Option<&str>,
        server: Option<&str>,
        connection: Option<&str>,
        attachment: Option<&str>,
    ) -> Ids {
        let owned = |id: Option<&str>| id.map(str::to_owned);
        Ids {
            correlation_id: owned(correlation),
            server_call_id: owned(server),
            call_connection_id: owned(connection),
            attachment: owned(attachment),
            ..Ids::default()
        }
    }

    fn graph_of(all: &[Ids]) -> AliasGraph {
        let mut aliases = AliasGraph::default();
        for link in all.iter().flat_map(|ids| CallIds::of(ids).links) {
            aliases.add_link(link);
        }
        aliases
    }

    #[test]
    fn an_attachment_resolves_through_its_server_call_id_to_the_correlation_id() {
        let aliases = graph_of(&[
            ids(None, Some("https://s"), None, Some("att")),
            ids(Some("c0000000-0000-4000-8000-000000000001"), Some("https://s"), None, None),
        ]);
        let call = Anchor::correlation("c0000000-0000-4000-8000-000000000001");
        assert_eq!(aliases.resolves_to(&Anchor::attachment("att")), Some(call.clone()));
        assert_eq!(
            aliases.members(&Anchor::server("https://s")),
            BTreeSet::from([call, Anchor::server("https://s"), Anchor::attachment("att")])
        );
    }

    #[test]
    fn an_alias_of_two_calls_belongs_to_none() {
        let aliases = graph_of(&[
            ids(Some("c1"), Some("https://s"), None, None),
            ids(Some("c2"), Some("https://s"), None, Some("att")),
        ]);
        assert_eq!(aliases.resolves_to(&Anchor::server("https://s")), None);
        assert_eq!(aliases.call_of(&Anchor::server("https://s")), Anchor::server("https://s"));
        assert!(
            !aliases.members(&Anchor::correlation("c1")).contains(&Anchor::server("https://s"))
        );
    }

    #[test]
    fn an_event_without_ids_names_no_call() {
        assert_eq!(CallIds::of(&Ids::default()), CallIds { anchor: None, links: Vec::new() });
    }

    /// A walk that stops after each anchor, while others join, comes to each one that was there.
    #[test]
    fn a_walk_continues_where_it_stopped() {
        let of = |n: usize| ids(Some("c1"), Some("https://s"), None, Some(&format!("t{n}")));
        let mut all: Vec<Ids> = (0..20).map(of).collect();
        all.push(ids(Some("c1"), Some("https://s2"), Some("l"), None));
        let mut aliases = graph_of(&all);
        let call = Anchor::correlation("c1");
        let mut wanted = aliases.members(&call);
        wanted.remove(&call);
        let (mut seen, mut after) = (BTreeSet::new(), None);
        for n in 20.. {
            let next = aliases.walk(&call, after.as_ref()).next();
            let Some(place) = next else { break };
            seen.insert(place.anchor.clone());
            after = Some(place.to_place());
            if n < 40 {
                CallIds::of(&of(n)).links.into_iter().for_each(|link| {
                    aliases.add_link(link);
                });
            }
        }
        assert!(wanted.is_subset(&seen), "{:?}", wanted.difference(&seen));
    }

    #[test]
    fn a_removed_anchor_resolves_to_itself() {
        let mut aliases = graph_of(&[ids(Some("c1"), Some("https://s"), None, None)]);
        aliases.remove(&Anchor::server("https://s"));
        assert_eq!(aliases.call_of(&Anchor::server("https://s")), Anchor::server("https://s"));
    }

    #[test]
    fn a_new_link_returns_the_anchors_whose_call_changed() {
        let mut aliases = graph_of(&[ids(None, Some("https://s"), None, Some("att"))]);
        let (server, call) = (Anchor::server("https://s"), Anchor::correlation("c1"));
        let link = |upper: &Anchor| AliasLink { lower: server.clone(), upper: upper.clone() };
        let changed = |anchor: &Anchor, from: &Anchor, to: &Anchor| CallChange {
            anchor: anchor.clone(),
            from: from.clone(),
            to: to.clone(),
        };
        let attachment = Anchor::attachment("att");
        let merged = [changed(&attachment, &server, &call), changed(&server, &server, &call)];
        assert_eq!(aliases.add_link(link(&call)), merged);
        assert_eq!(aliases.add_link(link(&call)), []);
        // A second call makes the serverCallId ambiguous: both anchors leave the first call.
        let separated = [changed(&attachment, &call, &server), changed(&server, &call, &server)];
        assert_eq!(aliases.add_link(link(&Anchor::correlation("c2"))), separated);
    }

    proptest! {
        #[test]
        fn the_resolution_does_not_depend_on_the_order_of_events(
            names in prop::collection::vec((prop::option::of(0..3u8), prop::option::of(0..3u8), prop::option::of(0..3u8), prop::option::of(0..3u8)), 1..12),
            seed in any::<u64>(),
        ) {
            let name = |prefix: &str, n: Option<u8>| n.map(|n| format!("{prefix}{n}"));
            let all: Vec<Ids> = names.iter().map(|(c, s, l, a)| ids(
                name("c", *c).as_deref(), name("https://s", *s).as_deref(), name("l", *l).as_deref(), name("t", *a).as_deref(),
            )).collect();
            let mut shuffled = all.clone();
            shuffled.extend(all.iter().take(3).cloned());
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            let (one, other) = (graph_of(&all), graph_of(&shuffled));
            for anchor in all.iter().filter_map(|ids| CallIds::of(ids).anchor) {
                prop_assert_eq!(one.resolves_to(&anchor), other.resolves_to(&anchor));
                let members = one.members(&anchor);
                prop_assert!(members.contains(&anchor));
                // All members have the same call.
                for member in &members {
                    prop_assert_eq!(one.call_of(member), one.call_of(&anchor));
                }
            }
        }
    }
}
