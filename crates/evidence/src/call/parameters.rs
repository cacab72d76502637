//! The parameters of the rules of evidence (`docs/evidence-rules.md`).

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::event::instant::Millis;

/// The parameters of the rules, in milliseconds. The defaults are those of the rules' version 2.
///
/// In JSON an absent member has its default. An unknown member is an error, because a report that
/// depends on it could not be recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Maximum time (ms) from the due time of a notice until it is shown, for it to be in time.
    #[serde(deserialize_with = "length")]
    pub slo: Millis,
    /// Maximum time (ms) from the due time of a notice until it is shown; afterwards the obligation
    /// is an exception, even while the capture goes on.
    #[serde(deserialize_with = "length")]
    pub deadline: Millis,
    /// Maximum length (ms) of an interruption of a capture that is closed, so that a client that
    /// flaps does not split it.
    #[serde(deserialize_with = "length")]
    pub bridge: Millis,
    /// Maximum time (ms) after a report during which its reporter counts as live without another one.
    #[serde(deserialize_with = "length")]
    pub stale: Millis,
    /// Maximum time (ms) that may stay unobserved, however short the call is.
    #[serde(deserialize_with = "length")]
    pub edge: Millis,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { slo: 2_000, deadline: 30_000, bridge: 5_000, stale: 90_000, edge: 5_000 }
    }
}

fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    let length = u64::deserialize(deserializer)?;
    Millis::try_from(length).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_absent_member_is_the_default_and_an_unknown_member_is_an_error() {
        let read = |json| serde_json::from_value::<Parameters>(json);
        let slow = Parameters { slo: 9_000, ..Parameters::default() };
        assert_eq!(read(json!({"slo": 9_000})).unwrap(), slow);
        assert_eq!(read(json!(slow)).unwrap(), slow);
        assert!(read(json!({"slo": -1})).is_err());
        assert!(read(json!({"slow": 9_000})).is_err());
    }
}
