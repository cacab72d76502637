//! What clients receive and send: streams, WebSockets, notices, receipts, acknowledgements.

pub mod acknowledgements;
mod notice_facts;
pub mod notices;
mod streams;
mod websocket;
