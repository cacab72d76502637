-- The schema reading: views for analysts and auditors.
--
-- A view has the rights and the row-level security of its reader (security_invoker). Its name is
-- stable: columns may be added at the end; a column that is removed or means something else makes a new
-- view with another name (calls_v2), and the former one stays beside it. Each comment has five parts:
-- meaning, unit (of a view: what a row is, key, join), what null means (of a view: no row), class of personal data, lifetime.
-- The classes are none, indirect (says something about a person whom other columns name), pseudonymous
-- (an id that only the tenant can resolve to a person) and direct (a name, an address, a telephone number).

create schema reading;
comment on schema reading is 'Views for analysts and auditors; docs/sql.md describes them.';

create function reading.elapsed_ms(from_at timestamptz, to_at timestamptz) returns bigint
    language sql immutable parallel safe
    return (extract(epoch from to_at - from_at) * 1000)::bigint;
comment on function reading.elapsed_ms is 'Milliseconds from one instant to another.';

-- Queries by time.
create index obligation_due_at on obligation (tenant, due_at desc);
create index capture_started_at on capture (tenant, started_at desc);
create index session_joined_at on session (tenant, joined_at desc);
-- Appended in the order of time, so a summary of each range of pages is enough.
create index notice_fact_entered_at on notice_fact using brin (entered_at) with (pages_per_range = 32, autosummarize = on);

