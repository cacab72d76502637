//! The description of the HTTP interface: OpenAPI 3.2 of the routes, and a page of it for people.
//!
//! The routes describe themselves (`#[utoipa::path]`), and `utoipa_axum::OpenApiRouter` takes no route
//! without a description.
//!
//! * `document`: what the routes do not state: head, security schemes, examples.
//! * `problem_sets`: the problems that resources answer.
//! * `named_schemas`: schemas of `docs/schemas/`, for what is not a type of this crate.
//! * `page`, `markdown`: the page for people.
//! * `routes`: `/openapi.json` and `/openapi`.

pub(crate) mod document;
pub(crate) mod markdown;
pub(crate) mod named_schemas;
pub(crate) mod page;
pub(crate) mod problem_sets;
pub(crate) mod routes;

pub(crate) use routes::router;
