//! Findings about the schema and its months.

use super::finding::{Finding, looked, number};
use crate::store::{PostgresCondition, SchemaCondition};

const SCHEMA: &str = "schema.version";
const PARTITIONS: &str = "schema.partitions";
const UNPLACED: &str = "schema.entry_default";

pub(super) const CODES: [&str; 3] = [SCHEMA, PARTITIONS, UNPLACED];

pub(super) fn findings(condition: &PostgresCondition) -> Vec<Finding> {
    vec![
        looked(SCHEMA, &condition.schema, schema),
        looked(PARTITIONS, &condition.missing_partitions, |months| {
            partitions(months)
        }),
        looked(UNPLACED, &condition.unplaced, |rows| unplaced(*rows)),
    ]
}

fn schema(schema: &SchemaCondition) -> Finding {
    let list = |versions: &[i64]| {
        let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
        versions.join(", ")
    };
    if !schema.failed.is_empty() {
        return Finding::error(
            SCHEMA,
            format!(
                "the migration {} was begun and not finished",
                list(&schema.failed)
            ),
            "look into the log of onrecord migrate, undo what it left, delete its row of _sqlx_migrations, and run it again",
        );
    }
    if !schema.altered.is_empty() {
        return Finding::error(
            SCHEMA,
            format!(
                "the migration {} was applied with another content than this program has",
                list(&schema.altered)
            ),
            "run the release that made this database, or make the database anew",
        );
    }
    if !schema.unknown.is_empty() {
        return Finding::error(
            SCHEMA,
            format!(
                "the schema is newer than this program: it does not know the migration {}",
                list(&schema.unknown)
            ),
            "upgrade the program on this node",
        );
    }
    if !schema.missing.is_empty() {
        return Finding::error(
            SCHEMA,
            format!(
                "the schema is not migrated: {} missing",
                list(&schema.missing)
            ),
            "onrecord migrate",
        );
    }
    Finding::ok(SCHEMA, "of this version")
}

fn partitions(missing: &[String]) -> Finding {
    if missing.is_empty() {
        return Finding::ok(PARTITIONS, "made two months ahead");
    }
    Finding::warning(
        PARTITIONS,
        format!(
            "no {}: what comes in such a month lies in entry_default, where it is found more slowly",
            missing.join(", ")
        ),
        "onrecord migrate; a running ledger makes them every hour, if it may",
    )
}

fn unplaced(rows: i64) -> Finding {
    match rows {
        0 => Finding::ok(UNPLACED, "empty"),
        rows => Finding::warning(
            UNPLACED,
            format!(
                "{} in entry_default: they came when their month had no partition, which cannot be made now",
                number(rows, "row")
            ),
            "select date_trunc('month', received), count(*) from entry_default group by 1; then move them: detach entry_default, make the months, insert them again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_schema_of_this_version_with_its_months_is_well() {
        for found in [
            schema(&SchemaCondition::default()),
            partitions(&[]),
            unplaced(0),
        ] {
            assert_eq!(found.level, Level::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_schema_that_is_older_newer_or_another_is_an_error() {
        let of = |missing: &[i64], unknown: &[i64], altered: &[i64], failed: &[i64]| {
            schema(&SchemaCondition {
                missing: missing.to_vec(),
                unknown: unknown.to_vec(),
                altered: altered.to_vec(),
                failed: failed.to_vec(),
            })
        };
        let older = of(&[1], &[], &[], &[]);
        assert_eq!(
            (older.level, older.remedy.as_deref()),
            (Level::Error, Some("onrecord migrate"))
        );
        assert!(of(&[], &[7], &[], &[]).sentence.contains("newer"));
        assert_eq!(of(&[], &[], &[1], &[]).level, Level::Error);
        assert_eq!(of(&[], &[], &[], &[1]).level, Level::Error);
    }

    #[test]
    fn months_without_a_partition_and_rows_without_a_month_are_warnings() {
        let found = partitions(&["entry_2026_12".to_owned()]);
        assert_eq!(found.level, Level::Warning);
        assert!(found.sentence.contains("entry_2026_12"));
        assert_eq!(unplaced(3).level, Level::Warning);
    }
}
