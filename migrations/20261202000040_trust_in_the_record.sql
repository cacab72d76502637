-- What the word of each client is worth, in the record: whose claim was refused, who is an outsider, and
-- how the clients that prove a notice belong to the call. The rows of a call show it from its next
-- evaluation on.

alter table session
    add column flags text[] not null default '{}',
    add column proof text check (proof in ('platform', 'granted', 'asserted', 'outsider'));
comment on column session.attachments is 'Client connections of the session: [{attachment, raw_id, trust}]; trust says how the client belongs to the call: platform, granted, asserted or outsider.';
comment on column session.flags is 'CLAIM_REFUSED: a client named a participant id that is not its own. OUTSIDER: the platform names others in the call, and not this participant.';
comment on column session.proof is 'How the clients of the session belong to the call, the best of their reports: platform, granted, asserted or outsider. Null: no client reports.';

alter table obligation
    add column proof text check (proof in ('platform', 'granted', 'asserted', 'outsider'));
comment on column obligation.proof is 'How the clients of the session, whose statements prove its notice, belong to the call: platform, granted, asserted or outsider. Null: no client reports.';

alter table verdict add column proofs jsonb;
comment on column verdict.proofs is 'The proof of each session with reports, beside the report: {session: platform, granted, asserted or outsider}. Null: the version was made before proofs were stored.';
