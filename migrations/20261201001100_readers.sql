-- What the role onrecord_reader may see.

-- Security definer, because readers may not read the positions and the spool themselves.
create function complete_through() returns timestamptz
    language sql stable security definer set search_path = public, pg_temp
as $$
    select case when count(*) = 0 then null else least(
        min(complete_through),
        (select min(stored_at) from spool),
        now() - interval '30 seconds') end
    from stream_position
$$;
comment on function complete_through() is 'Low watermark of the tables: everything received before this instant is in them. No partition of the log is behind it, nothing older waits in the spool, and a delivery still in progress has had 30 seconds. Null: the ledger has never run.';

grant usage on schema public to onrecord_reader;
grant select on
    entry, fact, alias_link, call_alias, call, session, capture, notice_fact, notice_text, verdict, obligation,
    quarantine, exception, exception_history, rejection, role_heartbeat, spool_use, stream_gap
    to onrecord_reader;

do $$
declare
    readable text;
begin
    foreach readable in array array[
        'entry', 'fact', 'alias_link', 'call_alias', 'call', 'session', 'capture', 'notice_fact', 'notice_text', 'verdict',
        'obligation', 'quarantine', 'exception', 'exception_history', 'rejection']
    loop
        execute format('alter table %I enable row level security', readable);
        execute format(
            'create policy one_tenant on %I for select to onrecord_reader using (tenant = current_setting(''onrecord.tenant'', true))',
            readable);
    end loop;
    -- These belong to the deployment and name no tenant: every reader may see them.
    foreach readable in array array['role_heartbeat', 'spool_use', 'stream_gap'] loop
        execute format('alter table %I enable row level security', readable);
        execute format('create policy of_the_deployment on %I for select to onrecord_reader using (true)', readable);
    end loop;
end $$;
