//! Streams of notices to client apps, and the current indication on request.
//!
//! * `subscription`: who subscribes, to which calls, and by which authorization.
//! * `stream_capacity`: how participants, API keys and tenants share the streams of a node.
//! * `stream_session`: which messages a stream sends, with which cursor, and when it ends.
//! * `close_reason`: why a stream ends.
//! * `cursor`: the signed cursors of a stream.
//! * `sse`: a session as server-sent events.
//! * `websocket`, `client_frame`: a session over a WebSocket; the frames of clients.
//! * `indications`: `GET /v1/indications`.
//!
//! The routes are in `client_api`.

pub(crate) mod client_frame;
pub(crate) mod close_reason;
pub(crate) mod cursor;
pub(crate) mod indications;
pub(crate) mod sse;
pub(crate) mod stream_capacity;
pub(crate) mod stream_session;
pub(crate) mod subscription;
pub(crate) mod websocket;
