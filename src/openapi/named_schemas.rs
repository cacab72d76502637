//! Schemas that are not derived: those of the rules of evidence, which know no OpenAPI, of events, and of
//! the messages of streams. They are JSON Schemas in `docs/schemas/`, which other programs use too.

use std::borrow::Cow;

use serde_json::{Map, Value};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// The files; the members of their `$defs` become schemas of the document.
const FILES: [&str; 4] = [
    include_str!("../../docs/schemas/evidence.json"),
    include_str!("../../docs/schemas/calling-event.v1.json"),
    include_str!("../../docs/schemas/stream-messages.json"),
    include_str!("../../docs/schemas/webhook-event.json"),
];

/// Types that stand for a schema of `docs/schemas/` by its name.
macro_rules! named_schemas {
    ($($(#[$doc:meta])* $schema:ident = $name:literal;)+) => {
        $(
            $(#[$doc])*
            pub(crate) enum $schema {}

            impl PartialSchema for $schema {
                fn schema() -> RefOr<Schema> {
                    // `of_files` has the schema itself.
                    ObjectBuilder::new().into()
                }
            }

            impl ToSchema for $schema {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed($name)
                }
            }
        )+

        /// The names of the schemas to which types refer.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),+];
    };
}

named_schemas! {
    /// The report of a call.
    ReportSchema = "EvidenceReport";
    /// The verdict of a report.
    VerdictSchema = "Verdict";
    /// The consent of a report.
    ConsentSchema = "Consent";
    /// A fact of the rules of evidence.
    FactSchema = "Fact";
    /// Why an obligation has its status.
    ExplanationSchema = "Explanation";
    /// The parameters of the rules.
    ParametersSchema = "RuleParameters";
    /// The proof of each session.
    ProofsSchema = "SessionProofs";
    /// How a client belongs to a call.
    WitnessSchema = "Witness";
    /// What is captured.
    CaptureTypeSchema = "CaptureType";
    /// The level that a client or a notice states.
    LevelSchema = "Level";
    /// The state of an indication.
    IndicationStateSchema = "IndicationState";
    /// The indication of a call.
    IndicationSchema = "Indication";
    /// The banner of an indication.
    VariantSchema = "Variant";
    /// The words that were shown.
    ShownTextSchema = "ShownText";
    /// A normalized event.
    CallingEventSchema = "CallingEvent";
    /// The body of a snapshot.
    SnapshotSchema = "Snapshot";
    /// A message of a stream of server-sent events.
    ServerSentEventSchema = "ServerSentEvent";
    /// A frame of the service over a WebSocket.
    ServerFrameSchema = "ServerFrame";
}

/// All schemas of the files by name. Their references lead into the document.
///
/// # Errors
///
/// A file is no JSON; a test reads them all.
pub(crate) fn of_files() -> Result<Map<String, Value>, serde_json::Error> {
    let mut schemas = Map::new();
    for file in FILES {
        let text = file.replace("\"#/$defs/", "\"#/components/schemas/");
        // A file may refer to another one.
        let text = ["evidence.json", "calling-event.v1.json", "stream-messages.json"]
            .iter()
            .fold(text, |text, name| {
                text.replace(&format!("\"{name}#/$defs/"), "\"#/components/schemas/")
            });
        let mut file: Value = serde_json::from_str(&text)?;
        if let Some(Value::Object(definitions)) = file.get_mut("$defs").map(Value::take) {
            schemas.extend(definitions);
        }
    }
    Ok(schemas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_schema_is_in_a_file() {
        let schemas = of_files().unwrap();
        let missing: Vec<_> = NAMES.iter().filter(|name| !schemas.contains_key(**name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
