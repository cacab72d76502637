//! Outbound webhooks: what receivers get, what their misbehaviour does, and what operators can do.

mod delivery;
mod destinations;
mod events;
mod misbehaviour;
mod operations;
mod published_libraries;
pub mod receiver;
mod requests;
pub mod subscriber;
