select ours, outcome, count(*) from reading.obligations_all group by 1, 2 order by 1, 2;
