-- The summaries of the calls that exist.

update call as it set summary = summary_of_rows(it);
