//! What is an exception by its happening alone: a quarantine, a clock that is off.

use std::collections::BTreeMap;

use serde_json::json;

use super::prepared::PreparedEvent;
use crate::domain::alias::Anchor;
use crate::domain::exception::ExceptionKind;
use crate::store::{NewQuarantine, Raised};

/// What was put into quarantine, by tenant: one for each source and reason.
pub(super) fn of_quarantine(rows: &[NewQuarantine]) -> BTreeMap<String, Vec<Raised>> {
    let mut raised: BTreeMap<(String, String), Raised> = BTreeMap::new();
    for row in rows {
        let (source, reason) = (short(&row.source), short(&row.reason));
        let one = Raised {
            kind: ExceptionKind::Quarantine,
            subject: format!("{source} {reason}"),
            call: None,
            facts: facts(json!({ "source": source, "reason": reason })),
            source: Some(source),
            count: 1,
            first: row.received,
            last: row.received,
            is_told: false,
        };
        add(&mut raised, row.tenant.replace('\0', "\u{fffd}"), one);
    }
    by_tenant(raised)
}

/// Events of a tenant whose source's clock differs from ours: one for each source and call, else day.
/// `leads` tells which call an anchor is part of.
pub(super) fn of_clocks(
    events: &[&PreparedEvent],
    leads: &BTreeMap<Anchor, Anchor>,
) -> Vec<Raised> {
    let mut raised: BTreeMap<(String, String), Raised> = BTreeMap::new();
    for event in events.iter().filter(|event| event.clock) {
        let source = short(&event.message.source);
        let received = event.message.received;
        let anchor = event.naming.anchor.as_ref();
        let of = anchor.map_or_else(|| received.date_naive().to_string(), Anchor::to_string);
        let one = Raised {
            kind: ExceptionKind::Clock,
            subject: format!("{source} {of}"),
            call: anchor.map(|anchor| leads.get(anchor).unwrap_or(anchor).to_string()),
            facts: facts(json!({ "source": source })),
            source: Some(source),
            count: 1,
            first: received,
            last: received,
            is_told: false,
        };
        add(&mut raised, String::new(), one);
    }
    raised.into_values().collect()
}

fn add(raised: &mut BTreeMap<(String, String), Raised>, tenant: String, one: Raised) {
    raised
        .entry((tenant, one.subject.clone()))
        .and_modify(|before| {
            before.count += one.count;
            before.first = before.first.min(one.first);
            before.last = before.last.max(one.last);
        })
        .or_insert(one);
}

fn by_tenant(raised: BTreeMap<(String, String), Raised>) -> BTreeMap<String, Vec<Raised>> {
    let mut by_tenant: BTreeMap<String, Vec<Raised>> = BTreeMap::new();
    for ((tenant, _), one) in raised {
        by_tenant.entry(tenant).or_default().push(one);
    }
    by_tenant
}

/// What a stranger wrote to the log may be what no index takes.
fn short(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .take(100)
        .collect()
}

fn facts(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::Digest;

    fn row(tenant: &str, reason: &str, second: i64) -> NewQuarantine {
        NewQuarantine {
            id: Uuid::now_v7(),
            tenant: tenant.to_owned(),
            key: Digest::of(reason.as_bytes()),
            source: "eg\0".to_owned() + &"x".repeat(500),
            reason: reason.to_owned(),
            detail: String::new(),
            pointer: None,
            content: None,
            content_type: None,
            size: 0,
            sha256: Digest::of(b""),
            redacted: Vec::new(),
            received: DateTime::from_timestamp(second, 0).unwrap(),
        }
    }

    #[test]
    fn what_one_source_sent_for_one_reason_is_one_exception() {
        let rows = [
            row("contoso", "not_json", 20),
            row("contoso", "not_json", 10),
            row("contoso", "too_deep", 10),
            row("fabrikam", "not_json", 10),
        ];
        let raised = of_quarantine(&rows);
        assert_eq!(raised["fabrikam"].len(), 1);
        let counts: Vec<u64> = raised["contoso"].iter().map(|one| one.count).collect();
        assert_eq!(counts, [2, 1]);
        let one = &raised["contoso"][0];
        assert!(one.first < one.last);
        assert!(one.subject.chars().count() < 220 && !one.subject.contains('\0'));
    }
}
