//! Whose users are ours.

use crate::config::Source;
use crate::domain::ids::Tenant;

/// The resource ids of all sources of a tenant; none: every ACS user is ours.
pub fn resource_ids<'a>(sources: impl Iterator<Item = &'a Source>, tenant: &Tenant) -> Vec<String> {
    sources
        .filter(|source| source.tenant == *tenant)
        .flat_map(|source| source.resource_ids.iter().cloned())
        .collect()
}
