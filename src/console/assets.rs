//! Style sheet and scripts, under names that have a digest of their content, so that browsers keep them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::http::problem::Problem;

/// Number of bytes of the digest in a name.
const DIGEST_BYTES: usize = 8;

#[derive(RustEmbed)]
#[folder = "src/console/assets"]
struct ConsoleAssets;

/// The files by their names with digest.
static BY_NAME: LazyLock<HashMap<String, Asset>> = LazyLock::new(|| {
    let assets = ConsoleAssets::iter().filter_map(|file| {
        let embedded = ConsoleAssets::get(&file)?;
        let digest = embedded.metadata.sha256_hash();
        let digest = digest.iter().take(DIGEST_BYTES).fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let (stem, kind) = file.rsplit_once('.')?;
        let content_type = match kind {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => return None,
        };
        let name = format!("{stem}.{digest}.{kind}");
        let asset =
            Asset { file: file.to_string(), content_type, bytes: embedded.data.into_owned() };
        Some((name, asset))
    });
    assets.collect()
});

/// The paths by the names of the files.
static PATHS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let paths = BY_NAME.iter();
    paths.map(|(name, asset)| (asset.file.as_str(), format!("/console/assets/{name}"))).collect()
});

struct Asset {
    file: String,
    content_type: &'static str,
    bytes: Vec<u8>,
}

/// The path of a file.
pub(super) fn asset_path(file: &str) -> &'static str {
    PATHS.get(file).map_or("", String::as_str)
}

/// The text of a file, for pages that stand alone.
pub(super) fn asset_text(file: &str) -> &'static str {
    let asset = BY_NAME.values().find(|asset| asset.file == file);
    asset.and_then(|asset| std::str::from_utf8(&asset.bytes).ok()).unwrap_or_default()
}

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let asset = BY_NAME.get(&name);
    let asset = asset.ok_or_else(|| Problem::not_found("the console has no such file"))?;
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        // The name changes with the content.
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.bytes.as_slice()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_path_with_its_digest() {
        for file in ["console.css", "console.js", "htmx.min.js", "hx-csp.min.js", "icon.svg"] {
            let path = asset_path(file);
            let name = path.strip_prefix("/console/assets/").unwrap();
            assert!(BY_NAME.contains_key(name), "{file}");
            assert!(!asset_text(file).is_empty(), "{file}");
            assert_eq!(path.split('.').filter(|part| part.len() == 2 * DIGEST_BYTES).count(), 1);
        }
        assert_eq!(asset_path("LICENSE.txt"), "");
    }
}
