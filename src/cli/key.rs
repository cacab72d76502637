//! `onrecord key`: API keys of `/v1`, and keys of sources.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::clock;
use crate::config::{KeyHash, Settings};
use crate::domain::ids::{Digest, Tenant};
use crate::http::access::KEY_PREFIX;
use crate::store::{NewApiKey, Role, Store};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an API key and prints it; it is stored nowhere else.
    Create {
        /// Whose rows it opens.
        #[arg(long)]
        tenant: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: Role,
        /// By which you will know it again.
        #[arg(long)]
        name: String,
    },
    /// Lists all keys, without the keys themselves.
    List,
    /// Ends a key at once; nodes that serve notice within seconds.
    Revoke {
        /// As `list` shows it.
        id: Uuid,
    },
    /// Makes a key for a source and prints it with the hash for the settings.
    Source,
}

impl Options {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        if matches!(self.command, Command::Source) {
            let key = draw();
            println!("key:  {key}");
            println!("hash: {}", KeyHash::of(&key));
            println!();
            println!(
                "Give the key to the sender (header x-onrecord-key, or ?key=… in the address), and add the hash to `keys` of the source."
            );
            return Ok(ExitCode::SUCCESS);
        }
        let settings = Settings::load(config)?;
        super::runtime::runtime()?.block_on(async {
            let store = Store::new(settings.database_url.expose(), settings.store.connections)?;
            store
                .migrate(clock::now())
                .await
                .context("the schema was not migrated")?;
            match self.command {
                Command::Create { tenant, role, name } => {
                    let tenant = Tenant::parse(&tenant)?;
                    println!("{}", create(&store, &tenant, role, &name).await?);
                }
                Command::List => list(&store).await?,
                Command::Revoke { id } => {
                    if !store.revoke_api_key(id, clock::now()).await? {
                        return Err(anyhow!(
                            "no live key has the id {id}; `onrecord key list` shows them"
                        ));
                    }
                    println!("revoked {id}");
                }
                Command::Source => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Makes a key and stores its hash.
///
/// # Errors
///
/// The store does not take it.
pub async fn create(
    store: &Store,
    tenant: &Tenant,
    role: Role,
    name: &str,
) -> anyhow::Result<String> {
    let key = format!("{KEY_PREFIX}{}", draw());
    let hash = Digest::of(key.as_bytes());
    store
        .insert_api_key(&NewApiKey {
            id: Uuid::new_v4(),
            tenant,
            role,
            name,
            hash,
            created: clock::now(),
        })
        .await?;
    Ok(key)
}

async fn list(store: &Store) -> anyhow::Result<()> {
    for key in store.api_keys().await? {
        let state = key
            .revoked
            .map_or_else(|| "live".to_owned(), |at| format!("revoked {at}"));
        println!(
            "{}  {:<20} {:<8} {:<24} created {}  {state}",
            key.id,
            key.tenant.as_str(),
            key.role.as_str(),
            key.name,
            key.created
        );
    }
    Ok(())
}

/// 32 random bytes, base64url.
#[must_use]
pub fn draw() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}
