//! All that is stored of one call, and what of it an earlier account was made of.
//!
//! # Why
//!
//! *A version names its facts by what its transaction saw.* Facts are only ever added, so the
//! anchors of the call and the database's own snapshot say exactly of which an account was made,
//! without a copy of them beside every version.

use std::collections::BTreeSet;

use super::calling_event::Testimony;
use super::instant::Millis;
use super::notice_fact::{self, NoticeFact};
use super::session::{Resolved, resolve};

/// The number of a transaction of the store.
pub type Xid = i64;

/// Which transactions a statement could see: PostgreSQL's `pg_snapshot`, and its own transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Everything before it was over.
    from: Xid,
    /// Nothing from here on had begun.
    to: Xid,
    going_on: BTreeSet<Xid>,
    own: Xid,
}

impl Sight {
    /// Reads `xmin:xmax:xip,…`; `None` if it is none.
    #[must_use]
    pub fn read(snapshot: &str, own: Xid) -> Option<Self> {
        let mut parts = snapshot.splitn(3, ':');
        let from = parts.next()?.parse().ok()?;
        let to = parts.next()?.parse().ok()?;
        let going_on = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self {
            from,
            to,
            going_on,
            own,
        })
    }

    fn shows(&self, xid: Xid) -> bool {
        xid == self.own || xid < self.from || (xid < self.to && !self.going_on.contains(&xid))
    }
}

/// Something that was said of a call, as it is stored: a [`Testimony`] or a [`NoticeFact`].
#[derive(Clone, Debug, PartialEq)]
pub struct Line<W> {
    /// Where it was entered.
    pub anchor: String,
    /// By which transaction.
    pub xid: Xid,
    /// What its instant was before this transaction brought an earlier copy, in order.
    pub past: Vec<(Xid, Millis)>,
    pub said: W,
}

/// What was said, and when: of several copies the earliest counts.
pub trait Said: Clone {
    /// Says when.
    fn date(&mut self, t: Millis);
}

impl Said for Testimony {
    fn date(&mut self, t: Millis) {
        self.t = t;
    }
}

impl Said for NoticeFact {
    fn date(&mut self, t: Millis) {
        self.t = t;
    }
}

impl<W: Said> Line<W> {
    fn seen(&self, sight: &Sight, anchors: &BTreeSet<&str>) -> Option<Self> {
        if !anchors.contains(self.anchor.as_str()) || !sight.shows(self.xid) {
            return None;
        }
        let mut line = self.clone();
        // The first change that was still to come says what held before it.
        if let Some((_, t)) = self.past.iter().find(|(xid, _)| !sight.shows(*xid)) {
            line.said.date(*t);
        }
        Some(line)
    }
}

/// All that is stored of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dossier {
    pub testimonies: Vec<Line<Testimony>>,
    pub notices: Vec<Line<NoticeFact>>,
}

impl Dossier {
    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.testimonies.len() + self.notices.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its lines were entered.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<&str> {
        let testimonies = self.testimonies.iter().map(|line| line.anchor.as_str());
        let notices = self.notices.iter().map(|line| line.anchor.as_str());
        testimonies.chain(notices).collect()
    }

    /// What of it an account was made of.
    #[must_use]
    pub fn seen(&self, sight: &Sight, anchors: &BTreeSet<&str>) -> Self {
        let testimonies = self.testimonies.iter();
        let notices = self.notices.iter();
        Self {
            testimonies: testimonies
                .filter_map(|line| line.seen(sight, anchors))
                .collect(),
            notices: notices
                .filter_map(|line| line.seen(sight, anchors))
                .collect(),
        }
    }

    /// Takes in the lines of another one.
    pub fn join(&mut self, other: Self) {
        self.testimonies.extend(other.testimonies);
        self.notices.extend(other.notices);
    }

    /// What the call's events say.
    pub fn testimonies(&self) -> impl Iterator<Item = &Testimony> {
        self.testimonies.iter().map(|line| &line.said)
    }

    /// When anything of it happened.
    pub fn instants(&self) -> impl Iterator<Item = Millis> {
        let notices = self.notices.iter().map(|line| line.said.t);
        self.testimonies()
            .map(|testimony| testimony.t)
            .chain(notices)
    }

    /// Who is who in it, and all that the rules of evidence fold.
    #[must_use]
    pub fn resolved(&self) -> Resolved {
        let mut resolved = resolve(self.testimonies());
        let notices = self.notices.iter().map(|line| &line.said);
        let of_notices = notice_fact::attribute(&resolved, notices);
        resolved.add(of_notices);
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calling_event::{CallStarted, CallingEvent, Statement};
    use crate::domain::ids::{Digest, Ids};

    fn line(xid: Xid, t: Millis, past: &[(Xid, Millis)]) -> Line<Testimony> {
        let event = CallingEvent {
            statement: Statement::CallStarted(CallStarted {
                started_by: None,
                is_two_party: None,
                is_rooms_call: None,
                room_id: None,
            }),
            ids: Ids::default(),
            source_type: "test".to_owned(),
            generation: None,
            redacted: Vec::new(),
        };
        Line {
            anchor: "here".to_owned(),
            xid,
            past: past.to_vec(),
            said: Testimony::new(Digest::of(&xid.to_be_bytes()), t, event),
        }
    }

    fn instants(dossier: &Dossier, snapshot: &str, own: Xid) -> Vec<Millis> {
        let sight = Sight::read(snapshot, own).unwrap();
        let mut instants: Vec<Millis> = dossier
            .seen(&sight, &BTreeSet::from(["here"]))
            .instants()
            .collect();
        instants.sort_unstable();
        instants
    }

    #[test]
    fn a_version_sees_what_was_over_and_what_its_own_transaction_wrote() {
        let dossier = Dossier {
            testimonies: [(5, 50), (7, 70), (8, 80), (9, 90), (12, 120)]
                .map(|(xid, t)| line(xid, t, &[]))
                .to_vec(),
            notices: Vec::new(),
        };
        // 7 and 9 were going on, 9 is its own; 12 had not begun.
        assert_eq!(instants(&dossier, "7:10:7,9", 9), [50, 80, 90]);
        assert_eq!(instants(&dossier, "13:13:", 13), [50, 70, 80, 90, 120]);
        let sight = Sight::read("13:13:", 13).unwrap();
        assert!(
            dossier
                .seen(&sight, &BTreeSet::from(["elsewhere"]))
                .is_empty()
        );
    }

    #[test]
    fn a_version_sees_the_instant_that_held_before_an_earlier_copy_came() {
        let dossier = Dossier {
            testimonies: vec![line(5, 10, &[(8, 30), (11, 20)])],
            notices: Vec::new(),
        };
        assert_eq!(instants(&dossier, "6:6:", 6), [30]);
        assert_eq!(instants(&dossier, "9:9:", 9), [20]);
        assert_eq!(instants(&dossier, "12:12:", 12), [10]);
        // The transaction that brought the copy saw it itself.
        assert_eq!(instants(&dossier, "8:9:", 8), [20]);
    }

    #[test]
    fn what_is_no_snapshot_is_none() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x"] {
            assert_eq!(Sight::read(text, 1), None, "{text}");
        }
    }
}
