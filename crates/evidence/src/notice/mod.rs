//! Notices: the indications of a call, the banner and id of a notice, and the facts about its way to
//! a screen.
//!
//! [`indication`] → [`variant`] is what a client shows; [`notice_fact`] → `progress` →
//! `screen_time` and [`consent`] is what a report reads.

pub mod consent;
pub mod indication;
pub mod notice_fact;
pub(crate) mod progress;
pub(crate) mod screen_time;
pub mod variant;
