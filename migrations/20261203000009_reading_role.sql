-- The database role of logins for SQL clients, each of which is a member of it by the role of its tenant.
--
-- As with onrecord_reader, a user that may not create roles (CREATEROLE) needs an administrator of the
-- server first:
--
--     create role onrecord_reading nologin;

do $$
begin
    if not exists (select from pg_roles where rolname = 'onrecord_reading') then
        create role onrecord_reading nologin;
    end if;
exception
    -- A migration of another database of the same server created it at the same moment.
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise insufficient_privilege using message = format(
            'the role onrecord_reading does not exist and %1$I may not create it; an administrator has to run: create role onrecord_reading nologin;',
            current_user);
end $$;
