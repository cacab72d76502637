//! A file of an export that is done, and where it is.

use uuid::Uuid;

use crate::postgres::KeptIn;
use onrecord_evidence::event::ids::Tenant;

/// A file of an export that is done.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    pub tenant: Tenant,
    pub export: Uuid,
    pub attempt: i32,
    pub name: String,
    pub kept_in: KeptIn,
}
