//! Findings about who we are in Postgres, and who readers are (law 11).

use super::finding::{Finding, looked, number};
use crate::store::{Look, ServerCondition, TableCondition};

const ROLE: &str = "postgres.role";
const OWNER: &str = "postgres.owner";
const READERS: &str = "postgres.readers";
const ROW_SECURITY: &str = "postgres.row_security";

pub(super) const CODES: [&str; 4] = [ROLE, OWNER, READERS, ROW_SECURITY];

pub(super) fn findings(
    server: &ServerCondition,
    tables: &Look<Vec<TableCondition>>,
) -> Vec<Finding> {
    let seen = tables.as_ref().map_or(&[][..], Vec::as_slice);
    vec![
        role(server),
        looked(OWNER, tables, |tables| owner(server, tables)),
        readers(server, seen),
        looked(ROW_SECURITY, tables, |tables| row_security(tables)),
    ]
}

fn role(server: &ServerCondition) -> Finding {
    let role = &server.role;
    let too_much = match (server.superuser, server.bypasses_row_security) {
        (true, _) => "a superuser",
        (false, true) => "above row-level security (bypassrls)",
        (false, false) => return Finding::ok(ROLE, format!("{role} is an ordinary role")),
    };
    Finding::warning(
        ROLE,
        format!("the role {role} is {too_much}; the service needs no more than to own its tables"),
        format!(
            "alter role {role} nosuperuser nobypassrls; or give it a role of its own: create role onrecord login createrole"
        ),
    )
}

fn owner(server: &ServerCondition, tables: &[TableCondition]) -> Finding {
    let strangers: Vec<&TableCondition> = tables.iter().filter(|table| !table.ours).collect();
    let Some(first) = strangers.first() else {
        return Finding::ok(OWNER, format!("{} of ours", number(tables.len(), "table")));
    };
    let (role, owner) = (&server.role, &first.owner);
    Finding::error(
        OWNER,
        format!(
            "{} not owned by {role}, such as {} of {owner}: the ledger sees no rows there and cannot make partitions",
            are(strangers.len(), "table"),
            first.name
        ),
        format!("reassign owned by {owner} to {role}; or connect as {owner}"),
    )
}

fn are(count: usize, word: &str) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", number(count, word))
}

fn readers(server: &ServerCondition, tables: &[TableCondition]) -> Finding {
    let role = &server.role;
    if !server.reader_exists {
        return Finding::error(
            READERS,
            "the role onrecord_reader, under which readers are answered, is not there",
            format!(
                "create role onrecord_reader nologin; grant onrecord_reader to {role} with admin option; then onrecord migrate"
            ),
        );
    }
    if !server.reader_can_be_set {
        return Finding::error(
            READERS,
            format!("{role} may not take the role onrecord_reader: every reader is refused"),
            format!("grant onrecord_reader to {role};"),
        );
    }
    if server.reader_bypasses_row_security {
        return Finding::error(
            READERS,
            "onrecord_reader is a superuser or has bypassrls: nothing but each query's own condition keeps tenants apart",
            "alter role onrecord_reader nosuperuser nobypassrls;",
        );
    }
    if let Some(table) = tables.iter().find(|table| table.reader_owns) {
        return Finding::error(
            READERS,
            format!(
                "onrecord_reader may do what the owner of {} may, so row-level security does not hold for it",
                table.name
            ),
            format!("revoke {} from onrecord_reader;", table.owner),
        );
    }
    Finding::ok(
        READERS,
        "onrecord_reader can be set, and is bound by row-level security",
    )
}

/// What readers may read has row-level security with a policy, and what has it may be read.
fn row_security(tables: &[TableCondition]) -> Finding {
    let open: Vec<&str> = tables
        .iter()
        .filter(|table| table.readable && !(table.row_security && table.policies > 0))
        .map(|table| table.name.as_str())
        .collect();
    if let Some(first) = open.first() {
        return Finding::error(
            ROW_SECURITY,
            format!(
                "readers may read every tenant's rows of {}",
                open.join(", ")
            ),
            format!(
                "alter table {first} enable row level security; with the policy one_tenant of the migration; until then: revoke select on {first} from onrecord_reader;"
            ),
        );
    }
    let closed: Vec<&str> = tables
        .iter()
        .filter(|table| table.row_security && !table.readable)
        .map(|table| table.name.as_str())
        .collect();
    if !closed.is_empty() {
        return Finding::error(
            ROW_SECURITY,
            format!(
                "readers may not read {}, so /v1 cannot answer",
                closed.join(", ")
            ),
            format!("grant select on {} to onrecord_reader;", closed.join(", ")),
        );
    }
    let readable = tables.iter().filter(|table| table.readable).count();
    if readable == 0 {
        return Finding::error(
            ROW_SECURITY,
            "readers may read no table",
            "onrecord migrate",
        );
    }
    Finding::ok(
        ROW_SECURITY,
        format!("on {}", number(readable, "readable table")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::postgres::tests::server;
    use super::*;

    fn table(name: &str, readable: bool) -> TableCondition {
        TableCondition {
            name: name.to_owned(),
            owner: "onrecord".to_owned(),
            ours: true,
            reader_owns: false,
            readable,
            row_security: readable,
            policies: i64::from(readable),
        }
    }

    fn tables() -> Vec<TableCondition> {
        vec![table("entry", true), table("spool", false)]
    }

    #[test]
    fn an_ordinary_role_that_owns_everything_is_well() {
        for found in findings(&server(), &Ok(tables())) {
            assert_eq!(found.level, Level::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_role_that_may_too_much_is_a_warning() {
        let superuser = ServerCondition {
            superuser: true,
            ..server()
        };
        let above = ServerCondition {
            bypasses_row_security: true,
            ..server()
        };
        assert_eq!(role(&superuser).level, Level::Warning);
        assert_eq!(role(&above).level, Level::Warning);
    }

    #[test]
    fn a_table_of_somebody_else_is_an_error_that_names_it() {
        let mut tables = tables();
        tables[1].ours = false;
        tables[1].owner = "postgres".to_owned();
        let found = owner(&server(), &tables);
        assert_eq!(found.level, Level::Error);
        assert!(found.sentence.contains("spool of postgres"), "{found:?}");
    }

    #[test]
    fn readers_who_are_not_bound_are_an_error() {
        let away = ServerCondition {
            reader_exists: false,
            ..server()
        };
        let closed = ServerCondition {
            reader_can_be_set: false,
            ..server()
        };
        let above = ServerCondition {
            reader_bypasses_row_security: true,
            ..server()
        };
        for server in [away, closed, above] {
            assert_eq!(readers(&server, &tables()).level, Level::Error);
        }
        let mut tables = tables();
        tables[0].reader_owns = true;
        assert_eq!(readers(&server(), &tables).level, Level::Error);
    }

    #[test]
    fn a_readable_table_without_row_security_is_an_error() {
        let mut open = tables();
        open[1].readable = true;
        assert!(row_security(&open).sentence.contains("spool"));
        assert_eq!(row_security(&open).level, Level::Error);
        let mut without_policy = tables();
        without_policy[0].policies = 0;
        assert_eq!(row_security(&without_policy).level, Level::Error);
        let mut unreadable = tables();
        unreadable[0].readable = false;
        assert_eq!(row_security(&unreadable).level, Level::Error);
    }
}
