-- Each call has a summary, also one that was written meanwhile.

lock table call in share row exclusive mode;
update call as it set summary = summary_of_rows(it) where it.summary is null;
alter table call alter column summary set not null;
drop function summary_of_rows(call);
