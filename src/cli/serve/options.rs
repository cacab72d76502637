//! The options of `onrecord serve`: which roles a process has.

use clap::{Args, ValueEnum};

/// The options of `onrecord serve`.
#[derive(Args, Debug, Default)]
pub struct ServeOptions {
    /// The roles of this process; all of them unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
    /// Do not migrate the schema; wait until `onrecord migrate` has done it.
    #[arg(long)]
    pub(super) no_migrate: bool,
}

impl ServeOptions {
    /// All roles, without migrating.
    #[must_use]
    pub fn without_migration() -> Self {
        Self { no_migrate: true, ..Self::default() }
    }

    /// These roles alone.
    #[must_use]
    pub fn of_roles(roles: Vec<Role>) -> Self {
        Self { roles, ..Self::default() }
    }

    /// The roles of the process.
    pub(super) fn chosen_roles(&self) -> Vec<Role> {
        if self.roles.is_empty() { Role::value_variants().to_vec() } else { self.roles.clone() }
    }
}

/// A part of the service that a process can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// Receives deliveries of Event Grid and Call Automation, and publishes them.
    Ingest,
    /// Appends the log to the record, computes reports, drains the spool.
    Ledger,
    /// Streams notices; takes reports and acknowledgements; mints subscriber tokens.
    Live,
    /// Answers the query API.
    Query,
    /// Serves the pages of the web console.
    Console,
    /// Sends outbound webhooks.
    Webhooks,
}

impl Role {
    /// Whether its availability is recorded: without the query API, events are still received,
    /// appended and announced.
    pub(super) fn is_recorded(self) -> bool {
        match self {
            Self::Ingest | Self::Ledger | Self::Live => true,
            Self::Query | Self::Console | Self::Webhooks => false,
        }
    }
}
