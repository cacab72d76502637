//! What one call consists of: participants, ids, a faulty client, an intruder, the script.

pub(crate) mod call_ids;
pub(crate) mod faulty_client;
pub(crate) mod intruder;
pub(crate) mod participants;
pub(crate) mod script;
