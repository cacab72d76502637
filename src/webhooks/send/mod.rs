//! Sends messages: claims them, makes the attempts, and stores how they ended.
//!
//! * [`dispatcher`]: which subscriptions may have messages, and the attempts in progress.
//! * [`endpoints`]: what attempts need to know about subscriptions.
//! * [`cloud_event`]: the body of a message.
//! * [`attempt`]: one POST.
//! * [`answer`]: what an answer means, and what is kept of it.
//! * [`next_step`]: what becomes of a message after an attempt.
//! * [`recorder`]: stores results in batches, opens circuits, disables subscriptions.
//! * [`upkeep`]: expired leases, retention, gauges.

pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod cloud_event;
pub(crate) mod dispatcher;
pub(crate) mod endpoints;
pub(crate) mod next_step;
pub(crate) mod recorder;
pub(crate) mod upkeep;
