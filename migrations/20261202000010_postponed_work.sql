-- Work on large calls, which the maintenance does in steps so that it delays no other call.

create table pending_merge (
    tenant text not null,
    upper_id text not null,
    continues_after text not null default '',
    generation bigint not null default 1,
    since_at timestamptz not null default coalesce(complete_through(), '-infinity'),
    retry_at timestamptz,
    primary key (tenant, upper_id)
);
comment on table pending_merge is 'Ids that resolve to another call now, and have too many ids below them to move all of those in one transaction. The maintenance moves them in steps.';
comment on column pending_merge.tenant is 'Tenant of the ids.';
comment on column pending_merge.upper_id is 'Anchor of the id whose call changed.';
comment on column pending_merge.continues_after is 'The ids below it up to this one, in their order, are moved.';
comment on column pending_merge.generation is 'Number of times that the call of the id changed since the row was written. Another change begins the steps again.';
comment on column pending_merge.since_at is 'Low watermark at the first change whose steps are not complete: what was received before is in the rows of the calls. -infinity: not known.';
comment on column pending_merge.retry_at is 'Instant before which a failed step is not repeated. Null: the last one succeeded.';

create table postponed_call (
    tenant text not null,
    call text not null,
    generation bigint not null default 1,
    since_at timestamptz not null default coalesce(complete_through(), '-infinity'),
    due_at timestamptz not null,
    primary key (tenant, call)
);
create index postponed_call_due_at on postponed_call (tenant, due_at);
comment on table postponed_call is 'Calls with facts that no evaluation has read yet, because the call or its batch is large. The maintenance evaluates them.';
comment on column postponed_call.tenant is 'Tenant of the call.';
comment on column postponed_call.call is 'Id of the call.';
comment on column postponed_call.generation is 'Number of times that the evaluation was postponed. An evaluation deletes the row if the number is still the one from before it read the facts.';
comment on column postponed_call.since_at is 'Low watermark at the first postponement: what was received before is in the rows of the call. -infinity: not known.';
comment on column postponed_call.due_at is 'Instant at which the maintenance evaluates the call. The larger the call, the later after its last evaluation; a failed evaluation delays it too.';

-- Maintenance takes the due calls by turns of the tenants.
create index call_due on call (tenant, next_evaluation_at) where next_evaluation_at is not null;
drop index call_next_evaluation_at;
comment on column call.next_evaluation_at is 'Instant at which the passing of time alone changes the result. Null: never.';

-- `call_complete_through` of the query API reads both.
grant select on pending_merge, postponed_call to onrecord_reader;
alter table pending_merge enable row level security;
alter table postponed_call enable row level security;
create policy one_tenant on pending_merge for select to onrecord_reader using (tenant = current_setting('onrecord.tenant', true));
create policy one_tenant on postponed_call for select to onrecord_reader using (tenant = current_setting('onrecord.tenant', true));
