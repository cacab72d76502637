//! `onrecord reader`: makes logins for SQL clients, each pinned to one tenant by the database.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use postgres_protocol::password::scram_sha_256;

use super::key::random_secret;
use crate::clock;
use crate::config::Settings;
use crate::postgres::Postgres;
use onrecord_evidence::event::ids::Tenant;

/// The options of `onrecord reader`.
#[derive(Args)]
pub(crate) struct ReaderOptions {
    #[command(subcommand)]
    command: ReaderCommand,
}

#[derive(Subcommand)]
enum ReaderCommand {
    /// Creates a login for SQL clients and prints its password, which is stored nowhere else.
    ///
    /// It sees one tenant, in the views of the schema `reading`, and can change nothing. It ends with
    /// `drop role NAME`.
    Create {
        /// The tenant whose rows it sees.
        #[arg(long)]
        tenant: String,
        /// The name of the login.
        #[arg(long)]
        name: String,
        /// Prints the statements for an administrator of the server instead, without a password.
        #[arg(long)]
        print_sql: bool,
    },
}

impl ReaderOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let ReaderCommand::Create { tenant, name, print_sql } = self.command;
        let tenant = Tenant::parse(&tenant)?;
        let settings = Settings::load(config)?;
        super::runtime::runtime()?.block_on(async {
            let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
            store.migrate(clock::now()).await.context("the schema was not migrated")?;
            if print_sql {
                for statement in store.reader_login_statements(&tenant, &name).await? {
                    println!("{statement}");
                }
                return Ok(ExitCode::SUCCESS);
            }
            let password = random_secret();
            let verifier = scram_sha_256(password.as_bytes());
            store.create_reader_login(&tenant, &name, &verifier).await.with_context(|| {
                format!("the login {name} was not created; with --print-sql the statements are printed, for an administrator to run")
            })?;
            println!("login:    {name}");
            println!("password: {password}");
            println!();
            println!("It sees the tenant {tenant} in the schema reading; docs/sql.md has the views and questions.");
            Ok(ExitCode::SUCCESS)
        })
    }
}
