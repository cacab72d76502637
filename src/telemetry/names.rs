//! The names of all metrics, with their labels. Their descriptions are the `# HELP` of `/metrics`;
//! `docs/metrics.md` describes them for operators.

/// Defines the names, and the function that gives their descriptions to the recorder.
macro_rules! metric_names {
    ($($(#[doc = $line:literal])+ $kind:ident $name:ident = $text:literal;)+) => {
        $($(#[doc = $line])+ pub const $name: &str = $text;)+

        /// Gives the descriptions of all metrics to the recorder of the process.
        pub(crate) fn describe_all() {
            $(metric_names!(@describe $kind $name, concat!($($line),+).trim());)+
        }
    };
    (@describe counter $name:ident, $text:expr) => { metrics::describe_counter!($name, $text) };
    (@describe gauge $name:ident, $text:expr) => { metrics::describe_gauge!($name, $text) };
    (@describe histogram $name:ident, $text:expr) => { metrics::describe_histogram!($name, $text) };
}

metric_names! {
    /// Deliveries that were answered; labels `source`, `status`.
    counter INGEST_DELIVERIES = "onrecord_ingest_deliveries_total";
    /// Events that were accepted; labels `source`, `type`.
    counter INGEST_EVENTS = "onrecord_ingest_events_total";
    /// Deliveries that were answered 503; labels `source`, `reason`.
    counter INGEST_REJECTED = "onrecord_ingest_rejected_total";
    /// Bodies and events that were quarantined; labels `source`, `reason`.
    counter INGEST_QUARANTINED = "onrecord_ingest_quarantined_total";
    /// Members of accepted events that could not be read or stored as they are written; labels `source`,
    /// `reason`.
    counter INGEST_FLAGGED_MEMBERS = "onrecord_ingest_flagged_members_total";
    /// Fetches of issuers' signing keys; label `outcome` = `succeeded`, `failed`.
    counter INGEST_JWKS_FETCHES = "onrecord_ingest_jwks_fetches_total";
    /// Seconds from the head of a delivery to its response.
    histogram INGEST_RESPONSE_SECONDS = "onrecord_ingest_response_seconds";
    /// Messages by the store that took them; label `destination` = `kafka`, `spool`, `none`.
    counter PUBLISH_MESSAGES = "onrecord_publish_messages_total";
    /// 1 while the circuit breaker sends messages directly to the spool.
    gauge KAFKA_CIRCUIT_OPEN = "onrecord_kafka_circuit_open";
    /// Clients of Kafka that failed for long and were opened again; label `client` = `ledger`, `live`,
    /// `point_read`, `producer`.
    counter KAFKA_CLIENTS_REOPENED = "onrecord_kafka_clients_reopened_total";
    /// Spool rows that were published and deleted.
    counter SPOOL_DRAINED = "onrecord_spool_drained_total";
    /// Age of the oldest message in the spool, in seconds. The node that runs the maintenance sets it.
    gauge SPOOL_AGE_SECONDS = "onrecord_spool_age_seconds";
    /// Entries that were written; label `outcome` = `new`, `duplicate`, `conflict`, `quarantined`.
    counter LEDGER_ENTRIES = "onrecord_ledger_entries_total";
    /// Seconds of one ledger transaction.
    histogram LEDGER_TRANSACTION_SECONDS = "onrecord_ledger_transaction_seconds";
    /// Age of `complete_through`, in seconds; not a number while it is unknown. The node that runs the
    /// maintenance sets it.
    gauge LEDGER_LAG_SECONDS = "onrecord_ledger_lag_seconds";
    /// Records on the topic of flat records; label `outcome` = `published`, `tombstone`, `too_large`,
    /// `failed` (a call).
    counter FLAT_RECORDS = "onrecord_flat_records_total";
    /// 1 while more calls have changed than one step publishes. The node that publishes sets it.
    gauge FLAT_RECORDS_BEHIND = "onrecord_flat_records_behind";
    /// Calls and merges that are left to the maintenance.
    gauge LEDGER_POSTPONED = "onrecord_ledger_postponed";
    /// Parts of the log that are missing or were read again; label `reader` = `ledger`, `live`.
    counter STREAM_GAPS = "onrecord_stream_gaps_total";
    /// Messages that were queued for client streams; label `kind`.
    counter NOTICES = "onrecord_notices_total";
    /// Seconds from the receipt of an event to its notice in the queues of the clients.
    histogram NOTICE_SECONDS = "onrecord_notice_seconds";
    /// Facts that the service wrote about its own notices; label `kind`.
    counter NOTICE_FACTS = "onrecord_notice_facts_total";
    /// Such facts that were discarded because too many waited for a store.
    counter NOTICE_FACTS_LOST = "onrecord_notice_facts_lost_total";
    /// Open connections; label `place` = `shared`, `reserve`.
    gauge CONNECTIONS = "onrecord_connections";
    /// Requests that were answered 503 because callers have all connections that they may.
    counter CONNECTIONS_REFUSED = "onrecord_connections_refused_total";
    /// Open client streams.
    gauge STREAMS = "onrecord_streams";
    /// Client streams that were closed because the client read too slowly.
    counter STREAMS_DROPPED = "onrecord_streams_dropped_total";
    /// Calls in the live state of the node.
    gauge LIVE_CALLS = "onrecord_live_calls";
    /// Those of them that ended and are in the compact form.
    gauge LIVE_CALLS_COMPACT = "onrecord_live_calls_compact";
    /// 1 while a component is healthy; label `component`.
    gauge COMPONENT_HEALTHY = "onrecord_component_healthy";
    /// Open exceptions of all tenants; label `kind`. The node that runs the maintenance sets it.
    gauge EXCEPTIONS_OPEN = "onrecord_exceptions_open";
    /// Exceptions that were opened or reopened; label `kind`.
    counter EXCEPTIONS_OPENED = "onrecord_exceptions_opened_total";
    /// Exceptions that were closed; labels `kind`, `by` = `itself`, `hand`.
    counter EXCEPTIONS_CLOSED = "onrecord_exceptions_closed_total";
    /// Content that was dropped because it could be neither written nor read; label `content` = `verdict`,
    /// `notice_facts`, `live_message`.
    counter DROPPED = "onrecord_dropped_total";
    /// Attempts at exports that ended; label `outcome` = `done`, `failed`, `interrupted`.
    counter EXPORT_ATTEMPTS = "onrecord_export_attempts_total";
    /// Rows that attempts at exports have encoded.
    counter EXPORT_ROWS = "onrecord_export_rows_total";
    /// Attempts at messages of outbound webhooks that ended; label `outcome` = `delivered`, `failed`, `gone`,
    /// `dropped`.
    counter WEBHOOK_ATTEMPTS = "onrecord_webhook_attempts_total";
    /// Failed attempts of a subscription; label `webhook`.
    counter WEBHOOK_FAILURES = "onrecord_webhook_failures_total";
    /// Messages of outbound webhooks after whose last attempt none is left.
    counter WEBHOOKS_EXHAUSTED = "onrecord_webhook_exhausted_total";
    /// Seconds of an attempt, from its beginning to the answer.
    histogram WEBHOOK_ATTEMPT_SECONDS = "onrecord_webhook_attempt_seconds";
    /// Seconds from the making of a message to its first attempt.
    histogram WEBHOOK_DELAY_SECONDS = "onrecord_webhook_delay_seconds";
    /// Age of the message that is due for longest, in seconds; label `webhook`. Only subscriptions that lagged
    /// have it.
    gauge WEBHOOK_LAG_SECONDS = "onrecord_webhook_lag_seconds";
    /// Subscriptions of outbound webhooks; label `state` = `pending`, `active`, `paused`, `disabled`.
    gauge WEBHOOK_SUBSCRIPTIONS = "onrecord_webhook_subscriptions";
    /// Active subscriptions to which nothing is sent for a while, because attempts failed.
    gauge WEBHOOK_CIRCUITS_OPEN = "onrecord_webhook_circuits_open";
    /// Attempts to sign in to the console; label `outcome` = `signed_in`, `unknown_key`, `role_without_pages`;
    /// by OpenID Connect `no_role`, `unknown_state`, `refused_by_provider`, `code_refused`, `token_refused`,
    /// `provider_unavailable`.
    counter CONSOLE_SIGN_INS = "onrecord_console_sign_ins_total";
    /// Requests to resources of `/v1` that were answered; labels `method`, `route`, `status`.
    counter HTTP_REQUESTS = "onrecord_http_requests_total";
    /// Seconds from the head of a request to `/v1` to the head of its response; labels `method`, `route`.
    histogram HTTP_RESPONSE_SECONDS = "onrecord_http_response_seconds";
    /// Connections to PostgreSQL; labels `pool` = `ledger`, `readers`, `exports`, `spool`, `webhooks`, `state` = `idle`, `used`.
    gauge POSTGRES_CONNECTIONS = "onrecord_postgres_connections";
    /// Mean round trip to a Kafka broker over the last seconds, as the producer measures it; label `broker`.
    gauge KAFKA_ROUND_TRIP_SECONDS = "onrecord_kafka_round_trip_seconds";
    /// Messages of a partition that a reader has not read; labels `client` = `ledger`, `live`, `topic`, `partition`.
    gauge KAFKA_CONSUMER_LAG = "onrecord_kafka_consumer_lag_messages";
    /// Messages that the producer holds: they wait for a broker, or for its confirmation.
    gauge KAFKA_PRODUCER_QUEUE = "onrecord_kafka_producer_queue_messages";
    /// Always 1; labels `version`, `kafka_tls`.
    gauge BUILD_INFO = "onrecord_build_info";
}
