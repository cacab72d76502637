-- Access of callers and sources, and when the deployment was able to observe.

create table api_key (
    id uuid primary key,
    tenant text not null,
    role text not null check (role in ('app', 'analyst', 'auditor', 'admin')),
    name text not null,
    hash bytea not null unique,
    created_at timestamptz not null,
    revoked_at timestamptz
);
comment on table api_key is 'Callers of /v1. The key itself is stored nowhere.';
comment on column api_key.id is 'Id of the key.';
comment on column api_key.tenant is 'Tenant that the key may act for.';
comment on column api_key.role is 'What the key may do: app, analyst, auditor or admin.';
comment on column api_key.name is 'Name that an operator gave.';
comment on column api_key.hash is 'SHA-256 of the key.';
comment on column api_key.created_at is 'Instant of creation, by the clock of the command that created it.';
comment on column api_key.revoked_at is 'Instant of revocation. Null: valid.';

create table source_use (
    tenant text not null,
    source text not null,
    credential text not null,
    last_used_at timestamptz not null,
    primary key (tenant, source, credential)
);
comment on table source_use is 'The credential by which each source was last accepted: it shows whether an old key may be removed.';
comment on column source_use.tenant is 'Tenant of the source.';
comment on column source_use.source is 'Configured name of the source.';
comment on column source_use.credential is 'The first 12 hexadecimal digits of the hash of a key, or jwt: and the id of a signing key.';
comment on column source_use.last_used_at is 'Instant of the last use, up to a minute late: it is not written with every batch.';

create table rejection (
    tenant text not null,
    source text not null,
    reason text not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    deliveries bigint not null,
    primary key (tenant, source, reason, started_at)
);
create index rejection_ended_at on rejection (ended_at);
comment on table rejection is 'Deliveries that were rejected for their credential, by source and reason. One row for each series without a pause of an hour.';
comment on column rejection.tenant is 'Tenant of the source.';
comment on column rejection.source is 'Configured name of the source.';
comment on column rejection.reason is 'Code of the reason.';
comment on column rejection.started_at is 'Instant of the first rejection of the series, by the clock of the receiving node.';
comment on column rejection.ended_at is 'Instant of the last rejection of the series so far, by the clock of the receiving node.';
comment on column rejection.deliveries is 'Number of rejected deliveries; a lost answer of the database may count some twice.';

create table role_heartbeat (
    node uuid not null,
    role text not null,
    started_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (node, role, started_at)
);
create index role_heartbeat_last_seen_at on role_heartbeat (role, last_seen_at);
comment on table role_heartbeat is 'When each node was healthy in each of its roles. What no row covers is an outage.';
comment on column role_heartbeat.node is 'Id of the process, drawn at its start.';
comment on column role_heartbeat.role is 'Role of the node: ingest, ledger or live.';
comment on column role_heartbeat.started_at is 'Instant from which the node was healthy without interruption, by its own clock.';
comment on column role_heartbeat.last_seen_at is 'Instant at which it was last healthy, by its own clock; extended every few seconds.';
