-- Messages that Kafka did not confirm in time.

create table spool (
    id bigint generated always as identity primary key,
    tenant text not null,
    -- Bytes, because text cannot hold NUL.
    message bytea not null,
    stored_at timestamptz not null,
    xid xid8 not null default pg_current_xact_id()
);
create index spool_xid on spool (xid);
create index spool_stored_at on spool (stored_at);
comment on table spool is 'Messages that Kafka did not confirm in time. They are published to Kafka and deleted once it answers again.';
comment on column spool.id is 'Number of the message. Numbers are drawn before commit, so a lower one may become visible later.';
comment on column spool.tenant is 'Tenant of the message.';
comment on column spool.message is 'The message as JSON in UTF-8: topic, key, headers, value.';
comment on column spool.stored_at is 'Instant at which the message was stored, by the clock of the node that received it.';
comment on column spool.xid is 'Transaction that stored the message. Readers of the spool know by it what they have not read yet.';

create table spool_use (
    started_at timestamptz primary key,
    ended_at timestamptz,
    drained_messages bigint not null
);
comment on table spool_use is 'Times during which messages waited in the spool: from the first message stored to the last one drained.';
comment on column spool_use.started_at is 'Instant at which the oldest message was stored.';
comment on column spool_use.ended_at is 'Instant at which the spool was found empty. Null: messages still wait.';
comment on column spool_use.drained_messages is 'Number of messages published from the spool in this time.';
