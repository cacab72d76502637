//! Random calls, events and JSON for the tests of several modules.

pub(crate) mod random_call;
pub(crate) mod random_json;
pub(crate) mod test_events;
