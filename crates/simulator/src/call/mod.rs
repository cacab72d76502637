//! What one call consists of: participants, ids, a faulty client, an intruder, the script;
//! and a call that a user controls.

pub(crate) mod call_ids;
pub(crate) mod faulty_client;
pub(crate) mod interactive_call;
pub(crate) mod intruder;
pub(crate) mod participants;
pub(crate) mod script;
