//! Checks of outbound webhooks.

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::{Finding, number, span};
use crate::config::WebhookSettings;
use crate::postgres::WebhookDiagnostics;

/// Age of a message that is due, from which on it is a warning, and an error.
const LAG: [TimeDelta; 2] = [TimeDelta::minutes(10), TimeDelta::hours(1)];

pub(super) fn keys(settings: &WebhookSettings, webhooks: &WebhookDiagnostics) -> Finding {
    let WebhookDiagnostics { pending, active, paused, disabled, .. } = webhooks;
    let all = pending + active + paused + disabled;
    match (settings.keys.len(), all) {
        (0, 0) => Finding::ok("no [webhooks] keys, and no webhooks"),
        (0, all) => Finding::error(
            format!("no [webhooks] keys: none of {} is sent", number(all, "webhook")),
            "the key by which the secrets were sealed, into [webhooks] keys of every node; without it, a new one (openssl rand -base64 32), and onrecord webhook rotate for each",
        ),
        (keys, _) => Finding::ok(number(keys, "key")),
    }
}

pub(super) fn states(webhooks: &WebhookDiagnostics) -> Finding {
    let WebhookDiagnostics { pending, active, paused, disabled, circuits_open, .. } = webhooks;
    let states =
        format!("{active} active, {pending} pending, {paused} paused, {disabled} disabled");
    if *disabled > 0 {
        return Finding::warning(
            format!(
                "{states}: the receivers of the disabled ones failed for long, or answered 410"
            ),
            "onrecord webhook list says why; repair the receiver, then onrecord webhook resume",
        );
    }
    if *circuits_open > 0 {
        return Finding::warning(
            format!(
                "{states}; the circuits of {circuits_open} are open, because their receivers fail"
            ),
            "onrecord webhook messages --state retrying, and repair the receiver",
        );
    }
    Finding::ok(states)
}

pub(super) fn lag(webhooks: &WebhookDiagnostics, now: DateTime<Utc>) -> Finding {
    let Some(due_since) = webhooks.due_since else {
        return Finding::ok("no message is due");
    };
    let age = now - due_since;
    let sentence = format!("a message of an active webhook is due for {}", span(age));
    let remedy = "a node with the role webhooks runs? Else the receiver fails, or its rate_limit or concurrency is too low: onrecord webhook messages";
    let [warning, error] = LAG;
    if age >= error {
        Finding::error(sentence, remedy)
    } else if age >= warning {
        Finding::warning(sentence, remedy)
    } else {
        Finding::ok(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingLevel;
    use super::*;
    use crate::config::Settings;

    const NONE: WebhookDiagnostics = WebhookDiagnostics {
        pending: 0,
        active: 0,
        paused: 0,
        disabled: 0,
        circuits_open: 0,
        due_since: None,
    };

    #[test]
    fn webhooks_without_a_key_are_an_error() {
        let settings = |toml: &str| Settings::from_toml(toml).unwrap().webhooks;
        let without = settings("");
        let with =
            settings("[webhooks]\nkeys = [\"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"]");
        let some = WebhookDiagnostics { paused: 1, ..NONE };
        assert_eq!(keys(&without, &NONE).level, FindingLevel::Ok);
        assert_eq!(keys(&without, &some).level, FindingLevel::Error);
        assert_eq!(keys(&with, &some).level, FindingLevel::Ok);
    }

    #[test]
    fn a_disabled_webhook_and_an_open_circuit_are_warnings() {
        assert_eq!(
            states(&WebhookDiagnostics { active: 3, paused: 1, ..NONE }).level,
            FindingLevel::Ok
        );
        for failing in [
            WebhookDiagnostics { disabled: 1, ..NONE },
            WebhookDiagnostics { active: 1, circuits_open: 1, ..NONE },
        ] {
            assert_eq!(states(&failing).level, FindingLevel::Warning);
        }
    }

    #[test]
    fn a_message_that_is_due_for_long_is_a_warning_and_then_an_error() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let of = |minutes: i64| {
            let due_since = Some(now - TimeDelta::minutes(minutes));
            lag(&WebhookDiagnostics { due_since, ..NONE }, now).level
        };
        assert_eq!(lag(&NONE, now).level, FindingLevel::Ok);
        assert_eq!(of(5), FindingLevel::Ok);
        assert_eq!(of(10), FindingLevel::Warning);
        assert_eq!(of(60), FindingLevel::Error);
    }
}
