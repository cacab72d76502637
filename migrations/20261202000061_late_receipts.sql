-- When a fact was received whose source states a much earlier time.

alter table fact add column received_ms bigint;
comment on column fact.received_ms is 'Instant of receipt, in milliseconds since 1970-01-01 UTC, if the source states a time of more than 5 minutes before. Whether a call goes on is judged by it. Null: the fact was received about when it happened.';
