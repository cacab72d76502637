//! The integration tests, in one binary, so that everything links once.
//!
//! * [`end_to_end`]: the path of an event, from the delivery to the ledger and to a client.
//! * [`ingest`], [`ledger`], [`live`], [`query`], [`export`]: what each module promises.
//! * [`console`]: the pages of the web console, by HTTP.
//! * [`operations`]: the program itself: settings, signals, the doctor, the demo, the command line.
//! * [`contract`]: the descriptions of the interfaces (OpenAPI, JSON Schemas) and what the service does.
//! * [`http`]: credentials, bodies and limits of all resources.
//! * [`faults`]: everything around the program fails, and the guarantees hold.
//! * [`repository`]: the rules that the repository itself keeps.
//! * [`webhooks`]: what receivers of outbound webhooks get.
//! * [`support`]: the running application, its stores, its clients, and what a test may require.

#![cfg(test)]
#![expect(
    unreachable_pub,
    reason = "one binary: what its modules share is reachable inside it only"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests make current events, and read which stores they are given"
)]

mod console;
mod contract;
mod end_to_end;
mod export;
mod faults;
mod http;
mod ingest;
mod ledger;
mod live;
mod operations;
mod query;
mod repository;
mod support;
mod webhooks;
