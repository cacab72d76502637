select call, cardinality(former_calls), cardinality(aliases), kind, duration_ms, participants_ours, participants_others, outsiders, sessions,
    recorded, transcribed, case when ended_at is not null then recording_captured_ms end, case when ended_at is not null then transcription_captured_ms end,
    open_captures, verdict, verdict_version, consent, watch_ms, recording_observed_ms, exceptions, open_exceptions,
    extract(epoch from first_received_at)::numeric(20, 3), extract(epoch from last_received_at)::numeric(20, 3), complete
from reading.calls order by call;
