-- The indexes of call_term begin with what tells calls apart.
--
-- # Why
--
-- For a table that was never analyzed, the planner takes an index that only begins with the tenant for as good as
-- the right one, and keeps that plan.

alter table call_term drop constraint call_term_pkey;
alter table call_term add primary key (term, tenant, started_at, call);
drop index call_term_call;
create index call_term_call on call_term (call, tenant);
