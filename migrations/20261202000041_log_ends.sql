-- How far each partition of the log reaches, as far as is known: a topic that was created again shows by it
-- also where the ledger had read nothing, and the acknowledged messages that were never read are counted.

create table log_end (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    former_offset bigint not null default 0,
    known_at timestamptz not null,
    reset_at timestamptz not null default '-infinity',
    primary key (topic, partition)
);
comment on table log_end is 'The known end of each partition of the log: Kafka acknowledged every message before it.';
comment on column log_end.topic is 'Kafka topic, with the prefix of the deployment.';
comment on column log_end.partition is 'Kafka partition of the topic.';
comment on column log_end.next_offset is 'Kafka offset behind the last message that is known to be acknowledged.';
comment on column log_end.former_offset is 'The same of a former topic of this name, until the ledger records its gap: an offset before the known end was acknowledged later. 0: none.';
comment on column log_end.known_at is 'Instant at which a node found this end, by its clock.';
comment on column log_end.reset_at is 'Instant at which the ledger found that the topic was created again; ends that were found earlier are of the former topic. -infinity: never.';

alter table stream_gap add column unread_messages bigint;
comment on column stream_gap.unread_messages is 'Number of messages that Kafka had acknowledged and that the ledger never read. Null: not counted.';
