//! The subscribers of one key: nearly always one, and for a large call thousands.

use std::collections::BTreeSet;

use super::subscriber::SubscriberId;

/// Ids of subscribers, at least one. A set of one allocates nothing: a node has ten thousands of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubscriberSet {
    One(SubscriberId),
    /// Two or more, unless others were removed.
    Many(BTreeSet<SubscriberId>),
}

impl SubscriberSet {
    pub(super) fn insert(&mut self, id: SubscriberId) {
        match self {
            Self::One(only) if *only == id => {}
            Self::One(only) => *self = Self::Many(BTreeSet::from([*only, id])),
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// The set without an id; `None` if nothing is left.
    pub(super) fn without(self, id: SubscriberId) -> Option<Self> {
        match self {
            Self::One(only) => (only != id).then_some(self),
            Self::Many(mut ids) => {
                ids.remove(&id);
                (!ids.is_empty()).then_some(Self::Many(ids))
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SubscriberId> {
        let (one, many) = match self {
            Self::One(id) => (Some(*id), None),
            Self::Many(ids) => (None, Some(ids.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_inserted_and_not_removed() {
        let ids = [3, 1, 2].map(SubscriberId);
        let mut set = SubscriberSet::One(ids[0]);
        for id in ids {
            set.insert(id);
            set.insert(id);
        }
        assert!(set.iter().eq([1, 2, 3].map(SubscriberId)));
        let set = set.without(ids[1]).and_then(|set| set.without(ids[2])).unwrap();
        assert!(set.iter().eq([ids[0]]));
        assert_eq!(set.clone().without(ids[1]), Some(set.clone()));
        assert_eq!(set.without(ids[0]), None);
        assert_eq!(SubscriberSet::One(ids[0]).without(ids[0]), None);
    }
}
