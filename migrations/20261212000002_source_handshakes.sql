-- The handshakes of sources, by which the set-up of a source shows that its subscription reaches the service.

create table source_handshake (
    tenant text not null,
    source text not null,
    schema text not null check (schema in ('event_grid', 'cloud_events')),
    last_at timestamptz not null,
    primary key (tenant, source)
);
comment on table source_handshake is 'The last handshake of each source that validates subscriptions. A handshake needs no credential: it shows that somebody reached the address, not who.';
comment on column source_handshake.tenant is 'Tenant of the source.';
comment on column source_handshake.source is 'Configured name of the source.';
comment on column source_handshake.schema is 'By which schema it was made: event_grid (an event with a code) or cloud_events (OPTIONS).';
comment on column source_handshake.last_at is 'Instant of the last handshake that was answered, by the clock of the receiving node.';
