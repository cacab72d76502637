-- Each postponement has a number of its own. Numbers that began again with each row could repeat: an
-- evaluation that had read the first postponement of a call would delete a later first one.
create sequence postponement as bigint start with 1000000000;
comment on sequence postponement is 'Numbers of postponements, of pending_merge and postponed_call. Those of the version before are smaller.';
alter table pending_merge alter column generation set default nextval('postponement');
alter table postponed_call alter column generation set default nextval('postponement');
comment on column pending_merge.generation is 'Number of the last change of the call of the id. Another change has another number, and begins the steps again.';
comment on column postponed_call.generation is 'Number of the last postponement. An evaluation deletes the row if the number is still the one from before it read the facts.';

-- `complete_through` of lists is limited by the oldest work that is left to the maintenance.
create index pending_merge_since_at on pending_merge (tenant, since_at);
create index postponed_call_since_at on postponed_call (tenant, since_at);

-- The steps of a merge read the ids below an id in their order.
create index alias_link_upper_lower on alias_link (upper_id, tenant, lower_id);
drop index alias_link_upper;
