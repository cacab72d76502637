//! `onrecord key`: creates, lists and revokes API keys, and creates keys of sources.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::clock;
use crate::config::{KeyHash, Settings};
use crate::http::api_role::ApiRole;
use crate::http::subscriber_token::revocations::{IssuedUntil, RevokedTokens, TokenRevocation};
use crate::postgres::{ApiKey, Postgres};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant;
use onrecord_evidence::identity::raw_id::{canonical_raw_id, has_known_form};

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
    /// Revokes an API key; running nodes reject it within seconds. The subscriber tokens that it
    /// minted stay valid, unless they are revoked too.
    Revoke {
        /// The id that `list` shows.
        id: Uuid,
        /// Revokes the subscriber tokens that the key minted too.
        #[arg(long)]
        with_tokens: bool,
    },
    /// Revokes subscriber tokens; running nodes reject them and end their streams within seconds.
    RevokeTokens {
        /// The tenant of the tokens; not needed with `--key`.
        #[arg(long, required_unless_present = "key")]
        tenant: Option<String>,
        #[command(flatten)]
        which: TokenChoice,
    },
    /// Creates a key for a source and prints it with the hash for the settings.
    Source,
}

/// Which tokens to revoke.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct TokenChoice {
    /// Those of the person with this raw id.
    #[arg(long)]
    raw_id: Option<String>,
    /// Those that the API key with this id minted; `list` shows the ids. If the key is revoked, also
    /// those that a node mints before it has read that.
    #[arg(long)]
    key: Option<Uuid>,
    /// All that were issued until this instant (RFC 3339).
    #[arg(long)]
    issued_before: Option<DateTime<Utc>>,
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
                KeyCommand::Revoke { id, with_tokens } => {
                    let store = open().await?;
                    let is_revoked = store.revoke_api_key(id, clock::now()).await?;
                    ensure!(
                        is_revoked,
                        "no live key has the id {id}; `onrecord key list` shows them"
                    );
                    println!("revoked {id}");
                    if with_tokens {
                        revoke_tokens(&store, None, TokenChoice::minted_by(id)).await?;
                    } else {
                        println!(
                            "The subscriber tokens that it minted stay valid until they expire; to revoke them: onrecord key revoke-tokens --key {id}"
                        );
                    }
                }
                KeyCommand::RevokeTokens { tenant, which } => {
                    let tenant = tenant.as_deref().map(Tenant::parse).transpose()?;
                    revoke_tokens(&open().await?, tenant, which).await?;
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
    let (text, key) = ApiKey::generate(tenant, role, name, clock::now());
    store.insert_api_key(&key).await?;
    Ok(text)
}

impl TokenChoice {
    fn minted_by(key: Uuid) -> Self {
        Self { raw_id: None, key: Some(key), issued_before: None }
    }
}

/// Revokes tokens; those of a key belong to the tenant of the key.
async fn revoke_tokens(
    store: &Postgres,
    tenant: Option<Tenant>,
    which: TokenChoice,
) -> anyhow::Result<()> {
    let now = clock::now_ms();
    let (tokens, issued_until) = match which {
        TokenChoice { raw_id: Some(raw_id), .. } => {
            let raw_id = canonical_raw_id(&raw_id).into_owned();
            ensure!(
                has_known_form(&raw_id),
                "{raw_id:?} is no raw id of a known form, so there is no token for it: give the one that the token was minted for, for example 8:acs:{{resource id}}_{{user id}}"
            );
            (RevokedTokens::Person(raw_id), now)
        }
        TokenChoice { key: Some(key), .. } => (RevokedTokens::Key(key), now),
        TokenChoice { issued_before: Some(instant), .. } => {
            (RevokedTokens::All, instant.timestamp_millis())
        }
        TokenChoice { raw_id: None, key: None, issued_before: None } => {
            bail!("name --raw-id, --key or --issued-before")
        }
    };
    ensure!(issued_until <= now, "--issued-before lies in the future");
    let mut limit = IssuedUntil::At(issued_until);
    let tenant = match tokens {
        RevokedTokens::Key(id) => {
            let keys = store.api_keys().await?;
            let key = keys.into_iter().find(|key| key.id == id);
            let key = key.with_context(|| {
                format!("no key has the id {id}; `onrecord key list` shows them")
            })?;
            ensure!(
                tenant.is_none_or(|tenant| tenant == key.tenant),
                "the key {id} belongs to the tenant {}",
                key.tenant
            );
            // For some seconds, or as long as its store is away, a node accepts a revoked key.
            if key.revoked_at.is_some() {
                limit = IssuedUntil::Forever;
            }
            key.tenant
        }
        RevokedTokens::Person(_) | RevokedTokens::All => tenant.context("name --tenant")?,
    };
    let until = match limit {
        IssuedUntil::At(instant) => {
            let text = instant::text(instant).context("--issued-before is out of range")?;
            format!("that were issued until {text}")
        }
        IssuedUntil::Forever => "whenever they were issued".to_owned(),
    };
    let what = match &tokens {
        RevokedTokens::Person(raw_id) => format!("of {raw_id}"),
        RevokedTokens::Key(key) => format!("that the key {key} minted"),
        RevokedTokens::All => "of all participants".to_owned(),
    };
    store.revoke_tokens(&TokenRevocation { tenant, tokens, issued_until: limit }, None).await?;
    println!("revoked the subscriber tokens {what}, {until}");
    Ok(())
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
