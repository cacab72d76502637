-- Writes the data dictionary of docs/sql.md, a line a row, from the comments of the schema reading.
with view as (
    select class.oid, class.relname::text as name, string_to_array(obj_description(class.oid, 'pg_class'), ' · ') as part,
        array_position(array['calls', 'participants', 'sessions', 'captures', 'obligations', 'obligations_all', 'exceptions',
            'exception_history', 'notices', 'events', 'outages', 'notice_latency_hourly', 'captures_hourly'], class.relname::text) as place
    from pg_class as class
    where class.relnamespace = 'reading'::regnamespace and class.relkind = 'v'),
attribute as (
    select view.*, attribute.attnum, attribute.attname::text as attname, format_type(attribute.atttypid, attribute.atttypmod) as type,
        string_to_array(col_description(view.oid, attribute.attnum), ' · ') as comment
    from view join pg_attribute as attribute on attribute.attrelid = view.oid and attribute.attnum > 0 and not attribute.attisdropped)
select line from (
    select place, name, 0 as attnum, format(E'### `%s`\n\n%s.\n\n| | |\n|---|---|\n| %s |\n| personal data | %s |\n| lives | %s |\n\n| column | type | meaning | unit | null | personal data | lives |\n|---|---|---|---|---|---|---|',
        name, part[1], replace(regexp_replace(part[2] || '; ' || part[3], ': ', ' | ', 'g'), '; ', E' |\n| '), part[4], part[5]) as line
    from view
    union all
    select place, name, attnum, format('| `%s` | %s | %s | %s | %s | %s | %s |%s', attname, type, comment[1], comment[2], comment[3], comment[4], comment[5],
        case when attnum = max(attnum) over (partition by name) then E'\n' else '' end)
    from attribute) as lines
order by place nulls last, name, attnum;
