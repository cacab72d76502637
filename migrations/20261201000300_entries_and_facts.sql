-- The audit trail: every event once, and what the rules of evidence read of it.

create table event_key (
    key bytea not null,
    content_digest bytea not null,
    entered_on date not null,
    primary key (key, content_digest)
);
create index event_key_entered_on on event_key (entered_on);
comment on table event_key is 'The events that were appended, by key and content, for the detection of duplicates. One key with two contents is a conflict.';
comment on column event_key.key is 'SHA-256 of tenant, lower-cased event source, event type and event id; of an event without an id, the content stands in its place.';
comment on column event_key.content_digest is 'SHA-256 of the canonical content of the event.';
comment on column event_key.entered_on is 'UTC day on which the event was appended; the row is deleted after ledger.dedup_retention.';

create table entry (
    id uuid not null,
    tenant text not null,
    received_at timestamptz not null,
    anchor text,
    type text not null,
    source_type text not null,
    provenance text not null,
    source text not null,
    ce_source text not null,
    ce_id text not null,
    ce_time text,
    at_ms bigint not null,
    key bytea not null,
    sha256 bytea not null,
    original bytea not null,
    event jsonb not null,
    flags text[] not null default '{}',
    xid xid8 not null default pg_current_xact_id(),
    primary key (received_at, id)
) partition by range (received_at);
create index entry_id on entry (tenant, id);
create index entry_order on entry (tenant, xid, id);
create index entry_anchor on entry (tenant, anchor, at_ms);
create table entry_default partition of entry default;
-- lz4 is faster than the default compression; a server may be built without it.
do $$
begin
    alter table entry alter column original set compression lz4;
    alter table entry alter column event set compression lz4;
exception
    when feature_not_supported then null;
end $$;
comment on table entry is 'The audit trail: every event that was received, once, in the order of appending (xid, id). Partitioned by the month of receipt.';
comment on table entry_default is 'Partition of entry for rows whose month has no partition of its own. Columns as in entry.';
comment on column entry.id is 'Id of the entry, a UUID version 7.';
comment on column entry.tenant is 'Tenant of the source.';
comment on column entry.received_at is 'Instant at which the event was received, by the clock of the receiving node; of several copies the first that was appended.';
comment on column entry.anchor is 'Id to which the event belongs by its own content. call_alias has the call that this is now. Null: the event names no call.';
comment on column entry.type is 'Normalized type of the event.';
comment on column entry.source_type is 'Type of the event as its source names it.';
comment on column entry.provenance is 'How the event came in: eg (Event Grid), ca (Call Automation), client (a client application) or maintenance (an end that the service presumes).';
comment on column entry.source is 'Configured name of the source.';
comment on column entry.ce_source is 'CloudEvents attribute source.';
comment on column entry.ce_id is 'CloudEvents attribute id.';
comment on column entry.ce_time is 'CloudEvents attribute time, verbatim: Azure sends digits of 100 ns. Null: absent.';
comment on column entry.at_ms is 'Instant of the event for the rules of evidence, in milliseconds since 1970-01-01 UTC.';
comment on column entry.key is 'Key of the event; see event_key.key.';
comment on column entry.sha256 is 'SHA-256 of the bytes of the event as received, before redaction.';
comment on column entry.original is 'The event as received, without the members that event.redacted lists.';
comment on column entry.event is 'The normalized event.';
comment on column entry.flags is 'conflict: another content came under the same key. clock: the clock of the source differs by more than 5 minutes.';
comment on column entry.xid is 'Transaction that appended the event. A reader continues after (xid, id) and misses nothing.';

create table fact (
    tenant text not null,
    anchor text not null,
    key bytea not null,
    content_digest bytea not null,
    kind text not null,
    at_ms bigint not null,
    -- Text and not jsonb: it is read whole with every evaluation of its call. Queries of single
    -- members use entry.event.
    event text not null,
    xid xid8 not null default pg_current_xact_id(),
    at_history jsonb not null default '[]',
    primary key (tenant, anchor, key, content_digest)
);
comment on table fact is 'The events that the rules of evidence read, by anchor. One row for each event that bears facts.';
comment on column fact.tenant is 'Tenant of the source.';
comment on column fact.anchor is 'Id to which the event belongs by its own content.';
comment on column fact.key is 'Key of the event; see event_key.key.';
comment on column fact.content_digest is 'Digest of the content; see event_key.content_digest.';
comment on column fact.kind is 'Normalized type of the event.';
comment on column fact.at_ms is 'Instant for the rules of evidence, in milliseconds since 1970-01-01 UTC; of several copies the earliest.';
comment on column fact.event is 'The normalized event, JSON.';
comment on column fact.xid is 'Transaction that appended the fact. A version of a verdict records the snapshot that it was made from, and so exactly the facts that it could see.';
comment on column fact.at_history is 'Earlier values of at_ms: [[transaction of the copy that lowered it, at_ms before], ...].';
