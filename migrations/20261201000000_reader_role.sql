-- The database role under which the read API answers.
--
-- The user that runs the migrations owns all tables. Every query of the read API runs under the
-- role onrecord_reader, whose rows are limited to one tenant by row-level security. That is a second
-- line of defence: each query names its tenant as well.
--
-- A user that may create roles (CREATEROLE) needs no preparation. For any other user an
-- administrator of the server runs this before the first migration, with the name of the user:
--
--     create role onrecord_reader nologin;
--     grant onrecord_reader to <user>;
--
-- Without it this migration fails, and its error says so. Nothing has been created by then.

do $$
begin
    if not exists (select from pg_roles where rolname = 'onrecord_reader') then
        create role onrecord_reader nologin;
    end if;
exception
    -- A migration of another database of the same server created it at the same moment.
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise insufficient_privilege using message = format(
            'the role onrecord_reader does not exist and %1$I may not create it; an administrator has to run: create role onrecord_reader nologin; grant onrecord_reader to %1$I;',
            current_user);
end $$;

do $$
begin
    -- An administrator may have granted it without the right to grant it further, so it is granted
    -- only where it is missing. PostgreSQL 16 and later distinguish membership from the right to
    -- take the role: the creator of a role is a member of it, but may not take it.
    if not pg_has_role(current_user, 'onrecord_reader',
        case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
    then
        execute format('grant onrecord_reader to %I', current_user);
    end if;
exception
    -- The same grant at the same moment ("tuple concurrently updated").
    when duplicate_object or unique_violation or internal_error then null;
    when insufficient_privilege then
        raise insufficient_privilege using message = format(
            'the user %1$I may not take the role onrecord_reader and may not grant it to itself; an administrator has to run: grant onrecord_reader to %1$I;',
            current_user);
end $$;
