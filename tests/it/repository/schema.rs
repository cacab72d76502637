//! The schema and the SQL of the service: every statement fits the tables, every table and column has a
//! comment, and a released migration never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chrono::Utc;
use onrecord::postgres::{Postgres, statements};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::postgres::{fresh_database, own_postgres};

/// Arguments of queries that are no constants: a function of the diagnostics takes a constant from its
/// callers, and partitions are created by a text with dates, because DDL takes no parameters.
const NO_CONSTANTS: [&str; 2] = ["statement", "AssertSqlSafe(statement)"];

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

async fn migrated_database() -> PgPool {
    let url = fresh_database().await;
    let store = Postgres::new(&url, 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;
    PgPool::connect(&url).await.unwrap()
}

/// Each source file of the module that uses sqlx, by path, without its unit tests.
fn sources() -> BTreeMap<String, String> {
    let statements = statements();
    let folders = statements.iter().filter_map(|it| Path::new(it.file).parent());
    let top = folders.min_by_key(|folder| folder.components().count());
    let mut folders = vec![root().join(top.unwrap())];
    let mut sources = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            sources.insert(name.to_owned(), text);
        }
    }
    sources
}

/// The text without the blocks that begin with `head` at the start of a line.
fn without_blocks(text: &str, head: &str) -> String {
    let mut kept = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        is_inside = is_inside || line.starts_with(head);
        if !is_inside {
            kept.push_str(line);
            kept.push('\n');
        }
        is_inside = is_inside && !line.starts_with('}');
    }
    kept
}

