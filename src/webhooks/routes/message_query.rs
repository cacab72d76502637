//! The parameters of the list of messages.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// The parameters of the list of messages.
#[derive(Deserialize, Serialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessageQuery {
    /// Only messages in this state: `due`, `in_flight`, `delivered`, `retrying`, `exhausted`, `dropped`.
    pub(super) state: Option<String>,
    /// Only messages of events of this name.
    pub(super) r#type: Option<String>,
    /// Only the message of the event with this id.
    pub(super) event: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    pub(super) cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
}
