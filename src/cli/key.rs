//! `onrecord key`: creates, lists and revokes API keys, and creates keys of sources.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::clock;
use crate::config::{KeyHash, Settings};
use crate::http::api_role::ApiRole;
use crate::http::auth::KEY_PREFIX;
use crate::postgres::{ApiKey, Postgres};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// The options of `onrecord key`.
#[derive(Args)]
pub struct KeyOptions {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Creates an API key and prints it. Only its hash is stored.
    Create {
        /// The tenant whose data it permits to read.
        #[arg(long)]
        tenant: String,
        /// The permissions of the key.
        #[arg(long, value_enum)]
        role: ApiRole,
        /// A name that `list` shows.
        #[arg(long)]
        name: String,
    },
    /// Lists all API keys, without the keys themselves.
    List,
    /// Revokes an API key; running nodes reject it within seconds.
    Revoke {
        /// The id that `list` shows.
        id: Uuid,
    },
    /// Creates a key for a source and prints it with the hash for the settings.
    Source,
}

impl KeyOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let open = async || -> anyhow::Result<Postgres> {
            let settings = Settings::load(config)?;
            let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
            store.migrate(clock::now()).await.context("the schema was not migrated")?;
            Ok(store)
        };
        super::runtime::runtime()?.block_on(async {
            match self.command {
                KeyCommand::Create { tenant, role, name } => {
                    let store = open().await?;
                    let tenant = Tenant::parse(&tenant)?;
                    println!("{}", create(&store, &tenant, role, &name).await?);
                }
                KeyCommand::List => list(&open().await?).await?,
                KeyCommand::Revoke { id } => {
                    let is_revoked = open().await?.revoke_api_key(id, clock::now()).await?;
                    ensure!(
                        is_revoked,
                        "no live key has the id {id}; `onrecord key list` shows them"
                    );
                    println!("revoked {id}");
                }
                KeyCommand::Source => {
                    let key = random_secret();
                    println!("key:  {key}");
                    println!("hash: {}", KeyHash::of(&key));
                    println!();
                    println!(
                        "Give the key to the sender (header x-onrecord-key, or ?key=… in the address), and add the hash to `keys` of the source."
                    );
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Creates a key and stores its hash.
///
/// # Errors
///
/// Postgres does not store it.
pub async fn create(
    store: &Postgres,
    tenant: &Tenant,
    role: ApiRole,
    name: &str,
) -> anyhow::Result<String> {
    let key = format!("{KEY_PREFIX}{}", random_secret());
    let hash = Digest::of(key.as_bytes());
    store
        .insert_api_key(&ApiKey {
            id: Uuid::new_v4(),
            tenant: tenant.clone(),
            role,
            name: name.to_owned(),
            hash,
            created_at: clock::now(),
            revoked_at: None,
        })
        .await?;
    Ok(key)
}

async fn list(store: &Postgres) -> anyhow::Result<()> {
    for key in store.api_keys().await? {
        let state = key.revoked_at.map_or_else(|| "live".to_owned(), |at| format!("revoked {at}"));
        println!(
            "{}  {:<20} {:<8} {:<24} created {}  {state}",
            key.id,
            key.tenant.as_str(),
            key.role.as_str(),
            key.name,
            key.created_at
        );
    }
    Ok(())
}

/// A random secret: 32 bytes, base64url.
#[must_use]
pub fn random_secret() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}
