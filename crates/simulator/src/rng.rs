//! Random numbers from a seed, so that a run can be repeated.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Builder;

use onrecord_evidence::event::ids::Digest;

/// A sequence of random values that a seed determines.
#[derive(Debug)]
pub struct SeededRng {
    values: StdRng,
}

impl SeededRng {
    /// The sequence for one purpose and number. It does not depend on how many values other
    /// sequences give.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let digest = Digest::of_parts(&[purpose, &seed.to_string(), &number.to_string()]);
        Self { values: StdRng::from_seed(*digest.as_bytes()) }
    }

    /// `true` with this probability.
    pub fn random_bool(&mut self, probability: f64) -> bool {
        self.values.random_bool(probability.clamp(0.0, 1.0))
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn random_fraction(&mut self) -> f64 {
        self.values.random()
    }

    /// A whole number, both ends included; `least` if `most` is less.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        self.values.random_range(least..=most.max(least))
    }

    /// A whole number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.values.random_range(0..limit.max(1))
    }

    /// One element of a list that is not empty.
    pub fn one_of<T: Copy, const N: usize>(&mut self, list: [T; N]) -> T {
        const { assert!(N > 0) }
        list[self.values.random_range(0..N)]
    }

    /// One element of a list; `None` if it is empty.
    pub fn any_of<'l, T>(&mut self, list: &'l [T]) -> Option<&'l T> {
        let last = list.len().checked_sub(1)?;
        list.get(self.values.random_range(0..=last))
    }

    /// A version 4 GUID, lower case.
    pub fn guid(&mut self) -> String {
        let guid = Builder::from_random_bytes(self.values.random()).into_uuid();
        guid.hyphenated().to_string()
    }

    /// A text of `length` characters of an alphabet.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        let mut character = || self.any_of(alphabet).copied().unwrap_or(b'0');
        (0..length).map(|_| char::from(character())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_values() {
        let values = |seed, purpose, number| {
            let mut rng = SeededRng::new(seed, purpose, number);
            (rng.guid(), rng.between(0, i64::MAX))
        };
        assert_eq!(values(7, "call", 1), values(7, "call", 1));
        assert_ne!(values(7, "call", 1), values(8, "call", 1));
        assert_ne!(values(7, "call", 1), values(7, "call", 2));
        assert_ne!(values(7, "call", 1), values(7, "resource", 1));
    }

    #[test]
    fn values_stay_within_their_bounds() {
        let mut rng = SeededRng::new(1, "bounds", 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert_eq!(rng.between(3, 2), 3);
            assert!(!rng.random_bool(0.0));
            assert!(rng.random_bool(1.0));
        }
        assert_eq!(rng.any_of::<u8>(&[]), None);
    }
}
