//! What a request for a subscription says, and the rules that it obeys.

use serde::{Deserialize, Deserializer};
use strum::VariantNames as _;
use utoipa::ToSchema;

use crate::http::body::RequestBody;
use crate::http::body::secrets::check_parameter;
use crate::http::problem::Problem;
use crate::postgres::event_name::{
    CALL_KINDS, PATTERNS, is_call_kind, is_exception_kind, is_pattern,
};
use crate::postgres::{
    SignatureAlgorithm, StaleNotices, StoredWebhook, WebhookContent, WebhookFilter, WebhookOrder,
};
use crate::webhooks::guard::destination_rules::DestinationRules;
use onrecord_evidence::exception::Severity;

/// Maximum number of events, and of values of a filter.
const MAX_VALUES: usize = 100;
/// Maximum length of a value, in bytes.
const MAX_VALUE_BYTES: usize = 256;
/// Maximum length of a description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 1_000;
/// Maximum attempts at a time of one subscription.
const MAX_CONCURRENCY: i32 = 100;
/// Attempts at a time, unless another number is given.
const DEFAULT_CONCURRENCY: i32 = 10;
/// Maximum attempts per second of one subscription.
const MAX_RATE_LIMIT: i32 = 10_000;

/// A request for a subscription.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookOrder)]
pub(crate) struct WebhookBody {
    /// Where messages are posted: an https address, on a port and a network that the settings permit.
    pub(crate) url: String,
    /// The events: names, or patterns such as `notice.*`.
    #[schema(min_items = 1, max_items = 100)]
    pub(crate) events: Vec<String>,
    /// Which of them. Default: all.
    #[serde(default)]
    pub(crate) filter: WebhookFilter,
    /// What it is for. Default: empty.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) description: String,
    /// What the messages have. Default: `thin`.
    #[serde(default)]
    #[schema(value_type = Option<WebhookContent>)]
    pub(crate) content: Option<String>,
    /// What becomes of a notice that can no longer be announced. Default: `drop`.
    #[serde(default)]
    #[schema(value_type = Option<StaleNotices>)]
    pub(crate) stale: Option<String>,
    /// How messages are signed. Default: `v1`. It cannot be changed.
    #[serde(default)]
    #[schema(value_type = Option<SignatureAlgorithm>)]
    pub(crate) algorithm: Option<String>,
    /// Where it is told that the subscription was disabled. Default: nowhere.
    #[serde(default)]
    pub(crate) fallback_url: Option<String>,
    /// Maximum attempts per second. Default: no limit.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    pub(crate) rate_limit: Option<i32>,
    /// Maximum attempts at a time. Default: 10.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    pub(crate) concurrency: Option<i32>,
}

impl RequestBody for WebhookBody {
    const MAX_BYTES: usize = 64 * 1024;
}

impl WebhookBody {
    /// The order, if it makes sense.
    ///
    /// # Errors
    ///
    /// A problem that names the member and the rule.
    pub(crate) fn parse(self, rules: &DestinationRules) -> Result<WebhookOrder, Problem> {
        let order = WebhookOrder {
            url: self.url,
            description: self.description,
            events: self.events,
            filter: self.filter,
            content: word("/content", self.content, WebhookContent::VARIANTS)?,
            stale: word("/stale", self.stale, StaleNotices::VARIANTS)?,
            algorithm: word("/algorithm", self.algorithm, SignatureAlgorithm::VARIANTS)?,
            fallback_url: self.fallback_url,
            rate_limit: self.rate_limit,
            concurrency: self.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
        };
        check(&order, rules)?;
        Ok(order)
    }
}

/// A request to change a subscription. What is absent stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = WebhookChange)]
pub(crate) struct WebhookChangeBody {
    /// Where messages are posted. With another address the subscription is `pending` until the challenge is
    /// answered there.
    url: Option<String>,
    /// The events: names, or patterns such as `notice.*`.
    #[schema(min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    /// Which of them.
    filter: Option<WebhookFilter>,
    /// What it is for.
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// What the messages have.
    #[schema(value_type = Option<WebhookContent>)]
    content: Option<String>,
    /// What becomes of a notice that can no longer be announced.
    #[schema(value_type = Option<StaleNotices>)]
    stale: Option<String>,
    /// Where it is told that the subscription was disabled. Null: nowhere.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    fallback_url: Option<Option<String>>,
    /// Maximum attempts per second. Null: no limit.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 10000)]
    rate_limit: Option<Option<i32>>,
    /// Maximum attempts at a time.
    #[schema(minimum = 1, maximum = 100)]
    concurrency: Option<i32>,
}

impl RequestBody for WebhookChangeBody {
    const MAX_BYTES: usize = 64 * 1024;
}

