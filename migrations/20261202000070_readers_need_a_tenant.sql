-- A reader without a tenant is an error.
--
-- The policies compared the tenant with a setting that may be absent: a session that forgot it saw no
-- rows, and a report on no rows looks like a report on nothing that happened. Now each use of a readable
-- table without the setting fails.
--
-- A dump does not contain roles, so a restore may leave out what is granted to onrecord_reader. The
-- function admit_readers makes it again, and `onrecord migrate` calls it where something is missing.

create function no_reader_tenant() returns text
    language plpgsql stable
as $$
begin
    raise insufficient_privilege using
        message = 'no tenant is set, so no rows are readable',
        hint = 'set it first: select set_config(''onrecord.tenant'', ''…'', false)';
end $$;
comment on function no_reader_tenant() is 'Fails: the session of a reader names no tenant.';

-- In one expression, so that PostgreSQL evaluates it in place and once for each use of a table.
create function reader_tenant() returns text
    language sql stable
    return case coalesce(current_setting('onrecord.tenant', true), '')
        when '' then no_reader_tenant()
        else current_setting('onrecord.tenant', true) end;
comment on function reader_tenant() is 'The tenant of the session of a reader, from the setting onrecord.tenant. Fails without one.';

create function readable_tables() returns table (name text, of_tenant boolean)
    language sql immutable
begin atomic
    select * from (values
        ('entry', true), ('fact', true), ('alias_link', true), ('call_alias', true), ('call', true),
        ('session', true), ('capture', true), ('notice_fact', true), ('notice_text', true), ('verdict', true),
        ('obligation', true), ('quarantine', true), ('exception', true), ('exception_history', true),
        ('rejection', true), ('pending_merge', true), ('postponed_call', true),
        ('role_heartbeat', false), ('spool_use', false), ('stream_gap', false)) as readable (name, of_tenant);
end;
comment on function readable_tables() is 'The tables that readers may see. Those that are not of a tenant belong to the deployment.';

create function admit_readers() returns void
    language plpgsql
as $$
declare
    readable record;
    policy text;
begin
    grant usage on schema public to onrecord_reader;
    for readable in select * from readable_tables() loop
        execute format('grant select on public.%I to onrecord_reader', readable.name);
        execute format('alter table public.%I enable row level security', readable.name);
        for policy in select policyname from pg_policies
            where schemaname = 'public' and tablename = readable.name and policyname in ('one_tenant', 'of_the_deployment')
        loop
            execute format('drop policy %I on public.%I', policy, readable.name);
        end loop;
        if readable.of_tenant then
            execute format(
                'create policy one_tenant on public.%I for select to onrecord_reader using (tenant = public.reader_tenant())',
                readable.name);
        else
            execute format(
                'create policy of_the_deployment on public.%I for select to onrecord_reader using ((select public.reader_tenant()) is not null)',
                readable.name);
        end if;
    end loop;
end $$;
comment on function admit_readers() is 'Grants the role onrecord_reader what readers may see, with the policies of row-level security. May run again at any time.';

select admit_readers();
