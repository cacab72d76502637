//! Filters under names: saved, renamed and deleted by the reader who keeps them.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::typed_filter::TypedFilter;
use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::session::store::SignedIn;
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::body::{CallerBody, secrets};
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{FilterOwner, SavedFilter};

/// The path of the list.
const LIST: &str = "/console/calls";
/// Maximum number of filters of a reader and tenant.
const MAX_FILTERS: i64 = 50;
/// Maximum length of a name, in characters.
const MAX_NAME: usize = 80;
/// Maximum length of the parameters, in characters.
const MAX_QUERY: usize = 4_000;

/// The body of a form of a reader.
type FilterForm = CallerBody<PageVisit<ReaderRole>, FormBody>;

/// The filters of a reader.
pub(super) fn owner(signed_in: &SignedIn) -> FilterOwner<'_> {
    FilterOwner { tenant: &signed_in.caller.tenant, owner: signed_in.caller.id }
}

/// A name that can be stored.
fn checked_name(name: &str) -> Result<&str, Problem> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        let detail = format!("the name of a filter has 1 to {MAX_NAME} characters");
        return Err(Problem::invalid("name", detail));
    }
    secrets::check_parameter("name", name)?;
    Ok(name)
}

fn unknown_filter() -> Problem {
    Problem::not_found("no filter of yours has this id; open the list of calls again")
}

fn parsed(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.ok_or_else(unknown_filter)
}

fn to(query: &str) -> Response {
    let path = if query.is_empty() { LIST.to_owned() } else { format!("{LIST}?{query}") };
    Redirect::to(&path).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFilterFields {
    name: String,
    query: String,
}

/// Saves the filter of a page; one of the same name is replaced.
pub(in crate::console) async fn save(
    State(context): State<ConsoleContext>,
    form: FilterForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let PageVisit { signed_in, reader, .. } = visit;
    let fields: NewFilterFields = value.checked(&signed_in.form_token)?;
    let name = checked_name(&fields.name)?.to_owned();
    // What is kept is a filter, not a page of its list.
    let query = TypedFilter::of(Some(&fields.query))?.kept();
    if query.chars().count() > MAX_QUERY {
        let detail = format!("a filter has at most {MAX_QUERY} characters");
        return Err(Problem::invalid("query", detail));
    }
    secrets::check_parameter("query", &query)?;
    let filter = SavedFilter { id: Uuid::now_v7(), name, query };
    let _turn = reader.snapshot_turn().await?;
    let store = &context.query.store;
    let now = clock::now();
    if !store.save_console_filter(owner(&signed_in), &filter, MAX_FILTERS, now).await? {
        let detail = format!("you have {MAX_FILTERS} filters; delete one first");
        return Err(Problem::new(ProblemKind::Conflict, detail));
    }
    Ok(to(&filter.query))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameFields {
    name: String,
}

pub(in crate::console) async fn rename(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: FilterForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let PageVisit { signed_in, reader, .. } = visit;
    let fields: RenameFields = value.checked(&signed_in.form_token)?;
    let (id, name) = (parsed(id)?, checked_name(&fields.name)?);
    let _turn = reader.snapshot_turn().await?;
    let store = &context.query.store;
    let query = store.rename_console_filter(owner(&signed_in), id, name, clock::now()).await?;
    let query = query.ok_or_else(|| {
        Problem::new(
            ProblemKind::Conflict,
            "another filter of yours has this name, or the filter was deleted; open the list of calls again",
        )
    })?;
    Ok(to(&query))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteFilterFields {
    /// The form of a filter has its name too.
    #[serde(default, rename = "name")]
    _name: String,
}

pub(in crate::console) async fn delete(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: FilterForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let PageVisit { signed_in, reader, .. } = visit;
    let _: DeleteFilterFields = value.checked(&signed_in.form_token)?;
    let id = parsed(id)?;
    let _turn = reader.snapshot_turn().await?;
    if !context.query.store.delete_console_filter(owner(&signed_in), id).await? {
        return Err(unknown_filter());
    }
    Ok(to(""))
}
