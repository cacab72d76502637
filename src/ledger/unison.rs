//! How the followers of one topic are, told as one component.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lifecycle::Lifecycle;

/// What a follower said holds so long.
const HOLDS: Duration = Duration::from_secs(30);

/// One follower's voice in the health of all that follow its topic: they are well if each is.
pub(super) struct Voice {
    seat: usize,
    unison: Arc<Unison>,
}

struct Unison {
    lifecycle: Lifecycle,
    component: &'static str,
    seats: Mutex<Vec<Option<Word>>>,
}

type Word = (Instant, Result<(), String>);

impl Voice {
    /// For so many followers, a voice each.
    pub fn of(followers: usize, component: &'static str, lifecycle: &Lifecycle) -> Vec<Self> {
        lifecycle.readiness().starting(component);
        let unison = Arc::new(Unison {
            lifecycle: lifecycle.clone(),
            component,
            seats: Mutex::new(vec![None; followers]),
        });
        let voice = |seat| Self {
            seat,
            unison: Arc::clone(&unison),
        };
        (0..followers).map(voice).collect()
    }

    /// Says how this follower is.
    pub fn say(&self, how: Result<(), String>) {
        let unison = &*self.unison;
        let mut seats = unison.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats.get_mut(self.seat) {
            *seat = Some((Instant::now(), how));
        }
        let readiness = unison.lifecycle.readiness();
        match together(&seats, Instant::now()) {
            Some(Ok(())) => readiness.well(unison.component, HOLDS),
            Some(Err(why)) => readiness.unwell(unison.component, why),
            None => {}
        }
    }
}

/// None: not every one has spoken of late.
fn together(seats: &[Option<Word>], now: Instant) -> Option<Result<(), String>> {
    let mut all = Some(Ok(()));
    for seat in seats {
        match seat {
            Some((_, Err(why))) => return Some(Err(why.clone())),
            Some((said, Ok(()))) if now.saturating_duration_since(*said) < HOLDS => {}
            Some((_, Ok(()))) | None => all = None,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_are_well_together_and_one_that_is_not_speaks_for_all() {
        let now = Instant::now() + HOLDS;
        let (fresh, old) = (Some((now, Ok(()))), Some((now - HOLDS, Ok(()))));
        let ill = Some((now - HOLDS, Err("no leader".to_owned())));
        assert_eq!(together(&[fresh.clone(), fresh.clone()], now), Some(Ok(())));
        assert_eq!(together(&[fresh.clone(), None], now), None);
        assert_eq!(together(&[fresh.clone(), old], now), None);
        let why = Some(Err("no leader".to_owned()));
        assert_eq!(together(&[None, ill, fresh], now), why);
    }
}
