//! A client app that does not show its notices in time. A few calls of a run have one.
//!
//! # Why
//!
//! *One in each group of five calls, not one now and then.* The first five calls of any seed then
//! show one app that fails, and four calls in which none does.

use crate::rng::SeededRng;

/// The positions in a group of calls; one of them has a faulty client.
const POSITIONS: [u64; 5] = [0, 1, 2, 3, 4];
const GROUP: u64 = POSITIONS.len() as u64;

/// How a client app fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultyClient {
    /// It shows no notice and sends no acknowledgement.
    Silent,
    /// It runs in the background: notices arrive, and are not visible.
    Unseen,
    /// It shows the notices, but long after they were due.
    Late,
}

impl FaultyClient {
    /// The faulty client of a call of a run, if the call has one.
    pub(crate) fn of_call(seed: u64, number: u64) -> Option<Self> {
        let mut rng = SeededRng::new(seed, "faulty client", number / GROUP);
        let fault = rng.one_of([Self::Silent, Self::Unseen, Self::Late]);
        let which = rng.one_of(POSITIONS);
        (number % GROUP == which).then_some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_calls_of_every_seed_have_one_faulty_client() {
        let mut kinds = Vec::new();
        for seed in 0..50 {
            let faults: Vec<FaultyClient> =
                (0..GROUP).filter_map(|number| FaultyClient::of_call(seed, number)).collect();
            assert_eq!(faults.len(), 1, "{seed}");
            kinds.extend(faults);
        }
        for kind in [FaultyClient::Silent, FaultyClient::Unseen, FaultyClient::Late] {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
    }
}
