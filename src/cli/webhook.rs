//! `onrecord webhook`: subscriptions of outbound webhooks, and their messages.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::clock;
use crate::config::Settings;
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{
    MessageFilter, MessageState, Postgres, RedeliveredMessages, SignatureAlgorithm, StaleNotices,
    StoredMessage, StoredWebhook, WebhookChange, WebhookContent, WebhookFilter, WebhookState,
};
use crate::webhooks::context::WebhookManager;
use crate::webhooks::routes::manage::{self, new_challenge};
use crate::webhooks::routes::subscription_body::WebhookBody;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::parse_source_time;

/// Maximum number of subscriptions that are listed.
const MAX_LISTED: i64 = 1_000;
/// Who created a subscription of the command line.
const CREATOR: &str = "command line";

/// The options of `onrecord webhook`.
#[derive(Args)]
pub(crate) struct WebhookOptions {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Subcommand)]
enum WebhookCommand {
    /// Creates a subscription, and prints its secret. It is pending until its receiver answers a challenge.
    Create(Box<CreateOptions>),
    /// Lists the subscriptions of a tenant.
    List {
        /// The tenant.
        #[arg(long)]
        tenant: String,
    },
    /// Prints a subscription as JSON.
    Show(Which),
    /// Pauses an active subscription; its messages wait.
    Pause(Which),
    /// Resumes a paused or disabled subscription; challenges a pending one again.
    Resume(Which),
    /// Sends a test message.
    Test(Which),
    /// Replaces the secret, and prints the new one.
    Rotate {
        #[command(flatten)]
        which: Which,
        /// How long the secret before signs besides, in hours.
        #[arg(long, default_value_t = 24)]
        overlap_hours: u32,
    },
    /// Deletes a subscription and its messages.
    Delete(Which),
    /// Lists the messages of a subscription, last made first.
    Messages {
        #[command(flatten)]
        which: Which,
        /// Only messages in this state.
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(crate::postgres::MESSAGE_STATES))]
        state: Option<String>,
        /// Only messages of events of this name.
        #[arg(long = "type", value_name = "NAME")]
        name: Option<String>,
        /// Only the message of the event with this id.
        #[arg(long)]
        event: Option<String>,
        /// Maximum number of messages.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Prints a message with its attempts as JSON.
    Message {
        #[command(flatten)]
        which: Which,
        /// The id of the message.
        message: String,
    },
    /// Sends messages again, each with the id that it had.
    Redeliver {
        #[command(flatten)]
        which: Which,
        /// Only this message.
        #[arg(long, conflicts_with_all = ["since", "until", "all"], required_unless_present = "since")]
        message: Option<String>,
        /// Messages that were made from this instant on, in RFC 3339.
        #[arg(long, value_parser = instant)]
        since: Option<DateTime<Utc>>,
        /// Messages that were made before this instant; now, unless given.
        #[arg(long, value_parser = instant, requires = "since")]
        until: Option<DateTime<Utc>>,
        /// All that are finished, not only those that failed.
        #[arg(long, requires = "since")]
        all: bool,
    },
}

/// A subscription of a tenant.
#[derive(Args)]
struct Which {
    /// The tenant.
    #[arg(long)]
    tenant: String,
    /// The id of the subscription, which `list` shows.
    id: Uuid,
}

#[derive(Args)]
struct CreateOptions {
    /// The tenant whose events it receives.
    #[arg(long)]
    tenant: String,
    /// Where messages are posted.
    #[arg(long)]
    url: String,
    /// The events, separated by commas: names, or patterns such as "notice.*".
    #[arg(long, value_delimiter = ',', required = true)]
    events: Vec<String>,
    /// What it is for.
    #[arg(long, default_value = "")]
    description: String,
    /// Only events of calls of these client apps.
    #[arg(long, value_delimiter = ',')]
    app: Vec<String>,
    /// Only events of these kinds of calls and exceptions.
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,
    /// Only exceptions of these severities.
    #[arg(long, value_delimiter = ',')]
    severity: Vec<String>,
    /// What the messages have.
    #[arg(long, value_enum, default_value = "thin")]
    content: WebhookContent,
    /// What becomes of a notice that can no longer be announced.
    #[arg(long, value_enum, default_value = "drop")]
    stale: StaleNotices,
    /// How messages are signed.
    #[arg(long, value_enum, default_value = "v1")]
    algorithm: SignatureAlgorithm,
    /// Where it is told that the subscription was disabled.
    #[arg(long)]
    fallback_url: Option<String>,
    /// Maximum attempts per second.
    #[arg(long)]
    rate_limit: Option<i32>,
    /// Maximum attempts at a time.
    #[arg(long)]
    concurrency: Option<i32>,
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = parse_source_time(text);
    parsed.ok_or_else(|| "an instant in RFC 3339, for example 2026-11-23T18:00:00Z".to_owned())
}

