select extract(epoch from hour)::bigint, type, step, outcome, le_ms, obligations, latency_sum_ms from reading.notice_latency_hourly order by 1, 2, 3, 4, 5;
