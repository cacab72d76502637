//! Reports the followers of one topic as one component of the readiness.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lifecycle::Lifecycle;

/// Maximum age of a follower's last report.
const MAX_AGE: Duration = Duration::from_secs(30);

/// One follower's handle to the component, which is healthy if each follower is.
pub(crate) struct FollowerHandle {
    index: usize,
    shared: Arc<FollowerHealth>,
}

struct FollowerHealth {
    lifecycle: Lifecycle,
    component: &'static str,
    states: Mutex<Vec<Option<FollowerState>>>,
}

/// When a follower reported last, and what; an error has its reason.
type FollowerState = (Instant, Result<(), String>);

impl FollowerHandle {
    /// A handle for each of the followers of a component.
    pub(crate) fn of(
        followers: usize,
        component: &'static str,
        lifecycle: &Lifecycle,
    ) -> Vec<Self> {
        lifecycle.readiness().starting(component);
        let shared = Arc::new(FollowerHealth {
            lifecycle: lifecycle.clone(),
            component,
            states: Mutex::new(vec![None; followers]),
        });
        let handle = |index| Self { index, shared: Arc::clone(&shared) };
        (0..followers).map(handle).collect()
    }

    /// Reports the state of this follower.
    pub(crate) fn report(&self, state: Result<(), String>) {
        let shared = &*self.shared;
        let mut states = shared.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = states.get_mut(self.index) {
            *entry = Some((Instant::now(), state));
        }
        let readiness = shared.lifecycle.readiness();
        match combine(&states, Instant::now()) {
            Some(Ok(())) => readiness.healthy(shared.component, MAX_AGE),
            Some(Err(reason)) => readiness.unhealthy(shared.component, reason),
            None => {}
        }
    }
}

/// The state of the component; `None` if a follower has not reported lately.
fn combine(states: &[Option<FollowerState>], now: Instant) -> Option<Result<(), String>> {
    let mut combined = Some(Ok(()));
    for state in states {
        match state {
            Some((_, Err(reason))) => return Some(Err(reason.clone())),
            Some((at, Ok(()))) if now.saturating_duration_since(*at) < MAX_AGE => {}
            Some((_, Ok(()))) | None => combined = None,
        }
    }
    combined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_healthy_if_every_follower_is() {
        let now = Instant::now() + MAX_AGE;
        let (fresh, old) = (Some((now, Ok(()))), Some((now - MAX_AGE, Ok(()))));
        let failed = Some((now - MAX_AGE, Err("no leader".to_owned())));
        assert_eq!(combine(&[fresh.clone(), fresh.clone()], now), Some(Ok(())));
        assert_eq!(combine(&[fresh.clone(), None], now), None);
        assert_eq!(combine(&[fresh.clone(), old], now), None);
        let reason = Some(Err("no leader".to_owned()));
        assert_eq!(combine(&[None, failed, fresh], now), reason);
    }
}
