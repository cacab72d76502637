//! The counters of the process that are of no source: they begin at 0 for each value of their labels, so
//! that the first occurrence is an increase. Those of the sources are in `ingest/counters.rs`.

use metrics::counter;
use serde_json::Value;
use strum::VariantNames as _;

use crate::live::fanout::message::MessageKind;
use crate::openapi::document;
use crate::telemetry::dropped::DroppedContent;
use crate::telemetry::{names, route_metrics};
use onrecord_evidence::exception::kind::ExceptionKind;
use onrecord_evidence::notice::notice_fact::NoticeKind;

/// Starts the counters; those of resources by their description.
pub(super) fn start(description: &Value) {
    for name in [
        names::SPOOL_DRAINED,
        names::NOTICE_FACTS_LOST,
        names::CONNECTIONS_REFUSED,
        names::STREAMS_DROPPED,
        names::EXPORT_ROWS,
        names::WEBHOOKS_EXHAUSTED,
    ] {
        counter!(name).absolute(0);
    }
    let labelled = |name: &'static str, label: &'static str, values: &[&'static str]| {
        for value in values {
            counter!(name, label => *value).absolute(0);
        }
    };
    labelled(names::PUBLISH_MESSAGES, "destination", &["kafka", "spool", "none"]);
    labelled(names::LEDGER_ENTRIES, "outcome", &["new", "duplicate", "conflict", "quarantined"]);
    let sign_ins = ["signed_in", "unknown_key", "role_without_pages"];
    labelled(names::CONSOLE_SIGN_INS, "outcome", &sign_ins);
    // The outcomes of OpenID Connect, of console/session/oidc/refusal.rs.
    let refused = ["no_role", "unknown_state", "refused_by_provider", "code_refused"];
    labelled(names::CONSOLE_SIGN_INS, "outcome", &refused);
    let failed = ["token_refused", "provider_unavailable"];
    labelled(names::CONSOLE_SIGN_INS, "outcome", &failed);
    labelled(names::EXPORT_ATTEMPTS, "outcome", &["done", "failed", "interrupted"]);
    let records = ["published", "tombstone", "too_large", "failed"];
    labelled(names::FLAT_RECORDS, "outcome", &records);
    labelled(names::WEBHOOK_ATTEMPTS, "outcome", &["delivered", "failed", "gone", "dropped"]);
    // Subscriptions have theirs from their first failure on.
    labelled(names::WEBHOOK_FAILURES, "webhook", &["none"]);
    labelled(names::STREAM_GAPS, "reader", &["ledger", "live"]);
    let clients = ["ledger", "live", "point_read", "producer"];
    labelled(names::KAFKA_CLIENTS_REOPENED, "client", &clients);
    // A beat is not queued.
    let queued = [MessageKind::Snapshot, MessageKind::Notice, MessageKind::Gap, MessageKind::Bye];
    labelled(names::NOTICES, "kind", &queued.map(MessageKind::as_str));
    let own = [NoticeKind::Dispatched, NoticeKind::Delivered];
    labelled(names::NOTICE_FACTS, "kind", &own.map(<&str>::from));
    labelled(names::DROPPED, "content", DroppedContent::VARIANTS);
    let resources = document::operations(description);
    route_metrics::start(resources.map(|(method, route, _)| (method, route)));
    labelled(names::EXCEPTIONS_OPENED, "kind", ExceptionKind::VARIANTS);
    for kind in ExceptionKind::VARIANTS {
        for by in ["itself", "hand"] {
            counter!(names::EXCEPTIONS_CLOSED, "kind" => *kind, "by" => by).absolute(0);
        }
    }
}