/// `Some(None)` is null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl WebhookChangeBody {
    /// The order after the change, if it makes sense.
    ///
    /// # Errors
    ///
    /// A problem that names the member and the rule.
    pub(crate) fn parse(
        self,
        stored: &StoredWebhook,
        rules: &DestinationRules,
    ) -> Result<WebhookOrder, Problem> {
        let order = WebhookOrder {
            url: self.url.unwrap_or_else(|| stored.url.clone()),
            description: self.description.unwrap_or_else(|| stored.description.clone()),
            events: self.events.unwrap_or_else(|| stored.events.clone()),
            filter: self.filter.unwrap_or_else(|| stored.filter.clone()),
            content: match self.content {
                Some(content) => word("/content", Some(content), WebhookContent::VARIANTS)?,
                None => stored.content,
            },
            stale: match self.stale {
                Some(stale) => word("/stale", Some(stale), StaleNotices::VARIANTS)?,
                None => stored.stale,
            },
            algorithm: stored.algorithm,
            fallback_url: self.fallback_url.unwrap_or_else(|| stored.fallback_url.clone()),
            rate_limit: self.rate_limit.unwrap_or(stored.rate_limit),
            concurrency: self.concurrency.unwrap_or(stored.concurrency),
        };
        check(&order, rules)?;
        Ok(order)
    }
}

/// One of a few words, or the default.
fn word<T: std::str::FromStr + Default>(
    member: &str,
    text: Option<String>,
    allowed: &'static [&'static str],
) -> Result<T, Problem> {
    let Some(text) = text else { return Ok(T::default()) };
    text.parse().map_err(|_| {
        Problem::invalid(member, format!("it is {}", allowed.join(" or "))).allowing(allowed)
    })
}

fn check(order: &WebhookOrder, rules: &DestinationRules) -> Result<(), Problem> {
    let destination = |member: &str, url: &str| match rules.check_url(url) {
        // The command line has no body in which it was looked for.
        Ok(_) => check_parameter(member, url),
        Err(rule) => {
            Err(Problem::invalid(member, format!("this address may not be called: {rule}")))
        }
    };
    destination("/url", &order.url)?;
    if let Some(url) = &order.fallback_url {
        destination("/fallback_url", url)?;
    }
    if order.description.len() > MAX_DESCRIPTION_BYTES {
        let detail = format!("description has at most {MAX_DESCRIPTION_BYTES} bytes");
        return Err(Problem::invalid("/description", detail));
    }
    if order.events.is_empty() || order.events.len() > MAX_VALUES {
        let detail = format!("events has 1 to {MAX_VALUES} names or patterns");
        return Err(Problem::invalid("/events", detail).allowing(PATTERNS));
    }
    if let Some(at) = order.events.iter().position(|event| !is_pattern(event)) {
        let detail = "no event has this name, and none matches this pattern";
        return Err(Problem::invalid(format!("/events/{at}"), detail).allowing(PATTERNS));
    }
    check_filter(&order.filter)?;
    let is_in = |value: i32, max: i32| (1..=max).contains(&value);
    if order.rate_limit.is_some_and(|limit| !is_in(limit, MAX_RATE_LIMIT)) {
        let detail = format!("rate_limit is 1 to {MAX_RATE_LIMIT} attempts per second, or null");
        return Err(Problem::invalid("/rate_limit", detail));
    }
    if !is_in(order.concurrency, MAX_CONCURRENCY) {
        let detail = format!("concurrency is 1 to {MAX_CONCURRENCY} attempts at a time");
        return Err(Problem::invalid("/concurrency", detail));
    }
    Ok(())
}

fn check_filter(filter: &WebhookFilter) -> Result<(), Problem> {
    let WebhookFilter { app, kind, severity } = filter;
    for (name, values) in [("app", app), ("kind", kind), ("severity", severity)] {
        let is_long = values.iter().any(|value| value.len() > MAX_VALUE_BYTES);
        if values.len() > MAX_VALUES || is_long {
            let detail =
                format!("{name} has at most {MAX_VALUES} values of {MAX_VALUE_BYTES} bytes");
            return Err(Problem::invalid(format!("/filter/{name}"), detail));
        }
    }
    if let Some(at) = kind.iter().position(|kind| !is_call_kind(kind) && !is_exception_kind(kind)) {
        let detail = format!(
            "a kind is that of a call ({}), or of an exception, such as NOT_SENT (docs/audit.md)",
            CALL_KINDS.join(", ")
        );
        return Err(Problem::invalid(format!("/filter/kind/{at}"), detail));
    }
    if let Some(at) =
        severity.iter().position(|severity| !Severity::VARIANTS.contains(&severity.as_str()))
    {
        let detail = format!("a severity is {}", Severity::VARIANTS.join(", "));
        return Err(
            Problem::invalid(format!("/filter/severity/{at}"), detail).allowing(Severity::VARIANTS)
        );
    }
    Ok(())
}
