select call, step, type, session is not null, transport, text_version, count(*) from reading.notices group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6;
