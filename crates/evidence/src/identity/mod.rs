//! Identity: which identifiers belong to one call, and which participant a raw id names.

pub mod alias_graph;
pub mod raw_id;
