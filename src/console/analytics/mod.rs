//! The questions of `docs/sql.md` as pages: their answers as tables, as drawings and as CSV.

pub(super) mod analytics_page;
pub(super) mod answer_plot;
mod answer_table;
mod asked_period;
pub(super) mod question_page;
mod question_view;
