-- The open exceptions of a severity, newest first: the console counts them on each visit, some thousands at most.

create index exception_open_severity on exception (tenant, severity, opened_at desc, id desc) where closed_at is null;
