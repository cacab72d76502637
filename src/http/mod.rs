//! Furniture: what every room that speaks HTTP uses.

pub mod access;
pub mod body;
mod connection;
pub mod discard;
pub mod origin;
pub mod page;
pub mod problem;
pub mod server;
