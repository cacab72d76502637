//! What clients receive and send: streams, WebSockets, notices, receipts, acknowledgements,
//! grants, revoked tokens, beats, calls that ring, and what
//! libraries add to requests.

pub mod acknowledgements;
mod beats;
mod client_requests;
mod grants;
mod notice_facts;
pub mod notices;
mod outsiders;
mod revocations;
mod ringing;
mod streams;
mod trust_orders;
mod websocket;
