//! Who listens, to what, and what they were told last.

use std::collections::HashMap;

use super::message::Message;
use super::queue::{Ear, Mouth, NotQueued, queue};
use crate::domain::alias::Anchor;
use crate::domain::ids::Digest;
use crate::domain::indication::Indications;
use crate::domain::instant::Millis;

/// A listener of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(u64);

impl ListenerId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Which calls a listener or a question may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The call of a person's own attachment.
    Attachment { attachment: String, person: String },
    /// The call of the first of these anchors that is of a known one: a serverCallId that a
    /// client names, or with an API key everything that an id may be.
    Call {
        anchors: Vec<Anchor>,
        /// Whose token it is; `None`: an API key.
        person: Option<String>,
    },
    /// All calls of a person's attachments.
    Person(String),
    /// Every call of the tenant.
    Everything,
}

impl Reach {
    /// What a cursor is bound to.
    #[must_use]
    pub fn digest(&self, tenant: &str) -> Digest {
        match self {
            Self::Attachment { attachment, person } => {
                Digest::of_parts(&[tenant, "attachment", attachment, person])
            }
            Self::Call { anchors, person } => {
                let of = match person {
                    Some(person) => ["call of", person],
                    None => ["call", ""],
                };
                let anchors = anchors.iter().map(Anchor::as_str);
                let parts: Vec<&str> = [tenant].into_iter().chain(of).chain(anchors).collect();
                Digest::of_parts(&parts)
            }
            Self::Person(person) => Digest::of_parts(&[tenant, "person", person]),
            Self::Everything => Digest::of_parts(&[tenant, "everything"]),
        }
    }

    /// Whose token it is; `None`: an API key.
    #[must_use]
    pub fn person(&self) -> Option<&str> {
        match self {
            Self::Attachment { person, .. } | Self::Person(person) => Some(person),
            Self::Call { person, .. } => person.as_deref(),
            Self::Everything => None,
        }
    }

    /// The anchors that name the one call that it is about; `None`: it is about many.
    #[must_use]
    pub fn one_call(&self) -> Option<Vec<Anchor>> {
        match self {
            Self::Attachment { attachment, .. } => Some(vec![Anchor::attachment(attachment)]),
            Self::Call { anchors, .. } => Some(anchors.clone()),
            Self::Person(_) | Self::Everything => None,
        }
    }
}

/// Whoever has more messages waiting than they may for so long reads too slowly, ms. One burst of
/// the log can bring many at one instant: that alone is nobody's slowness.
const SLOW_FOR: Millis = 2_000;

/// Whether a message reached a listener's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Told {
    Queued,
    /// It reads too slowly, or is gone: drop it.
    Dropped {
        slow: bool,
    },
}

/// The levels last stated.
enum Stated {
    /// Of the one call that it is about, whatever that call is called by now.
    One(Indications),
    /// Of each call.
    Each(HashMap<Anchor, Indications>),
}

pub(super) struct Listener {
    pub reach: Reach,
    mouth: Mouth,
    /// So many may wait, besides what it began with.
    allowed: usize,
    /// Since when more are waiting, ms.
    behind_since: Option<Millis>,
    stated: Stated,
}

impl Listener {
    pub fn new(reach: Reach, allowed: usize) -> (Self, Ear) {
        let (mouth, ear) = queue();
        let stated = match reach {
            Reach::Attachment { .. } | Reach::Call { .. } => Stated::One(Indications::default()),
            Reach::Person(_) | Reach::Everything => Stated::Each(HashMap::new()),
        };
        let listener = Self {
            reach,
            mouth,
            allowed,
            behind_since: None,
            stated,
        };
        (listener, ear)
    }

    /// What it begins with is no backlog.
    pub fn allow_for_opening(&mut self) {
        self.allowed += self.mouth.waiting();
    }

    pub fn is_one_call(&self) -> bool {
        matches!(self.stated, Stated::One(_))
    }

