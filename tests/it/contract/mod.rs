//! The descriptions of the interfaces, and whether the service keeps to them.
//!
//! * [`description`]: the OpenAPI document itself. [`answers`]: answers and messages have its form.
//! * [`roles`]: which credentials it states. [`events`]: messages of the topics and their schemas.
//! * [`schemathesis`]: requests that a program makes of the document. [`schemas`]: JSON Schemas by which a value is
//!   checked.

mod answers;
mod description;
mod events;
mod roles;
pub mod schemas;
mod schemathesis;
