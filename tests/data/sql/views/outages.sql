select tenant, kind, subject, duration_ms, from_at is null, to_at is null from reading.outages order by kind, subject, from_at;
