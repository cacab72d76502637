-- Revoked subscriber tokens.

create table token_revocation (
    id bigint generated always as identity primary key,
    tenant text not null,
    raw_id text,
    api_key uuid references api_key (id),
    last_issued_at timestamptz not null,
    revoked_by uuid references api_key (id),
    recorded_at timestamptz not null default now(),
    check (num_nonnulls(raw_id, api_key) <= 1)
);
create index token_revocation_recorded_at on token_revocation (recorded_at);
comment on table token_revocation is 'Revocations of subscriber tokens: of a person, of the API key that minted them, or of all tokens of a tenant. Nodes read the new rows every second.';
comment on column token_revocation.id is 'Order of the rows.';
comment on column token_revocation.tenant is 'Tenant of the tokens.';
comment on column token_revocation.raw_id is 'Raw id of the person whose tokens are revoked. Null with a null api_key: all tokens of the tenant.';
comment on column token_revocation.api_key is 'API key whose tokens are revoked.';
comment on column token_revocation.last_issued_at is 'Tokens that were issued until this instant are revoked, by the clock of the node that issued them.';
comment on column token_revocation.revoked_by is 'API key that revoked them. Null: an operator, by onrecord key revoke-tokens.';
comment on column token_revocation.recorded_at is 'Instant of the row, by the clock of the database.';
