select call, type, extract(epoch from started_at)::numeric(20, 3), duration_ms, start_is_bound, end_inferred, kind from reading.captures order by call, type, started_at;
