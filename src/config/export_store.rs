//! Where the files of exports are kept.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::units::parsed;

/// Where the files of exports are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportStore {
    Postgres,
    /// An absolute path, which all nodes with the role `query` see.
    Directory(PathBuf),
    Bucket {
        bucket: String,
        prefix: String,
    },
}

impl ExportStore {
    fn parse(text: &str) -> Option<Self> {
        if text == "postgres" {
            return Some(Self::Postgres);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return path.starts_with('/').then(|| Self::Directory(path.into()));
        }
        let bucket = text.strip_prefix("s3://")?;
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
        (!bucket.is_empty()).then_some(Self::Bucket { bucket, prefix })
    }
}

impl<'de> Deserialize<'de> for ExportStore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            "this is no store; write postgres, file:///an/absolute/path or s3://bucket/prefix";
        parsed(deserializer, Self::parse, expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_postgres_an_absolute_path_or_a_bucket() {
        let bucket = |bucket: &str, prefix: &str| {
            Some(ExportStore::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        };
        for (text, store) in [
            ("postgres", Some(ExportStore::Postgres)),
            ("file:///var/exports", Some(ExportStore::Directory("/var/exports".into()))),
            ("s3://b", bucket("b", "")),
            ("s3://b/p/q/", bucket("b", "p/q")),
            ("s3://", None),
            ("file://var", None),
            ("/var/exports", None),
            ("", None),
        ] {
            assert_eq!(ExportStore::parse(text), store, "{text}");
        }
    }
}
