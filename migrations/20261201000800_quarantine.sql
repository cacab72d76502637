-- Deliveries and elements that were not understood.

create table quarantine (
    id uuid primary key,
    tenant text not null,
    key bytea not null unique,
    source text not null,
    reason text not null,
    detail text not null,
    pointer text,
    -- Bytes, because PostgreSQL refuses some text.
    content bytea,
    content_type text,
    size bigint not null,
    sha256 bytea not null,
    redacted text[] not null,
    received_at timestamptz not null,
    xid xid8 not null default pg_current_xact_id()
);
create index quarantine_order on quarantine (tenant, received_at desc, id desc);
comment on table quarantine is 'Content that was not understood, in full, with the reason.';
comment on column quarantine.id is 'Id of the row, a UUID version 7.';
comment on column quarantine.tenant is 'Tenant of the source.';
comment on column quarantine.key is 'SHA-256 that identifies the content; the same content again is the same row.';
comment on column quarantine.source is 'Configured name of the source.';
comment on column quarantine.reason is 'Code of the reason.';
comment on column quarantine.detail is 'The reason in a sentence.';
comment on column quarantine.pointer is 'JSON pointer to the member at fault. Null: the reason concerns the whole.';
comment on column quarantine.content is 'The content as received, without the members that redacted lists. Null: it was not UTF-8.';
comment on column quarantine.content_type is 'Content type of the delivery. Null: none was given.';
comment on column quarantine.size is 'Size of the content as received, in bytes.';
comment on column quarantine.sha256 is 'SHA-256 of the content as received.';
comment on column quarantine.redacted is 'JSON pointers to the members whose values were removed.';
comment on column quarantine.received_at is 'Instant of receipt, by the clock of the receiving node.';
comment on column quarantine.xid is 'Transaction that stored the row.';
