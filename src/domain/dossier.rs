//! All that is stored of one call, and what of it an earlier account was made of.
//!
//! # Why
//!
//! *A version names its facts by what its transaction saw.* Facts are only ever added, so the
//! anchors of the call and the database's own snapshot say exactly of which an account was made,
//! without a copy of them beside every version.

use std::collections::BTreeSet;

use serde_json::Value;

use super::calling_event::{CallingEvent, Testimony};
use super::ids::Digest;
use super::instant::Millis;
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

/// A testimony as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Where it was entered.
    pub anchor: String,
    /// By which transaction.
    pub xid: Xid,
    /// What its instant was before this transaction brought an earlier copy, in order.
    pub past: Vec<(Xid, Millis)>,
    pub testimony: Testimony,
}

impl Line {
    /// Reads what is stored of it: `event` is the normalized event, `past` a list of pairs.
    ///
    /// # Errors
    ///
    /// One of them cannot be read; an earlier version may have written it otherwise.
    pub fn read(
        anchor: String,
        xid: Xid,
        id: Digest,
        t: Millis,
        past: Value,
        event: Value,
    ) -> Result<Self, serde_json::Error> {
        let event: CallingEvent = serde_json::from_value(event)?;
        Ok(Self {
            anchor,
            xid,
            past: serde_json::from_value(past)?,
            testimony: Testimony::new(id, t, event),
        })
    }

    fn seen(&self, sight: &Sight) -> Option<Testimony> {
        if !sight.shows(self.xid) {
            return None;
        }
        let mut testimony = self.testimony.clone();
        // The first change that was still to come says what held before it.
        if let Some((_, t)) = self.past.iter().find(|(xid, _)| !sight.shows(*xid)) {
            testimony.t = *t;
        }
        Some(testimony)
    }
}

/// The lines of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dossier {
    pub lines: Vec<Line>,
}

impl Dossier {
    /// Where its lines were entered.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<&str> {
        self.lines.iter().map(|line| line.anchor.as_str()).collect()
    }

    /// What of it an account was made of.
    #[must_use]
    pub fn seen(&self, sight: &Sight, anchors: &[String]) -> Self {
        let lines = self.lines.iter().filter_map(|line| {
            if !anchors.contains(&line.anchor) {
                return None;
            }
            Some(Line {
                testimony: line.seen(sight)?,
                ..line.clone()
            })
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// What is said in it.
    pub fn testimonies(&self) -> impl Iterator<Item = &Testimony> {
        self.lines.iter().map(|line| &line.testimony)
    }

    /// Who is who in it, and what the rules of evidence fold.
    #[must_use]
    pub fn resolved(&self) -> Resolved {
        resolve(self.testimonies())
    }
}
