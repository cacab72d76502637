-- Logins for SQL clients, each pinned to one tenant by the database.
--
-- # Why
--
-- A tenant that a reader sets in a variable is no limit: the reader can set another. So a login is a
-- member of the role of its tenant, which it cannot change. It has no tenant, or more than one: each
-- query is refused, because an answer of 0 rows looks like an answer.
--
-- The views run with the rights of the reader (security_invoker), so the role onrecord_reading may
-- select the columns that they use. It may not name the tables: it has no right on the schema public.
--
-- A dump contains neither roles nor logins. The function admit_logins makes again what is granted to
-- onrecord_reading, and `onrecord migrate` calls it where something is missing.

create table tenant_role (
    tenant text primary key,
    role name not null unique
);
comment on table tenant_role is 'The database role of each tenant that has logins for SQL clients. Its members see the rows of the tenant in the schema reading.';
comment on column tenant_role.tenant is 'Tenant whose rows the members see.';
comment on column tenant_role.role is 'Name of the role, which cannot log in itself.';

create function tenant_of_reader(reader name) returns text
    language plpgsql stable parallel safe security definer set search_path = public, pg_temp
as $$
declare
    tenants text[];
begin
    select array_agg(entitled.tenant order by entitled.tenant) into tenants
    from tenant_role as entitled
    join pg_roles as role on role.rolname = entitled.role
    where pg_has_role(reader, role.oid, 'member');
    if cardinality(tenants) = 1 then
        return tenants[1];
    end if;
    raise insufficient_privilege using
        message = case when tenants is null
            then format('no tenant is known: %I is no member of the role of a tenant', reader)
            else format('no tenant is known: %I is a member of the roles of several tenants: %s', reader, array_to_string(tenants, ', ')) end,
        hint = 'docs/sql.md says how to make a login that belongs to one tenant.';
end $$;
comment on function tenant_of_reader is 'The tenant whose rows a role sees. An error where there is none or more than one, because an answer without rows would look like an answer.';
revoke execute on function tenant_of_reader from public;

create function login_tables() returns table (name text, of_tenant boolean)
    language sql immutable
begin atomic
    select * from (values
        ('call', true), ('call_alias', true), ('capture', true), ('entry', true), ('exception', true),
        ('exception_history', true), ('notice_fact', true), ('obligation', true), ('pending_merge', true),
        ('postponed_call', true), ('rejection', true), ('session', true), ('verdict', true),
        ('role_heartbeat', false), ('spool_use', false), ('stream_gap', false)) as readable (name, of_tenant);
end;
comment on function login_tables() is 'The tables that the views of the schema reading use. Those that are not of a tenant belong to the deployment: every login with a tenant may see them.';

create function admit_logins() returns void
    language plpgsql
as $$
declare
    readable record;
begin
    revoke usage on schema public from public;
    execute format('revoke temporary on database %I from public', current_database());
    grant execute on function public.tenant_of_reader to onrecord_reading;
    grant usage on schema reading to onrecord_reading, onrecord_reader;
    grant select on all tables in schema reading to onrecord_reading, onrecord_reader;
    -- Of the tables only what the views use: no originals, no keys, no facts of exceptions.
    grant select on public.call, public.call_alias, public.capture, public.obligation, public.pending_merge,
        public.postponed_call, public.rejection, public.session, public.role_heartbeat, public.spool_use, public.stream_gap
        to onrecord_reading;
    grant select (tenant, call, version, rules, verdict, report) on public.verdict to onrecord_reading;
    grant select (id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time, at_ms, sha256, event, flags, xid)
        on public.entry to onrecord_reading;
    grant select (timeline_id, tenant, anchor, at_ms, kind, fact, flags, entered_at) on public.notice_fact to onrecord_reading;
    grant select (tenant, id, kind, severity, call, source, subject, at_ms, sentence, opened_at, closed_at, closed_by, closed_by_key, reason, cause_ended)
        on public.exception to onrecord_reading;
    grant select (tenant, exception_id, position, change, at, actor, actor_key, reason, version) on public.exception_history to onrecord_reading;
    for readable in select * from public.login_tables() loop
        execute format('drop policy if exists tenant_of_login on public.%I', readable.name);
        -- The sub-select makes it one call for each query instead of one for each row. Without the collation
        -- the comparison would have that of current_user (C), and no index on tenant would serve it.
        execute format(
            'create policy tenant_of_login on public.%I for select to onrecord_reading using (%s)', readable.name,
            case when readable.of_tenant then 'tenant = (select public.tenant_of_reader(current_user) collate "default")'
                else '(select public.tenant_of_reader(current_user) collate "default") is not null' end);
    end loop;
end $$;
comment on function admit_logins() is 'Grants the role onrecord_reading what logins for SQL clients may see, with the policies of row-level security. May run again at any time.';

select admit_logins();

create function reader_login_statements(tenant text, login text) returns setof text
    language plpgsql stable set search_path = public, pg_temp
as $$
declare
    group_role text := coalesce(
        (select entitled.role::text from tenant_role as entitled where entitled.tenant = reader_login_statements.tenant),
        format('onrecord_%s_%s', current_database(), tenant));
begin
    if tenant !~ '^[a-z0-9][a-z0-9-]{0,62}$' then
        raise invalid_parameter_value using message = format('%L is no tenant', tenant);
    end if;
    if octet_length(login) not between 1 and 63 then
        raise invalid_parameter_value using message = 'the name of a login has 1 to 63 bytes';
    end if;
    -- PostgreSQL would cut a longer name, and two tenants could share a role.
    if octet_length(group_role) > 63 then
        group_role := format('onrecord_%s', left(encode(sha256(convert_to(group_role, 'UTF8')), 'hex'), 32));
    end if;
    if not exists (select from pg_roles where rolname = group_role) then
        return next format('create role %I nologin;', group_role);
    end if;
    return next format('comment on role %I is %L;', group_role,
        format('Reads the tenant %s of the database %s, in the schema reading.', tenant, current_database()));
    return next format('grant onrecord_reading to %I;', group_role);
    return next format('grant connect on database %I to %I;', current_database(), group_role);
    return next format('insert into tenant_role (tenant, role) values (%L, %L) on conflict (tenant) do nothing;', tenant, group_role);
    return next format(
        'create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 8 in role %I;', login, group_role);
    return next format('alter role %I set default_transaction_read_only = on;', login);
    return next format('alter role %I set statement_timeout = ''60s'';', login);
    return next format('alter role %I set idle_in_transaction_session_timeout = ''60s'';', login);
    return next format('alter role %I set search_path = reading;', login);
    return next format('alter role %I set timezone = ''UTC'';', login);
    -- A join of three views has more than eight tables, beyond which the order of joins would be that of the text.
    return next format('alter role %I set join_collapse_limit = 12;', login);
    return next format('alter role %I set from_collapse_limit = 12;', login);
    -- Compiling such a query takes longer than most answers.
    return next format('alter role %I set jit = off;', login);
end $$;
comment on function reader_login_statements is 'The statements that make a login for SQL clients that sees one tenant, without its password. The owner of the database runs them; the first needs CREATEROLE.';
revoke execute on function reader_login_statements from public;
