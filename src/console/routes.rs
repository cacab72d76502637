//! The routes of the console.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::{get, post};

use super::accounts::{reader_logins_page, tenant_switch, users_page};
use super::analytics::{analytics_page, question_page};
use super::call::{call_page, entries_page, entry_page};
use super::calls::{csv, list_page, saved_filters};
use super::context::ConsoleContext;
use super::deliveries::{delivery_actions, delivery_list, delivery_page};
use super::exceptions::{actions, exception_page, queue_page};
use super::exports::{actions as export_actions, export_page, list_page as export_list_page};
use super::live::{change_stream, live_page};
use super::operations::{
    access_page, health_page, quarantine_page, settings_page, setup_page, sources_page,
};
use super::report::report_page;
use super::respond::respond;
use super::session::handlers;
use super::session::oidc::handlers as oidc;
use super::{assets, glossary_page, overview_page, person_file, person_page, styleguide_page};
use crate::http::problem::Problem;
use crate::http::server;
use crate::query::context::limit_time;

/// The pages of the console, and its files.
pub(crate) fn router(context: ConsoleContext) -> Router {
    let pages = Router::new()
        .route("/console/", get(overview_page::overview))
        .route("/console/calls", get(list_page::list))
        .route("/console/calls.csv", get(csv::csv))
        .route("/console/calls/filters", post(saved_filters::save))
        .route("/console/calls/filters/{id}", post(saved_filters::rename))
        .route("/console/calls/filters/{id}/delete", post(saved_filters::delete))
        .route("/console/calls/{call}", get(call_page::call))
        .route("/console/calls/{call}/entries", get(entries_page::entries))
        .route("/console/calls/{call}/report", get(report_page::report))
        .route("/console/events/{id}", get(entry_page::entry))
        .route("/console/exceptions", get(queue_page::queue))
        .route("/console/exceptions/close", post(actions::close_many))
        .route("/console/exceptions/{id}", get(exception_page::exception))
        .route("/console/exceptions/{id}/close", post(actions::close))
        .route("/console/exceptions/{id}/assign", post(actions::assign))
        .route("/console/exceptions/{id}/note", post(actions::note))
        .route("/console/exceptions/{id}/reopen", post(actions::reopen))
        .route("/console/live", get(live_page::live))
        .route("/console/live/changes", get(change_stream::changes))
        .route("/console/people", get(person_page::person))
        .route("/console/people/file", get(person_file::file))
        .route("/console/analytics", get(analytics_page::analytics))
        .route("/console/analytics/{number}", get(question_page::question))
        .route("/console/analytics/{number}/answer", get(question_page::answer))
        .route("/console/analytics/{number}/csv", get(question_page::csv))
        .route("/console/exports", get(export_list_page::list).post(export_actions::create))
        .route("/console/exports/{id}", get(export_page::export))
        .route("/console/exports/{id}/delete", post(export_actions::delete))
        .route("/console/exports/{id}/files/{name}", get(export_actions::file))
        .route("/console/sources", get(sources_page::sources))
        .route("/console/sources/setup", get(setup_page::setup))
        .route("/console/settings", get(settings_page::settings))
        .route("/console/settings/keys", post(settings_page::create_key))
        .route("/console/settings/keys/{id}/revoke", post(settings_page::revoke_key))
        .route("/console/settings/users", get(users_page::users))
        .route("/console/settings/users/{id}/end", post(users_page::end_sessions))
        .route("/console/settings/readers", get(reader_logins_page::reader_logins))
        .route("/console/settings/readers", post(reader_logins_page::create))
        .route("/console/settings/readers/drop", post(reader_logins_page::drop_login))
        .route("/console/tenant", post(tenant_switch::switch))
        .route("/console/health", get(health_page::health))
        .route("/console/access", get(access_page::access))
        .route("/console/deliveries", get(delivery_list::deliveries))
        .route("/console/deliveries/{webhook}/{action}", post(delivery_actions::act))
        .route("/console/deliveries/{webhook}/messages/{message}", get(delivery_page::delivery))
        .route(
            "/console/deliveries/{webhook}/messages/{message}/redeliver",
            post(delivery_actions::redeliver),
        )
        .route("/console/quarantine", get(quarantine_page::quarantine))
        .route("/console/quarantine/{id}/sealed", get(quarantine_page::sealed))
        .route("/console/glossary", get(glossary_page::glossary))
        .route("/console/styleguide", get(styleguide_page::styleguide))
        .route("/console/preferences", get(handlers::choose))
        .route("/console/demo", get(handlers::sign_in_to_demo))
        .route("/console/sign-in", get(handlers::sign_in_form).post(handlers::sign_in))
        .route("/console/sign-out", post(handlers::sign_out))
        .route("/console/oidc/sign-in", get(oidc::begin))
        .route("/console/oidc/callback", get(oidc::callback))
        .route("/console/oidc/sign-out", get(oidc::sign_out_at_provider))
        .route("/console/{*other}", get(unknown_page))
        .method_not_allowed_fallback(server::method_not_allowed)
        .layer(from_fn(limit_time))
        .layer(from_fn_with_state(context.clone(), respond))
        .with_state(context);
    Router::new()
        .route("/", get(async || Redirect::to("/console/")))
        .route("/console", get(async || Redirect::permanent("/console/")))
        .route("/console/assets/{name}", get(assets::asset))
        .merge(pages)
}

async fn unknown_page() -> Problem {
    Problem::not_found("the console has no page at this address")
}
