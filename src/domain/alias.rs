//! Which events are of one call.
//!
//! A call is its correlationId; other ids are aliases that lead to it. An event is *anchored* at
//! the strongest id that it carries itself, and an anchor *leads to* a call by what was ever seen
//! together. Both are functions of the set of events, so that the order of arrival cannot matter.
//!
//! # Why
//!
//! Events keep their anchor for ever and only the lead changes: a merge (and, when an alias turns
//! out to be ambiguous, a parting) moves no event.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::ids::{self, Digest, Ids};

/// A call id, or an alias in the form of one: the correlationId itself, `s-` and 32 hexadecimal
/// digits for a serverCallId, `a-` and 32 for a callConnectionId, recordingId or attachment. It is
/// the public `{call}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Anchor(Arc<str>);

/// How far an id leads by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// callConnectionId, recordingId, attachment.
    Local,
    /// serverCallId.
    Server,
    /// correlationId: the call itself.
    Correlation,
}

impl Anchor {
    /// Of a canonical correlationId.
    #[must_use]
    pub fn correlation(id: &str) -> Self {
        Self(id.into())
    }

    /// Of a canonical serverCallId.
    #[must_use]
    pub fn server(id: &str) -> Self {
        Self(hashed("s", "server", id).into())
    }

    /// Of a canonical callConnectionId.
    #[must_use]
    pub fn connection(id: &str) -> Self {
        Self(hashed("a", "connection", id).into())
    }

    /// Of a canonical recordingId.
    #[must_use]
    pub fn recording(id: &str) -> Self {
        Self(hashed("a", "recording", id).into())
    }

    /// Of a client's attachment.
    #[must_use]
    pub fn attachment(id: &str) -> Self {
        Self(hashed("a", "attachment", id).into())
    }

    /// Everything that a text may name, the likeliest first: a public call id, a correlationId, a
    /// callConnectionId, an attachment, a serverCallId, a recordingId.
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
        if matches!(text.as_bytes(), [b's' | b'a', b'-', ..]) {
            candidates.push(Self(text.into()));
        }
        candidates.extend(ids::server_call_id(text).as_deref().map(Self::server));
        candidates.extend(ids::recording_id(text).as_deref().map(Self::recording));
        candidates
    }

    /// Takes text that was written by [`Anchor::as_str`].
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The public call id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn rank(&self) -> Rank {
        match self.0.as_bytes() {
            [b's', b'-', ..] => Rank::Server,
            // A GUID has its first hyphen at index 8.
            [b'a', b'-', ..] => Rank::Local,
            _ => Rank::Correlation,
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hashed(prefix: &str, kind: &str, id: &str) -> String {
    let digest = Digest::of_parts(&[kind, id]).to_string();
    let half = digest.get(..32).unwrap_or(&digest);
    format!("{prefix}-{half}")
}

/// Two ids were seen in one event; `lower` may lead to `upper`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    pub lower: Anchor,
    pub upper: Anchor,
}

/// What an event's ids say of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Where the event belongs by its own ids; `None` if it names no call at all.
    pub anchor: Option<Anchor>,
    /// What it teaches about aliases.
    pub links: Vec<Link>,
}

impl Naming {
    /// Reads the naming of one event.
    #[must_use]
    pub fn of(ids: &Ids) -> Self {
        let correlation = ids.correlation_id.as_deref().map(Anchor::correlation);
        let server = ids.server_call_id.as_deref().map(Anchor::server);
        let locals = [
            ids.call_connection_id.as_deref().map(Anchor::connection),
            ids.recording_id.as_deref().map(Anchor::recording),
            ids.attachment.as_deref().map(Anchor::attachment),
        ];
        let mut links = Vec::new();
        for (lower, upper) in [(&server, &correlation)].into_iter().chain(
            locals
                .iter()
                .flat_map(|local| [(local, &server), (local, &correlation)]),
        ) {
            if let (Some(lower), Some(upper)) = (lower, upper) {
                links.push(Link {
                    lower: lower.clone(),
                    upper: upper.clone(),
                });
            }
        }
        let anchor = correlation
            .or(server)
            .or_else(|| locals.into_iter().flatten().next());
        Self { anchor, links }
    }
}

