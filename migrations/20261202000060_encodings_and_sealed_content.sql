-- How a delivery was encoded, and unreadable content as a sealed box.

alter table entry
    add column content_coding text,
    add column charset text;
comment on column entry.content_coding is 'Content codings of the delivery, in the order in which they were applied: gzip. Null: none.';
comment on column entry.charset is 'Charset of the delivery, lower case: utf-16le. Null: UTF-8.';
comment on column entry.sha256 is 'SHA-256 of the bytes of the event as received, before redaction; of a delivery with a content coding or another charset than UTF-8, of its whole body.';

alter table quarantine
    add column sealed bytea,
    add column content_coding text,
    add column charset text;
comment on column quarantine.content is 'What of the content is JSON, without the members that redacted lists; of CloudEvents in binary mode the envelope. Null: it is not JSON.';
comment on column quarantine.sealed is 'The bytes that sha256 is of, as a sealed box (crypto_box_seal) that only the private key of quarantine.seal_to opens. Null: content is all of it, or no key was configured.';
comment on column quarantine.content_coding is 'Content codings of the delivery. Null: none.';
comment on column quarantine.charset is 'Charset of the delivery, lower case. Null: UTF-8, or unknown.';
comment on column quarantine.size is 'Number of the bytes that sha256 is of.';
comment on column quarantine.sha256 is 'SHA-256 of the bytes as received; of one element of a delivery with a content coding or another charset than UTF-8, of its bytes as decoded.';
comment on table quarantine is 'Content that was not understood, with the reason.';
