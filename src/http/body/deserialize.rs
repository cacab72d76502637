//! Deserializes JSON; an error names the member by its JSON pointer.

use serde::Deserializer;
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// Deserializes a part of a JSON body.
///
/// # Errors
///
/// A problem that names the member by its JSON pointer, and what is expected there.
pub(crate) fn deserialize<'de, T: DeserializeOwned>(
    deserializer: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<T, Problem> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let pointer = json_pointer(error.path());
        Problem::invalid(pointer, error.into_inner().to_string())
    })
}

fn json_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}
