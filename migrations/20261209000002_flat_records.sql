-- What was published on the topic call-facts.v1: one flat record for each call, capture and obligation.
--
-- # Why
--
-- The topic is compacted, so a record that no longer exists needs a tombstone, and only what was published tells
-- that it existed. Its digest tells whether a record changed.

create table flat_record_position (
    one boolean primary key default true check (one),
    xid xid8 not null,
    tenant text not null,
    call text not null,
    moved_at timestamptz not null
);
comment on table flat_record_position is 'How far the changes of calls are published on call-facts.v1: one row, after the first publication.';
comment on column flat_record_position.one is 'Allows one row only.';
comment on column flat_record_position.xid is 'call.xid of the last call whose records are published.';
comment on column flat_record_position.tenant is 'Its tenant.';
comment on column flat_record_position.call is 'Its id.';
comment on column flat_record_position.moved_at is 'When the position was last stored.';

create table flat_record_call (
    tenant text not null,
    call text not null,
    incomplete_since timestamptz,
    primary key (tenant, call)
);
create index flat_record_incomplete on flat_record_call (incomplete_since) where incomplete_since is not null;
comment on table flat_record_call is 'Calls with records on call-facts.v1.';
comment on column flat_record_call.tenant is 'Tenant of the call.';
comment on column flat_record_call.call is 'Id of the call.';
comment on column flat_record_call.incomplete_since is 'End of the call, as long as its published record is not complete; it is published again when the record is complete through this instant. Null: the call goes on, or its record is complete.';

create table flat_record (
    tenant text not null,
    call text not null,
    key text not null,
    digest bytea,
    primary key (tenant, call, key)
);
comment on table flat_record is 'Records on call-facts.v1 that have no tombstone.';
comment on column flat_record.tenant is 'Tenant of the call.';
comment on column flat_record.call is 'Id of the call under which the record was published.';
comment on column flat_record.key is 'Key of the message.';
comment on column flat_record.digest is 'SHA-256 of what makes the record another one. Null: a publication began, and did not end.';
