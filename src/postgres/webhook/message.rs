//! Messages and their attempts, as readers see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::timestamp::serialize_micros;
use crate::postgres::{StoreError, TenantSnapshot};

/// The state of a message, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum MessageState {
    /// No attempt was made yet.
    Due {
        /// From when on one is made.
        #[serde(serialize_with = "serialize_micros")]
        due_at: DateTime<Utc>,
    },
    /// An attempt goes on.
    InFlight {
        /// Later another node makes it again.
        #[serde(serialize_with = "serialize_micros")]
        lease_until: DateTime<Utc>,
    },
    /// The receiver accepted it.
    Delivered {
        /// When.
        #[serde(serialize_with = "serialize_micros")]
        finished_at: DateTime<Utc>,
    },
    /// The last attempt failed.
    Retrying {
        /// From when on the next one is made.
        #[serde(serialize_with = "serialize_micros")]
        due_at: DateTime<Utc>,
    },
    /// The last attempt failed, and no further one is made.
    Exhausted {
        /// When.
        #[serde(serialize_with = "serialize_micros")]
        finished_at: DateTime<Utc>,
        /// Why no further one is made.
        reason: String,
    },
    /// It is not sent.
    Dropped {
        /// When.
        #[serde(serialize_with = "serialize_micros")]
        finished_at: DateTime<Utc>,
        /// Why.
        reason: String,
    },
}

/// The names of the states of messages.
pub const MESSAGE_STATES: &[&str] =
    &["due", "in_flight", "delivered", "retrying", "exhausted", "dropped"];

/// A message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookMessage)]
pub struct StoredMessage {
    /// The id of the message, which its receiver reads in the header `webhook-id`.
    pub id: String,
    /// The id of the subscription.
    pub webhook: Uuid,
    #[serde(flatten)]
    pub state: MessageState,
    /// The name of the event.
    #[serde(rename = "type")]
    pub name: String,
    /// The id of the event.
    pub event: String,
    /// The id of the call. Null: the event concerns none.
    #[schema(required = true)]
    pub call: Option<String>,
    /// When the event happened.
    #[serde(serialize_with = "serialize_micros")]
    pub occurred_at: DateTime<Utc>,
    /// When the message was made.
    #[serde(serialize_with = "serialize_micros")]
    pub created_at: DateTime<Utc>,
    /// Number of attempts that were begun.
    pub attempts: i32,
    /// Its place in the order of messages.
    #[serde(skip)]
    pub position: i64,
    /// The data of the event.
    #[serde(skip)]
    pub data: Value,
}

/// An attempt at a message.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct StoredAttempt {
    /// Number of the attempt, from 1.
    pub number: i32,
    /// When it began.
    #[serde(serialize_with = "serialize_micros")]
    pub at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
    /// `delivered`, `failed`, or `gone` (the receiver answered 410).
    pub outcome: String,
    /// The status of the answer. Null: there was none.
    #[schema(required = true)]
    pub status: Option<i32>,
    /// What failed. Null: nothing.
    #[schema(required = true)]
    pub error: Option<String>,
    /// The first kilobyte of the body of the answer, redacted. Null: it had none.
    #[schema(required = true)]
    pub answer: Option<String>,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: String,
    subscription: Uuid,
    event: String,
    r#type: String,
    call: Option<String>,
    occurred_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    state: String,
    due_at: Option<DateTime<Utc>>,
    lease_until: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    attempts: i32,
    position: i64,
    data: Value,
}

impl MessageRow {
    fn parse(self) -> Result<StoredMessage, StoreError> {
        let state = self.state().ok_or_else(|| {
            StoreError::Inconsistent(format!(
                "the message {} has no state of this version",
                self.id
            ))
        })?;
        Ok(StoredMessage {
            id: self.id,
            webhook: self.subscription,
            state,
            name: self.r#type,
            event: self.event,
            call: self.call,
            occurred_at: self.occurred_at,
            created_at: self.created_at,
            attempts: self.attempts,
            position: self.position,
            data: self.data,
        })
    }

    fn state(&self) -> Option<MessageState> {
        let reason = || self.reason.clone();
        Some(match self.state.as_str() {
            "due" => MessageState::Due { due_at: self.due_at? },
            "in_flight" => MessageState::InFlight { lease_until: self.lease_until? },
            "delivered" => MessageState::Delivered { finished_at: self.finished_at? },
            "retrying" => MessageState::Retrying { due_at: self.due_at? },
            "exhausted" => {
                MessageState::Exhausted { finished_at: self.finished_at?, reason: reason()? }
            }
            "dropped" => {
                MessageState::Dropped { finished_at: self.finished_at?, reason: reason()? }
            }
            _ => return None,
        })
    }
}

/// Which messages of a subscription are listed.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    pub state: Option<String>,
    /// The name of the event.
    pub name: Option<String>,
    /// The id of the event.
    pub event: Option<String>,
}

impl TenantSnapshot {
    /// Messages of a subscription, last made first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn webhook_messages(
        &mut self,
        subscription: Uuid,
        filter: &MessageFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let rows: Vec<MessageRow> = sqlx::query_as(SELECT_MESSAGES)
            .bind(self.tenant.as_str())
            .bind(subscription)
            .bind(&filter.state)
            .bind(&filter.name)
            .bind(&filter.event)
            .bind(before)
            .bind(limit)
            .fetch_all(&mut *self.transaction)
            .await?;
        rows.into_iter().map(MessageRow::parse).collect()
    }

    /// A message of a subscription, with its attempts in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn webhook_message(
        &mut self,
        subscription: Uuid,
        id: &str,
    ) -> Result<Option<(StoredMessage, Vec<StoredAttempt>)>, StoreError> {
        let query = sqlx::query_as(SELECT_MESSAGE).bind(self.tenant.as_str());
        let query = query.bind(subscription).bind(id);
        let row: Option<MessageRow> = query.fetch_optional(&mut *self.transaction).await?;
        let Some(row) = row else { return Ok(None) };
        let query = sqlx::query_as(SELECT_ATTEMPTS).bind(self.tenant.as_str()).bind(id);
        let attempts = query.fetch_all(&mut *self.transaction).await?;
        Ok(Some((row.parse()?, attempts)))
    }
}

macro_rules! message_columns {
    () => {
        "select id, subscription, event, type, call, occurred_at, created_at, state, due_at, lease_until, finished_at, reason, attempts, position, data
         from webhook_message where tenant = $1 and subscription = $2"
    };
}

statements! {
    const SELECT_MESSAGES: &str = concat!(
        message_columns!(),
        " and ($3::text is null or state = $3) and ($4::text is null or type = $4) and ($5::text is null or event = $5)
          and ($6::bigint is null or position < $6) order by position desc limit $7"
    );

    const SELECT_MESSAGE: &str = concat!(message_columns!(), " and id = $3");

    const SELECT_ATTEMPTS: &str =
        "select number, at, duration_ms, outcome, status, error, answer from webhook_attempt where tenant = $1 and message = $2 order by number";
}
