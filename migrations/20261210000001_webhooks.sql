-- Outbound webhooks: subscriptions, their secrets, the messages that are due to them, and the attempts.
--
-- # Why
--
-- *A message is made in the transaction that makes its event true*, by make_webhook_messages(), so that it
-- exists exactly if the event does. Its id is a digest of subscription and event: the same event makes no second
-- message, however often it is evaluated.
--
-- *Messages are claimed by subscription.* One index has the waiting messages of each subscription in the order
-- in which they are due, so that a subscription with a million of them costs the others nothing.
--
-- *Events of exceptions are made by a trigger*, because exceptions are written in many places.

create table webhook_subscription (
    id uuid primary key,
    tenant text not null,
    url text not null,
    description text not null,
    events text[] not null check (cardinality(events) > 0),
    apps text[] not null,
    call_kinds text[] not null,
    exception_kinds text[] not null,
    severities text[] not null,
    content text not null check (content in ('thin', 'full')),
    stale text not null check (stale in ('drop', 'send')),
    algorithm text not null check (algorithm in ('v1', 'v1a')),
    fallback_url text,
    rate_limit integer check (rate_limit > 0),
    concurrency integer not null check (concurrency > 0),
    version integer not null default 1,
    state text not null default 'pending' check (state in ('pending', 'active', 'paused', 'disabled', 'deleted')),
    challenge text,
    reason text,
    changed_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    created_by uuid,
    created_by_name text not null,
    consecutive_failures integer not null default 0,
    failed_at timestamptz,
    circuit_until timestamptz,
    rate_level double precision not null default 0,
    rate_at timestamptz not null default now(),
    check (state <> 'pending' or challenge is not null),
    check (state not in ('disabled') or reason is not null)
);
create index webhook_subscription_order on webhook_subscription (tenant, created_at desc, id desc);
comment on table webhook_subscription is 'Who receives which events by outbound webhooks.';
comment on column webhook_subscription.id is 'Id of the subscription, a UUID version 7.';
comment on column webhook_subscription.tenant is 'Tenant whose events it receives.';
comment on column webhook_subscription.url is 'Address to which messages are posted.';
comment on column webhook_subscription.description is 'What it is for, by the words of its owner.';
comment on column webhook_subscription.events is 'Names of events, or patterns that end with an asterisk.';
comment on column webhook_subscription.apps is 'Client apps of the calls whose events it receives. Empty: all.';
comment on column webhook_subscription.call_kinds is 'Kinds of the calls whose events it receives. Empty: all.';
comment on column webhook_subscription.exception_kinds is 'Kinds of the exceptions whose events it receives. Empty: all.';
comment on column webhook_subscription.severities is 'Severities of the exceptions whose events it receives. Empty: all.';
comment on column webhook_subscription.content is 'thin: ids and levels. full: what is known of the call or exception besides.';
comment on column webhook_subscription.stale is 'What becomes of a notice that can no longer be announced: drop, or send (with stale: true).';
comment on column webhook_subscription.algorithm is 'Signature: v1 (HMAC-SHA256) or v1a (Ed25519).';
comment on column webhook_subscription.fallback_url is 'Address of the last notice, that the subscription was disabled. Null: none is sent.';
comment on column webhook_subscription.rate_limit is 'Maximum attempts per second, of all nodes together. Null: no limit.';
comment on column webhook_subscription.concurrency is 'Maximum attempts at a time, of all nodes together.';
comment on column webhook_subscription.version is 'Number of changes of what an attempt needs: address, algorithm, secrets.';
comment on column webhook_subscription.state is 'pending (the challenge is not answered yet), active, paused (by hand), disabled (by the service), or deleted: its rows are being deleted, and no reader sees it.';
comment on column webhook_subscription.challenge is 'What the receiver has to answer. Null: nothing.';
comment on column webhook_subscription.reason is 'Why it is in its state. Null: nothing is to be said.';
comment on column webhook_subscription.changed_at is 'Instant of the last change of its state.';
comment on column webhook_subscription.created_at is 'Instant of its creation.';
comment on column webhook_subscription.created_by is 'API key that created it. Null: the command line did.';
comment on column webhook_subscription.created_by_name is 'Name of that API key, or command line.';
comment on column webhook_subscription.consecutive_failures is 'Number of failed attempts since the last one that was delivered.';
comment on column webhook_subscription.failed_at is 'Instant of the last failed attempt. Null: none failed.';
comment on column webhook_subscription.circuit_until is 'Until then the circuit is open, and nothing is sent; from then on one attempt at a time, until one is delivered. Null: the circuit is closed.';
comment on column webhook_subscription.rate_level is 'Attempts that the rate limit permitted at rate_at.';
comment on column webhook_subscription.rate_at is 'Instant of rate_level.';

