//! The names of all metrics, with their labels. `docs/metrics.md` describes them for operators.

/// Deliveries that were answered; labels `source`, `status`.
pub const INGEST_DELIVERIES: &str = "onrecord_ingest_deliveries_total";
/// Events that were accepted; labels `source`, `type`.
pub const INGEST_EVENTS: &str = "onrecord_ingest_events_total";
/// Deliveries that were answered 503; labels `source`, `reason`.
pub const INGEST_REJECTED: &str = "onrecord_ingest_rejected_total";
/// Bodies and events that were quarantined; labels `source`, `reason`.
pub const INGEST_QUARANTINED: &str = "onrecord_ingest_quarantined_total";
/// Members of accepted events that could not be read or stored as they are written; labels `source`,
/// `reason`.
pub const INGEST_FLAGGED_MEMBERS: &str = "onrecord_ingest_flagged_members_total";
/// Fetches of issuers' signing keys; label `outcome` = `succeeded`, `failed`.
pub const INGEST_JWKS_FETCHES: &str = "onrecord_ingest_jwks_fetches_total";
/// Seconds from the head of a delivery to its response.
pub const INGEST_RESPONSE_SECONDS: &str = "onrecord_ingest_response_seconds";
/// Messages by the store that took them; label `destination` = `kafka`, `spool`, `none`.
pub const PUBLISH_MESSAGES: &str = "onrecord_publish_messages_total";
/// 1 while the circuit breaker sends messages directly to the spool.
pub const KAFKA_CIRCUIT_OPEN: &str = "onrecord_kafka_circuit_open";
/// Clients of Kafka that failed for long and were opened again; label `client` = `ledger`, `live`,
/// `point_read`, `producer`.
pub const KAFKA_CLIENTS_REOPENED: &str = "onrecord_kafka_clients_reopened_total";
/// Spool rows that were published and deleted.
pub const SPOOL_DRAINED: &str = "onrecord_spool_drained_total";
/// Age of the oldest message in the spool, in seconds. The node that runs the maintenance sets it.
pub const SPOOL_AGE_SECONDS: &str = "onrecord_spool_age_seconds";
/// Entries that were written; label `outcome` = `new`, `duplicate`, `conflict`, `quarantined`.
pub const LEDGER_ENTRIES: &str = "onrecord_ledger_entries_total";
/// Seconds of one ledger transaction.
pub const LEDGER_TRANSACTION_SECONDS: &str = "onrecord_ledger_transaction_seconds";
/// Age of `complete_through`, in seconds; not a number while it is unknown. The node that runs the
/// maintenance sets it.
pub const LEDGER_LAG_SECONDS: &str = "onrecord_ledger_lag_seconds";
/// Calls and merges that are left to the maintenance.
pub const LEDGER_POSTPONED: &str = "onrecord_ledger_postponed";
/// Parts of the log that are missing or were read again; label `reader` = `ledger`, `live`.
pub const STREAM_GAPS: &str = "onrecord_stream_gaps_total";
/// Messages that were queued for client streams; label `kind`.
pub const NOTICES: &str = "onrecord_notices_total";
/// Seconds from the receipt of an event to its notice in the queues of the clients.
pub const NOTICE_SECONDS: &str = "onrecord_notice_seconds";
/// Facts that the service wrote about its own notices; label `kind`.
pub const NOTICE_FACTS: &str = "onrecord_notice_facts_total";
/// Such facts that were discarded because too many waited for a store.
pub const NOTICE_FACTS_LOST: &str = "onrecord_notice_facts_lost_total";
/// Open connections; label `place` = `shared`, `reserve`.
pub const CONNECTIONS: &str = "onrecord_connections";
/// Requests that were answered 503 because callers have all connections that they may.
pub const CONNECTIONS_REFUSED: &str = "onrecord_connections_refused_total";
/// Open client streams.
pub const STREAMS: &str = "onrecord_streams";
/// Client streams that were closed because the client read too slowly.
pub const STREAMS_DROPPED: &str = "onrecord_streams_dropped_total";
/// Calls in the live state of the node.
pub const LIVE_CALLS: &str = "onrecord_live_calls";
/// 1 while a component is healthy; label `component`.
pub const COMPONENT_HEALTHY: &str = "onrecord_component_healthy";
/// Open exceptions of all tenants; label `kind`. The node that runs the maintenance sets it.
pub const EXCEPTIONS_OPEN: &str = "onrecord_exceptions_open";
/// Exceptions that were opened or reopened; label `kind`.
pub const EXCEPTIONS_OPENED: &str = "onrecord_exceptions_opened_total";
/// Exceptions that were closed; labels `kind`, `by` = `itself`, `hand`.
pub const EXCEPTIONS_CLOSED: &str = "onrecord_exceptions_closed_total";
/// Content that was dropped because it could be neither written nor read; label `content` = `verdict`,
/// `notice_facts`, `live_message`.
pub const DROPPED: &str = "onrecord_dropped_total";
