//! Findings about Postgres: whether it is there, and whether it keeps its word.

use chrono::TimeDelta;

use super::finding::{Finding, looked};
use super::{roles, schema};
use crate::store::{PostgresAway, PostgresCondition, ServerCondition};

/// Why what Postgres holds was not looked at.
pub(super) const AWAY: &str = "Postgres is away";

const REACHABLE: &str = "postgres.reachable";
const VERSION: &str = "postgres.version";
const FSYNC: &str = "postgres.fsync";
const FULL_PAGE_WRITES: &str = "postgres.full_page_writes";
const SYNCHRONOUS_COMMIT: &str = "postgres.synchronous_commit";
const CLOCK: &str = "postgres.clock";
/// What cannot be looked at while Postgres is away.
const UNSEEN: [&str; 5] = [VERSION, FSYNC, FULL_PAGE_WRITES, SYNCHRONOUS_COMMIT, CLOCK];

/// `received` is by the nodes' clocks, `complete_through` by theirs and by Postgres's.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(1);
/// `complete_through` allows for what is on its way at a door and in Kafka, and not for much more.
const CLOCK_ERROR: TimeDelta = TimeDelta::seconds(10);

pub(super) fn findings(condition: &Result<PostgresCondition, PostgresAway>) -> Vec<Finding> {
    let condition = match condition {
        Ok(condition) => condition,
        Err(away) => return away_findings(away),
    };
    let server = &condition.server;
    let mut findings = vec![
        reachable(server),
        version(server),
        fsync(server),
        full_page_writes(server),
        synchronous_commit(server),
        looked(CLOCK, &condition.clock_ahead, |ahead| clock(*ahead)),
    ];
    findings.extend(roles::findings(server, &condition.tables));
    findings.extend(schema::findings(condition));
    findings
}

fn away_findings(away: &PostgresAway) -> Vec<Finding> {
    let (sentence, remedy) = match away {
        PostgresAway::Settings(why) => (
            format!("database_url cannot be read: {why}"),
            "database_url = \"postgres://ROLE@HOST:5432/DATABASE?sslmode=verify-full\"",
        ),
        PostgresAway::Unreachable(why) => (
            format!("Postgres does not take us in: {why}"),
            "psql with the host, port, role and database of database_url; the password comes from there or from PGPASSWORD",
        ),
    };
    let unseen = UNSEEN.iter().chain(&roles::CODES).chain(&schema::CODES);
    std::iter::once(Finding::error(REACHABLE, sentence, remedy))
        .chain(unseen.map(|code| Finding::unknown(code, AWAY)))
        .collect()
}

fn reachable(server: &ServerCondition) -> Finding {
    if server.read_only {
        return Finding::error(
            REACHABLE,
            "Postgres takes no writes: it is a standby, or default_transaction_read_only is on",
            "let database_url name the primary, or select pg_promote();",
        );
    }
    Finding::ok(REACHABLE, format!("as the role {}", server.role))
}

fn version(server: &ServerCondition) -> Finding {
    if server.version_number < 150_000 {
        return Finding::error(
            VERSION,
            format!("PostgreSQL {} is too old", server.version),
            "upgrade it to PostgreSQL 15 or later",
        );
    }
    Finding::ok(VERSION, format!("PostgreSQL {}", server.version))
}

fn fsync(server: &ServerCondition) -> Finding {
    if server.fsync == "on" {
        return Finding::ok(FSYNC, "on");
    }
    Finding::error(
        FSYNC,
        "fsync is off: a power cut loses what senders were told is durable, or destroys the database",
        "alter system set fsync = on; select pg_reload_conf();",
    )
}

fn full_page_writes(server: &ServerCondition) -> Finding {
    if server.full_page_writes == "on" {
        return Finding::ok(FULL_PAGE_WRITES, "on");
    }
    Finding::warning(
        FULL_PAGE_WRITES,
        "full_page_writes is off: a power cut can tear pages, unless the file system never writes half of one",
        "alter system set full_page_writes = on; select pg_reload_conf();",
    )
}

