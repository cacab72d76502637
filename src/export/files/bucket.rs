//! Files in a bucket that speaks the protocol of S3. A file appears there when it is complete.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectStore as _, ObjectStoreExt as _};
use uuid::Uuid;

use super::file_error::FileError;
use super::stored_file::StoredFile;
use crate::config::S3Settings;
use crate::lifecycle::detached::spawn_detached;
use crate::postgres::Attempts;
use onrecord_evidence::event::ids::Tenant;

/// The size of a part of an upload, in bytes. A file has at most 10,000 parts.
const PART_BYTES: usize = 16 << 20;

/// A bucket.
#[derive(Clone)]
pub(crate) struct Bucket {
    client: Arc<AmazonS3>,
    prefix: String,
}

/// The objects of one attempt.
pub(crate) struct BucketFolder {
    client: Arc<AmazonS3>,
    folder: String,
}

/// A file that is being uploaded. Dropped before its end, the upload is given up.
pub(crate) struct BucketFile {
    upload: Option<Box<dyn MultipartUpload>>,
    buffer: BytesMut,
    is_empty: bool,
}

impl Bucket {
    /// Prepares the client. It does not connect.
    ///
    /// # Errors
    ///
    /// A setting cannot be used.
    pub(super) fn new(bucket: &str, prefix: &str, settings: &S3Settings) -> anyhow::Result<Self> {
        // An error means that the process has one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&settings.region)
            // Not every server that speaks the protocol has it.
            .with_disable_bulk_delete(true);
        if !settings.endpoint.is_empty() {
            builder = builder
                .with_endpoint(&settings.endpoint)
                .with_allow_http(settings.endpoint.starts_with("http://"));
        }
        // Without a key the client uses the identity of its machine.
        if !settings.access_key_id.is_empty() {
            builder = builder
                .with_access_key_id(&settings.access_key_id)
                .with_secret_access_key(settings.secret_access_key.expose());
        }
        Ok(Self { client: Arc::new(builder.build()?), prefix: prefix.to_owned() })
    }

    fn folder_of(&self, tenant: &Tenant, export: Uuid) -> String {
        let prefix = self.prefix.trim_matches('/');
        let separator = if prefix.is_empty() { "" } else { "/" };
        format!("{prefix}{separator}{tenant}/{export}")
    }

    pub(super) fn folder(&self, tenant: &Tenant, export: Uuid, attempt: i32) -> BucketFolder {
        let folder = format!("{}/{attempt}", self.folder_of(tenant, export));
        BucketFolder { client: Arc::clone(&self.client), folder }
    }

    pub(super) async fn read(
        &self,
        file: &StoredFile,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FileError>>, FileError> {
        let folder = self.folder_of(&file.tenant, file.export);
        let path = Path::from(format!("{folder}/{}/{}", file.attempt, file.name));
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.client.get_opts(&path, options).await {
            Ok(found) => Ok(found.into_stream().map_err(FileError::from).boxed()),
            Err(object_store::Error::NotFound { .. }) => Err(FileError::Missing),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn remove(
        &self,
        tenant: &Tenant,
        export: Uuid,
        attempts: Attempts,
    ) -> Result<(), FileError> {
        let folder = self.folder_of(tenant, export);
        let of_attempt =
            |attempt: i32, path: &Path| path.as_ref().starts_with(&format!("{folder}/{attempt}/"));
        let listed = self.client.list(Some(&Path::from(folder.as_str())));
        let paths: Vec<Path> = listed.map_ok(|object| object.location).try_collect().await?;
        for path in paths {
            let is_removed = match attempts {
                Attempts::All => true,
                Attempts::Only(attempt) => of_attempt(attempt, &path),
                Attempts::Others(attempt) => !of_attempt(attempt, &path),
            };
            if is_removed {
                self.client.delete(&path).await?;
            }
        }
        Ok(())
    }
}

impl BucketFolder {
    pub(super) async fn create(&self, name: &str) -> Result<BucketFile, FileError> {
        let path = Path::from(format!("{}/{name}", self.folder));
        let upload = self.client.put_multipart(&path).await?;
        Ok(BucketFile { upload: Some(upload), buffer: BytesMut::new(), is_empty: true })
    }
}

impl BucketFile {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        self.buffer.extend_from_slice(&bytes);
        while self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            self.put(part).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), FileError> {
        let rest = self.buffer.split().freeze();
        // An upload has one part at least.
        if !rest.is_empty() || self.is_empty {
            self.put(rest).await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }

    async fn put(&mut self, part: Bytes) -> Result<(), FileError> {
        self.is_empty = false;
        match &mut self.upload {
            Some(upload) => Ok(upload.put_part(part.into()).await?),
            None => Err(FileError::Missing),
        }
    }
}

impl Drop for BucketFile {
    fn drop(&mut self) {
        // Without a runtime the process ends; the bucket has a rule for uploads that nothing completes.
        if let Some(mut upload) = self.upload.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            drop(spawn_detached(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(error = %error, "an upload to the bucket is not given up: {error}");
                }
            }));
        }
    }
}
