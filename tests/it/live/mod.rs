//! What clients receive and send: streams, WebSockets, notices, receipts, acknowledgements,
//! grants, revoked tokens, and the clients of the documents.

pub mod acknowledgements;
mod documented_clients;
mod grants;
mod notice_facts;
pub mod notices;
mod outsiders;
mod revocations;
mod streams;
mod trust_orders;
mod websocket;
