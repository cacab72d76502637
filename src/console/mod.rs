//! The web console: pages for compliance officers and operators, made on the server.
//!
//! * `routes`, `respond`: the routes; each answer is a page with its headers, and so is each problem.
//! * `visit`, `session`: who asks, in which language and zone; sign-in by API key or OpenID Connect, and sessions.
//! * `accounts`: users with their sessions, logins for SQL clients, the switch of the tenant.
//! * `words`, `display`: the texts of each language; times, lengths and codes as pages show them.
//! * `frame`, `assets`: what all pages have around them; style sheet and scripts.
//! * `drawing`: the geometry of charts, in pure functions.
//! * `calls`, `call`, `report`, `live`, `exceptions`, `analytics`, `exports`, `operations`, and files that end in `_page`: the pages.
//!
//! # Why
//!
//! Pages read by the same functions as the query API, so that both show the same numbers. They are complete
//! without JavaScript; a script only spares a reload. The content security policy permits no inline script,
//! no inline style and no other host.

mod accounts;
mod analytics;
mod assets;
mod call;
mod calls;
pub(crate) mod context;
mod deliveries;
mod display;
mod drawing;
mod exceptions;
mod exports;
mod form;
mod frame;
mod glossary_page;
pub(crate) mod live;
pub(crate) mod operations;
mod overview_page;
mod person_file;
mod person_page;
pub(crate) mod report;
mod respond;
mod routes;
pub(crate) mod session;
mod shown_origin;
mod styleguide_page;
mod visit;
mod words;

pub(crate) use routes::router;
