//! What clients receive and send: streams, WebSockets, notices, receipts, acknowledgements,
//! grants, revoked tokens, beats.

pub mod acknowledgements;
mod beats;
mod grants;
mod notice_facts;
pub mod notices;
mod outsiders;
mod revocations;
mod streams;
mod trust_orders;
mod websocket;
