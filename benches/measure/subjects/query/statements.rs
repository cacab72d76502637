//! The statements that the service sends for a request: read from the log of the database, run bare, explained.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::Context as _;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::measure::environment::Namespace;

/// What the lines of sessions that serve readers begin with; the number of the session follows.
const APPLICATION: &str = "onrecord-readers|";
/// What a session of the service sets.
pub const SESSION_OPTIONS: &str = "-c jit=off -c timezone=UTC";
/// Time in which the log has what was executed.
const LOG_DELAY: Duration = Duration::from_millis(60);
/// A table with fewer rows may be read as a whole.
const LARGE_ROWS: f64 = 10_000.0;

/// A statement with the values of its parameters.
#[derive(Clone, Debug)]
pub struct LoggedStatement {
    sql: String,
    /// From `$1` on; `None`: null.
    parameters: Vec<Option<String>>,
}

/// The log of the database, which has each statement.
pub struct StatementLog {
    file: PathBuf,
}

/// Lets the log of the database have the statements of new sessions, or not.
pub async fn log_statements(namespace: &Namespace, is_on: bool) -> anyhow::Result<StatementLog> {
    let mut admin = namespace.database().await?;
    let database: String =
        sqlx::query_scalar("select quote_ident(current_database())").fetch_one(&mut admin).await?;
    let statements = if is_on {
        vec![
            format!("alter database {database} set log_statement = 'all'"),
            format!("alter database {database} set log_error_verbosity = 'default'"),
            "alter system set log_line_prefix = '%a|%p|'".to_owned(),
        ]
    } else {
        vec![
            format!("alter database {database} reset log_statement"),
            format!("alter database {database} reset log_error_verbosity"),
            "alter system reset log_line_prefix".to_owned(),
        ]
    };
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
    }
    sqlx::raw_sql("select pg_reload_conf()").execute(&mut admin).await?;
    let folder: String = sqlx::query_scalar("select current_setting('data_directory')")
        .fetch_one(&mut admin)
        .await?;
    let folder = PathBuf::from(folder);
    let file = folder.parent().context("the server has no folder")?.join("server.log");
    Ok(StatementLog { file })
}

impl StatementLog {
    /// The statements that are executed for readers meanwhile.
    pub fn statements_of(
        &self,
        run: impl FnOnce() -> io::Result<()>,
    ) -> anyhow::Result<Vec<LoggedStatement>> {
        let before = fs::metadata(&self.file)?.len();
        run()?;
        thread::sleep(LOG_DELAY);
        let log = fs::read(&self.file)?;
        let new = log.get(usize::try_from(before)?..).unwrap_or_default();
        Ok(parse_log(&String::from_utf8_lossy(new)))
    }
}

/// The statements of readers in a part of a log. Other lines of a message begin with a tab.
fn parse_log(log: &str) -> Vec<LoggedStatement> {
    let mut messages: Vec<String> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), messages.last_mut()) {
            (Some(more), Some(message)) => {
                message.push('\n');
                message.push_str(more);
            }
            _ => messages.push(line.to_owned()),
        }
    }
    // One session after the other, in the order of their first statements.
    let mut sessions: Vec<(&str, Vec<LoggedStatement>)> = Vec::new();
    for message in messages.iter().filter_map(|message| message.strip_prefix(APPLICATION)) {
        let Some((session, message)) = message.split_once('|') else { continue };
        let place = sessions.iter().position(|(name, _)| *name == session).unwrap_or_else(|| {
            sessions.push((session, Vec::new()));
            sessions.len() - 1
        });
        let statements = &mut sessions[place].1;
        if let Some(sql) = message.strip_prefix("LOG:  statement: ") {
            statements.push(LoggedStatement { sql: sql.to_owned(), parameters: Vec::new() });
        } else if let Some((_, sql)) =
            message.strip_prefix("LOG:  execute ").and_then(|rest| rest.split_once(": "))
        {
            statements.push(LoggedStatement { sql: sql.to_owned(), parameters: Vec::new() });
        } else if let (Some(values), Some(last)) =
            (message.strip_prefix("DETAIL:  parameters: "), statements.last_mut())
        {
            last.parameters = parse_parameters(values);
        }
    }
    sessions.into_iter().flat_map(|(_, statements)| statements).collect()
}

