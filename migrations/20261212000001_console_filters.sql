-- Filters of the list of calls that a reader keeps under a name.

create table console_filter (
    id uuid primary key,
    tenant text not null,
    owner uuid not null,
    name text not null check (char_length(name) between 1 and 80),
    query text not null check (char_length(query) <= 4000),
    saved_at timestamptz not null,
    unique (tenant, owner, name)
);
comment on table console_filter is 'Filters of the list of calls in the console, each under the name that its reader gave it. Deleted by the reader.';
comment on column console_filter.id is 'Id of the filter.';
comment on column console_filter.tenant is 'Tenant whose calls it filters.';
comment on column console_filter.owner is 'Who keeps it: the id by which the reader is signed in, that of an API key or of a user.';
comment on column console_filter.name is 'Name that the reader gave it; of one reader and tenant no two filters have the same.';
comment on column console_filter.query is 'The parameters of the address of the list, percent-encoded. They may name a person.';
comment on column console_filter.saved_at is 'Instant at which it was saved or renamed last.';
