//! The call as a whole: its lifetime, its snapshot at an instant, and the projection of its events.
//!
//! [`project`] starts from events, [`snapshot`] from facts.

pub mod call_facts;
mod confirmation;
pub(crate) mod fact_index;
pub mod lifetime;
pub mod outsider_level;
pub mod parameters;
pub mod presumed_end;
pub mod project;
pub mod snapshot;
