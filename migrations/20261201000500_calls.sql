-- The calls as their facts describe them now: call, sessions, captures. All three are replaced as a
-- whole by each evaluation of a call; rows that stay the same are not written.

create table call (
    tenant text not null,
    call text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    end_presumed boolean not null,
    recording text not null,
    recording_stale boolean not null,
    transcription text not null,
    transcription_stale boolean not null,
    group_id text,
    flags text[] not null,
    fact_count integer not null,
    last_activity_at timestamptz,
    next_evaluation_at timestamptz,
    retry_at timestamptz,
    evaluated_at timestamptz not null,
    primary key (tenant, call)
);
create index call_started_at on call (tenant, started_at desc, call desc);
create index call_open on call (last_activity_at) where ended_at is null;
create index call_next_evaluation_at on call (next_evaluation_at) where next_evaluation_at is not null;
comment on table call is 'One call, as its facts describe it now.';
comment on column call.tenant is 'Tenant of the call.';
comment on column call.call is 'Id of the call: the anchor that all its other anchors resolve to.';
comment on column call.started_at is 'Start of the call by the rules of evidence.';
comment on column call.ended_at is 'End of the call by the rules of evidence. Null: the call goes on.';
comment on column call.end_presumed is 'True: no source stated the end; the rules presume it from silence.';
comment on column call.recording is 'Indication of recording: on, off or unknown.';
comment on column call.recording_stale is 'True: no reporter is present that could confirm the indication of recording.';
comment on column call.transcription is 'Indication of transcription: on, off or unknown.';
comment on column call.transcription_stale is 'True: no reporter is present that could confirm the indication of transcription.';
comment on column call.group_id is 'Azure group id of the call. Null: no event named one.';
comment on column call.flags is 'Flags of the report, and one for each conflicting event.';
comment on column call.fact_count is 'Number of facts at the last evaluation. A large call is evaluated less often.';
comment on column call.last_activity_at is 'Latest instant that any fact names. Null: none of the events is a fact, so no end can be presumed.';
comment on column call.next_evaluation_at is 'Instant at which the passing of time alone changes the result, or at which a postponed evaluation is due. Null: never.';
comment on column call.retry_at is 'Instant before which a failed evaluation is not repeated; the next successful one clears it. Null: the last one succeeded.';
comment on column call.evaluated_at is 'Instant of the last evaluation, by the clock of the node that made it.';

create table session (
    tenant text not null,
    call text not null,
    session text not null,
    identity text not null,
    ours boolean not null,
    raw_id text,
    display_name text,
    kind text,
    participant_id text,
    attachments jsonb not null,
    user_agent text,
    joined_at timestamptz not null,
    left_at timestamptz,
    join_inferred boolean not null,
    left_inferred boolean not null,
    primary key (tenant, call, session)
);
create index session_raw_id on session (raw_id, tenant);
comment on table session is 'One uninterrupted presence of one participant in a call.';
comment on column session.tenant is 'Tenant of the call.';
comment on column session.call is 'Id of the call.';
comment on column session.session is 'Id of the session, unique within its call.';
comment on column session.identity is 'Category of the participant by the rules of evidence: own ACS user, Teams user, telephone and so on.';
comment on column session.ours is 'True: the tenant''s own client application has to notify this participant.';
comment on column session.raw_id is 'Azure raw id of the participant. Null: no event named it.';
comment on column session.display_name is 'Display name that an event gave. Null: none did.';
comment on column session.kind is 'Azure kind of the identifier, such as communicationUser. Null: the session is in no roster.';
comment on column session.participant_id is 'Azure participant id of the session. Null: no event named it.';
comment on column session.attachments is 'Client connections of the session: [{attachment, raw_id, trust}].';
comment on column session.user_agent is 'User agent that an event gave. Null: none did.';
comment on column session.joined_at is 'Instant of joining by the rules of evidence.';
comment on column session.left_at is 'Instant of leaving by the rules of evidence. Null: the participant is present.';
comment on column session.join_inferred is 'True: no event stated the joining; it is inferred from other events.';
comment on column session.left_inferred is 'True: no event stated the leaving; it is inferred from other events.';

create table capture (
    tenant text not null,
    call text not null,
    type text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    start_source text not null,
    sources text[] not null,
    recordings text[] not null,
    kinds text[] not null,
    primary key (tenant, call, type, started_at)
);
comment on table capture is 'One uninterrupted interval of recording or transcription of a call.';
comment on column capture.tenant is 'Tenant of the call.';
comment on column capture.call is 'Id of the call.';
comment on column capture.type is 'recording or transcription.';
comment on column capture.started_at is 'Start of the interval by the rules of evidence.';
comment on column capture.ended_at is 'End of the interval by the rules of evidence. Null: it goes on.';
comment on column capture.start_source is 'Kind of source that determines the start. With report, capture may have begun before a reporter could observe it.';
comment on column capture.sources is 'Kinds of sources that attest any part of the interval.';
comment on column capture.recordings is 'Azure recording ids in the interval.';
comment on column capture.kinds is 'Kinds of capture that the provider names in the interval.';
