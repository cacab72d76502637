//! The flat records of calls: the rows of which they are made, and what of them was published.

pub(crate) mod changed_calls;
pub(crate) mod published;
