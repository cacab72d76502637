select call, kind, severity, state, closed_how, reopenings, time_to_close_ms, case when state = 'closed' then open_ms end, history.steps, history.by_person
from reading.exceptions as one
cross join lateral (
    select count(*) as steps, count(*) filter (where by = 'person') as by_person from reading.exception_history as step
    where step.tenant = one.tenant and step.exception = one.exception) as history
order by call, kind, opened_at, time_to_close_ms, history.steps;