/// The first argument of each `sqlx::query…(…)`.
fn arguments(text: &str) -> Vec<String> {
    let calls = text.split("sqlx::query").skip(1);
    calls
        .filter_map(|rest| rest.split_once('('))
        .map(|(_, rest)| {
            let mut depth = 0;
            let end = rest.find(|letter: char| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                depth < 0 || (depth == 0 && letter == ',')
            });
            rest[..end.unwrap()].trim().to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_can_be_prepared_on_the_migrated_schema() {
    let database = migrated_database().await;
    let mut connection = database.acquire().await.unwrap();
    let mut rejected = Vec::new();
    let statements = statements();
    assert!(statements.len() > 100, "{}", statements.len());
    for (number, statement) in statements.iter().enumerate() {
        let prepare = format!("prepare statement_{number} as {}", statement.sql);
        let prepared = sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await;
        if let Err(error) = prepared {
            rejected.push(format!("{} {}: {error}", statement.file, statement.name));
        }
    }
    assert!(rejected.is_empty(), "{}", rejected.join("\n"));
}

#[test]
fn every_query_is_a_constant_that_the_list_of_statements_has() {
    let listed: BTreeSet<(&str, &str)> =
        statements().iter().map(|statement| (statement.file, statement.name)).collect();
    let sources = sources();
    let mut found = Vec::new();
    for (file, text) in &sources {
        for argument in arguments(text) {
            let is_known = listed.contains(&(file.as_str(), argument.as_str()))
                || NO_CONSTANTS.contains(&argument.as_str());
            if !is_known {
                found.push(format!("{file}: the query {argument}"));
            }
        }
        let outside = without_blocks(&without_blocks(text, "statements! {"), "macro_rules! ");
        for literal in outside.split('"') {
            let literal = literal.trim_start();
            let verbs = ["select ", "insert into ", "update ", "delete from ", "with "];
            let is_sql = verbs.iter().any(|verb| literal.starts_with(verb));
            if is_sql && (literal.contains(" from ") || literal.contains(" set ")) {
                found.push(format!("{file}: the text \"{literal}\""));
            }
        }
    }
    for (file, name) in &listed {
        let used = without_blocks(&sources[*file], "statements! {");
        if !used.contains(name) {
            found.push(format!("{file}: {name} is never used"));
        }
    }
    assert!(
        found.is_empty(),
        "every SQL statement is a constant in a statements! block of its file, and the file is in the list of statements():\n{}",
        found.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_readers_are_those_that_a_restore_admits_them_to() {
    let database = migrated_database().await;
    let differing: Vec<String> = sqlx::query_scalar(
        "select class.relname from pg_class class
         where class.relnamespace = 'public'::regnamespace and class.relkind in ('r', 'p') and not class.relispartition
             and has_table_privilege('onrecord_reader', class.oid, 'select')
                 is distinct from exists (select from readable_tables() as readable where readable.name = class.relname)",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    assert!(
        differing.is_empty(),
        "readable_tables() must list what onrecord_reader may read: {differing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_has_a_comment() {
    let missing: Vec<String> = sqlx::query_scalar(
        "select class.relname || coalesce('.' || attribute.attname, '')
         from pg_class class
         left join lateral (
             select attname, attnum from pg_attribute where attrelid = class.oid and attnum > 0 and not attisdropped
             union all select null, 0) as attribute on true
         where class.relnamespace = 'public'::regnamespace and class.relkind in ('r', 'p') and not class.relispartition
             and class.relname <> '_sqlx_migrations' and col_description(class.oid, attribute.attnum) is null
             and (attribute.attnum > 0 or obj_description(class.oid, 'pg_class') is null)
         order by 1",
    )
    .fetch_all(&migrated_database().await)
    .await
    .unwrap();
    assert!(missing.is_empty(), "comment on table or column is missing for {missing:?}");
}

#[test]
fn a_released_migration_does_not_change() {
    let folder = root().join("migrations");
    let listed = fs::read_to_string(folder.join("checksums.txt")).unwrap();
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(checksum, name)| (name, checksum))
        .collect();
    let found: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| {
            let digest = Sha256::digest(fs::read(&path).unwrap());
            let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, hex)
        })
        .collect();
    for (name, checksum) in &listed {
        assert_eq!(
            found.get(*name).map(String::as_str),
            Some(*checksum),
            "migrations/{name} was changed or removed after its release, and a database that has it refuses to start; restore it, and put the change into a new file whose name begins with a later timestamp"
        );
    }
    let unlisted: Vec<&String> =
        found.keys().filter(|name| !listed.contains_key(name.as_str())).collect();
    assert!(
        unlisted.is_empty(),
        "{unlisted:?} has no checksum yet; once it is final: (cd migrations && sha256sum *.sql > checksums.txt)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_user_that_may_not_create_roles_names_what_an_administrator_has_to_run() {
    let server = own_postgres().await;
    let admin_url = server.url("postgres");
    let admin = PgPool::connect(&admin_url).await.unwrap();
    let run = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&admin).await.unwrap();
    };
    run("create role plain login password 'pass'").await;
    run("create database audit owner plain").await;
    let host = admin_url.split_once('@').unwrap().1;
    let host = host.split_once('/').unwrap().0;
    let store =
        Postgres::new(&format!("postgres://plain:pass@{host}/audit?sslmode=disable"), 2).unwrap();

    let absent = store.migrate(Utc::now()).await.unwrap_err().to_string();
    let remedy = "an administrator has to run: create role onrecord_reader nologin; grant onrecord_reader to plain;";
    assert!(
        absent.contains("the role onrecord_reader does not exist and plain may not create it")
            && absent.contains(remedy),
        "{absent}"
    );
    run("create role onrecord_reader nologin").await;
    let unusable = store.migrate(Utc::now()).await.unwrap_err().to_string();
    assert!(
        unusable.contains("an administrator has to run: grant onrecord_reader to plain;"),
        "{unusable}"
    );
    run("grant onrecord_reader to plain").await;
    let absent = store.migrate(Utc::now()).await.unwrap_err().to_string();
    assert!(
        absent.contains("an administrator has to run: create role onrecord_reading nologin;"),
        "{absent}"
    );
    run("create role onrecord_reading nologin").await;
    store.migrate(Utc::now()).await.unwrap();
    assert!(store.is_migrated().await.unwrap());
    store.close().await;
}
