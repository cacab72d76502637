//! What goes wrong with notices: in a few calls one client app fails to tell its participant in
//! time.
//!
//! # Why
//!
//! *One of each few calls, not one now and then.* Whoever looks at the first few calls of any seed
//! has seen an app that fails, and a majority that does not.

use super::chance::Chance;

/// The places of a few calls, one of which has a lapse.
const PLACES: [u64; 5] = [0, 1, 2, 3, 4];
const OF_SO_MANY: u64 = PLACES.len() as u64;

/// How a client app fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// It shows nothing, and says nothing of notices.
    Silent,
    /// It runs where nobody sees it: what it would show only arrives.
    Unseen,
    /// It shows what it has to, but long after it was due.
    Late,
}

impl Lapse {
    /// That of a call of a run, if it has one.
    pub fn draw(seed: u64, number: u64) -> Option<Self> {
        let mut chance = Chance::new(seed, "lapse", number / OF_SO_MANY);
        let lapse = chance.one_of([Self::Silent, Self::Unseen, Self::Late]);
        let which = chance.one_of(PLACES);
        (number % OF_SO_MANY == which).then_some(lapse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_calls_of_every_seed_have_one_lapse() {
        let mut kinds = Vec::new();
        for seed in 0..50 {
            let lapses: Vec<Lapse> = (0..OF_SO_MANY)
                .filter_map(|number| Lapse::draw(seed, number))
                .collect();
            assert_eq!(lapses.len(), 1, "{seed}");
            kinds.extend(lapses);
        }
        for kind in [Lapse::Silent, Lapse::Unseen, Lapse::Late] {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
    }
}
