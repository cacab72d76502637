-- The views and columns of the schema reading whose comment is not in the form of docs/sql.md. None is right.
select class.relname || coalesce('.' || attribute.attname, '') as name, coalesce(comment.text, 'no comment') as comment
from pg_class as class
cross join lateral (
    select attname::text, attnum from pg_attribute where attrelid = class.oid and attnum > 0 and not attisdropped
    union all select null, 0) as attribute
cross join lateral (
    select case attribute.attnum when 0 then obj_description(class.oid, 'pg_class') else col_description(class.oid, attribute.attnum) end as text) as comment
cross join lateral (select string_to_array(comment.text, ' · ') as part) as split
where class.relnamespace = 'reading'::regnamespace and class.relkind in ('v', 'm', 'r', 'p')
    and (class.relkind <> 'v' or not coalesce(class.reloptions @> array['security_invoker=true'], false)
        or cardinality(part) is distinct from 5 or '' = any (part)
        or part[4] not in ('none', 'indirect', 'pseudonymous', 'direct')
        or part[5] not in ('with the record', 'until the next evaluation of the call', 'computed by each query')
        or case attribute.attnum
            when 0 then part[2] !~ '^row: .+; key: .+; join: |^row: a call; key: ' or part[3] !~ '^no row: '
            else part[2] not in ('id', 'name', 'text', 'code', 'instant', 'ms', 'count', 'number', 'true or false', 'list of ids', 'list of codes') end)
order by 1;
