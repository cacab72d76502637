//! Shows another tenant of the user in the session.

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::session::handlers::AnyRole;
use crate::console::session::opening::{SignInLogEntry, log_sign_in};
use crate::console::visit::PageVisit;
use crate::http::body::CallerBody;
use crate::http::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchFields {
    tenant: String,
}

/// From the next page on the session has the rights of its user in this tenant. Both tenants have a row in their
/// access logs.
pub(in crate::console) async fn switch(
    State(context): State<ConsoleContext>,
    form: CallerBody<PageVisit<AnyRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: PageVisit { visit, signed_in, .. }, value, .. } = form;
    let fields: SwitchFields = value.checked(&signed_in.form_token)?;
    let unknown = || {
        Problem::invalid(
            "tenant",
            "you have no role in this tenant; sign in again if you were given one",
        )
    };
    let tenant = signed_in.tenants.iter().find(|tenant| tenant.as_str() == fields.tenant);
    let tenant = tenant.ok_or_else(unknown)?;
    let caller = &signed_in.caller;
    if *tenant != caller.tenant {
        if !context.query.store.switch_tenant(signed_in.session, tenant.as_str()).await? {
            return Err(unknown());
        }
        let left = SignInLogEntry::of(caller, "sign_out", &visit.route);
        // The role in the other tenant is read with its first page.
        let entered = SignInLogEntry { tenant, what: "sign_in", role: "", ..left.clone() };
        log_sign_in(&context, left).await?;
        log_sign_in(&context, entered).await?;
    }
    Ok(Redirect::to("/console/").into_response())
}
