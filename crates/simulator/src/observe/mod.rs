//! What a client and a reader observe: the stream of notices, the query API, and their comparison with
//! the script.

pub(crate) mod api_reader;
pub(crate) mod call_observation;
pub(crate) mod observation_log;
pub(crate) mod stream_listener;
