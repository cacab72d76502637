-- The revocation of the tokens of a revoked API key has no end, and is kept: it stands once. Other
-- revocations are deleted when the tokens that they cover have expired.

create unique index token_revocation_of_revoked_key on token_revocation (api_key)
    where last_issued_at = '9999-12-31 23:59:59+00';
comment on column token_revocation.last_issued_at is 'Tokens that were issued until this instant are revoked, by the clock of the node that issued them. The end of the year 9999: whenever they are issued, because the API key is revoked.';
