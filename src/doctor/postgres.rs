//! Checks of the Postgres server: whether it answers, and whether it keeps confirmed commits.

use chrono::TimeDelta;

use super::finding::{Finding, FindingLevel};
use crate::postgres::{
    MIN_TRANSACTION_LOCKS, PostgresDiagnostics, PostgresUnreachable, ServerDiagnostics,
};

/// Maximum difference of the clocks before a warning. `received_at` is by the clocks of the nodes,
/// `complete_through` by those and Postgres's.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(1);
/// Maximum difference of the clocks before an error. `complete_through` allows for events in transit
/// in ingest and Kafka, and for little more.
const CLOCK_ERROR: TimeDelta = TimeDelta::seconds(10);

pub(super) fn reachable(postgres: &Result<PostgresDiagnostics, PostgresUnreachable>) -> Finding {
    match postgres {
        Ok(seen) if seen.server.read_only => Finding::error(
            "Postgres accepts no writes: it is a standby, or default_transaction_read_only is on",
            "let database_url name the primary, or select pg_promote();",
        ),
        Ok(seen) => Finding::ok(format!("as the role {}", seen.server.role)),
        Err(PostgresUnreachable::Settings(reason)) => Finding::error(
            format!("database_url cannot be read: {reason}"),
            "database_url = \"postgres://ROLE@HOST:5432/DATABASE?sslmode=verify-full\"",
        ),
        Err(PostgresUnreachable::Unreachable(reason)) => Finding::error(
            format!("no connection to Postgres: {reason}"),
            "psql with the host, port, role and database of database_url; the password comes from there or from PGPASSWORD",
        ),
    }
}

pub(super) fn version(server: &ServerDiagnostics) -> Finding {
    if server.version_number < 150_000 {
        return Finding::error(
            format!("PostgreSQL {} is too old", server.version),
            "upgrade it to PostgreSQL 15 or later",
        );
    }
    Finding::ok(format!("PostgreSQL {}", server.version))
}

pub(super) fn fsync(server: &ServerDiagnostics) -> Finding {
    if server.fsync == "on" {
        return Finding::ok("on");
    }
    Finding::error(
        "fsync is off: a power cut loses deliveries that were acknowledged, or destroys the database",
        "alter system set fsync = on; select pg_reload_conf();",
    )
}

pub(super) fn full_page_writes(server: &ServerDiagnostics) -> Finding {
    if server.full_page_writes == "on" {
        return Finding::ok("on");
    }
    Finding::warning(
        "full_page_writes is off: a power cut can tear pages, unless the file system never writes half of one",
        "alter system set full_page_writes = on; select pg_reload_conf();",
    )
}

/// The service's sessions request `on`; with anything less, a pooler drops the request.
pub(super) fn synchronous_commit(server: &ServerDiagnostics) -> Finding {
    match server.synchronous_commit.as_str() {
        stated @ ("on" | "remote_apply") => Finding::ok(stated),
        stated @ ("local" | "remote_write") => Finding::warning(
            format!(
                "the sessions of the service have synchronous_commit = {stated}: a synchronous standby may not have deliveries that were acknowledged"
            ),
            KEEP_ON,
        ),
        stated => Finding::error(
            format!(
                "the sessions of the service have synchronous_commit = {stated}: a crash loses deliveries that were acknowledged"
            ),
            KEEP_ON,
        ),
    }
}

const KEEP_ON: &str = "connect without a pooler that drops startup options, and: alter system set synchronous_commit = on; select pg_reload_conf();";

/// Whether the lock table has room for the advisory locks of all followers of the ledger at the same
/// time. `followers` counts those that run; `per_node` is how many one node starts.
pub(super) fn locks(server: &ServerDiagnostics, followers: i64, per_node: usize) -> Finding {
    let per_node = i64::try_from(per_node).unwrap_or(i64::MAX);
    let followers = followers.max(per_node);
    let each = i64::try_from(MIN_TRANSACTION_LOCKS).unwrap_or(i64::MAX);
    let needed = followers.saturating_mul(each);
    let ServerDiagnostics { lock_slots, max_locks_per_transaction, .. } = server;
    if *lock_slots >= needed {
        return Finding::ok(format!("{lock_slots} locks"));
    }
    let connections = (lock_slots / i64::from(*max_locks_per_transaction).max(1)).max(1);
    let enough = needed.saturating_add(connections - 1) / connections;
    Finding::warning(
        format!(
            "the lock table has room for {lock_slots} locks (max_locks_per_transaction = {max_locks_per_transaction}), and each of the {followers} followers of the ledger takes up to {each}: batches may be tried again in smaller parts, and take longer"
        ),
        format!("alter system set max_locks_per_transaction = {enough}; and restart PostgreSQL"),
    )
}

