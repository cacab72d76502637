-- Who works on an exception, and notes.
--
-- # Why
--
-- A queue that several people share needs to say who has which matter, and what was found so far, before it
-- is closed. Both are steps of the history, which keeps them permanently.

alter table exception
    add column assignee uuid,
    add column assignee_name text,
    add constraint exception_assignee check ((assignee is null) = (assignee_name is null));
comment on column exception.assignee is 'Id of the API key of the person who works on it. Null: nobody does.';
comment on column exception.assignee_name is 'Name of that API key when it was assigned.';
create index exception_assigned on exception (tenant, assignee, opened_at desc, id desc) where assignee is not null;

alter table exception_history drop constraint exception_history_change_check;
alter table exception_history add constraint exception_history_change_check check (
    change in ('opened', 'changed', 'closed', 'reopened', 'assigned', 'noted')) not valid;
alter table exception_history validate constraint exception_history_change_check;
comment on column exception_history.change is 'opened, changed, closed, reopened, assigned (reason: to whom) or noted (reason: the note).';