impl WebhookOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(config)?;
        super::runtime::runtime()?.block_on(async {
            let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
            store.migrate(clock::now()).await.context("the schema was not migrated")?;
            let manager = WebhookManager::new(&store, &settings.webhooks);
            execute(self.command, &manager).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn execute(command: WebhookCommand, manager: &WebhookManager) -> anyhow::Result<()> {
    let store = &manager.store;
    match command {
        WebhookCommand::Create(options) => create(*options, manager).await?,
        WebhookCommand::List { tenant } => {
            let mut snapshot = store.read(&Tenant::parse(&tenant)?).await?;
            for webhook in snapshot.webhooks(None, MAX_LISTED).await? {
                println!("{}", line(&webhook));
            }
        }
        WebhookCommand::Show(which) => {
            let (_, webhook) = which.find(store).await?;
            println!("{}", serde_json::to_string_pretty(&webhook)?);
        }
        WebhookCommand::Pause(which) => {
            let (tenant, webhook) = which.find(store).await?;
            changed(
                store.pause_webhook(&tenant, webhook.id).await?,
                "only an active one can be paused",
            )?;
            println!("paused {}", webhook.id);
        }
        WebhookCommand::Resume(which) => {
            let (tenant, webhook) = which.find(store).await?;
            let change = store.resume_webhook(&tenant, webhook.id, &new_challenge()).await?;
            changed(change, "it is active")?;
            println!("resumed {}", webhook.id);
        }
        WebhookCommand::Test(which) => {
            let (tenant, webhook) = which.find(store).await?;
            let change = store.test_webhook(&tenant, webhook.id, Uuid::now_v7(), CREATOR).await?;
            changed(change, "only an active one can be tested")?;
            println!("a test message is sent soon; `onrecord webhook messages` shows it");
        }
        WebhookCommand::Rotate { which, overlap_hours } => {
            let (tenant, webhook) = which.find(store).await?;
            let overlap = Duration::from_secs(u64::from(overlap_hours) * 3600);
            let rotated = manage::rotate(manager, &tenant, &webhook, Some(overlap)).await;
            let (shown, until) = rotated.map_err(said)?.context("the webhook was deleted")?;
            println!("{shown}");
            println!("The secret before signs besides until {}.", micros(until));
        }
        WebhookCommand::Delete(which) => {
            let (tenant, webhook) = which.find(store).await?;
            store.delete_webhook(&tenant, webhook.id).await?;
            println!("deleted {}", webhook.id);
        }
        WebhookCommand::Messages { which, state, name, event, limit } => {
            let (tenant, webhook) = which.find(store).await?;
            let filter = MessageFilter { state, name, event };
            let mut snapshot = store.read(&tenant).await?;
            let messages =
                snapshot.webhook_messages(webhook.id, &filter, None, limit.into()).await?;
            for message in messages {
                println!("{}", message_line(&message));
            }
        }
        WebhookCommand::Message { which, message } => {
            let (tenant, webhook) = which.find(store).await?;
            let mut snapshot = store.read(&tenant).await?;
            let found = snapshot.webhook_message(webhook.id, &message).await?;
            let (message, attempts) = found.context("the webhook has no such message")?;
            println!("{}", serde_json::to_string_pretty(&message)?);
            println!("{}", serde_json::to_string_pretty(&attempts)?);
        }
        WebhookCommand::Redeliver { which, message, since, until, all } => {
            let (tenant, webhook) = which.find(store).await?;
            let number = match (message, since) {
                (Some(message), _) => {
                    let found =
                        store.redeliver_webhook_message(&tenant, webhook.id, &message).await?;
                    ensure!(found, "the webhook has no such message, or it is being sent");
                    1
                }
                (None, Some(since)) => {
                    let period = (since, until.unwrap_or_else(clock::now));
                    let which =
                        if all { RedeliveredMessages::All } else { RedeliveredMessages::Failed };
                    store.redeliver_webhook_messages(&tenant, webhook.id, period, which).await?
                }
                (None, None) => bail!("name a message, or a period"),
            };
            println!("{number} message(s) are sent again");
        }
    }
    Ok(())
}

async fn create(options: CreateOptions, manager: &WebhookManager) -> anyhow::Result<()> {
    let tenant = Tenant::parse(&options.tenant)?;
    let word = |word: &'static str| Some(word.to_owned());
    let body = WebhookBody {
        url: options.url,
        events: options.events,
        filter: WebhookFilter { app: options.app, kind: options.kind, severity: options.severity },
        description: options.description,
        content: word(options.content.into()),
        stale: word(options.stale.into()),
        algorithm: word(options.algorithm.into()),
        fallback_url: options.fallback_url,
        rate_limit: options.rate_limit,
        concurrency: options.concurrency,
    };
    let order = body.parse(&manager.rules).map_err(said)?;
    let created = manage::create(manager, &tenant, &order, (None, CREATOR)).await;
    let (id, shown) = created.map_err(said)?;
    println!("id:     {id}");
    println!("secret: {shown}");
    println!();
    println!(
        "The secret is shown here only. The webhook is active when its receiver has answered the challenge."
    );
    Ok(())
}

impl Which {
    async fn find(&self, store: &Postgres) -> anyhow::Result<(Tenant, StoredWebhook)> {
        let tenant = Tenant::parse(&self.tenant)?;
        let webhook = store.read(&tenant).await?.webhook(self.id).await?;
        let webhook = webhook.with_context(|| {
            format!(
                "the tenant {} has no webhook {}; `onrecord webhook list` shows them",
                self.tenant, self.id
            )
        })?;
        Ok((tenant, webhook))
    }
}

fn changed(change: WebhookChange, refusal: &str) -> anyhow::Result<()> {
    match change {
        WebhookChange::Changed => Ok(()),
        WebhookChange::NotPermitted => {
            bail!("the state of the webhook does not permit it: {refusal}")
        }
        WebhookChange::Unknown => bail!("the webhook was deleted"),
    }
}

/// What a problem says.
fn said(problem: Problem) -> anyhow::Error {
    match problem.member() {
        Some(member) => anyhow!("{}: {}", member.trim_start_matches('/'), problem.detail()),
        None => anyhow!("{}", problem.detail()),
    }
}

fn line(webhook: &StoredWebhook) -> String {
    let state = match &webhook.state {
        WebhookState::Pending { reason: None } => "pending".to_owned(),
        WebhookState::Pending { reason: Some(reason) } => format!("pending ({reason})"),
        WebhookState::Active => "active".to_owned(),
        WebhookState::Paused => "paused".to_owned(),
        WebhookState::Disabled { reason } => format!("disabled ({reason})"),
    };
    // A query may have a secret.
    let url = webhook.url.split('?').next().unwrap_or_default();
    format!("{}  {state}  {url}  {}", webhook.id, webhook.events.join(","))
}

fn message_line(message: &StoredMessage) -> String {
    let state = match &message.state {
        MessageState::Due { due_at } => format!("due at {}", micros(*due_at)),
        MessageState::InFlight { .. } => "in flight".to_owned(),
        MessageState::Delivered { finished_at } => format!("delivered at {}", micros(*finished_at)),
        MessageState::Retrying { due_at } => format!("retrying at {}", micros(*due_at)),
        MessageState::Exhausted { reason, .. } => format!("exhausted: {reason}"),
        MessageState::Dropped { reason, .. } => format!("dropped: {reason}"),
    };
    format!("{}  {}  attempts {}  {state}", message.id, message.name, message.attempts)
}