    /// The level last stated of a call; that nothing is known, if none was.
    pub fn stated(&self, call: &Anchor) -> Indications {
        match &self.stated {
            Stated::One(level) => *level,
            Stated::Each(levels) => levels.get(call).copied().unwrap_or_default(),
        }
    }

    /// The level last stated by one who listens to one call.
    pub fn stated_of_one(&self) -> Option<Indications> {
        match self.stated {
            Stated::One(level) => Some(level),
            Stated::Each(_) => None,
        }
    }

    /// The calls of which a level was stated to one who listens to many.
    pub fn stated_calls(&self) -> Vec<Anchor> {
        match &self.stated {
            Stated::One(_) => Vec::new(),
            Stated::Each(levels) => levels.keys().cloned().collect(),
        }
    }

    pub fn was_told_of(&self, call: &Anchor) -> bool {
        match &self.stated {
            Stated::One(_) => true,
            Stated::Each(levels) => levels.contains_key(call),
        }
    }

    pub fn state(&mut self, call: &Anchor, level: Indications) {
        match &mut self.stated {
            Stated::One(stated) => *stated = level,
            Stated::Each(levels) => {
                levels.insert(call.clone(), level);
            }
        }
    }

    /// Its one call is not known any more.
    pub fn state_nothing(&mut self) {
        if let Stated::One(stated) = &mut self.stated {
            *stated = Indications::default();
        }
    }

    pub fn forget_stated(&mut self, call: &Anchor) -> Option<Indications> {
        match &mut self.stated {
            Stated::One(_) => None,
            Stated::Each(levels) => levels.remove(call),
        }
    }

    /// What was stated of a call was stated of another one, which it is part of now.
    pub fn carry(&mut self, gone: &Anchor, into: &Anchor) {
        if let Stated::Each(levels) = &mut self.stated
            && let Some(level) = levels.remove(gone)
        {
            levels.entry(into.clone()).or_insert(level);
        }
    }

    pub fn tell(&mut self, message: Message, now: Millis) -> Told {
        if self.mouth.waiting() <= self.allowed {
            self.behind_since = None;
        } else if now - *self.behind_since.get_or_insert(now) > SLOW_FOR {
            return Told::Dropped { slow: true };
        }
        match self.mouth.say(message) {
            Ok(()) => Told::Queued,
            Err(NotQueued::Full) => Told::Dropped { slow: true },
            Err(NotQueued::Gone) => Told::Dropped { slow: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(listener: &mut Listener, now: Millis) -> Told {
        listener.tell(Message::gap("", 0, now), now)
    }

    #[test]
    fn a_burst_is_no_slowness_and_a_backlog_is() {
        let (mut listener, mut ear) = Listener::new(Reach::Everything, 4);
        for _ in 0..10_000 {
            assert_eq!(tell(&mut listener, 1_000), Told::Queued);
        }
        assert_eq!(tell(&mut listener, 3_000), Told::Queued);
        while ear.try_next().is_some() {}
        assert_eq!(tell(&mut listener, 60_000), Told::Queued);
        for _ in 0..10 {
            assert_eq!(tell(&mut listener, 60_000), Told::Queued);
        }
        assert_eq!(tell(&mut listener, 62_001), Told::Dropped { slow: true });
    }

    #[test]
    fn what_a_listener_begins_with_is_no_backlog() {
        let (mut listener, _ear) = Listener::new(Reach::Everything, 4);
        for _ in 0..1_000 {
            assert_eq!(tell(&mut listener, 0), Told::Queued);
        }
        listener.allow_for_opening();
        assert_eq!(tell(&mut listener, 10_000), Told::Queued);
        assert_eq!(tell(&mut listener, 20_000), Told::Queued);
    }

    #[test]
    fn who_is_gone_is_dropped_and_not_called_slow() {
        let (mut listener, ear) = Listener::new(Reach::Everything, 4);
        drop(ear);
        assert_eq!(tell(&mut listener, 0), Told::Dropped { slow: false });
    }
}
