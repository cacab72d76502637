//! The state of the handlers of the console.

use std::sync::Arc;

use axum::extract::FromRef;

use super::live::last_changes::LastChanges;
use super::operations::doctor_findings::NodeDoctor;
use super::session::store::Sessions;
use crate::export::context::ExportContext;
use crate::http::auth::ApiKeyCache;
use crate::http::body::BodyCapacity;
use crate::lifecycle::{Lifecycle, Readiness};
use crate::query::QueryContext;

/// The state of the handlers.
#[derive(Clone, FromRef)]
pub(crate) struct ConsoleContext {
    pub query: QueryContext,
    pub exports: ExportContext,
    pub keys: ApiKeyCache,
    pub bodies: BodyCapacity,
    pub sessions: Sessions,
    pub readiness: Readiness,
    pub lifecycle: Lifecycle,
    pub changes: LastChanges,
    pub doctor: NodeDoctor,
    pub demo: Demo,
}

/// The key that signs a browser of this machine in to a demonstration, without being typed.
#[derive(Clone, Default)]
pub(crate) struct Demo(pub Option<Arc<str>>);
