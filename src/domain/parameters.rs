//! The numbers that the evidence rules leave open.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::instant::Millis;

/// What the operator may set of the rules, in milliseconds; the defaults are those of the rules'
/// version 1.
///
/// In JSON an absent member is the default, and one that is none of these is refused: a report that
/// rests on it could not be recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Whoever is told within this time is told in time.
    #[serde(deserialize_with = "length")]
    pub slo: Millis,
    /// Whoever is not told within this time is an exception, even while the capture goes on.
    #[serde(deserialize_with = "length")]
    pub deadline: Millis,
    /// Gaps of a capture up to this length are no gaps: it absorbs clients that flap.
    #[serde(deserialize_with = "length")]
    pub bridge: Millis,
    /// For how long after its last report a client is believed without another one.
    #[serde(deserialize_with = "length")]
    pub stale: Millis,
    /// So much of a call may go unobserved, however short it is.
    #[serde(deserialize_with = "length")]
    pub edge: Millis,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            slo: 2_000,
            deadline: 30_000,
            bridge: 5_000,
            stale: 90_000,
            edge: 5_000,
        }
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
    fn what_is_not_stated_is_the_default_and_what_is_unknown_is_refused() {
        let read = |json| serde_json::from_value::<Parameters>(json);
        let slow = Parameters {
            slo: 9_000,
            ..Parameters::default()
        };
        assert_eq!(read(json!({"slo": 9_000})).unwrap(), slow);
        assert_eq!(read(json!(slow)).unwrap(), slow);
        assert!(read(json!({"slo": -1})).is_err());
        assert!(read(json!({"slow": 9_000})).is_err());
    }
}