create view reading.calls with (security_invoker = true) as
select
    call.tenant,
    call.call,
    array(
        select alias.anchor from call_alias as alias
        where alias.tenant = call.tenant and alias.resolves_to = call.call and alias.anchor <> call.call
            and exists (select from verdict where verdict.tenant = alias.tenant and verdict.call = alias.anchor)
        order by 1) as former_calls,
    array(
        select alias.anchor from call_alias as alias
        where alias.tenant = call.tenant and alias.resolves_to = call.call and alias.anchor <> call.call
        order by 1) as aliases,
    call.group_id,
    (select case
            when bool_or((entry.event ->> 'is_rooms_call')::boolean) then 'room'
            when bool_or(entry.event ->> 'thread_id' like '19:meeting\_%') then 'meeting'
            when bool_or((entry.event ->> 'is_two_party')::boolean) then 'two_party'
            when call.group_id is not null or bool_or(not (entry.event ->> 'is_two_party')::boolean) then 'group' end
        from call_alias as alias
        join entry on entry.tenant = alias.tenant and entry.anchor = alias.anchor
        where alias.tenant = call.tenant and alias.resolves_to = call.call and entry.type in ('call.started', 'report')) as kind,
    call.started_at,
    'START_INFERRED' = any (call.flags) as start_inferred,
    call.ended_at,
    call.end_presumed,
    reading.elapsed_ms(call.started_at, call.ended_at) as duration_ms,
    person.ours as participants_ours,
    person.others as participants_others,
    person.outsiders,
    person.sessions,
    coalesce(captured.recording_captures > 0, false) as recorded,
    coalesce(captured.transcription_captures > 0, false) as transcribed,
    captured.recording_captured_ms,
    captured.transcription_captured_ms,
    captured.open_captures,
    call.recording as recording_state,
    call.recording_stale,
    call.transcription as transcription_state,
    call.transcription_stale,
    latest.verdict,
    latest.version as verdict_version,
    latest.rules,
    case when latest.version is not null then (
        select case
            when bool_or(obligation.consent = 'DECLINED') then 'DECLINED'
            when bool_or(obligation.consent = 'REQUIRED') then 'OUTSTANDING'
            when bool_or(obligation.consent = 'GIVEN') then 'GIVEN'
            else 'NOT_REQUIRED' end
        from obligation
        where obligation.tenant = call.tenant and obligation.call = call.call and obligation.status <> 'NOT_OURS') end as consent,
    (latest.report #>> '{observation,recording,watch_ms}')::bigint as watch_ms,
    (latest.report #>> '{observation,recording,observed_ms}')::bigint as recording_observed_ms,
    (latest.report #>> '{observation,transcription,observed_ms}')::bigint as transcription_observed_ms,
    (select count(*) from exception where exception.tenant = call.tenant and exception.call = call.call) as exceptions,
    (select count(*) filter (where exception.closed_at is null) from exception where exception.tenant = call.tenant and exception.call = call.call) as open_exceptions,
    received.first_received_at,
    received.last_received_at,
    call.flags,
    call.evaluated_at,
    (select case when (select complete_through()) is not null then nullif(least(
        (select complete_through()),
        case when call.next_evaluation_at <= now() then call.evaluated_at end,
        (select postponed.since_at from postponed_call as postponed
            where postponed.tenant = call.tenant and postponed.call = call.call),
        (select min(pending.since_at) from pending_merge as pending
            join call_alias as alias on alias.tenant = pending.tenant and alias.anchor = pending.upper_id
            where pending.tenant = call.tenant and alias.resolves_to = call.call)), '-infinity') end) as complete_through,
    coalesce(call.ended_at is not null and (select case when (select complete_through()) is not null then nullif(least(
        (select complete_through()),
        case when call.next_evaluation_at <= now() then call.evaluated_at end,
        (select postponed.since_at from postponed_call as postponed
            where postponed.tenant = call.tenant and postponed.call = call.call),
        (select min(pending.since_at) from pending_merge as pending
            join call_alias as alias on alias.tenant = pending.tenant and alias.anchor = pending.upper_id
            where pending.tenant = call.tenant and alias.resolves_to = call.call)), '-infinity') end) >= call.ended_at, false) as complete
from call
left join lateral (
    select verdict.verdict, verdict.version, verdict.rules, verdict.report from verdict
    where verdict.tenant = call.tenant and verdict.call = call.call
    order by verdict.version desc limit 1) as latest on true
left join lateral (
    select
        count(distinct coalesce(session.raw_id, session.session)) filter (where session.ours) as ours,
        count(distinct coalesce(session.raw_id, session.session)) filter (where not session.ours and session.identity <> 'outsider') as others,
        count(distinct coalesce(session.raw_id, session.session)) filter (where session.identity = 'outsider') as outsiders,
        count(*) as sessions
    from session where session.tenant = call.tenant and session.call = call.call) as person on true
left join lateral (
    select
        count(*) filter (where capture.type = 'recording') as recording_captures,
        count(*) filter (where capture.type = 'transcription') as transcription_captures,
        coalesce(sum(reading.elapsed_ms(capture.started_at, coalesce(capture.ended_at, now()))) filter (where capture.type = 'recording'), 0)::bigint as recording_captured_ms,
        coalesce(sum(reading.elapsed_ms(capture.started_at, coalesce(capture.ended_at, now()))) filter (where capture.type = 'transcription'), 0)::bigint as transcription_captured_ms,
        count(*) filter (where capture.ended_at is null) as open_captures
    from capture where capture.tenant = call.tenant and capture.call = call.call) as captured on true
left join lateral (
    select min(entry.received_at) as first_received_at, max(entry.received_at) as last_received_at
    from call_alias as alias
    join entry on entry.tenant = alias.tenant and entry.anchor = alias.anchor
    where alias.tenant = call.tenant and alias.resolves_to = call.call) as received on true;
comment on view reading.calls is 'One row for each call as it is known now · row: a call; key: tenant, call; rows per call: 1 · no row: no event named the call, or it is part of another call · direct · until the next evaluation of the call';
comment on column reading.calls.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.calls.call is 'Id of the call as it is known now · id · never null · pseudonymous · until the next evaluation of the call';
comment on column reading.calls.former_calls is 'Ids under which verdicts were made before the call became part of this one · list of ids · never null, empty: none · pseudonymous · with the record';
comment on column reading.calls.aliases is 'Other ids that resolve to the call, former_calls among them · list of ids · never null, empty: none · pseudonymous · with the record';
comment on column reading.calls.group_id is 'Azure group id of the call; group ids recur, so it is no key · id · no event named one · pseudonymous · until the next evaluation of the call';
comment on column reading.calls.kind is 'Kind of the call: room, meeting, two_party or group, the first that an event states · code · no event states it · none · computed by each query';
comment on column reading.calls.started_at is 'Start of the call by the rules of evidence · instant · never null · indirect · until the next evaluation of the call';
comment on column reading.calls.start_inferred is 'True: no event states the start, and the first fact stands in · true or false · never null · none · until the next evaluation of the call';
comment on column reading.calls.ended_at is 'End of the call by the rules of evidence · instant · the call goes on · indirect · until the next evaluation of the call';
comment on column reading.calls.end_presumed is 'True: no source stated the end; it is presumed from silence, and may become void · true or false · never null · none · until the next evaluation of the call';
comment on column reading.calls.duration_ms is 'Length of the call; with end_presumed an upper bound · ms · the call goes on · indirect · computed by each query';
comment on column reading.calls.participants_ours is 'Number of persons that the tenant has to notify; one person with several sessions counts once · count · never null · none · computed by each query';
comment on column reading.calls.participants_others is 'Number of persons and machines that another party notifies, without outsiders · count · never null · none · computed by each query';
comment on column reading.calls.outsiders is 'Number of persons that are known by their own word only, in a call whose participants the platform named · count · never null · none · computed by each query';
comment on column reading.calls.sessions is 'Number of sessions of all participants; a rejoin is another session · count · never null · none · computed by each query';
comment on column reading.calls.recorded is 'True: the call has a capture of type recording · true or false · never null · none · computed by each query';
comment on column reading.calls.transcribed is 'True: the call has a capture of type transcription · true or false · never null · none · computed by each query';
comment on column reading.calls.recording_captured_ms is 'Time for which the call was recorded; an open capture counts to the instant of the query · ms · never null, 0: not recorded · none · computed by each query';
comment on column reading.calls.transcription_captured_ms is 'Time for which the call was transcribed; an open capture counts to the instant of the query · ms · never null, 0: not transcribed · none · computed by each query';
comment on column reading.calls.open_captures is 'Number of captures that go on · count · never null · none · computed by each query';
comment on column reading.calls.recording_state is 'Indication of recording at the last evaluation: on, paused, off or unknown · code · never null · none · until the next evaluation of the call';
comment on column reading.calls.recording_stale is 'True: no reporter is present that could confirm the indication of recording · true or false · never null · none · until the next evaluation of the call';
comment on column reading.calls.transcription_state is 'Indication of transcription at the last evaluation: on, paused, off or unknown · code · never null · none · until the next evaluation of the call';
comment on column reading.calls.transcription_stale is 'True: no reporter is present that could confirm the indication of transcription · true or false · never null · none · until the next evaluation of the call';
comment on column reading.calls.verdict is 'Latest verdict on the call, about notice alone: COMPLIANT, EXCEPTIONS, PENDING or UNOBSERVED · code · no fact of the call bears a report · indirect · until the next evaluation of the call';
comment on column reading.calls.verdict_version is 'Number of the latest version of the report under the id of this call · number · no fact of the call bears a report · none · until the next evaluation of the call';
comment on column reading.calls.rules is 'Version of the rules of evidence of the verdict · text · no fact of the call bears a report · none · until the next evaluation of the call';
comment on column reading.calls.consent is 'Worst consent of the obligations that are ours: DECLINED, OUTSTANDING, GIVEN or NOT_REQUIRED · code · no fact of the call bears a report · indirect · computed by each query';
comment on column reading.calls.watch_ms is 'Time during which a session of ours was present · ms · no fact of the call bears a report · indirect · until the next evaluation of the call';
comment on column reading.calls.recording_observed_ms is 'Part of watch_ms in which a recording could have been seen · ms · no fact of the call bears a report · none · until the next evaluation of the call';
comment on column reading.calls.transcription_observed_ms is 'Part of watch_ms in which a transcription could have been seen · ms · no fact of the call bears a report · none · until the next evaluation of the call';
comment on column reading.calls.exceptions is 'Number of exceptions of the call, open and closed · count · never null · none · computed by each query';
comment on column reading.calls.open_exceptions is 'Number of open exceptions of the call · count · never null · none · computed by each query';
comment on column reading.calls.first_received_at is 'Receipt of the first event of the call that reached the service, by the clock of the service · instant · the call is known from notice facts alone · none · computed by each query';
comment on column reading.calls.last_received_at is 'Receipt of the last event of the call that reached the service, by the clock of the service · instant · the call is known from notice facts alone · none · computed by each query';
comment on column reading.calls.flags is 'Flags of the report that qualify the answer, CODE or CODE:detail · list of codes · never null, empty: none · direct · until the next evaluation of the call';
comment on column reading.calls.evaluated_at is 'Instant of the last evaluation · instant · never null · none · until the next evaluation of the call';
comment on column reading.calls.complete_through is 'Low watermark of the call: every event received before this instant is in the row · instant · not known: the ledger has never run, or waits for work whose age is not known · none · computed by each query';
comment on column reading.calls.complete is 'True: the call has ended, and every event received until its end is in the row; an event that is received later still changes it · true or false · never null · none · computed by each query';

create view reading.participants with (security_invoker = true) as
select
    first.tenant,
    first.call,
    coalesce(first.raw_id, first.session) as participant,
    first.raw_id,
    person.display_name,
    person.identity,
    person.kind,
    person.ours,
    person.identity = 'outsider' as outsider,
    person.sessions,
    cardinality(person.sessions) as session_count,
    person.first_joined_at,
    person.last_left_at,
    (select coalesce(sum(reading.elapsed_ms(lower(part), upper(part))), 0)::bigint from unnest(person.presence) as part) as present_ms,
    (select coalesce(sum(reading.elapsed_ms(lower(part), upper(part))), 0)::bigint
        from unnest(person.presence * (
            select coalesce(range_agg(tstzrange(capture.started_at, greatest(capture.started_at, coalesce(capture.ended_at, now())))), '{}')
            from capture where capture.tenant = first.tenant and capture.call = first.call and capture.type = 'recording')) as part) as recorded_ms,
    (select coalesce(sum(reading.elapsed_ms(lower(part), upper(part))), 0)::bigint
        from unnest(person.presence * (
            select coalesce(range_agg(tstzrange(capture.started_at, greatest(capture.started_at, coalesce(capture.ended_at, now())))), '{}')
            from capture where capture.tenant = first.tenant and capture.call = first.call and capture.type = 'transcription')) as part) as transcribed_ms,
    person.join_inferred,
    person.left_inferred,
    person.proof,
    duty.obligations,
    duty.told,
    duty.told_in_time,
    duty.never_told,
    duty.longest_exposure_ms,
    duty.recording_consent,
    duty.transcription_consent
from session as first
left join lateral (
    select
        array_agg(session.session order by session.joined_at, session.session) as sessions,
        (array_agg(session.display_name order by session.joined_at desc, session.session desc) filter (where session.display_name is not null))[1] as display_name,
        (array_agg(session.identity order by array_position(
            array['acs', 'teams_custom', 'acs_foreign', 'teams_user', 'teams_app', 'phone', 'bot', 'unknown'], session.identity)))[1] as identity,
        (array_agg(session.kind order by session.joined_at desc, session.session desc) filter (where session.kind is not null))[1] as kind,
        bool_or(session.ours) as ours,
        min(session.joined_at) as first_joined_at,
        case when bool_and(session.left_at is not null) then max(session.left_at) end as last_left_at,
        range_agg(tstzrange(session.joined_at, greatest(session.joined_at, coalesce(session.left_at, now())))) as presence,
        bool_or(session.join_inferred) as join_inferred,
        bool_or(session.left_inferred) as left_inferred,
        (array_agg(session.proof order by array_position(array['platform', 'granted', 'asserted', 'outsider'], session.proof)) filter (where session.proof is not null))[1] as proof
    from session
    where session.tenant = first.tenant and session.call = first.call
        and case when first.raw_id is null then session.session = first.session else session.raw_id = first.raw_id end) as person on true
left join lateral (
    select
        count(*) filter (where obligation.status in ('MET', 'LATE', 'UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT')) as obligations,
        count(*) filter (where obligation.status in ('MET', 'LATE')) as told,
        count(*) filter (where obligation.status = 'MET') as told_in_time,
        count(*) filter (where obligation.status in ('UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT')) as never_told,
        max(obligation.exposure_ms) as longest_exposure_ms,
        (array_agg(obligation.consent order by array_position(array['DECLINED', 'REQUIRED', 'GIVEN', 'NOT_REQUIRED'], obligation.consent)) filter (where obligation.type = 'recording'))[1] as recording_consent,
        (array_agg(obligation.consent order by array_position(array['DECLINED', 'REQUIRED', 'GIVEN', 'NOT_REQUIRED'], obligation.consent)) filter (where obligation.type = 'transcription'))[1] as transcription_consent
    from obligation
    where obligation.tenant = first.tenant and obligation.call = first.call and obligation.status <> 'NOT_OURS'
        and obligation.session = any (person.sessions)) as duty on true
where first.raw_id is null or first.session = (
    select earlier.session from session as earlier
    where earlier.tenant = first.tenant and earlier.call = first.call and earlier.raw_id = first.raw_id
    order by earlier.joined_at, earlier.session limit 1);
comment on view reading.participants is 'One row for each person in each call; the sessions of a person are merged · row: a person in a call; key: tenant, call, participant; join: calls by tenant and call; rows per call: 1 to 1000, usually 2 to 5 · no row: no event or client named the person in the call · direct · until the next evaluation of the call';
comment on column reading.participants.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.participants.call is 'Id of the call as it is known now · id · never null · pseudonymous · until the next evaluation of the call';
comment on column reading.participants.participant is 'Key of the person within the call: the raw id, else the session · id · never null · direct · until the next evaluation of the call';
comment on column reading.participants.raw_id is 'Azure raw id of the person; it contains the number of a telephone · id · no event named it · direct · until the next evaluation of the call';
comment on column reading.participants.display_name is 'Latest display name that an event gave · text · no event gave one · direct · until the next evaluation of the call';
comment on column reading.participants.identity is 'Category by the rules of evidence: acs, teams_custom, acs_foreign, teams_user, teams_app, phone, bot, unknown or outsider · code · never null · none · until the next evaluation of the call';
comment on column reading.participants.kind is 'Azure kind of the identifier, such as communicationUser · code · the person is in no roster · none · until the next evaluation of the call';
comment on column reading.participants.ours is 'True: the tenant has to notify the person · true or false · never null · none · until the next evaluation of the call';
comment on column reading.participants.outsider is 'True: known by its own word only, in a call whose participants the platform named; no participant who had to be notified · true or false · never null · none · computed by each query';
comment on column reading.participants.sessions is 'Sessions of the person in the call, in the order of joining · list of ids · never null · direct · until the next evaluation of the call';
comment on column reading.participants.session_count is 'Number of these sessions · count · never null · none · computed by each query';
comment on column reading.participants.first_joined_at is 'First joining · instant · never null · indirect · until the next evaluation of the call';
comment on column reading.participants.last_left_at is 'Last leaving · instant · a session of the person goes on · indirect · until the next evaluation of the call';
comment on column reading.participants.present_ms is 'Time for which the person was present; simultaneous sessions count once, an open one to the instant of the query · ms · never null · indirect · computed by each query';
comment on column reading.participants.recorded_ms is 'Time for which the person was present while the call was recorded · ms · never null, 0: never · indirect · computed by each query';
comment on column reading.participants.transcribed_ms is 'Time for which the person was present while the call was transcribed · ms · never null, 0: never · indirect · computed by each query';
comment on column reading.participants.join_inferred is 'True: the joining of a session is inferred · true or false · never null · none · until the next evaluation of the call';
comment on column reading.participants.left_inferred is 'True: the leaving of a session is inferred · true or false · never null · none · until the next evaluation of the call';
comment on column reading.participants.proof is 'How the clients of the person belong to the call, the best of its sessions: platform, granted, asserted or outsider · code · no client reports · none · until the next evaluation of the call';
comment on column reading.participants.obligations is 'Number of obligations that count: ours, decided, not BRIEF · count · never null · indirect · computed by each query';
comment on column reading.participants.told is 'Number of those whose notice was shown · count · never null · indirect · computed by each query';
comment on column reading.participants.told_in_time is 'Number of those whose notice was shown within 2 s · count · never null · indirect · computed by each query';
comment on column reading.participants.never_told is 'Number of those whose notice was never shown, as far as is proven · count · never null · indirect · computed by each query';
comment on column reading.participants.longest_exposure_ms is 'Longest time captured before a notice was shown · ms · the person has no obligation that is ours · indirect · until the next evaluation of the call';
comment on column reading.participants.recording_consent is 'Consent to the recording: DECLINED, REQUIRED, GIVEN or NOT_REQUIRED, the worst of the sessions · code · the person was not recorded, or is not ours · indirect · until the next evaluation of the call';
comment on column reading.participants.transcription_consent is 'Consent to the transcription: DECLINED, REQUIRED, GIVEN or NOT_REQUIRED, the worst of the sessions · code · the person was not transcribed, or is not ours · indirect · until the next evaluation of the call';

create view reading.sessions with (security_invoker = true) as
select
    session.tenant,
    session.call,
    session.session,
    coalesce(session.raw_id, session.session) as participant,
    session.raw_id,
    session.display_name,
    session.identity,
    session.kind,
    session.ours,
    session.participant_id,
    session.joined_at,
    session.left_at,
    reading.elapsed_ms(session.joined_at, session.left_at) as duration_ms,
    session.join_inferred,
    session.left_inferred,
    session.user_agent,
    jsonb_array_length(session.attachments) as clients,
    (select report.event ->> 'app' from call_alias as alias
        cross join lateral (
            select entry.event, entry.at_ms from entry
            where entry.tenant = alias.tenant and entry.anchor = alias.anchor and entry.type = 'report'
                and entry.at_ms >= floor(extract(epoch from session.joined_at) * 1000)::bigint
                and entry.at_ms <= coalesce(ceil(extract(epoch from session.left_at) * 1000), 9e15)::bigint
                and entry.received_at >= session.joined_at - interval '1 hour'
                and entry.received_at <= coalesce(session.left_at, now()) + interval '1 day'
                and session.attachments @> jsonb_build_array(jsonb_build_object('attachment', entry.event #>> '{ids,attachment}'))
            order by entry.at_ms limit 1) as report
        where alias.tenant = session.tenant and alias.resolves_to = session.call and session.attachments <> '[]'
        order by report.at_ms limit 1) as app,
    (select report.event ->> 'sdk' from call_alias as alias
        cross join lateral (
            select entry.event, entry.at_ms from entry
            where entry.tenant = alias.tenant and entry.anchor = alias.anchor and entry.type = 'report'
                and entry.at_ms >= floor(extract(epoch from session.joined_at) * 1000)::bigint
                and entry.at_ms <= coalesce(ceil(extract(epoch from session.left_at) * 1000), 9e15)::bigint
                and entry.received_at >= session.joined_at - interval '1 hour'
                and entry.received_at <= coalesce(session.left_at, now()) + interval '1 day'
                and session.attachments @> jsonb_build_array(jsonb_build_object('attachment', entry.event #>> '{ids,attachment}'))
            order by entry.at_ms limit 1) as report
        where alias.tenant = session.tenant and alias.resolves_to = session.call and session.attachments <> '[]'
        order by report.at_ms limit 1) as sdk,
    session.proof,
    session.flags
from session;
comment on view reading.sessions is 'One row for each presence of one participant on one endpoint; a rejoin is another row · row: a session; key: tenant, call, session; join: calls by tenant and call, participants by tenant, call and participant; rows per call: 1 to 1000, usually 2 to 6 · no row: no fact names the session · direct · until the next evaluation of the call';
comment on column reading.sessions.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.sessions.call is 'Id of the call as it is known now · id · never null · pseudonymous · until the next evaluation of the call';
comment on column reading.sessions.session is 'Id of the session, unique within its call; of a session known from a roster it contains the raw id · id · never null · direct · until the next evaluation of the call';
comment on column reading.sessions.participant is 'Key of the person within the call: the raw id, else the session · id · never null · direct · until the next evaluation of the call';
comment on column reading.sessions.raw_id is 'Azure raw id of the participant · id · no event named it · direct · until the next evaluation of the call';
comment on column reading.sessions.display_name is 'Display name that an event gave · text · no event gave one · direct · until the next evaluation of the call';
comment on column reading.sessions.identity is 'Category by the rules of evidence: acs, teams_custom, acs_foreign, teams_user, teams_app, phone, bot, unknown or outsider · code · never null · none · until the next evaluation of the call';
comment on column reading.sessions.kind is 'Azure kind of the identifier, such as communicationUser · code · the session is in no roster · none · until the next evaluation of the call';
comment on column reading.sessions.ours is 'True: the tenant has to notify this participant · true or false · never null · none · until the next evaluation of the call';
comment on column reading.sessions.participant_id is 'Azure participant id of the session · id · no event named it · pseudonymous · until the next evaluation of the call';
comment on column reading.sessions.joined_at is 'Instant of joining by the rules of evidence · instant · never null · indirect · until the next evaluation of the call';
comment on column reading.sessions.left_at is 'Instant of leaving by the rules of evidence · instant · the participant is present · indirect · until the next evaluation of the call';
comment on column reading.sessions.duration_ms is 'Length of the presence · ms · the participant is present · indirect · computed by each query';
comment on column reading.sessions.join_inferred is 'True: no event states the joining · true or false · never null · none · until the next evaluation of the call';
comment on column reading.sessions.left_inferred is 'True: no event states the leaving · true or false · never null · none · until the next evaluation of the call';
comment on column reading.sessions.user_agent is 'User agent that an event gave · text · no event gave one · indirect · until the next evaluation of the call';
comment on column reading.sessions.clients is 'Number of clients that report for the session · count · never null · none · computed by each query';
comment on column reading.sessions.app is 'Name and version of the client app, as the first report of the session states them · text · no client of the session reports, or states none · none · with the record';
comment on column reading.sessions.sdk is 'Name and version of the Calling SDK, as the first report of the session states them · text · no client of the session reports, or states none · none · with the record';
comment on column reading.sessions.proof is 'How the clients of the session belong to the call: platform, granted, asserted or outsider · code · no client reports · none · until the next evaluation of the call';
comment on column reading.sessions.flags is 'CLAIM_REFUSED: a client named a participant id that is not its own. OUTSIDER: the platform names others in the call, and not this participant · list of codes · never null, empty: none · none · until the next evaluation of the call';

create view reading.captures with (security_invoker = true) as
select
    capture.tenant,
    capture.call,
    capture.type,
    capture.started_at,
    capture.ended_at,
    reading.elapsed_ms(capture.started_at, capture.ended_at) as duration_ms,
    reading.elapsed_ms(capture.started_at, coalesce(capture.ended_at, now())) as captured_ms,
    capture.start_source,
    capture.start_source = 'report' as start_is_bound,
    exists (select from unnest(capture.recordings) as part (id)
        join call on call.tenant = capture.tenant and call.call = capture.call and 'STOP_INFERRED:' || part.id = any (call.flags)) as end_inferred,
    capture.sources,
    case when capture.kinds = '{}' then 'unknown' else array_to_string(capture.kinds, '+') end as kind,
    capture.kinds,
    capture.recordings
from capture;
comment on view reading.captures is 'One row for each uninterrupted interval of recording or transcription of a call; interruptions of at most 5 s do not end it · row: a capture; key: tenant, call, type, started_at; join: calls by tenant and call; rows per call: 0 to 2, more with pauses · no row: the call is not known to be captured; that is no proof that it was not (see calls.recording_observed_ms) · none · until the next evaluation of the call';
comment on column reading.captures.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.captures.call is 'Id of the call as it is known now · id · never null · pseudonymous · until the next evaluation of the call';
comment on column reading.captures.type is 'What is captured: recording or transcription · code · never null · none · until the next evaluation of the call';
comment on column reading.captures.started_at is 'Start of the interval · instant · never null · indirect · until the next evaluation of the call';
comment on column reading.captures.ended_at is 'End of the interval · instant · it goes on · indirect · until the next evaluation of the call';
comment on column reading.captures.duration_ms is 'Length of the interval · ms · it goes on · none · computed by each query';
comment on column reading.captures.captured_ms is 'Length of the interval; of one that goes on, to the instant of the query · ms · never null · none · computed by each query';
comment on column reading.captures.start_source is 'Source that determines the start: file, provider or report · code · never null · none · until the next evaluation of the call';
comment on column reading.captures.start_is_bound is 'True: only reports of clients show the start, so the capture may have begun earlier · true or false · never null · none · computed by each query';
comment on column reading.captures.end_inferred is 'True: the provider never stated the stop of a recording in it · true or false · never null · none · computed by each query';
comment on column reading.captures.sources is 'Sources that attest a part of the interval · list of codes · never null · none · until the next evaluation of the call';
comment on column reading.captures.kind is 'Products that capture, joined by +: teams, teamsCompliance, azureCommunicationServices; unknown: no provider names one · code · never null · none · computed by each query';
comment on column reading.captures.kinds is 'The same as a list; a capture with two kinds is one capture · list of codes · never null, empty: no provider names one · none · until the next evaluation of the call';
comment on column reading.captures.recordings is 'Azure recording ids in the interval · list of ids · never null, empty: reports only · pseudonymous · until the next evaluation of the call';

create view reading.obligations with (security_invoker = true) as
select
    obligation.tenant,
    obligation.call,
    obligation.session,
    coalesce(session.raw_id, obligation.session) as participant,
    session.raw_id,
    session.display_name,
    session.identity,
    obligation.type,
    obligation.due_at,
    obligation.ends_at,
    obligation.status,
    case
        when obligation.status in ('MET', 'LATE') then 'told'
        when obligation.status in ('UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then 'never_told'
        when obligation.status = 'BRIEF' then 'brief'
        when obligation.status = 'PENDING' then 'pending'
        else 'not_ours' end as outcome,
    obligation.status in ('MET', 'LATE', 'UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') as counts,
    case when obligation.status in ('MET', 'LATE', 'UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then obligation.status = 'MET' end as in_time,
    obligation.dispatched_at,
    obligation.delivered_at,
    obligation.shown_at,
    obligation.acknowledged_at,
    obligation.already_shown,
    case when obligation.dispatched_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.dispatched_at)) end as dispatched_after_ms,
    obligation.dispatched_at is null as dispatched_censored,
    case when obligation.delivered_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.delivered_at)) end as delivered_after_ms,
    obligation.delivered_at is null as delivered_censored,
    case when obligation.shown_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.shown_at)) end as shown_after_ms,
    obligation.shown_at is null as shown_censored,
    reading.elapsed_ms(obligation.due_at, greatest(obligation.due_at, coalesce(obligation.ends_at, now()))) as at_risk_ms,
    obligation.exposure_ms,
    obligation.exposure_min_ms,
    obligation.shown_ms,
    obligation.late_facts,
    obligation.consent,
    obligation.proof,
    (select min(notice_fact.fact ->> 'transport') from call_alias as alias
        join notice_fact on notice_fact.tenant = alias.tenant and notice_fact.anchor = alias.anchor
        where alias.tenant = obligation.tenant and alias.resolves_to = obligation.call
            and notice_fact.at_ms = round(extract(epoch from obligation.dispatched_at) * 1000)::bigint
            and notice_fact.kind = 'notice.dispatched' and notice_fact.fact ->> 'type' = obligation.type
            and (session.attachments @> jsonb_build_array(jsonb_build_object('attachment', notice_fact.fact #>> '{by,attachment}'))
                or notice_fact.fact #>> '{by,raw_id}' = session.raw_id)) as transport,
    (select report.event ->> 'app' from call_alias as alias
        cross join lateral (
            select entry.event, entry.at_ms from entry
            where entry.tenant = alias.tenant and entry.anchor = alias.anchor and entry.type = 'report'
                and entry.at_ms >= floor(extract(epoch from session.joined_at) * 1000)::bigint
                and entry.at_ms <= coalesce(ceil(extract(epoch from session.left_at) * 1000), 9e15)::bigint
                and entry.received_at >= session.joined_at - interval '1 hour'
                and entry.received_at <= coalesce(session.left_at, now()) + interval '1 day'
                and session.attachments @> jsonb_build_array(jsonb_build_object('attachment', entry.event #>> '{ids,attachment}'))
            order by entry.at_ms limit 1) as report
        where alias.tenant = session.tenant and alias.resolves_to = session.call and session.attachments <> '[]'
        order by report.at_ms limit 1) as app,
    (select report.event ->> 'sdk' from call_alias as alias
        cross join lateral (
            select entry.event, entry.at_ms from entry
            where entry.tenant = alias.tenant and entry.anchor = alias.anchor and entry.type = 'report'
                and entry.at_ms >= floor(extract(epoch from session.joined_at) * 1000)::bigint
                and entry.at_ms <= coalesce(ceil(extract(epoch from session.left_at) * 1000), 9e15)::bigint
                and entry.received_at >= session.joined_at - interval '1 hour'
                and entry.received_at <= coalesce(session.left_at, now()) + interval '1 day'
                and session.attachments @> jsonb_build_array(jsonb_build_object('attachment', entry.event #>> '{ids,attachment}'))
            order by entry.at_ms limit 1) as report
        where alias.tenant = session.tenant and alias.resolves_to = session.call and session.attachments <> '[]'
        order by report.at_ms limit 1) as sdk
from obligation
left join session on session.tenant = obligation.tenant and session.call = obligation.call and session.session = obligation.session
where obligation.status <> 'NOT_OURS';
comment on view reading.obligations is 'One row for each participant of ours in each capture: who had to be notified of what, since when, and with what result · row: an obligation; key: tenant, call, type, due_at, session; join: sessions by tenant, call and session; rows per call: sessions of ours times captures · no row: no participant of ours was captured · direct · until the next evaluation of the call';
comment on column reading.obligations.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.obligations.call is 'Id of the call as it is known now · id · never null · pseudonymous · until the next evaluation of the call';
comment on column reading.obligations.session is 'Session that had to be notified · id · never null · direct · until the next evaluation of the call';
comment on column reading.obligations.participant is 'Key of the person within the call: the raw id, else the session · id · never null · direct · until the next evaluation of the call';
comment on column reading.obligations.raw_id is 'Azure raw id of the participant · id · no event named it · direct · until the next evaluation of the call';
comment on column reading.obligations.display_name is 'Display name that an event gave · text · no event gave one · direct · until the next evaluation of the call';
comment on column reading.obligations.identity is 'Category by the rules of evidence: acs, teams_custom, unknown and so on · code · the session is being evaluated · none · until the next evaluation of the call';
comment on column reading.obligations.type is 'What was captured: recording or transcription · code · never null · none · until the next evaluation of the call';
comment on column reading.obligations.due_at is 'Since when the notice was due: the start of the capture, or the joining if that is later · instant · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.ends_at is 'When the capture ended or the session left · instant · the obligation goes on · indirect · until the next evaluation of the call';
comment on column reading.obligations.status is 'Result: MET, LATE, BRIEF, UNCONFIRMED, UNDELIVERED, NOT_SENT or PENDING · code · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.outcome is 'Result in a word: told (MET, LATE), never_told (UNCONFIRMED, UNDELIVERED, NOT_SENT), brief (over within 2 s), pending (there is still time) · code · never null · indirect · computed by each query';
comment on column reading.obligations.counts is 'True: told or never_told, and so a part of the denominator of a share · true or false · never null · none · computed by each query';
comment on column reading.obligations.in_time is 'True: the notice was visible within 2 s. False: later or never · true or false · the obligation does not count · indirect · computed by each query';
comment on column reading.obligations.dispatched_at is 'When the first notice was passed to a transport; it may precede due_at · instant · none was · indirect · until the next evaluation of the call';
comment on column reading.obligations.delivered_at is 'When the first notice reached a client; it may precede due_at · instant · no client confirmed one · indirect · until the next evaluation of the call';
comment on column reading.obligations.shown_at is 'When the notice was visible, at the latest · instant · not known to be visible · indirect · until the next evaluation of the call';
comment on column reading.obligations.acknowledged_at is 'When the participant confirmed the notice · instant · not confirmed · indirect · until the next evaluation of the call';
comment on column reading.obligations.already_shown is 'True: the notice was visible before it was due · true or false · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.dispatched_after_ms is 'Time from due_at to dispatched_at, 0 if that is earlier · ms · censored: not dispatched within at_risk_ms · indirect · computed by each query';
comment on column reading.obligations.dispatched_censored is 'True: not dispatched within at_risk_ms, so the latency is longer than that or infinite · true or false · never null · none · computed by each query';
comment on column reading.obligations.delivered_after_ms is 'Time from due_at to delivered_at, 0 if that is earlier · ms · censored: not delivered within at_risk_ms · indirect · computed by each query';
comment on column reading.obligations.delivered_censored is 'True: not delivered within at_risk_ms, so the latency is longer than that or infinite · true or false · never null · none · computed by each query';
comment on column reading.obligations.shown_after_ms is 'Time from due_at to shown_at, 0 if it was visible already · ms · censored: not visible within at_risk_ms · indirect · computed by each query';
comment on column reading.obligations.shown_censored is 'True: not visible within at_risk_ms, so the latency is longer than that or infinite · true or false · never null · none · computed by each query';
comment on column reading.obligations.at_risk_ms is 'Time from due_at to ends_at, or to the instant of the query: so long a notice could have come · ms · never null · indirect · computed by each query';
comment on column reading.obligations.exposure_ms is 'Time captured before the notice was visible, at most; never visible: to ends_at, or to the last evaluation · ms · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.exposure_min_ms is 'The same, at least · ms · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.shown_ms is 'Time for which the notice was visible · ms · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.late_facts is 'Number of facts that name the notice and came after ends_at · count · never null · none · until the next evaluation of the call';
comment on column reading.obligations.consent is 'Consent of the session for the type: GIVEN, DECLINED, REQUIRED (asked for, not answered) or NOT_REQUIRED · code · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations.proof is 'How the clients whose statements prove the notice belong to the call: platform, granted, asserted or outsider · code · no client reports · none · until the next evaluation of the call';
comment on column reading.obligations.transport is 'Transport of the first dispatched notice: sse or websocket · code · none was dispatched · none · with the record';
comment on column reading.obligations.app is 'Name and version of the client app, as the first report of the session states them · text · no client of the session reports, or states none · none · with the record';
comment on column reading.obligations.sdk is 'Name and version of the Calling SDK, as the first report of the session states them · text · no client of the session reports, or states none · none · with the record';

create view reading.obligations_all with (security_invoker = true) as
select
    obligation.tenant,
    obligation.call,
    obligation.session,
    coalesce(session.raw_id, obligation.session) as participant,
    session.raw_id,
    session.display_name,
    session.identity,
    obligation.status <> 'NOT_OURS' as ours,
    obligation.type,
    obligation.due_at,
    obligation.ends_at,
    obligation.status,
    case
        when obligation.status in ('MET', 'LATE') then 'told'
        when obligation.status in ('UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then 'never_told'
        when obligation.status = 'BRIEF' then 'brief'
        when obligation.status = 'PENDING' then 'pending'
        else 'not_ours' end as outcome,
    obligation.status in ('MET', 'LATE', 'UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') as counts,
    case when obligation.status in ('MET', 'LATE', 'UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then obligation.status = 'MET' end as in_time,
    obligation.dispatched_at,
    obligation.delivered_at,
    obligation.shown_at,
    obligation.acknowledged_at,
    obligation.already_shown,
    case when obligation.dispatched_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.dispatched_at)) end as dispatched_after_ms,
    obligation.dispatched_at is null as dispatched_censored,
    case when obligation.delivered_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.delivered_at)) end as delivered_after_ms,
    obligation.delivered_at is null as delivered_censored,
    case when obligation.shown_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.shown_at)) end as shown_after_ms,
    obligation.shown_at is null as shown_censored,
    reading.elapsed_ms(obligation.due_at, greatest(obligation.due_at, coalesce(obligation.ends_at, now()))) as at_risk_ms,
    obligation.exposure_ms,
    obligation.exposure_min_ms,
    obligation.shown_ms,
    obligation.late_facts,
    obligation.consent,
    obligation.proof,
    (select min(notice_fact.fact ->> 'transport') from call_alias as alias
        join notice_fact on notice_fact.tenant = alias.tenant and notice_fact.anchor = alias.anchor
        where alias.tenant = obligation.tenant and alias.resolves_to = obligation.call
            and notice_fact.at_ms = round(extract(epoch from obligation.dispatched_at) * 1000)::bigint
            and notice_fact.kind = 'notice.dispatched' and notice_fact.fact ->> 'type' = obligation.type
            and (session.attachments @> jsonb_build_array(jsonb_build_object('attachment', notice_fact.fact #>> '{by,attachment}'))
                or notice_fact.fact #>> '{by,raw_id}' = session.raw_id)) as transport,
    (select report.event ->> 'app' from call_alias as alias
        cross join lateral (
            select entry.event, entry.at_ms from entry
            where entry.tenant = alias.tenant and entry.anchor = alias.anchor and entry.type = 'report'
                and entry.at_ms >= floor(extract(epoch from session.joined_at) * 1000)::bigint
                and entry.at_ms <= coalesce(ceil(extract(epoch from session.left_at) * 1000), 9e15)::bigint
                and entry.received_at >= session.joined_at - interval '1 hour'
                and entry.received_at <= coalesce(session.left_at, now()) + interval '1 day'
                and session.attachments @> jsonb_build_array(jsonb_build_object('attachment', entry.event #>> '{ids,attachment}'))
            order by entry.at_ms limit 1) as report
        where alias.tenant = session.tenant and alias.resolves_to = session.call and session.attachments <> '[]'
        order by report.at_ms limit 1) as app,
    (select report.event ->> 'sdk' from call_alias as alias
        cross join lateral (
            select entry.event, entry.at_ms from entry
            where entry.tenant = alias.tenant and entry.anchor = alias.anchor and entry.type = 'report'
                and entry.at_ms >= floor(extract(epoch from session.joined_at) * 1000)::bigint
                and entry.at_ms <= coalesce(ceil(extract(epoch from session.left_at) * 1000), 9e15)::bigint
                and entry.received_at >= session.joined_at - interval '1 hour'
                and entry.received_at <= coalesce(session.left_at, now()) + interval '1 day'
                and session.attachments @> jsonb_build_array(jsonb_build_object('attachment', entry.event #>> '{ids,attachment}'))
            order by entry.at_ms limit 1) as report
        where alias.tenant = session.tenant and alias.resolves_to = session.call and session.attachments <> '[]'
        order by report.at_ms limit 1) as sdk
from obligation
left join session on session.tenant = obligation.tenant and session.call = obligation.call and session.session = obligation.session;
comment on view reading.obligations_all is 'The obligations, and those of participants whom another party notifies (NOT_OURS) · row: an obligation; key: tenant, call, type, due_at, session; join: sessions by tenant, call and session; rows per call: sessions times captures · no row: no participant was captured · direct · until the next evaluation of the call';
comment on column reading.obligations_all.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.obligations_all.call is 'Id of the call as it is known now · id · never null · pseudonymous · until the next evaluation of the call';
comment on column reading.obligations_all.session is 'Session that had to be notified · id · never null · direct · until the next evaluation of the call';
comment on column reading.obligations_all.participant is 'Key of the person within the call: the raw id, else the session · id · never null · direct · until the next evaluation of the call';
comment on column reading.obligations_all.raw_id is 'Azure raw id of the participant · id · no event named it · direct · until the next evaluation of the call';
comment on column reading.obligations_all.display_name is 'Display name that an event gave · text · no event gave one · direct · until the next evaluation of the call';
comment on column reading.obligations_all.identity is 'Category by the rules of evidence: acs, teams_custom, unknown and so on · code · the session is being evaluated · none · until the next evaluation of the call';
comment on column reading.obligations_all.ours is 'True: the tenant has to notify the participant. False: NOT_OURS, another party does · true or false · never null · none · computed by each query';
comment on column reading.obligations_all.type is 'What was captured: recording or transcription · code · never null · none · until the next evaluation of the call';
comment on column reading.obligations_all.due_at is 'Since when the notice was due: the start of the capture, or the joining if that is later · instant · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.ends_at is 'When the capture ended or the session left · instant · the obligation goes on · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.status is 'Result: MET, LATE, BRIEF, UNCONFIRMED, UNDELIVERED, NOT_SENT, PENDING or NOT_OURS · code · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.outcome is 'Result in a word: told (MET, LATE), never_told (UNCONFIRMED, UNDELIVERED, NOT_SENT), brief (over within 2 s), pending (there is still time), not_ours · code · never null · indirect · computed by each query';
comment on column reading.obligations_all.counts is 'True: told or never_told, and so a part of the denominator of a share · true or false · never null · none · computed by each query';
comment on column reading.obligations_all.in_time is 'True: the notice was visible within 2 s. False: later or never · true or false · the obligation does not count · indirect · computed by each query';
comment on column reading.obligations_all.dispatched_at is 'When the first notice was passed to a transport; it may precede due_at · instant · none was · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.delivered_at is 'When the first notice reached a client; it may precede due_at · instant · no client confirmed one · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.shown_at is 'When the notice was visible, at the latest · instant · not known to be visible · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.acknowledged_at is 'When the participant confirmed the notice · instant · not confirmed · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.already_shown is 'True: the notice was visible before it was due · true or false · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.dispatched_after_ms is 'Time from due_at to dispatched_at, 0 if that is earlier · ms · censored: not dispatched within at_risk_ms · indirect · computed by each query';
comment on column reading.obligations_all.dispatched_censored is 'True: not dispatched within at_risk_ms, so the latency is longer than that or infinite · true or false · never null · none · computed by each query';
comment on column reading.obligations_all.delivered_after_ms is 'Time from due_at to delivered_at, 0 if that is earlier · ms · censored: not delivered within at_risk_ms · indirect · computed by each query';
comment on column reading.obligations_all.delivered_censored is 'True: not delivered within at_risk_ms, so the latency is longer than that or infinite · true or false · never null · none · computed by each query';
comment on column reading.obligations_all.shown_after_ms is 'Time from due_at to shown_at, 0 if it was visible already · ms · censored: not visible within at_risk_ms · indirect · computed by each query';
comment on column reading.obligations_all.shown_censored is 'True: not visible within at_risk_ms, so the latency is longer than that or infinite · true or false · never null · none · computed by each query';
comment on column reading.obligations_all.at_risk_ms is 'Time from due_at to ends_at, or to the instant of the query: so long a notice could have come · ms · never null · indirect · computed by each query';
comment on column reading.obligations_all.exposure_ms is 'Time captured before the notice was visible, at most; never visible: to ends_at, or to the last evaluation · ms · the participant is not ours · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.exposure_min_ms is 'The same, at least · ms · the participant is not ours · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.shown_ms is 'Time for which the notice was visible · ms · the participant is not ours · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.late_facts is 'Number of facts that name the notice and came after ends_at · count · never null · none · until the next evaluation of the call';
comment on column reading.obligations_all.consent is 'Consent of the session for the type: GIVEN, DECLINED, REQUIRED (asked for, not answered) or NOT_REQUIRED · code · never null · indirect · until the next evaluation of the call';
comment on column reading.obligations_all.proof is 'How the clients whose statements prove the notice belong to the call: platform, granted, asserted or outsider · code · no client reports · none · until the next evaluation of the call';
comment on column reading.obligations_all.transport is 'Transport of the first dispatched notice: sse or websocket · code · none was dispatched · none · with the record';
comment on column reading.obligations_all.app is 'Name and version of the client app, as the first report of the session states them · text · no client of the session reports, or states none · none · with the record';
comment on column reading.obligations_all.sdk is 'Name and version of the Calling SDK, as the first report of the session states them · text · no client of the session reports, or states none · none · with the record';

create view reading.exceptions with (security_invoker = true) as
select
    exception.tenant,
    exception.id as exception,
    exception.kind,
    exception.severity,
    exception.call,
    exception.source,
    exception.subject,
    to_timestamp(exception.at_ms / 1000.0) as at,
    case when exception.closed_at is null then 'open' else 'closed' end as state,
    exception.opened_at,
    step.last_opened_at,
    exception.closed_at,
    reading.elapsed_ms(step.last_opened_at, exception.closed_at) as time_to_close_ms,
    step.open_ms,
    step.reopenings,
    case when exception.closed_at is null then null when exception.closed_by = 'itself' and exception.closed_by_key is null then 'itself' else 'person' end as closed_how,
    exception.closed_by,
    exception.closed_by_key,
    exception.reason,
    exception.cause_ended,
    exception.sentence
from exception
left join lateral (
    select
        coalesce(max(turn.at) filter (where turn.change in ('opened', 'reopened')), exception.opened_at) as last_opened_at,
        count(*) filter (where turn.change = 'reopened') as reopenings,
        coalesce(sum(reading.elapsed_ms(turn.at, greatest(turn.at, coalesce(turn.next_at, now())))) filter (where turn.change in ('opened', 'reopened')), 0)::bigint as open_ms
    from (
        select history.change, history.at, lead(history.at) over (order by history.position) as next_at
        from exception_history as history
        where history.tenant = exception.tenant and history.exception_id = exception.id and history.change <> 'changed') as turn) as step on true;
comment on view reading.exceptions is 'One row for each matter that a person has to examine, from its opening on · row: an exception; key: tenant, exception; join: calls by tenant and call, exception_history by tenant and exception; rows per call: 0 to 10 · no row: none was found · direct · with the record';
comment on column reading.exceptions.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.exceptions.exception is 'Id of the exception, a UUID version 7 · id · never null · none · with the record';
comment on column reading.exceptions.kind is 'Kind, such as NOT_SENT or CLOCK; docs/audit.md lists them · code · never null · none · with the record';
comment on column reading.exceptions.severity is 'critical, major or minor, by kind · code · never null · none · with the record';
comment on column reading.exceptions.call is 'Id of the call as it is known now · id · the matter belongs to no call · pseudonymous · with the record';
comment on column reading.exceptions.source is 'Configured name of the source · name · the matter belongs to no source · none · with the record';
comment on column reading.exceptions.subject is 'Distinguishes the matter from others of its kind, call and source: a session and a type, a reason, a partition · text · never null · direct · with the record';
comment on column reading.exceptions.at is 'Instant at which the matter began · instant · of its subject there is one exception only · indirect · with the record';
comment on column reading.exceptions.state is 'open or closed · code · never null · none · with the record';
comment on column reading.exceptions.opened_at is 'First opening · instant · never null · none · with the record';
comment on column reading.exceptions.last_opened_at is 'Last opening: the first one, or the last time that it was reopened · instant · never null · none · with the record';
comment on column reading.exceptions.closed_at is 'Closing · instant · open · none · with the record';
comment on column reading.exceptions.time_to_close_ms is 'Time from last_opened_at to closed_at · ms · censored: open · none · computed by each query';
comment on column reading.exceptions.open_ms is 'Time for which it was open, all openings together; an open one counts to the instant of the query · ms · never null · none · computed by each query';
comment on column reading.exceptions.reopenings is 'Number of times that it was reopened · count · never null · none · with the record';
comment on column reading.exceptions.closed_how is 'itself (the cause ended) or person (closed by hand, with a reason) · code · open · none · with the record';
comment on column reading.exceptions.closed_by is 'itself, or the name of the API key that closed it · text · open · indirect · with the record';
comment on column reading.exceptions.closed_by_key is 'Id of the API key that closed it · id · open, or closed by itself · indirect · with the record';
comment on column reading.exceptions.reason is 'Reason of closing; written by a person if closed by hand · text · open · direct · with the record';
comment on column reading.exceptions.cause_ended is 'True: closed, and the cause has ended. False: open, or closed by hand while the cause goes on · true or false · never null · none · with the record';
comment on column reading.exceptions.sentence is 'The facts as a sentence; it may name a session · text · never null · direct · with the record';

create view reading.exception_history with (security_invoker = true) as
select
    history.tenant,
    history.exception_id as exception,
    history.position,
    history.change,
    history.at,
    case when history.actor = 'itself' and history.actor_key is null then 'itself' else 'person' end as by,
    history.actor,
    history.actor_key,
    history.reason,
    history.version as verdict_version
from exception_history as history;
comment on view reading.exception_history is 'One row for each step in the history of an exception · row: a step; key: tenant, exception, position; join: exceptions by tenant and exception; rows per exception: 1 to 10 · no row: the exception does not exist · direct · with the record';
comment on column reading.exception_history.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.exception_history.exception is 'Id of the exception · id · never null · none · with the record';
comment on column reading.exception_history.position is 'Number of the step, from 1 · number · never null · none · with the record';
comment on column reading.exception_history.change is 'opened, changed, closed or reopened · code · never null · none · with the record';
comment on column reading.exception_history.at is 'Instant of the change · instant · never null · none · with the record';
comment on column reading.exception_history.by is 'itself or person · code · never null · none · computed by each query';
comment on column reading.exception_history.actor is 'itself, or the name of the API key that made the change · text · never null · indirect · with the record';
comment on column reading.exception_history.actor_key is 'Id of the API key · id · the service made the change · indirect · with the record';
comment on column reading.exception_history.reason is 'Reason of the change; it may name a session · text · never null · direct · with the record';
comment on column reading.exception_history.verdict_version is 'Version of the verdict of the call · number · the change rests on no verdict · none · with the record';

create view reading.notices with (security_invoker = true) as
select
    notice_fact.tenant,
    notice_fact.timeline_id as notice_fact,
    alias.resolves_to as call,
    (select case when count(*) = 1 then min(session.session) end from session
        where session.tenant = alias.tenant and session.call = alias.resolves_to
            and case when notice_fact.fact #>> '{by,attachment}' is null then session.raw_id = notice_fact.fact #>> '{by,raw_id}'
                else session.attachments @> jsonb_build_array(jsonb_build_object('attachment', notice_fact.fact #>> '{by,attachment}')) end) as session,
    notice_fact.fact #>> '{by,raw_id}' as raw_id,
    notice_fact.fact #>> '{by,attachment}' as attachment,
    notice_fact.kind as step,
    notice_fact.fact ->> 'type' as type,
    notice_fact.fact ->> 'state' as state,
    to_timestamp(notice_fact.at_ms / 1000.0) as at,
    notice_fact.entered_at,
    (notice_fact.fact ->> 'elapsed_ms')::bigint as elapsed_ms,
    notice_fact.fact ->> 'transport' as transport,
    notice_fact.fact ->> 'notice' as notice,
    notice_fact.fact #>> '{text,version}' as text_version,
    notice_fact.fact #>> '{text,locale}' as text_locale,
    notice_fact.fact #>> '{text,sha256}' as text_sha256,
    notice_fact.flags
from notice_fact
left join call_alias as alias on alias.tenant = notice_fact.tenant and alias.anchor = notice_fact.anchor;
comment on view reading.notices is 'One row for each statement about a notice: dispatched, delivered, displayed, hidden, acknowledged, or a consent · row: a statement; key: tenant, notice_fact; join: calls by tenant and call, sessions by tenant, call and session; rows per call: 0 to 20 for each session of ours · no row: nothing was sent to, or stated by, a client · direct · with the record';
comment on column reading.notices.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.notices.notice_fact is 'Id of the statement, a UUID version 7 in the order of appending · id · never null · none · with the record';
comment on column reading.notices.call is 'Id of the call as it is known now · id · the id to which the statement belongs is not resolved yet · pseudonymous · with the record';
comment on column reading.notices.session is 'Session that the statement is about · id · no session, or more than one, fits · direct · computed by each query';
comment on column reading.notices.raw_id is 'Azure raw id that the subscriber token names · id · never null · direct · with the record';
comment on column reading.notices.attachment is 'Attachment of the client · id · a stream without an attachment · pseudonymous · with the record';
comment on column reading.notices.step is 'notice.dispatched, notice.delivered, notice.displayed, notice.hidden, notice.acknowledged, consent.given or consent.declined · code · never null · none · with the record';
comment on column reading.notices.type is 'recording or transcription · code · never null · none · with the record';
comment on column reading.notices.state is 'Level that the notice states: on, paused or off · code · a consent without a level · none · with the record';
comment on column reading.notices.at is 'Instant of the statement, by the clock of the service · instant · never null · indirect · with the record';
comment on column reading.notices.entered_at is 'Instant of appending · instant · never null · none · with the record';
comment on column reading.notices.elapsed_ms is 'How long before at it happened, by the stopwatch of the client · ms · not stated: 0 · indirect · with the record';
comment on column reading.notices.transport is 'Transport that dispatched or delivered: sse or websocket · code · a client states it · none · with the record';
comment on column reading.notices.notice is 'Id of the notice · id · none is named · none · with the record';
comment on column reading.notices.text_version is 'Version of the words that were shown · text · not stated · none · with the record';
comment on column reading.notices.text_locale is 'Locale of the words that were shown · text · not stated · indirect · with the record';
comment on column reading.notices.text_sha256 is 'SHA-256 of the words that were shown, hexadecimal · text · not stated · none · with the record';
comment on column reading.notices.flags is 'conflict: something else was stated under the same id before · list of codes · never null, empty: none · none · with the record';

create view reading.events with (security_invoker = true) as
select
    entry.tenant,
    entry.id as event,
    alias.resolves_to as call,
    entry.type,
    entry.source_type,
    entry.provenance,
    entry.source,
    entry.ce_source,
    entry.ce_id,
    entry.ce_time,
    to_timestamp(entry.at_ms / 1000.0) as at,
    entry.received_at,
    greatest(0, reading.elapsed_ms(to_timestamp(entry.at_ms / 1000.0), entry.received_at)) as delay_ms,
    encode(entry.sha256, 'hex') as sha256,
    entry.flags,
    entry.xid
from entry
left join call_alias as alias on alias.tenant = entry.tenant and alias.anchor = entry.anchor;
comment on view reading.events is 'One row for each event that was received, once: its type and its times, without its content · row: an event; key: tenant, event; join: calls by tenant and call; rows per call: 5 to 1000, usually 10 to 50 · no row: it did not reach the service, or is in quarantine · pseudonymous · with the record';
comment on column reading.events.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.events.event is 'Id of the entry, a UUID version 7 · id · never null · none · with the record';
comment on column reading.events.call is 'Id of the call as it is known now · id · the event names no call · pseudonymous · with the record';
comment on column reading.events.type is 'Normalized type, such as session.joined or report · code · never null · none · with the record';
comment on column reading.events.source_type is 'Type as the source names it · text · never null · none · with the record';
comment on column reading.events.provenance is 'How the event came in: eg (Event Grid), ca (Call Automation), client (a report) or maintenance (a presumed end) · code · never null · none · with the record';
comment on column reading.events.source is 'Configured name of the source · name · never null · none · with the record';
comment on column reading.events.ce_source is 'CloudEvents attribute source; of a report it names the attachment · text · never null · pseudonymous · with the record';
comment on column reading.events.ce_id is 'CloudEvents attribute id · id · never null · none · with the record';
comment on column reading.events.ce_time is 'CloudEvents attribute time, verbatim · text · absent · none · with the record';
comment on column reading.events.at is 'Instant of the event for the rules of evidence: the earlier of the time of the source and the receipt · instant · never null · indirect · with the record';
comment on column reading.events.received_at is 'Receipt, by the clock of the service; of several copies the first that was appended · instant · never null · none · with the record';
comment on column reading.events.delay_ms is 'Time from at to received_at · ms · never null · none · computed by each query';
comment on column reading.events.sha256 is 'SHA-256 of the bytes as received, hexadecimal · text · never null · none · with the record';
comment on column reading.events.flags is 'conflict: another content came under the same key. clock: the clock of the source differs by more than 5 minutes · list of codes · never null, empty: none · none · with the record';
comment on column reading.events.xid is 'Transaction that appended the event; a reader that continues after (xid, event), below pg_snapshot_xmin(pg_current_snapshot()), misses none · number · never null · none · with the record';

create view reading.outages with (security_invoker = true) as
select null::text as tenant, 'outage' as kind, known.role as subject,
    lower(missing) as from_at,
    case when upper(missing) > known.last_at then null else upper(missing) end as to_at,
    reading.elapsed_ms(lower(missing), case when upper(missing) > known.last_at then null else upper(missing) end) as duration_ms,
    case known.role
        when 'live' then 'no node was able to notify clients: notices may not have been sent in time'
        when 'ingest' then 'no node was able to accept events: senders have to repeat them'
        else 'no node was able to append events: those received are appended late' end as detail
from (
    select beat.role,
        min(date_trunc('milliseconds', beat.started_at)) as first_at,
        max(date_trunc('milliseconds', beat.last_seen_at)) as last_at,
        range_agg(tstzrange(date_trunc('milliseconds', beat.started_at), date_trunc('milliseconds', greatest(beat.started_at, beat.last_seen_at)))) as healthy
    from role_heartbeat as beat where beat.role in ('ingest', 'ledger', 'live') group by beat.role) as known
cross join lateral unnest(
    tstzmultirange(tstzrange(known.first_at, greatest(known.last_at,
        (select date_trunc('milliseconds', max(last_seen_at)) from role_heartbeat) - interval '15 seconds'))) - known.healthy) as missing
union all
select null, 'spool', null, spool_use.started_at, spool_use.ended_at, reading.elapsed_ms(spool_use.started_at, spool_use.ended_at),
    format('Kafka did not confirm in time: events waited in the spool, and are appended late (%s drained)', spool_use.drained_messages)
from spool_use
union all
select null, 'stream_gap', format('%s/%s', gap.topic, gap.partition), gap.started_at, gap.noticed_at, reading.elapsed_ms(gap.started_at, gap.noticed_at),
    format('%s: offset %s was expected, reading continued at %s', gap.reason, gap.expected_offset, gap.resumed_offset)
from stream_gap as gap
union all
select rejection.tenant, 'rejected', rejection.source, rejection.silent_from, rejection.silent_until, reading.elapsed_ms(rejection.silent_from, rejection.silent_until),
    format('%s deliveries were answered 503 (%s), and none was accepted: their sender repeats them, or gives up', rejection.deliveries, rejection.reason)
from rejection where rejection.silent_from is not null;
comment on view reading.outages is 'One row for each interval in which the deployment did not observe, or observed late · row: an interval; key: none; join: by overlap of from_at and to_at; rows per call: any · no row: the deployment observed · none · with the record';
comment on column reading.outages.tenant is 'Tenant that the interval concerns · name · the whole deployment · none · with the record';
comment on column reading.outages.kind is 'outage (no node was healthy in a role), spool (Kafka was unavailable), stream_gap (a part of the log was missing) or rejected (only rejected deliveries came from a source) · code · never null · none · with the record';
comment on column reading.outages.subject is 'Role, source, or topic and partition · name · a use of the spool · none · with the record';
comment on column reading.outages.from_at is 'Start of the interval · instant · not known · none · with the record';
comment on column reading.outages.to_at is 'End of the interval · instant · it goes on · none · with the record';
comment on column reading.outages.duration_ms is 'Length of the interval · ms · the start is not known, or it goes on · none · computed by each query';
comment on column reading.outages.detail is 'The consequence, as a sentence · text · never null · none · with the record';
