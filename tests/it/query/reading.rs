//! The schema `reading` for SQL clients: its questions have the answers that no SQL computed, a login sees
//! one tenant and changes nothing, and the documentation is that of the database.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::Utc;
use futures_util::TryStreamExt as _;
use onrecord::postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::process::Command;
use uuid::Uuid;

use crate::support::history::write_history;
use crate::support::postgres::fresh_database;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn data(path: &str) -> String {
    fs::read_to_string(root().join("tests/data/sql").join(path)).unwrap()
}

/// A database with the schema and the history of `tests/data/sql`.
struct History {
    url: String,
}

impl History {
    async fn migrated() -> Self {
        let url = fresh_database().await;
        let store = Postgres::new(&url, 2).unwrap();
        store.migrate(Utc::now()).await.unwrap();
        store.close().await;
        Self { url }
    }

    async fn with_rows() -> Self {
        let history = Self::migrated().await;
        let mut owner = history.owner().await;
        write_history(&mut owner).await;
        history
    }

    async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// What the command answers.
    async fn command(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(["reader", "create"])
            .args(arguments)
            .env("ONRECORD_DATABASE_URL", &self.url)
            .current_dir(std::env::temp_dir())
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// The address of a new login of a tenant, which the command makes.
    async fn login(&self, tenant: &str) -> String {
        let name = login_name();
        let (is_made, out, error) = self.command(&["--tenant", tenant, "--name", &name]).await;
        assert!(is_made, "{error}");
        let password = out.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
        self.url_of(&name, password)
    }

    fn url_of(&self, name: &str, password: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let (_, address) = rest.split_once('@').unwrap();
        format!("{scheme}://{name}:{password}@{address}")
    }
}

/// The name of a login that no other test has: roles belong to the whole server.
fn login_name() -> String {
    format!("reader_{}", Uuid::new_v4().simple())
}

/// The answer to the last of these statements, as CSV. The others are run before it.
async fn answer(connection: &mut PgConnection, statements: &str) -> Result<String, sqlx::Error> {
    let statements = statements.trim().trim_end_matches(';');
    let query = match statements.rsplit_once(";\n") {
        Some((before, query)) => {
            sqlx::raw_sql(AssertSqlSafe(before.to_owned())).execute(&mut *connection).await?;
            query
        }
        None => statements,
    };
    let copy = format!("copy ({query}) to stdout (format csv)");
    let chunks = connection.copy_out_raw(&copy).await?;
    let bytes = chunks.try_fold(Vec::new(), async |mut bytes, chunk| {
        bytes.extend_from_slice(&chunk);
        Ok(bytes)
    });
    Ok(String::from_utf8(bytes.await?).unwrap())
}

/// The SQL of the questions of the documentation, by number.
fn questions() -> Vec<(usize, String)> {
    let document = fs::read_to_string(root().join("docs/sql.md")).unwrap();
    let questions = document.split("\n### ").filter_map(|section| {
        let (number, rest) = section.split_once(". ")?;
        let (_, rest) = rest.split_once("```sql\n")?;
        let (sql, _) = rest.split_once("```")?;
        Some((number.parse().ok()?, sql.to_owned()))
    });
    questions.collect()
}

/// The files of a folder of `tests/data/sql` with this ending, by name.
fn files(folder: &str, ending: &str) -> Vec<(String, PathBuf)> {
    let folder = root().join("tests/data/sql").join(folder);
    let mut files: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == ending))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    files.sort();
    files
}

/// The first lines that differ; empty: none does.
fn difference(name: &str, expected: &str, answered: &str) -> String {
    let mut difference = String::new();
    let lines = expected.lines().count().max(answered.lines().count());
    let (mut expected, mut answered) = (expected.lines(), answered.lines());
    for at in 1..=lines {
        let (wanted, found) = (expected.next(), answered.next());
        if wanted != found {
            write!(difference, "{name}, line {at}:\n  {wanted:?}\n  {found:?}\n").unwrap();
            break;
        }
    }
    difference
}

