//! The health of the components of the process, as `/readyz` reports it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The health of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The component has not been healthy since the start of the process.
    Starting,
    /// The component works.
    Healthy,
    /// The component does not work, for this reason.
    Unhealthy(String),
    /// The last healthy report of the component is out of date.
    Stale,
}

#[derive(Debug)]
struct Component {
    health: Health,
    /// When the component reported that it is healthy, and until when the report is valid.
    healthy: Option<(Instant, Instant)>,
}

/// The last report of each component about itself. A healthy report is valid for the time that the
/// component gives with it; after that the component is [`Health::Stale`].
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    components: Arc<Mutex<BTreeMap<&'static str, Component>>>,
}

impl Readiness {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a component that has not reported yet.
    pub fn starting(&self, name: &'static str) {
        self.lock().entry(name).or_insert(Component { health: Health::Starting, healthy: None });
    }

    /// Reports that a component is healthy. The report is valid for `valid_for`. A change is
    /// logged.
    pub fn healthy(&self, name: &'static str, valid_for: Duration) {
        let now = Instant::now();
        let component =
            Component { health: Health::Healthy, healthy: Some((now, now + valid_for)) };
        if let Some(before) = self.lock().insert(name, component)
            && before.health != Health::Healthy
        {
            tracing::info!(component.name = name, "{name} is healthy");
        }
    }

    /// Reports that a component is not healthy. A change is logged.
    pub fn unhealthy(&self, name: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        let component = Component { health: Health::Unhealthy(reason.clone()), healthy: None };
        let before = self.lock().insert(name, component);
        if before.is_none_or(|before| !matches!(before.health, Health::Unhealthy(_))) {
            tracing::warn!(component.name = name, "{name} is unhealthy: {reason}");
        }
    }

    /// The age of a component's healthy report, if the report is still valid.
    #[must_use]
    pub fn healthy_report_age(&self, name: &str) -> Option<Duration> {
        let now = Instant::now();
        let (reported, until) = self.lock().get(name)?.healthy?;
        (now <= until).then(|| now.saturating_duration_since(reported))
    }

    /// The present health of each component.
    #[must_use]
    pub fn view(&self) -> BTreeMap<&'static str, Health> {
        let now = Instant::now();
        let health = |component: &Component| match component.healthy {
            Some((_, until)) if until < now => Health::Stale,
            _ => component.health.clone(),
        };
        self.lock().iter().map(|(name, component)| (*name, health(component))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_whose_report_is_out_of_date_is_stale() {
        let readiness = Readiness::default();
        readiness.starting("kafka");
        assert_eq!(readiness.view()["kafka"], Health::Starting);
        readiness.healthy("kafka", Duration::from_secs(60));
        assert_eq!(readiness.view()["kafka"], Health::Healthy);
        assert!(readiness.healthy_report_age("kafka").is_some());
        readiness.healthy("kafka", Duration::ZERO);
        assert_eq!(readiness.view()["kafka"], Health::Stale);
        assert_eq!(readiness.healthy_report_age("kafka"), None);
        readiness.unhealthy("kafka", "no broker answers");
        assert_eq!(readiness.view()["kafka"], Health::Unhealthy("no broker answers".to_owned()));
    }
}