pub(super) fn clock(ahead: TimeDelta) -> Finding {
    let off = ahead.abs();
    let direction = if ahead < TimeDelta::zero() { "behind" } else { "ahead of" };
    let sentence =
        format!("Postgres's clock is {} ms {direction} this machine's", off.num_milliseconds());
    let level = FindingLevel::of_age(off, CLOCK_WARNING, CLOCK_ERROR);
    let sentence = match level {
        FindingLevel::Ok => format!("{} ms apart", off.num_milliseconds()),
        FindingLevel::Error => format!(
            "{sentence}: times of receipt are wrong, and answers may claim to be complete that are not"
        ),
        _ => sentence,
    };
    let remedy = "chronyc tracking, on both: synchronize them by NTP";
    Finding::new(level, sentence, remedy)
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::postgres::TableCheck;

    pub(crate) fn server() -> ServerDiagnostics {
        ServerDiagnostics {
            now: DateTime::UNIX_EPOCH,
            version: "15.13".to_owned(),
            version_number: 150_013,
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            max_locks_per_transaction: 64,
            lock_slots: 6_400,
            read_only: false,
            role: "onrecord".to_owned(),
            superuser: false,
            bypasses_row_security: false,
            reader_exists: true,
            reader_can_be_set: true,
            reader_bypasses_row_security: false,
        }
    }

    #[test]
    fn a_server_as_it_should_be_is_ok() {
        let server = server();
        for found in [
            version(&server),
            fsync(&server),
            full_page_writes(&server),
            synchronous_commit(&server),
            locks(&server, 5, 5),
            clock(TimeDelta::milliseconds(-300)),
        ] {
            assert_eq!(found.level, FindingLevel::Ok, "{found:?}");
        }
    }

    pub(crate) fn unread(server: ServerDiagnostics) -> PostgresDiagnostics {
        PostgresDiagnostics {
            server,
            clock_ahead: not_read(),
            schema: not_read(),
            tables: not_read(),
            missing_partitions: not_read(),
            unplaced: not_read(),
            spool: not_read(),
            quarantine: not_read(),
            postponed: not_read(),
            ledger_followers: not_read(),
            gaps: not_read(),
            positions: not_read(),
            uses: not_read(),
            rejections: not_read(),
            webhooks: not_read(),
        }
    }

    fn not_read<T>() -> TableCheck<T> {
        Err("not read".to_owned())
    }

    #[test]
    fn a_standby_accepts_no_writes() {
        assert_eq!(reachable(&Ok(unread(server()))).level, FindingLevel::Ok);
        let standby = ServerDiagnostics { read_only: true, ..server() };
        let found = reachable(&Ok(unread(standby)));
        assert_eq!(found.level, FindingLevel::Error);
    }

    #[test]
    fn postgres_14_is_too_old() {
        let old = ServerDiagnostics { version_number: 140_018, ..server() };
        assert_eq!(version(&old).level, FindingLevel::Error);
    }

    #[test]
    fn a_server_that_loses_confirmed_commits_is_an_error() {
        let unsafe_server = ServerDiagnostics {
            fsync: "off".to_owned(),
            full_page_writes: "off".to_owned(),
            synchronous_commit: "off".to_owned(),
            ..server()
        };
        assert_eq!(fsync(&unsafe_server).level, FindingLevel::Error);
        assert_eq!(full_page_writes(&unsafe_server).level, FindingLevel::Warning);
        assert_eq!(synchronous_commit(&unsafe_server).level, FindingLevel::Error);
        let local = ServerDiagnostics { synchronous_commit: "local".to_owned(), ..server() };
        assert_eq!(synchronous_commit(&local).level, FindingLevel::Warning);
    }

    #[test]
    fn a_small_lock_table_is_a_warning_that_names_the_setting() {
        let small =
            ServerDiagnostics { max_locks_per_transaction: 10, lock_slots: 1_000, ..server() };
        let found = locks(&small, 0, 5);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(
            found.remedy.as_deref().unwrap_or_default().contains("max_locks_per_transaction = 60"),
            "{found:?}"
        );
    }

    #[test]
    fn the_locks_of_all_followers_of_all_nodes_are_counted() {
        assert_eq!(locks(&server(), 5, 5).level, FindingLevel::Ok);
        let found = locks(&server(), 10, 5);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.sentence.contains("each of the 10 followers"), "{found:?}");
    }

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_found() {
        assert_eq!(clock(TimeDelta::milliseconds(1500)).level, FindingLevel::Warning);
        let behind = clock(TimeDelta::seconds(-11));
        assert_eq!(behind.level, FindingLevel::Error);
        assert!(behind.sentence.contains("11000 ms behind"), "{behind:?}");
    }
}
