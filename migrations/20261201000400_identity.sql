-- Which ids belong to which call.

create table alias_link (
    tenant text not null,
    lower_id text not null,
    upper_id text not null,
    primary key (tenant, lower_id, upper_id)
);
-- The tenant is not first here. The primary key serves the look-ups of every batch; of a table that
-- was never analyzed the planner takes another index that begins with the tenant for equally good.
create index alias_link_upper on alias_link (upper_id, tenant);
comment on table alias_link is 'Pairs of ids that appeared together in one event.';
comment on column alias_link.tenant is 'Tenant of the event.';
comment on column alias_link.lower_id is 'Anchor of the more local id, such as a call connection.';
comment on column alias_link.upper_id is 'Anchor of the more general id, such as a serverCallId or a correlationId.';

create table call_alias (
    tenant text not null,
    anchor text not null,
    resolves_to text not null,
    ambiguous boolean not null default false,
    primary key (tenant, anchor)
);
create index call_alias_resolves_to on call_alias (tenant, resolves_to);
create index call_alias_ambiguous on call_alias (tenant, anchor) where ambiguous;
comment on table call_alias is 'The call that each anchor is part of now. Derived from alias_link, kept for look-ups.';
comment on column call_alias.tenant is 'Tenant of the ids.';
comment on column call_alias.anchor is 'Anchor of an id that an event named.';
comment on column call_alias.resolves_to is 'Id of the call, which is an anchor too.';
comment on column call_alias.ambiguous is 'True: the id appeared with several calls, so it counts as a call by itself.';
