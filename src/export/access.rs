//! Who may use exports.

use crate::http::api_role::ApiRole;
use crate::http::auth::RoleSet;
use crate::http::problem::Problem;

/// The roles that may export what they may read.
pub(super) struct ExportRoles;

impl RoleSet for ExportRoles {
    const ROLES: &[ApiRole] = &[ApiRole::Analyst, ApiRole::Auditor];
}

/// The export does not exist, or belongs to another tenant.
pub(crate) fn unknown_export() -> Problem {
    Problem::not_found(
        "no export of yours has this id; it may have expired: GET /v1/exports lists them",
    )
}
