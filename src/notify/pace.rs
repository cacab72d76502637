//! How often one client may speak: report, or acknowledge.
//!
//! # Why
//!
//! A client repeats itself every 30 s and reports each change. Whoever does so many times a second
//! costs everybody else's notices; a fault in an app is as likely as ill will.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ids::Digest;

/// Reports that may come at one time.
const AT_ONE_TIME: u32 = 60;
/// After that, one per this time.
const ONE_PER: Duration = Duration::from_secs(1);
/// Those who report no more are forgotten when so many are remembered.
const REMEMBERED: usize = 10_000;

/// Counts the reports of every client on this node.
#[derive(Clone, Default)]
pub struct Pace {
    /// Until when each has used up what it may.
    used_until: Arc<Mutex<HashMap<Digest, Instant>>>,
}

impl Pace {
    /// Counts one report of this person.
    ///
    /// # Errors
    ///
    /// When to come again; it is not counted then.
    pub fn count(&self, tenant: &str, person: &str, now: Instant) -> Result<(), Duration> {
        let mut used_until = self
            .used_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if used_until.len() >= REMEMBERED {
            used_until.retain(|_, until| *until > now);
        }
        let until = used_until
            .entry(Digest::of_parts(&[tenant, person]))
            .or_insert(now);
        let after = (*until).max(now) + ONE_PER;
        let too_much = after
            .saturating_duration_since(now)
            .saturating_sub(ONE_PER * AT_ONE_TIME);
        if too_much.is_zero() {
            *until = after;
            Ok(())
        } else {
            Err(too_much)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_report_often_for_a_while_and_then_once_a_second() {
        let pace = Pace::default();
        let now = Instant::now();
        for _ in 0..AT_ONE_TIME {
            assert_eq!(pace.count("t", "anna", now), Ok(()));
        }
        assert_eq!(pace.count("t", "anna", now), Err(ONE_PER));
        assert_eq!(pace.count("t", "ben", now), Ok(()));
        assert_eq!(pace.count("u", "anna", now), Ok(()));
        assert_eq!(pace.count("t", "anna", now + ONE_PER), Ok(()));
        assert!(pace.count("t", "anna", now + ONE_PER).is_err());
        let later = now + ONE_PER * AT_ONE_TIME * 2;
        for _ in 0..AT_ONE_TIME {
            assert_eq!(pace.count("t", "anna", later), Ok(()));
        }
        assert!(pace.count("t", "anna", later).is_err());
    }

    #[test]
    fn who_reports_no_more_is_forgotten() {
        let pace = Pace::default();
        let now = Instant::now();
        for person in 0..=REMEMBERED {
            let _counted = pace.count("t", &person.to_string(), now);
        }
        let _counted = pace.count("t", "anna", now + ONE_PER * 2);
        assert_eq!(pace.used_until.lock().unwrap().len(), 1);
    }
}
