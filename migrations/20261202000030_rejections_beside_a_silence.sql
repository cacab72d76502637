-- Rejected deliveries concern a tenant only where its source delivered nothing else meanwhile: a
-- wrong key beside deliveries of the source is a stranger's.

alter table rejection
    add column silent_from timestamptz,
    add column silent_until timestamptz;
comment on column rejection.silent_from is 'Start of the part of the series in which the source delivered nothing else, so that the rejected deliveries may be its own. Null: there is no such part.';
comment on column rejection.silent_until is 'Last rejection of that part so far. Null: there is no such part.';
