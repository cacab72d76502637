//! Who may use webhooks.
//!
//! # Why
//!
//! A subscription sends verdicts and exceptions to any address. So only `admin` makes one, and an `auditor`,
//! who may read all of that, sees what was sent.

use crate::http::api_role::ApiRole;
use crate::http::auth::RoleSet;
use crate::http::problem::Problem;

/// The role that manages subscriptions.
pub(super) struct WebhookManagers;

impl RoleSet for WebhookManagers {
    const ROLES: &[ApiRole] = &[];
}

/// The roles that may read them.
pub(super) struct WebhookReaders;

impl RoleSet for WebhookReaders {
    const ROLES: &[ApiRole] = &[ApiRole::Auditor];
}

/// The subscription does not exist, or belongs to another tenant.
pub(super) fn unknown_webhook() -> Problem {
    Problem::not_found("no webhook of yours has this id; GET /v1/webhooks lists them")
}

/// The message does not exist, or belongs to another subscription or tenant.
pub(super) fn unknown_message() -> Problem {
    Problem::not_found(
        "no message of this webhook has this id; it may have been deleted: GET /v1/webhooks/{id}/messages lists them",
    )
}
