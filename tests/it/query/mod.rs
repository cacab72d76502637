//! The query API: consistent pages, tenant isolation, browsers of other origins.

mod cors;
mod readers;
mod shares;
mod tenants;
