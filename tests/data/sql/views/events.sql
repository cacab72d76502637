select call, type, provenance, count(*), sum(delay_ms) from reading.events group by 1, 2, 3 order by 1, 2, 3;
