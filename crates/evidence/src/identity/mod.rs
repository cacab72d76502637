//! Identity: which identifiers belong to one call, which participant a raw id names, how a person is
//! named, and what a token grants.

pub mod alias_graph;
pub mod grant;
pub mod person_name;
pub mod placeholder;
pub mod raw_id;
