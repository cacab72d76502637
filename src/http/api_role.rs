//! Roles of API keys, and of users of the console.

use serde::{Deserialize, Serialize};

use crate::config::ConsoleRole;

/// The permissions of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[derive(strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ApiRole {
    /// The backend of a client app: subscriber tokens, notice texts, streams, indications.
    App,
    /// Reads the call history.
    Analyst,
    /// Reads everything, also the quarantine; closes exceptions.
    Auditor,
    /// Everything.
    Admin,
}

impl From<ConsoleRole> for ApiRole {
    fn from(role: ConsoleRole) -> Self {
        match role {
            ConsoleRole::Analyst => Self::Analyst,
            ConsoleRole::Auditor => Self::Auditor,
            ConsoleRole::Admin => Self::Admin,
        }
    }
}

impl ApiRole {
    /// The stored name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
