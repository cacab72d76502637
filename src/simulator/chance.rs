//! Chance: whatever is drawn is drawn from a seed, so that a run can be repeated.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Builder;

use crate::domain::ids::Digest;

/// A sequence of draws that a seed determines.
#[derive(Clone, Debug)]
pub struct Chance {
    draws: StdRng,
}

impl Chance {
    /// The draws for one purpose and number; those for others do not depend on how many there are.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let digest = Digest::of_parts(&[purpose, &seed.to_string(), &number.to_string()]);
        Self {
            draws: StdRng::from_seed(*digest.as_bytes()),
        }
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.draws.random_bool(probability.clamp(0.0, 1.0))
    }

    /// A number from 0 to 1, without the 1.
    pub fn share(&mut self) -> f64 {
        self.draws.random()
    }

    /// A whole number, both ends included; `least` if `most` is less.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        self.draws.random_range(least..=most.max(least))
    }

    /// One of a list that is known to have some.
    pub fn one_of<T: Copy, const N: usize>(&mut self, list: [T; N]) -> T {
        const { assert!(N > 0) }
        list[self.draws.random_range(0..N)]
    }

    /// One of a list; `None` if it is empty.
    pub fn any_of<'l, T>(&mut self, list: &'l [T]) -> Option<&'l T> {
        let last = list.len().checked_sub(1)?;
        list.get(self.draws.random_range(0..=last))
    }

    /// A version 4 GUID, lower case.
    pub fn guid(&mut self) -> String {
        let guid = Builder::from_random_bytes(self.draws.random()).into_uuid();
        guid.hyphenated().to_string()
    }

    /// So many characters of an alphabet.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        let mut character = || self.any_of(alphabet).copied().unwrap_or(b'0');
        (0..length).map(|_| char::from(character())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_what_is_drawn() {
        let drawn = |seed, purpose, number| {
            let mut chance = Chance::new(seed, purpose, number);
            (chance.guid(), chance.between(0, i64::MAX))
        };
        assert_eq!(drawn(7, "call", 1), drawn(7, "call", 1));
        assert_ne!(drawn(7, "call", 1), drawn(8, "call", 1));
        assert_ne!(drawn(7, "call", 1), drawn(7, "call", 2));
        assert_ne!(drawn(7, "call", 1), drawn(7, "world", 1));
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut chance = Chance::new(1, "bounds", 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&chance.between(3, 5)));
            assert_eq!(chance.between(3, 2), 3);
            assert!(!chance.happens(0.0));
            assert!(chance.happens(1.0));
        }
        assert_eq!(chance.any_of::<u8>(&[]), None);
    }
}
