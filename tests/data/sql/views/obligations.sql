select call, session, type, status, outcome, counts, in_time, dispatched_after_ms, dispatched_censored, delivered_after_ms, delivered_censored,
    shown_after_ms, shown_censored, case when ends_at is not null then at_risk_ms end, transport, app
from reading.obligations order by session, type, due_at;
