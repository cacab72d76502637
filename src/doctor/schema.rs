//! Checks of the schema and its monthly partitions.

use super::finding::{Finding, list, number};
use crate::postgres::SchemaDiagnostics;

pub(super) fn version(schema: &SchemaDiagnostics) -> Finding {
    let broken: [(&[i64], &str, &str); 4] = [
        (
            &schema.failed,
            "a migration was started and not finished",
            "look into the log of onrecord migrate, undo the rest of the migration, delete its row of _sqlx_migrations, and migrate again",
        ),
        (
            &schema.altered,
            "a migration was applied with another content than this program has",
            "run the release that created this database, or create the database again",
        ),
        (
            &schema.unknown,
            "the schema is newer than this program: it has an unknown migration",
            "upgrade the program on this node",
        ),
        (&schema.missing, "the schema is not migrated, a migration is missing", "onrecord migrate"),
    ];
    match broken.iter().find(|(versions, ..)| !versions.is_empty()) {
        None => Finding::ok("of this version"),
        Some((versions, what, remedy)) => {
            Finding::error(format!("{what}: {}", list(*versions)), *remedy)
        }
    }
}

pub(super) fn partitions(missing: &[String]) -> Finding {
    if missing.is_empty() {
        return Finding::ok("created two months ahead");
    }
    Finding::warning(
        format!(
            "no {}: entries of such a month go to entry_default, where they are found more slowly",
            missing.join(", ")
        ),
        "onrecord migrate; a running ledger creates them every hour, if it may",
    )
}

pub(super) fn unplaced(rows: i64) -> Finding {
    match rows {
        0 => Finding::ok("empty"),
        rows => Finding::warning(
            format!(
                "{} in entry_default: their month had no partition when they came, and it cannot be created now",
                number(rows, "row")
            ),
            "select date_trunc('month', received_at), count(*) from entry_default group by 1; then move them: detach entry_default, create the months, insert the rows again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingLevel;

    #[test]
    fn a_schema_of_this_version_with_its_months_is_ok() {
        for found in [version(&SchemaDiagnostics::default()), partitions(&[]), unplaced(0)] {
            assert_eq!(found.level, FindingLevel::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_schema_that_is_older_newer_or_another_is_an_error() {
        let of = |missing: &[i64], unknown: &[i64], altered: &[i64], failed: &[i64]| {
            version(&SchemaDiagnostics {
                missing: missing.to_vec(),
                unknown: unknown.to_vec(),
                altered: altered.to_vec(),
                failed: failed.to_vec(),
            })
        };
        let older = of(&[1], &[], &[], &[]);
        assert_eq!(
            (older.level, older.remedy.as_deref()),
            (FindingLevel::Error, Some("onrecord migrate"))
        );
        assert!(of(&[], &[7], &[], &[]).sentence.contains("newer"));
        assert_eq!(of(&[], &[], &[1], &[]).level, FindingLevel::Error);
        assert_eq!(of(&[], &[], &[], &[1]).level, FindingLevel::Error);
    }

    #[test]
    fn months_without_a_partition_and_rows_without_a_month_are_warnings() {
        let found = partitions(&["entry_2026_12".to_owned()]);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.sentence.contains("entry_2026_12"));
        assert_eq!(unplaced(3).level, FindingLevel::Warning);
    }
}
