//! The query API: consistent pages, tenant isolation, SQL clients, browsers of other origins.

mod cors;
mod readers;
mod reading;
mod shares;
mod tenants;
