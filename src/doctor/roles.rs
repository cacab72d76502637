//! Checks of the service's role in Postgres and of the role of readers (`TENANT_ISOLATION`).

use super::finding::{Finding, number};
use crate::postgres::{ServerDiagnostics, TableCheck, TableDiagnostics};

pub(super) fn role(server: &ServerDiagnostics) -> Finding {
    let role = &server.role;
    let too_much = match (server.superuser, server.bypasses_row_security) {
        (true, _) => "a superuser",
        (false, true) => "above row-level security (bypassrls)",
        (false, false) => return Finding::ok(format!("{role} is an ordinary role")),
    };
    Finding::warning(
        format!("the role {role} is {too_much}; the service only has to own its tables"),
        format!(
            "alter role {role} nosuperuser nobypassrls; or give it a role of its own: create role onrecord login createrole"
        ),
    )
}

pub(super) fn owner(server: &ServerDiagnostics, tables: &[TableDiagnostics]) -> Finding {
    let foreign: Vec<&TableDiagnostics> = tables.iter().filter(|table| !table.ours).collect();
    let Some(first) = foreign.first() else {
        return Finding::ok(format!("{}, all of this role", number(tables.len(), "table")));
    };
    let (role, owner) = (&server.role, &first.owner);
    Finding::error(
        format!(
            "{} not owned by {role}, such as {} of {owner}: the ledger sees no rows there and cannot make partitions",
            are(foreign.len(), "table"),
            first.name
        ),
        format!("reassign owned by {owner} to {role}; or connect as {owner}"),
    )
}

fn are(count: usize, word: &str) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", number(count, word))
}

/// Checks the role of readers, and its tables if they could be read.
pub(super) fn readers(
    server: &ServerDiagnostics,
    tables: &TableCheck<Vec<TableDiagnostics>>,
) -> Finding {
    let role = &server.role;
    if !server.reader_exists {
        return Finding::error(
            "the role onrecord_reader, which answers readers, does not exist",
            format!(
                "create role onrecord_reader nologin; grant onrecord_reader to {role}; then onrecord migrate"
            ),
        );
    }
    if !server.reader_can_be_set {
        return Finding::error(
            format!("{role} may not take the role onrecord_reader: every reader is refused"),
            format!("grant onrecord_reader to {role};"),
        );
    }
    if server.reader_bypasses_row_security {
        return Finding::error(
            "onrecord_reader is a superuser or has bypassrls: only the condition of each query separates tenants",
            "alter role onrecord_reader nosuperuser nobypassrls;",
        );
    }
    let mut tables = tables.iter().flatten();
    if let Some(table) = tables.find(|table| table.reader_owns) {
        return Finding::error(
            format!(
                "onrecord_reader may do what the owner of {} may, so row-level security does not hold for it",
                table.name
            ),
            format!("revoke {} from onrecord_reader;", table.owner),
        );
    }
    Finding::ok("onrecord_reader can be set, and is bound by row-level security")
}

/// Each readable table has row-level security with a policy, and each table that has it is readable.
pub(super) fn row_security(tables: &[TableDiagnostics]) -> Finding {
    let names = |wanted: fn(&TableDiagnostics) -> bool| -> Vec<&str> {
        let tables = tables.iter().filter(|table| wanted(table));
        tables.map(|table| table.name.as_str()).collect()
    };
    let open = names(|table| table.readable && !(table.row_security && table.policies > 0));
    if let Some(first) = open.first() {
        return Finding::error(
            format!("readers may read every tenant's rows of {}", open.join(", ")),
            format!(
                "alter table {first} enable row level security; with the policy one_tenant of the migration; until then: revoke select on {first} from onrecord_reader;"
            ),
        );
    }
    let closed = names(|table| table.row_security && !table.readable).join(", ");
    if !closed.is_empty() {
        return Finding::error(
            format!("readers may not read {closed}, so /v1 cannot answer"),
            format!("grant select on {closed} to onrecord_reader;"),
        );
    }
    let readable = tables.iter().filter(|table| table.readable).count();
    if readable == 0 {
        return Finding::error("readers may read no table", "onrecord migrate");
    }
    Finding::ok(format!("on {}", number(readable, "readable table")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingLevel;
    use crate::doctor::postgres::tests::server;

    fn table(name: &str, readable: bool) -> TableDiagnostics {
        TableDiagnostics {
            name: name.to_owned(),
            owner: "onrecord".to_owned(),
            ours: true,
            reader_owns: false,
            readable,
            row_security: readable,
            policies: i64::from(readable),
        }
    }

    fn tables() -> Vec<TableDiagnostics> {
        vec![table("entry", true), table("spool", false)]
    }

    #[test]
    fn an_ordinary_role_that_owns_everything_is_ok() {
        let (server, tables) = (server(), tables());
        for found in [
            role(&server),
            owner(&server, &tables),
            readers(&server, &Ok(tables.clone())),
            row_security(&tables),
        ] {
            assert_eq!(found.level, FindingLevel::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_role_with_too_many_permissions_is_a_warning() {
        let superuser = ServerDiagnostics { superuser: true, ..server() };
        let above = ServerDiagnostics { bypasses_row_security: true, ..server() };
        assert_eq!(role(&superuser).level, FindingLevel::Warning);
        assert_eq!(role(&above).level, FindingLevel::Warning);
    }

    #[test]
    fn a_table_of_another_owner_is_an_error_that_names_it() {
        let mut tables = tables();
        tables[1].ours = false;
        tables[1].owner = "postgres".to_owned();
        let found = owner(&server(), &tables);
        assert_eq!(found.level, FindingLevel::Error);
        assert!(found.sentence.contains("spool of postgres"), "{found:?}");
    }

    #[test]
    fn readers_that_are_not_bound_are_an_error() {
        let away = ServerDiagnostics { reader_exists: false, ..server() };
        let closed = ServerDiagnostics { reader_can_be_set: false, ..server() };
        let above = ServerDiagnostics { reader_bypasses_row_security: true, ..server() };
        for server in [away, closed, above] {
            assert_eq!(readers(&server, &Ok(tables())).level, FindingLevel::Error);
        }
        let mut tables = tables();
        tables[0].reader_owns = true;
        assert_eq!(readers(&server(), &Ok(tables)).level, FindingLevel::Error);
    }

    #[test]
    fn a_readable_table_without_row_security_is_an_error() {
        let mut open = tables();
        open[1].readable = true;
        assert!(row_security(&open).sentence.contains("spool"));
        assert_eq!(row_security(&open).level, FindingLevel::Error);
        let mut without_policy = tables();
        without_policy[0].policies = 0;
        assert_eq!(row_security(&without_policy).level, FindingLevel::Error);
        let mut unreadable = tables();
        unreadable[0].readable = false;
        assert_eq!(row_security(&unreadable).level, FindingLevel::Error);
    }
}
