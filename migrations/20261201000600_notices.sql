-- Notices to participants: what was sent, what came back, and the registered texts.

create table notice_fact (
    timeline_id uuid not null,
    tenant text not null,
    anchor text not null,
    fact_id bytea not null,
    content_digest bytea not null,
    at_ms bigint not null,
    kind text not null,
    fact jsonb not null,
    flags text[] not null default '{}',
    entered_at timestamptz not null,
    xid xid8 not null default pg_current_xact_id(),
    at_history jsonb not null default '[]',
    primary key (tenant, fact_id, content_digest)
);
create index notice_fact_anchor on notice_fact (tenant, anchor, at_ms, timeline_id);
comment on table notice_fact is 'How far notices got and what participants answered. The rules of evidence read these facts besides those of the table fact.';
comment on column notice_fact.timeline_id is 'Id of the statement in the timeline of a call, a UUID version 7: its order is the order of appending.';
comment on column notice_fact.tenant is 'Tenant of the call.';
comment on column notice_fact.anchor is 'Id to which the statement belongs: an attachment, or the call under the id that it had then.';
comment on column notice_fact.fact_id is 'SHA-256 that identifies the statement: of recipient, notice and capture, or of the id that the client gave.';
comment on column notice_fact.content_digest is 'SHA-256 of what is stated. The same fact_id with another digest is a conflict.';
comment on column notice_fact.at_ms is 'Instant of the statement by the clock of the server, in milliseconds since 1970-01-01 UTC; of several copies the earliest.';
comment on column notice_fact.kind is 'notice.dispatched, notice.delivered, notice.displayed, notice.hidden, notice.acknowledged or a consent.';
comment on column notice_fact.fact is 'The statement.';
comment on column notice_fact.flags is 'conflict: something else was stated under the same fact_id before.';
comment on column notice_fact.entered_at is 'Instant of appending, by the clock of the node that appended it.';
comment on column notice_fact.xid is 'Transaction that appended the statement; see fact.xid.';
comment on column notice_fact.at_history is 'Earlier values of at_ms; see fact.at_history.';

create table notice_text (
    tenant text not null,
    version text not null,
    locale text not null,
    text text not null,
    sha256 bytea not null,
    registered_at timestamptz not null,
    primary key (tenant, version, locale)
);
create index notice_text_order on notice_text (tenant, registered_at desc, version desc);
comment on table notice_text is 'The texts that clients show, by version and locale. A registered text never changes.';
comment on column notice_text.tenant is 'Tenant that registered the text.';
comment on column notice_text.version is 'Version of the texts, as the tenant names it.';
comment on column notice_text.locale is 'Locale, as the tenant names it.';
comment on column notice_text.text is 'The text.';
comment on column notice_text.sha256 is 'SHA-256 of the text in UTF-8, computed by the service.';
comment on column notice_text.registered_at is 'Instant of registration, by the clock of the node that answered.';
