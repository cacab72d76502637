//! Who can work on the exceptions of a tenant.

use crate::console::context::ConsoleContext;
use crate::http::api_role::ApiRole;
use crate::http::problem::Problem;
use crate::postgres::ClosingKey;
use onrecord_evidence::event::ids::Tenant;

/// The users of a tenant, and its live API keys but those of apps.
pub(super) async fn people_of(
    context: &ConsoleContext,
    tenant: &Tenant,
) -> Result<Vec<ClosingKey>, Problem> {
    let users = context.query.store.console_users_of(tenant).await?;
    let users = users.into_iter().map(|user| ClosingKey { id: user.id, name: user.name });
    let keys = context.keys.of_tenant(tenant).into_iter();
    let keys = keys.filter(|key| key.role != ApiRole::App);
    let keys = keys.map(|key| ClosingKey { id: key.id, name: key.name });
    Ok(users.chain(keys).collect())
}