/// Our sessions ask for `on`, so anything less means that something between does not pass it on.
fn synchronous_commit(server: &ServerCondition) -> Finding {
    match server.synchronous_commit.as_str() {
        stated @ ("on" | "remote_apply") => Finding::ok(SYNCHRONOUS_COMMIT, stated),
        stated @ ("local" | "remote_write") => Finding::warning(
            SYNCHRONOUS_COMMIT,
            format!(
                "our sessions have synchronous_commit = {stated}: a synchronous standby may not have what senders were told is durable"
            ),
            KEEP_ON,
        ),
        stated => Finding::error(
            SYNCHRONOUS_COMMIT,
            format!(
                "our sessions have synchronous_commit = {stated}: a crash loses what senders were told is durable"
            ),
            KEEP_ON,
        ),
    }
}

const KEEP_ON: &str = "connect without a pooler that drops startup options, and: alter system set synchronous_commit = on; select pg_reload_conf();";

fn clock(ahead: TimeDelta) -> Finding {
    let off = ahead.abs();
    let direction = if ahead < TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    let sentence = format!(
        "Postgres's clock is {} ms {direction} this machine's",
        off.num_milliseconds()
    );
    let remedy = "chronyc tracking, on both: synchronize them by NTP";
    if off > CLOCK_ERROR {
        return Finding::error(
            CLOCK,
            format!(
                "{sentence}: times of receipt are wrong, and answers may claim to be complete that are not"
            ),
            remedy,
        );
    }
    if off > CLOCK_WARNING {
        return Finding::warning(CLOCK, sentence, remedy);
    }
    Finding::ok(CLOCK, format!("{} ms apart", off.num_milliseconds()))
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::DateTime;

    use super::super::finding::Level;
    use super::*;

    pub fn server() -> ServerCondition {
        ServerCondition {
            now: DateTime::UNIX_EPOCH,
            version: "15.13".to_owned(),
            version_number: 150_013,
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
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
    fn a_server_as_it_should_be_is_well() {
        let server = server();
        for found in [
            reachable(&server),
            version(&server),
            fsync(&server),
            full_page_writes(&server),
            synchronous_commit(&server),
            clock(TimeDelta::milliseconds(-300)),
        ] {
            assert_eq!(found.level, Level::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_standby_takes_no_writes() {
        let standby = ServerCondition {
            read_only: true,
            ..server()
        };
        assert_eq!(reachable(&standby).level, Level::Error);
    }

    #[test]
    fn postgres_14_is_too_old() {
        let old = ServerCondition {
            version_number: 140_018,
            ..server()
        };
        assert_eq!(version(&old).level, Level::Error);
    }

    #[test]
    fn a_server_that_does_not_keep_its_word_is_an_error() {
        let careless = ServerCondition {
            fsync: "off".to_owned(),
            full_page_writes: "off".to_owned(),
            synchronous_commit: "off".to_owned(),
            ..server()
        };
        assert_eq!(fsync(&careless).level, Level::Error);
        assert_eq!(full_page_writes(&careless).level, Level::Warning);
        assert_eq!(synchronous_commit(&careless).level, Level::Error);
        let local = ServerCondition {
            synchronous_commit: "local".to_owned(),
            ..server()
        };
        assert_eq!(synchronous_commit(&local).level, Level::Warning);
    }

    #[test]
    fn a_clock_that_differs_is_told_either_way() {
        assert_eq!(clock(TimeDelta::milliseconds(1500)).level, Level::Warning);
        let behind = clock(TimeDelta::seconds(-11));
        assert_eq!(behind.level, Level::Error);
        assert!(behind.sentence.contains("11000 ms behind"), "{behind:?}");
    }

    #[test]
    fn while_postgres_is_away_everything_else_is_unknown() {
        let away = PostgresAway::Unreachable("connection refused".to_owned());
        let findings = findings(&Err(away));
        assert_eq!(
            findings.len(),
            UNSEEN.len() + roles::CODES.len() + schema::CODES.len() + 1
        );
        assert_eq!(findings[0].level, Level::Error);
        assert!(findings[0].sentence.contains("connection refused"));
        assert!(findings[1..].iter().all(|f| f.level == Level::Unknown));
    }
}
