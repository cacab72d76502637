//! The compliance record and real-time recording notices of Azure Communication Services calls
//! with Microsoft Teams.
//!
//! # The story
//!
//! A company's own app calls Teams users. Microsoft signals when such a call is recorded or
//! transcribed; the app's owner must tell its users at once, and be able to show it months later.
//! An event enters by one door, walks one corridor, never turns back:
//!
//! ```text
//! Event Grid ─┐                                   ┌─▶ ledger ─▶ [Postgres] ─▶ api
//! Call Autom. ├─▶ intake ─▶ [calling-events.v1] ──┤
//! clients  ───┘      │      or [spool], drained   └─▶ board ─▶ SSE · WebSocket
//!                    └─▶ [quarantine.v1] ─▶ ledger         │
//!                              [notice-facts.v1] ◀──────────┘ who was told
//!                                     └─▶ ledger
//! ```
//!
//! # The house
//!
//! * [`domain`]: the words. Pure; imports nothing of ours.
//! * [`stream`] and [`store`]: the cellars; the only rooms that speak Kafka and SQL.
//! * [`road`] and [`http`]: furniture that every room uses; imports only cellars.
//! * [`intake`] (the door), [`ledger`] (the book), [`notify`] (the bell), [`api`] (the reading
//!   room): rooms. They never import each other: each leaves an event at rest, and the next picks
//!   it up.
//! * [`embedded`]: a private Postgres and broker, for `demo` and the tests.
//! * [`simulator`]: Azure and the clients, played from outside by HTTP.
//! * [`cli`]: the front desk; [`cli::serve`] is the only file that knows every room.
//! * [`clock`], [`config`], [`failpoint`], [`lifecycle`], [`telemetry`]: what belongs to the
//!   process.
//!
//! `tests/it/house_rules.rs` keeps these rules.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod embedded;
pub mod failpoint;
pub mod http;
pub mod intake;
pub mod ledger;
pub mod lifecycle;
pub mod notify;
pub mod road;
pub mod simulator;
pub mod store;
pub mod stream;
pub mod telemetry;
