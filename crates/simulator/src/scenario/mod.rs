//! Scenarios: the configuration of a run, the timeline of a call, and the builder of its script.

pub(crate) mod call_timeline;
pub(crate) mod delivery_scheduler;
pub(crate) mod scenario_builder;
pub(crate) mod scenario_config;