create table webhook_secret (
    id uuid primary key,
    tenant text not null,
    subscription uuid not null references webhook_subscription (id) on delete cascade,
    sealed bytea not null,
    public_key bytea check (octet_length(public_key) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz
);
create index webhook_secret_subscription on webhook_secret (subscription, created_at desc);
comment on table webhook_secret is 'Secrets by which messages are signed, sealed by a key of the settings. No reader sees them.';
comment on column webhook_secret.id is 'Id of the secret, a UUID version 7.';
comment on column webhook_secret.tenant is 'Tenant of the subscription.';
comment on column webhook_secret.subscription is 'Id of the subscription.';
comment on column webhook_secret.sealed is 'The secret, sealed (AES-256-GCM): number of the format, id of the key, nonce, and the ciphertext with its tag.';
comment on column webhook_secret.public_key is 'Public key of Ed25519. Null: the secret is symmetric.';
comment on column webhook_secret.created_at is 'Instant of its creation.';
comment on column webhook_secret.expires_at is 'Instant from which it no longer signs. Null: it is the current one.';

create table webhook_message (
    tenant text not null,
    id text not null,
    position bigint not null generated always as identity,
    subscription uuid not null,
    event text not null,
    type text not null,
    call text,
    occurred_at timestamptz not null,
    decided_at timestamptz,
    log_at timestamptz,
    is_stale boolean not null,
    data jsonb not null,
    target text not null default 'url' check (target in ('url', 'challenge', 'fallback')),
    created_at timestamptz not null default now(),
    state text not null default 'due'
        check (state in ('due', 'in_flight', 'delivered', 'retrying', 'exhausted', 'dropped')),
    due_at timestamptz,
    step integer not null default 0,
    attempts integer not null default 0,
    owner text,
    lease_until timestamptz,
    finished_at timestamptz,
    reason text,
    primary key (tenant, id),
    check (state not in ('due', 'retrying') or due_at is not null),
    check ((state = 'in_flight') = (owner is not null)),
    check ((state = 'in_flight') = (lease_until is not null)),
    check ((state in ('delivered', 'exhausted', 'dropped')) = (finished_at is not null)),
    check (state not in ('exhausted', 'dropped') or reason is not null)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
create index webhook_message_waiting on webhook_message (subscription, target, due_at, position)
    where state in ('due', 'retrying');
create index webhook_message_in_flight on webhook_message (subscription) where state = 'in_flight';
create index webhook_message_order on webhook_message (subscription, position desc);
create index webhook_message_finished on webhook_message (finished_at) where finished_at is not null;
comment on table webhook_message is 'One event for one subscription. A row is deleted webhooks.retention after its end.';
comment on column webhook_message.tenant is 'Tenant of the subscription.';
comment on column webhook_message.id is 'The header webhook-id: msg_ and a digest of subscription and event. The same for all attempts.';
comment on column webhook_message.position is 'Order of the making of messages.';
comment on column webhook_message.subscription is 'Id of the subscription.';
comment on column webhook_message.event is 'Id of the event, unique in its tenant; of a notice that of the streams.';
comment on column webhook_message.type is 'Name of the event, such as notice.recording_on.';
comment on column webhook_message.call is 'Id of the call when the message was made. Null: the event concerns no call.';
comment on column webhook_message.occurred_at is 'Instant of the event.';
comment on column webhook_message.decided_at is 'Instant of the fact that decided a notice, by which it becomes stale. Null: the event is no notice.';
comment on column webhook_message.log_at is 'Instant of the log to which the cursor of the message leads. Null: it has no cursor.';
comment on column webhook_message.is_stale is 'True: the notice could not be announced when the message was made.';
comment on column webhook_message.data is 'The data of the event, as the subscription wants it.';
comment on column webhook_message.target is 'url; challenge (to the address, while the subscription is pending); or fallback (the last notice, to the fallback address).';
comment on column webhook_message.created_at is 'Instant at which the message was made.';
comment on column webhook_message.state is 'due (no attempt yet), in_flight (an attempt goes on), retrying (the last attempt failed), delivered, exhausted (no attempt is left), or dropped.';
comment on column webhook_message.due_at is 'A node makes the next attempt from this instant on. Null: none.';
comment on column webhook_message.step is 'Failed attempts since the message was made or sent again: the step of the ladder.';
comment on column webhook_message.attempts is 'Number of attempts that were begun.';
comment on column webhook_message.owner is 'Node that makes the attempt. Null: none does.';
comment on column webhook_message.lease_until is 'Later the message is claimed again: the node has ended. Null: no attempt goes on.';
comment on column webhook_message.finished_at is 'Instant at which it was delivered, exhausted or dropped. Null: none of these.';
comment on column webhook_message.reason is 'Why it is exhausted or dropped. Null: neither.';

create table webhook_attempt (
    tenant text not null,
    message text not null,
    number integer not null,
    at timestamptz not null,
    duration_ms integer not null,
    outcome text not null check (outcome in ('delivered', 'failed', 'gone')),
    status integer,
    error text,
    answer text,
    primary key (tenant, message, number)
);
comment on table webhook_attempt is 'Attempts at the messages. They are deleted with their message.';
comment on column webhook_attempt.tenant is 'Tenant of the message.';
comment on column webhook_attempt.message is 'Id of the message.';
comment on column webhook_attempt.number is 'Number of the attempt, from 1.';
comment on column webhook_attempt.at is 'Instant at which it began, by the clock of its node.';
comment on column webhook_attempt.duration_ms is 'How long it took, in milliseconds.';
comment on column webhook_attempt.outcome is 'delivered, failed, or gone: the receiver answered 410.';
comment on column webhook_attempt.status is 'Status of the answer. Null: there was none.';
comment on column webhook_attempt.error is 'What failed. Null: nothing.';
comment on column webhook_attempt.answer is 'The first 1,024 bytes of the body of the answer, redacted. Null: it had none.';

create function webhook_message_id(of_subscription uuid, of_event text) returns text
    language sql immutable parallel safe
    return 'msg_' || encode(substr(sha256(convert_to(of_subscription::text || ' ' || of_event, 'UTF8')), 1, 16), 'hex');
comment on function webhook_message_id(uuid, text) is 'The id of the message of an event for a subscription.';

create function make_webhook_messages(of_tenant text, events jsonb) returns bigint
    language sql volatile
as $$
    with made as (
        insert into webhook_message (tenant, id, subscription, event, type, call, occurred_at, decided_at, log_at, is_stale, data, due_at)
        select of_tenant, webhook_message_id(subscription.id, event.id), subscription.id, event.id, event.type, event.call,
            event.occurred_at, event.decided_at, event.log_at, event.is_stale,
            case subscription.content when 'full' then event.data || event.more else event.data end, now()
        from rows from (jsonb_to_recordset(events) as (
            id text, type text, call text, occurred_at timestamptz, decided_at timestamptz, log_at timestamptz,
            is_stale boolean, apps text[], call_kind text, exception_kind text, severity text, data jsonb, more jsonb))
            with ordinality as event (id, type, call, occurred_at, decided_at, log_at, is_stale, apps, call_kind, exception_kind, severity, data, more, place)
        join webhook_subscription as subscription on subscription.tenant = of_tenant
            and subscription.state in ('active', 'paused', 'disabled')
            and exists (
                select from unnest(subscription.events) as pattern
                where event.type = pattern or (pattern like '%*' and starts_with(event.type, left(pattern, -1))))
            and (subscription.apps = '{}' or event.call is null or subscription.apps && coalesce(event.apps, '{}'))
            and (subscription.call_kinds = '{}' or event.call is null or event.call_kind = any(subscription.call_kinds))
            and (subscription.exception_kinds = '{}' or event.exception_kind is null or event.exception_kind = any(subscription.exception_kinds))
            and (subscription.severities = '{}' or event.severity is null or event.severity = any(subscription.severities))
            and (subscription.stale = 'send' or not event.is_stale)
        order by event.place, subscription.id
        on conflict do nothing
        returning subscription),
    named as (select string_agg(distinct subscription::text, ' ') as ids from made),
    -- A longer list than a notification can have stands for all subscriptions.
    notified as materialized (
        select pg_notify('onrecord_webhooks', case when length(ids) < 7000 then ids else '' end) from named where ids is not null)
    select (select count(*) from made) + 0 * (select count(*) from notified)
$$;
comment on function make_webhook_messages(text, jsonb) is 'Makes a message of each event of a tenant for each subscription that wants it, and notifies the nodes that send them. Returns their number.';

create function make_webhook_messages_of_exceptions() returns trigger
    language plpgsql
as $$
begin
    -- Most deployments have no subscription.
    if not exists (select from webhook_subscription where state in ('active', 'paused', 'disabled')) then
        return null;
    end if;
    perform make_webhook_messages(happened.tenant, jsonb_agg(happened.event order by happened.id))
    from (
        select added.tenant, added.exception_id || '-' || added.position || kinds.suffix as id, jsonb_build_object(
            'id', added.exception_id || '-' || added.position || kinds.suffix,
            'type', kinds.type,
            'call', exception.call,
            'occurred_at', added.at,
            'is_stale', false,
            'apps', to_jsonb(call.apps),
            'call_kind', call.kind,
            'exception_kind', exception.kind,
            'severity', exception.severity,
            'data', jsonb_build_object(
                'exception', exception.id, 'kind', exception.kind, 'severity', exception.severity, 'call', exception.call,
                'source', exception.source, 'change', added.change, 'at', to_char(added.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
            'more', jsonb_build_object(
                'sentence', exception.sentence, 'subject', exception.subject, 'facts', exception.facts, 'reason', added.reason,
                'actor', added.actor, 'version', added.version,
                'opened_at', to_char(exception.opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))) as event
        from added
        join exception on exception.tenant = added.tenant and exception.id = added.exception_id
        left join call on call.tenant = exception.tenant and call.call = exception.call
        cross join lateral (
            select case added.change when 'closed' then 'exception.closed' else 'exception.opened' end, ''
            union all
            select 'source.silent', '-silent' where exception.kind = 'SILENT_SOURCE' and added.change <> 'closed') as kinds (type, suffix)
        where added.change in ('opened', 'reopened', 'closed')) as happened
    group by happened.tenant;
    return null;
end $$;
comment on function make_webhook_messages_of_exceptions() is 'Makes the messages of exceptions that were opened or closed.';

create trigger webhook_messages_of_exceptions
    after insert on exception_history
    referencing new table as added
    for each statement execute function make_webhook_messages_of_exceptions();

-- A subscription that fails for long has one exception.
create unique index exception_subject_of_webhook on exception (tenant, kind, subject) where kind = 'WEBHOOK_DISABLED';

-- The list of readable tables, and these; not the secrets.
do $$
declare
    listed text := (
        select string_agg(format('(%L, %L::boolean)', readable.name, readable.of_tenant), ', ')
        from (
            select name, of_tenant from readable_tables()
            union all values ('webhook_subscription', true), ('webhook_message', true), ('webhook_attempt', true)) as readable (name, of_tenant));
begin
    execute format(
        'create or replace function readable_tables() returns table (name text, of_tenant boolean) language sql immutable
         begin atomic select * from (values %s) as readable (name, of_tenant); end', listed);
end $$;

select admit_readers();
