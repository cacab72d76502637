-- Who read what of the record, when and why.
--
-- # Why
--
-- The row is written before the answer is sent, so there is no read without it. Nothing changes or removes a
-- row: a statement that would is refused, whatever role runs it.

create table access_log (
    tenant text not null,
    id uuid not null,
    at timestamptz not null,
    api_key uuid not null,
    key_name text not null,
    role text not null,
    what text not null check (what in ('call', 'person', 'original', 'export', 'quarantine')),
    route text not null,
    call text,
    person text,
    subject text,
    purpose text,
    primary key (tenant, id)
);
create index access_log_at on access_log (tenant, at desc, id desc);
create index access_log_call on access_log (tenant, call, at desc, id desc) where call is not null;
create index access_log_person on access_log (tenant, person, at desc, id desc) where person is not null;
create index access_log_key on access_log (tenant, api_key, at desc, id desc);
comment on table access_log is 'Who read a call, a person, the original of an event, an export or the quarantine. One row for each answer; rows are never changed and never deleted.';
comment on column access_log.tenant is 'Tenant whose record was read.';
comment on column access_log.id is 'Id of the row, a UUID version 7.';
comment on column access_log.at is 'Instant of the answer, by the clock of the node that gave it.';
comment on column access_log.api_key is 'Id of the API key of the reader.';
comment on column access_log.key_name is 'Name of the API key at that time.';
comment on column access_log.role is 'Role of the API key.';
comment on column access_log.what is 'What was read: call, person, original (of an event), export or quarantine.';
comment on column access_log.route is 'Method and path of the resource, without its ids.';
comment on column access_log.call is 'Id of the call, as it was then. Null: the answer is not about one call.';
comment on column access_log.person is 'Raw id or part of a name by which a person was looked up. Null: no person was.';
comment on column access_log.subject is 'Id of the event or the export, or the filter of the quarantine. Null: the columns before say it.';
comment on column access_log.purpose is 'Purpose that the reader stated. Null: none.';

create function refuse_change_of_access_log() returns trigger
    language plpgsql
as $$
begin
    raise insufficient_privilege using message = 'the access log is append-only: no row is changed or removed';
end $$;
comment on function refuse_change_of_access_log is 'Refuses every change of the access log but an insert.';
create trigger access_log_is_append_only before update or delete or truncate on access_log
    for each statement execute function refuse_change_of_access_log();

create or replace function readable_tables() returns table (name text, of_tenant boolean)
    language sql immutable
begin atomic
    select * from (values
        ('entry', true), ('fact', true), ('alias_link', true), ('call_alias', true), ('call', true),
        ('session', true), ('capture', true), ('notice_fact', true), ('notice_text', true), ('verdict', true),
        ('obligation', true), ('quarantine', true), ('exception', true), ('exception_history', true),
        ('rejection', true), ('pending_merge', true), ('postponed_call', true), ('call_term', true), ('name_part', true),
        ('access_log', true),
        ('role_heartbeat', false), ('spool_use', false), ('stream_gap', false)) as readable (name, of_tenant);
end;
select admit_readers();
