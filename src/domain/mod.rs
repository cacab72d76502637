//! The words: what a call, a session, a capture and an indication are, and the rules that make
//! them out of facts. Pure and synchronous; `now` is an argument.
//!
//! From an event to a banner: [`calling_event`] → [`alias`] (which call) → [`session`] (who is
//! who) → [`fact`] → [`fold`] → [`indication`] → [`notice`]. [`picture`] is the whole walk.
//! From the same facts to an account of every telling: [`telling`] → [`shown`] → [`obligation`] →
//! [`verdict`]; [`evidence`] is the report, [`why`] explains it, [`difference`] compares two.

pub mod alias;
pub mod call;
pub mod calling_event;
pub mod capture;
pub mod chronicle;
pub mod consent;
pub mod difference;
pub mod disagreement;
pub mod dossier;
pub mod evidence;
pub mod exception;
pub mod fact;
pub mod fact_contents;
pub mod fact_json;
pub mod fact_set;
pub mod file_capture;
pub mod flag;
pub mod fold;
pub mod identity;
pub mod ids;
pub mod indication;
pub mod instant;
pub mod next_change;
pub mod notice;
pub mod notice_fact;
pub mod obligation;
pub mod observation;
pub mod outage;
pub mod parameters;
pub mod picture;
pub mod presence;
pub mod presumed_end;
pub mod provider_capture;
pub mod recording;
pub mod report_capture;
pub mod reporter;
pub mod reports;
pub mod session;
pub mod shown;
pub mod span;
pub mod stretch;
pub mod telling;
pub mod verdict;
pub mod version;
pub mod why;