/// Where an anchor leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To this call (which may be the anchor itself, as long as nothing better is known).
    Call(Anchor),
    /// Seen with two or more calls: it joins none and is a call by itself.
    Ambiguous,
}

/// All links of one tenant that are known here. A board has those of every call of a day.
#[derive(Clone, Debug, Default)]
pub struct Aliases {
    uppers: HashMap<Anchor, Few>,
    lowers: HashMap<Anchor, Few>,
}

/// A set, in order, and hardly ever of more than three: only a call that many clients speak of has
/// many below it.
#[derive(Clone, Debug, Default)]
struct Few(Vec<Anchor>);

impl Few {
    /// False: it was there.
    fn insert(&mut self, anchor: Anchor) -> bool {
        match self.0.binary_search(&anchor) {
            Ok(_) => false,
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(1 + self.0.len() / 2);
                }
                self.0.insert(at, anchor);
                true
            }
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

impl Aliases {
    /// Adds a link. Returns the anchors whose lead may have changed (none if it was known).
    pub fn learn(&mut self, link: Link) -> Vec<Anchor> {
        let link = Link {
            lower: self.known(link.lower),
            upper: self.known(link.upper),
        };
        if !self
            .uppers
            .entry(link.lower.clone())
            .or_default()
            .insert(link.upper.clone())
        {
            return Vec::new();
        }
        self.lowers
            .entry(link.upper)
            .or_default()
            .insert(link.lower.clone());
        self.led_through(&link.lower)
    }

    /// The same anchor; its text is the one that is kept already, if one is.
    fn known(&self, anchor: Anchor) -> Anchor {
        let upper = self.uppers.get_key_value(&anchor);
        let kept = upper.or_else(|| self.lowers.get_key_value(&anchor));
        kept.map_or(anchor, |(kept, _)| kept.clone())
    }

    /// Whether the link was learned.
    #[must_use]
    pub fn knows(&self, link: &Link) -> bool {
        self.uppers
            .get(&link.lower)
            .is_some_and(|uppers| uppers.contains(&link.upper))
    }

    /// The anchor itself and every one that leads through it: whose lead may change with its.
    #[must_use]
    pub fn led_through(&self, anchor: &Anchor) -> Vec<Anchor> {
        let mut through = self.below(anchor).to_vec();
        through.push(anchor.clone());
        through
    }

    /// Where an anchor leads, by all links known.
    #[must_use]
    pub fn lead(&self, anchor: &Anchor) -> Lead {
        if anchor.rank() == Rank::Correlation {
            return Lead::Call(anchor.clone());
        }
        let uppers = self.uppers.get(anchor).map_or(&[][..], |few| &few.0);
        let mut calls = uppers.iter().map(|upper| self.call_of(upper));
        let Some(call) = calls.next() else {
            return Lead::Call(anchor.clone());
        };
        if calls.all(|other| other == call) {
            Lead::Call(call)
        } else {
            Lead::Ambiguous
        }
    }

    fn below(&self, anchor: &Anchor) -> &[Anchor] {
        self.lowers.get(anchor).map_or(&[], |few| &few.0)
    }

    /// The call that an anchor is part of: where it leads, or itself if that is ambiguous.
    #[must_use]
    pub fn call_of(&self, anchor: &Anchor) -> Anchor {
        match self.lead(anchor) {
            Lead::Call(call) => call,
            Lead::Ambiguous => anchor.clone(),
        }
    }

