-- What a list shows of a call is a part of its row: a list of 100 calls looked up six tables for each of them, and each
-- of these has one level more where there are many calls.
--
-- In three steps, so that calls are read while the second makes the summaries of those that exist.

alter table call add column summary jsonb;
comment on column call.summary is 'What a list shows of the call: verdict, consent, numbers of people, display names, captures. A function of the rows of its sessions and captures and of its latest verdict, written with them.';

create function summary_of_rows(of_call call) returns jsonb
    language sql stable set enable_seqscan = off
begin atomic
    select jsonb_build_object(
        'verdict', (
            select verdict.verdict from verdict where verdict.tenant = of_call.tenant and verdict.call = of_call.call
            order by verdict.version desc limit 1),
        'consent', (
            select substr(term.term, 9) from call_term as term
            where term.tenant = of_call.tenant and term.call = of_call.call and term.term like 'consent=%' limit 1),
        'sessions', (select count(*) from session where session.tenant = of_call.tenant and session.call = of_call.call),
        'participants_ours', (
            select count(distinct coalesce(session.raw_id, session.session)) from session
            where session.tenant = of_call.tenant and session.call = of_call.call and session.ours),
        'participants_others', (
            select count(distinct coalesce(session.raw_id, session.session)) from session
            where session.tenant = of_call.tenant and session.call = of_call.call and not session.ours and session.identity <> 'outsider'),
        'outsiders', (
            select count(distinct coalesce(session.raw_id, session.session)) from session
            where session.tenant = of_call.tenant and session.call = of_call.call and session.identity = 'outsider'),
        'names', (
            select coalesce(jsonb_agg(named.name order by named.name), '[]') from (
                select distinct session.display_name collate "C" as name from session
                where session.tenant = of_call.tenant and session.call = of_call.call and session.display_name is not null
                order by 1 limit 20) as named),
        'recording', (
            select jsonb_build_object('captures', count(*),
                'ended_ms', coalesce(sum(reading.elapsed_ms(capture.started_at, capture.ended_at)), 0)::bigint,
                'open_since', coalesce(jsonb_agg((extract(epoch from capture.started_at) * 1000)::bigint order by capture.started_at) filter (where capture.ended_at is null), '[]'))
            from capture where capture.tenant = of_call.tenant and capture.call = of_call.call and capture.type = 'recording'),
        'transcription', (
            select jsonb_build_object('captures', count(*),
                'ended_ms', coalesce(sum(reading.elapsed_ms(capture.started_at, capture.ended_at)), 0)::bigint,
                'open_since', coalesce(jsonb_agg((extract(epoch from capture.started_at) * 1000)::bigint order by capture.started_at) filter (where capture.ended_at is null), '[]'))
            from capture where capture.tenant = of_call.tenant and capture.call = of_call.call and capture.type = 'transcription'));
end;
comment on function summary_of_rows is 'The summary of a call that was evaluated before it had one. The last of these migrations drops it.';