/// `$1 = 'text with '' in it', $2 = NULL, …`
fn parse_parameters(text: &str) -> Vec<Option<String>> {
    let mut parameters = Vec::new();
    let mut rest = text;
    while let Some((_, value)) = rest.split_once(" = ") {
        if let Some(after) = value.strip_prefix("NULL") {
            parameters.push(None);
            rest = after;
            continue;
        }
        let mut found = String::new();
        let mut characters = value.char_indices().skip(1).peekable();
        let mut end = value.len();
        while let Some((at, character)) = characters.next() {
            if character != '\'' {
                found.push(character);
            } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
                found.push('\'');
            } else {
                end = at + 1;
                break;
            }
        }
        parameters.push(Some(found));
        rest = value.get(end..).unwrap_or_default();
    }
    parameters
}

impl LoggedStatement {
    /// The statement with something in the place of each parameter.
    fn filled(&self, value: impl Fn(usize, Option<&str>) -> String) -> String {
        let mut filled = String::new();
        let mut rest = self.sql.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            let digits =
                after.len() - after.trim_start_matches(|it: char| it.is_ascii_digit()).len();
            let (number, after) = after.split_at(digits);
            match number.parse::<usize>().ok().filter(|number| *number > 0) {
                Some(number) => {
                    let parameter = self.parameters.get(number - 1).cloned().flatten();
                    filled.push_str(&value(number, parameter.as_deref()));
                }
                None => filled.push('$'),
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    /// For `pgbench`: a variable for each parameter, whose name begins with this. A row of the access log
    /// needs an id of its own, and there are no empty variables.
    pub fn with_variables(&self, name: &str) -> String {
        self.filled(|number, value| match value {
            None => "null".to_owned(),
            Some("") => "''".to_owned(),
            Some(_) if self.is_access() && number == 2 => "gen_random_uuid()".to_owned(),
            Some(_) => format!(":{name}{number}"),
        })
    }

    /// The variables of [`LoggedStatement::with_variables`].
    pub fn variables(&self, name: &str) -> Vec<(String, String)> {
        let numbered = self.parameters.iter().zip(1..);
        numbered
            .filter(|(_, number)| !(self.is_access() && *number == 2))
            .filter_map(|(value, number)| Some((format!("{name}{number}"), value.clone()?)))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    fn with_literals(&self) -> String {
        self.filled(|_, value| match value {
            None => "null".to_owned(),
            Some(value) => format!("'{}'", value.replace('\'', "''")),
        })
    }

    fn is_access(&self) -> bool {
        self.sql.trim_start().starts_with("insert into access_log")
    }

    /// Whether it sets something for those that follow.
    fn sets(&self) -> bool {
        self.parameters.is_empty() && !self.sql.trim_start().starts_with("select")
            || self.sql.contains("set_config(")
    }
}

/// The sequential scans of large tables in the plans of these statements.
pub async fn large_scans(
    namespace: &Namespace,
    logged: &[Vec<LoggedStatement>],
) -> anyhow::Result<BTreeSet<String>> {
    let mut database = namespace.database().await?;
    let large: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relkind = 'r' and reltuples > $1 and relnamespace = 'public'::regnamespace",
    )
    .bind(LARGE_ROWS)
    .fetch_all(&mut database)
    .await?;
    let mut scans = BTreeSet::new();
    for statement in logged.iter().flatten() {
        if statement.is_access() {
            continue;
        }
        let sql = statement.with_literals();
        if statement.sets() {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut database).await?;
            continue;
        }
        let explain = format!("explain (format json) {sql}");
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
            .fetch_one(&mut database)
            .await
            .with_context(|| sql.clone())?;
        collect_scans(&plan, &large, &sql, &mut scans);
    }
    Ok(scans)
}

fn collect_scans(plan: &Value, large: &[String], sql: &str, scans: &mut BTreeSet<String>) {
    match plan {
        Value::Array(parts) => {
            parts.iter().for_each(|part| collect_scans(part, large, sql, scans));
        }
        Value::Object(node) => {
            let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default();
            let relation = text("Relation Name");
            let is_large = large.iter().any(|name| relation == name);
            if text("Node Type").ends_with("Seq Scan") && is_large {
                scans.insert(format!("{relation} in {sql:.100}"));
            }
            node.values().for_each(|part| collect_scans(part, large, sql, scans));
        }
        _ => {}
    }
}
