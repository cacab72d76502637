//! The configured source of a delivery, as far as parsing depends on it.

use crate::config::{SealingKey, SourceKind};

/// The configured source of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct DeliverySource<'a> {
    /// Its kind of deliveries.
    pub kind: SourceKind,
    /// Its configured name.
    pub name: &'a str,
    /// The immutable ids of the tenant's ACS resources; if empty, each ACS user belongs to the
    /// tenant.
    pub resource_ids: &'a [String],
    /// The key to which what cannot be parsed is sealed.
    pub seal_to: Option<&'a SealingKey>,
}
