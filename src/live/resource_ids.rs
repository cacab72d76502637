//! The ACS resource ids of a tenant, which distinguish its own users from those of other resources.

use std::sync::Arc;

use crate::config::Source;
use onrecord_evidence::event::ids::Tenant;

/// Returns the configured resource ids of all sources of a tenant.
pub(crate) type ResourceIdsOf = Arc<dyn Fn(&Tenant) -> Vec<String> + Send + Sync>;

/// The resource ids of all sources of a tenant; if there are none, every ACS user counts as the
/// tenant's own.
pub(crate) fn resource_ids<'a>(
    sources: impl Iterator<Item = &'a Source>,
    tenant: &Tenant,
) -> Vec<String> {
    sources
        .filter(|source| source.tenant == *tenant)
        .flat_map(|source| source.resource_ids.iter().cloned())
        .collect()
}
