select extract(epoch from hour)::bigint, type, kind, start_source, le_ms, captures, duration_sum_ms from reading.captures_hourly order by 1, 2, 3, 4, 5;
