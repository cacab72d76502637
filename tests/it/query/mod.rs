//! The query API: consistent pages, tenant isolation, SQL clients, browsers of other origins.

mod access_log;
mod call_filters;
mod changes;
mod cors;
mod every_route;
mod questions;
mod readers;
mod reading;
mod rollups;
mod shares;
mod tenants;
