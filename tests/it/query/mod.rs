//! The query API: consistent pages, tenant isolation, SQL clients, browsers of other origins.

mod access_log;
mod call_filters;
mod changes;
mod cors;
mod readers;
mod reading;
mod shares;
mod tenants;