    /// Every anchor that is part of the call of `anchor`, itself and the call's own included.
    #[must_use]
    pub fn members(&self, anchor: &Anchor) -> BTreeSet<Anchor> {
        let call = self.call_of(anchor);
        let mut members = BTreeSet::from([anchor.clone(), call.clone()]);
        for lower in self.below(&call) {
            let candidates = self.below(lower).iter().chain([lower]);
            let candidates = candidates.filter(|candidate| self.call_of(candidate) == call);
            members.extend(candidates.cloned());
        }
        members
    }

    /// Forgets an anchor and what was known of it, when its call is gone from memory. Gives those
    /// that lead elsewhere, or nowhere, without it.
    pub fn forget(&mut self, anchor: &Anchor) -> Vec<Anchor> {
        let uppers = self.uppers.remove(anchor).unwrap_or_default();
        drop_from(&mut self.lowers, &uppers, anchor);
        let lowers = self.lowers.remove(anchor).unwrap_or_default();
        drop_from(&mut self.uppers, &lowers, anchor);
        lowers.0
    }
}

fn drop_from(map: &mut HashMap<Anchor, Few>, keys: &Few, anchor: &Anchor) {
    for key in &keys.0 {
        if let Some(few) = map.get_mut(key) {
            few.remove(anchor);
            if few.0.is_empty() {
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

    fn learn_all(all: &[Ids]) -> Aliases {
        let mut aliases = Aliases::default();
        for link in all.iter().flat_map(|ids| Naming::of(ids).links) {
            aliases.learn(link);
        }
        aliases
    }

    #[test]
    fn an_attachment_leads_through_its_server_call_id_to_the_correlation() {
        let aliases = learn_all(&[
            ids(None, Some("https://s"), None, Some("att")),
            ids(
                Some("c0000000-0000-4000-8000-000000000001"),
                Some("https://s"),
                None,
                None,
            ),
        ]);
        let call = Anchor::correlation("c0000000-0000-4000-8000-000000000001");
        assert_eq!(
            aliases.lead(&Anchor::attachment("att")),
            Lead::Call(call.clone())
        );
        assert_eq!(
            aliases.members(&Anchor::server("https://s")),
            BTreeSet::from([call, Anchor::server("https://s"), Anchor::attachment("att")])
        );
    }

    #[test]
    fn an_alias_of_two_calls_joins_none() {
        let aliases = learn_all(&[
            ids(Some("c1"), Some("https://s"), None, None),
            ids(Some("c2"), Some("https://s"), None, Some("att")),
        ]);
        assert_eq!(aliases.lead(&Anchor::server("https://s")), Lead::Ambiguous);
        assert_eq!(
            aliases.call_of(&Anchor::server("https://s")),
            Anchor::server("https://s")
        );
        assert!(
            !aliases
                .members(&Anchor::correlation("c1"))
                .contains(&Anchor::server("https://s"))
        );
    }

    #[test]
    fn an_event_without_ids_names_no_call() {
        assert_eq!(
            Naming::of(&Ids::default()),
            Naming {
                anchor: None,
                links: Vec::new()
            }
        );
    }

    #[test]
    fn what_is_forgotten_leads_nowhere() {
        let mut aliases = learn_all(&[ids(Some("c1"), Some("https://s"), None, None)]);
        aliases.forget(&Anchor::server("https://s"));
        assert_eq!(
            aliases.call_of(&Anchor::server("https://s")),
            Anchor::server("https://s")
        );
    }

    proptest! {
        #[test]
        fn leads_do_not_depend_on_the_order_of_arrival(
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
            let (one, other) = (learn_all(&all), learn_all(&shuffled));
            for anchor in all.iter().filter_map(|ids| Naming::of(ids).anchor) {
                prop_assert_eq!(one.lead(&anchor), other.lead(&anchor));
                let members = one.members(&anchor);
                prop_assert!(members.contains(&anchor));
                // Members agree on their call, and nobody else is of it.
                for member in &members {
                    prop_assert_eq!(one.call_of(member), one.call_of(&anchor));
                }
            }
        }
    }
}
