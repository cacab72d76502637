-- Positions of the ledger in the log, leases of partitions, and leases of tasks that one node at a time
-- does.

create table stream_position (
    topic text not null,
    partition integer not null,
    next_offset bigint not null default 0,
    last_digest bytea,
    epoch bigint not null default 0,
    owner text,
    lease_ends_at timestamptz not null default '-infinity',
    complete_through timestamptz not null default '-infinity',
    primary key (topic, partition)
);
comment on table stream_position is 'How far the ledger has read each partition of each topic. A position moves in the transaction that writes the rows of its messages; the epoch fences off a former owner.';
comment on column stream_position.topic is 'Kafka topic, with the prefix of the deployment.';
comment on column stream_position.partition is 'Kafka partition of the topic.';
comment on column stream_position.next_offset is 'Kafka offset of the next message to append.';
comment on column stream_position.last_digest is 'SHA-256 of the last message appended. A topic that was deleted and created again has another message there. Null: no message was appended since the position was set.';
comment on column stream_position.epoch is 'Number of the lease, raised by each change of the owner. An owner of an earlier epoch cannot move the position.';
comment on column stream_position.owner is 'Node that holds the lease. Null: the lease is free.';
comment on column stream_position.lease_ends_at is 'Instant until which the lease of the owner holds, by the clock of PostgreSQL. -infinity: the partition was never leased.';
comment on column stream_position.complete_through is 'Low watermark: everything that the log received before this instant has been appended. -infinity: not known yet.';

create table ledger_follower (
    topic text not null,
    owner text not null,
    expires_at timestamptz not null,
    primary key (topic, owner)
);
comment on table ledger_follower is 'The workers that follow a topic for the ledger, on all nodes. Each takes its fair share of the partitions.';
comment on column ledger_follower.topic is 'Kafka topic, with the prefix of the deployment.';
comment on column ledger_follower.owner is 'Worker, under the name by which it holds leases.';
comment on column ledger_follower.expires_at is 'Instant until which the record holds, by the clock of PostgreSQL; renewed every few seconds.';

create table stream_gap (
    id bigint generated always as identity primary key,
    topic text not null,
    partition integer not null,
    expected_offset bigint not null,
    resumed_offset bigint not null,
    reason text not null,
    started_at timestamptz,
    noticed_at timestamptz not null
);
comment on table stream_gap is 'Parts of a log that were missing, or were read a second time because the topic was created again.';
comment on column stream_gap.id is 'Number of the gap.';
comment on column stream_gap.topic is 'Kafka topic, with the prefix of the deployment.';
comment on column stream_gap.partition is 'Kafka partition of the topic.';
comment on column stream_gap.expected_offset is 'Kafka offset at which reading should have continued.';
comment on column stream_gap.resumed_offset is 'Kafka offset at which reading continued.';
comment on column stream_gap.reason is 'Cause, as a sentence.';
comment on column stream_gap.started_at is 'Instant from which messages may be missing: the low watermark of the partition at that time. Null: not known.';
comment on column stream_gap.noticed_at is 'Instant at which the ledger found the gap, by the clock of its node.';

create table lease (
    name text primary key,
    owner text not null,
    expires_at timestamptz not null
);
comment on table lease is 'Leases of tasks that one node at a time does.';
comment on column lease.name is 'Name of the task.';
comment on column lease.owner is 'Node that holds the lease.';
comment on column lease.expires_at is 'Instant until which the lease holds, by the clock of PostgreSQL.';
