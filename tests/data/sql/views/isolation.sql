set onrecord.tenant = 'fabrikam';
select 'calls', tenant, count(*) > 0 from reading.calls group by 2
union all select 'participants', tenant, count(*) > 0 from reading.participants group by 2
union all select 'sessions', tenant, count(*) > 0 from reading.sessions group by 2
union all select 'captures', tenant, count(*) > 0 from reading.captures group by 2
union all select 'obligations', tenant, count(*) > 0 from reading.obligations group by 2
union all select 'obligations_all', tenant, count(*) > 0 from reading.obligations_all group by 2
union all select 'exceptions', tenant, count(*) > 0 from reading.exceptions group by 2
union all select 'exception_history', tenant, count(*) > 0 from reading.exception_history group by 2
union all select 'notices', tenant, count(*) > 0 from reading.notices group by 2
union all select 'events', tenant, count(*) > 0 from reading.events group by 2
union all select 'outages', tenant, count(*) > 0 from reading.outages where tenant is not null group by 2
union all select 'notice_latency_hourly', tenant, count(*) > 0 from reading.notice_latency_hourly group by 2
union all select 'captures_hourly', tenant, count(*) > 0 from reading.captures_hourly group by 2
order by 1;
