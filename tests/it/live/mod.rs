//! What clients receive and send: streams, WebSockets, notices, receipts, acknowledgements,
//! grants, revoked tokens, beats, calls that ring, what libraries add to requests, and the clients of
//! the documents.

pub mod acknowledgements;
mod beats;
mod client_requests;
mod documented_clients;
mod grants;
mod notice_facts;
pub mod notices;
mod outsiders;
mod revocations;
mod ringing;
mod streams;
mod trust_orders;
mod websocket;