fn expected(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_questions_and_every_view_have_the_answers_that_no_sql_computed() {
    let history = History::with_rows().await;
    let mut reader = PgConnection::connect(&history.login("contoso").await).await.unwrap();
    let questions = questions();
    assert_eq!(questions.iter().map(|it| it.0).collect::<Vec<_>>(), Vec::from_iter(1..=20));
    let mut differences = String::new();
    for (number, sql) in questions {
        let path = root().join(format!("tests/data/sql/answers/{number:02}.csv"));
        let answered = answer(&mut reader, &sql).await;
        let answered = answered.unwrap_or_else(|error| format!("question {number}: {error}"));
        differences += &difference(&format!("question {number}"), &expected(&path), &answered);
    }
    let views = files("views", "sql");
    assert!(views.len() >= 13, "{views:?}");
    for (name, sql) in views {
        let answered = answer(&mut reader, &expected(&sql)).await;
        let answered = answered.unwrap_or_else(|error| format!("{name}: {error}"));
        differences += &difference(&name, &expected(&sql.with_extension("csv")), &answered);
    }
    assert!(differences.is_empty(), "{differences}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_sees_one_tenant_whatever_it_sets_and_changes_nothing() {
    let history = History::with_rows().await;
    let logins = [history.login("contoso").await, history.login("fabrikam").await];
    for (login, tenant) in logins.iter().zip(["contoso", "fabrikam"]) {
        let mut reader = PgConnection::connect(login).await.unwrap();
        sqlx::raw_sql("set onrecord.tenant = 'fabrikam'").execute(&mut reader).await.unwrap();
        let tenants: Vec<String> =
            sqlx::query_scalar("select distinct tenant from reading.obligations_all")
                .fetch_all(&mut reader)
                .await
                .unwrap();
        assert_eq!(tenants, [tenant]);
    }
    for line in data("refused.txt").lines() {
        let (code, statement) = line.split_once(' ').unwrap();
        let mut reader = PgConnection::connect(&logins[0]).await.unwrap();
        let refused = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut reader).await;
        let refused = refused.expect_err(statement);
        let answered = refused.as_database_error().and_then(|it| it.code().map(String::from));
        assert_eq!(answered.as_deref(), Some(code), "{statement}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_tenant_or_with_two_gets_an_error_and_not_an_empty_answer() {
    let history = History::migrated().await;
    let mut owner = history.owner().await;
    let name = login_name();
    let (is_made, ..) = history.command(&["--tenant", "contoso", "--name", &name]).await;
    assert!(is_made);
    let (is_made, ..) = history.command(&["--tenant", "fabrikam", "--name", &login_name()]).await;
    assert!(is_made);
    let fabrikam: String =
        sqlx::query_scalar("select role::text from tenant_role where tenant = 'fabrikam'")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    let contoso: String =
        sqlx::query_scalar("select role::text from tenant_role where tenant = 'contoso'")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    let refused = async |owner: &mut PgConnection, change: String| {
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut *owner).await.unwrap();
        let query = format!("set role {name}; select count(*) from reading.calls");
        let refused = sqlx::raw_sql(AssertSqlSafe(query)).execute(&mut *owner).await.unwrap_err();
        sqlx::raw_sql("reset role").execute(&mut *owner).await.unwrap();
        refused.to_string()
    };
    let two = refused(&mut owner, format!("grant \"{fabrikam}\" to {name}")).await;
    assert!(
        two.contains("is a member of the roles of several tenants: contoso, fabrikam"),
        "{two}"
    );
    let none = format!(
        "revoke \"{fabrikam}\", \"{contoso}\" from {name}; grant onrecord_reading to {name}"
    );
    let none = refused(&mut owner, none).await;
    assert!(none.contains("is no member of the role of a tenant"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_the_statements_for_an_administrator_and_refuses_what_is_taken() {
    let history = History::migrated().await;
    let name = login_name();
    let wanted = ["--tenant", "contoso", "--name", &name];
    let (is_printed, statements, _) =
        history.command(&[wanted.as_slice(), &["--print-sql"]].concat()).await;
    assert!(is_printed);
    assert!(!statements.contains("password"), "{statements}");
    let mut owner = history.owner().await;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut owner).await.unwrap();
    let (is_made, out, error) = history.command(&wanted).await;
    assert!(!is_made);
    assert_eq!(out, "");
    assert!(error.contains(&name) && error.contains("already exists"), "{error}");

    let (is_made, _, error) = history.command(&["--tenant", "Contoso!", "--name", &name]).await;
    assert!(!is_made && error.contains("a tenant is"), "{error}");
    let (is_made, _, error) = history.command(&["--tenant", "contoso", "--name", ""]).await;
    assert!(!is_made && error.contains("1 to 63 bytes"), "{error}");

    // What the server stores of a password is its SCRAM verifier.
    let other = login_name();
    let (is_made, ..) = history.command(&["--tenant", "contoso", "--name", &other]).await;
    assert!(is_made);
    let stored: String = sqlx::query_scalar("select rolpassword from pg_authid where rolname = $1")
        .bind(&other)
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert!(stored.starts_with("SCRAM-SHA-256$"), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_and_column_is_explained_in_one_form_and_the_documentation_has_it() {
    let history = History::migrated().await;
    let pool = PgPool::connect(&history.url).await.unwrap();
    let other: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(data("comments.sql"))).fetch_all(&pool).await.unwrap();
    assert!(other.is_empty(), "{other:#?}");

    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(data("dictionary.sql"))).fetch_all(&pool).await.unwrap();
    let path = root().join("docs/sql.md");
    let document = fs::read_to_string(&path).unwrap();
    let (head, dictionary) = document.split_once("<!-- dictionary -->\n\n").unwrap();
    let generated = lines.join("\n").trim_end().to_owned() + "\n\n<!-- /dictionary -->\n";
    if std::env::var_os("ONRECORD_TEST_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{head}<!-- dictionary -->\n\n{generated}")).unwrap();
        return;
    }
    assert_eq!(
        difference("docs/sql.md", dictionary, &generated),
        "",
        "ONRECORD_TEST_WRITE_DOCS=1 writes it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_logins_lack_leaves_the_service_usable_and_is_granted_again_by_a_migration() {
    let history = History::migrated().await;
    let mut owner = history.owner().await;
    let revoke = "revoke usage on schema reading from onrecord_reading";
    sqlx::raw_sql(revoke).execute(&mut owner).await.unwrap();
    let store = Postgres::new(&history.url, 2).unwrap();
    assert_eq!(store.unusable().await.unwrap(), None);
    let reason = store.unusable_logins().await.unwrap().unwrap();
    assert!(reason.contains("onrecord_reading may not read"), "{reason}");
    store.migrate(Utc::now()).await.unwrap();
    assert_eq!(store.unusable_logins().await.unwrap(), None);
    store.close().await;
}
