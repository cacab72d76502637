//! The state of the routes and jobs of exports.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio::sync::{Notify, Semaphore};

use super::files::export_files::ExportFiles;
use crate::config::ExportSettings;
use crate::http::auth::ApiKeyCache;
use crate::http::body::BodyCapacity;
use crate::postgres::Postgres;

/// The state of the routes and jobs of exports.
#[derive(Clone, FromRef)]
pub(crate) struct ExportContext {
    pub store: Postgres,
    pub keys: ApiKeyCache,
    pub bodies: BodyCapacity,
    pub settings: Arc<ExportSettings>,
    pub files: ExportFiles,
    /// Signals a request to the workers of this node.
    pub requested: Arc<Notify>,
    /// Reads of parts of files out of PostgreSQL at a time.
    pub reads: Arc<Semaphore>,
}

impl ExportContext {
    /// `connections` is the number of those of readers, of which downloads use a quarter at most.
    ///
    /// # Errors
    ///
    /// The store of files cannot be used.
    pub(crate) fn new(
        store: &Postgres,
        keys: &ApiKeyCache,
        bodies: &BodyCapacity,
        settings: &ExportSettings,
        connections: u32,
    ) -> anyhow::Result<Self> {
        let reads = usize::try_from(connections / 4).unwrap_or(1).max(1);
        Ok(Self {
            store: store.clone(),
            keys: keys.clone(),
            bodies: bodies.clone(),
            files: ExportFiles::new(store, settings)?,
            settings: Arc::new(settings.clone()),
            requested: Arc::default(),
            reads: Arc::new(Semaphore::new(reads)),
        })
    }
}
