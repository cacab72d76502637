//! Writes the files of an export: reads the rows in one snapshot, encodes them, and writes the files, at once.
//!
//! # Why
//!
//! Between the three are channels of a few messages, so the memory does not grow with the rows, and the slowest
//! of database, processor and store of files sets the pace. Encoding has a thread of its own, because a group of
//! rows takes a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use metrics::counter;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::encode::file_encoder::FileEncoder;
use super::encode::row_encode_error::RowEncodeError;
use super::files::file_error::FileError;
use super::files::file_sink::{FileSink, OpenFile};
use crate::failpoint;
use crate::postgres::{
    BinaryRowError, BinaryRows, ExportFormat, ExportRequest, ExportedColumn, ExportedView,
    StoreError, TenantSnapshot, WrittenFile,
};
use crate::telemetry::names;
use onrecord_evidence::event::ids::Digest;

/// Maximum number of messages in a channel.
const MAX_MESSAGES: usize = 4;
/// Bytes of rows in one message, at least.
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes of a file in one message, at least.
const BLOCK_BYTES: usize = 1 << 20;

/// What limits an export.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PipelineLimits {
    /// Maximum number of rows.
    pub rows: u64,
    /// Maximum number of rows of a file.
    pub file_rows: u64,
}

/// An export cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Encode(#[from] RowEncodeError),
    #[error(
        "it has more than {0} rows (exports.max_rows); choose a shorter period, fewer views or a filter"
    )]
    TooManyRows(u64),
    #[error("a thread that encoded rows panicked")]
    Panicked,
    /// Another part of the pipeline failed.
    #[error("another part failed")]
    Stopped,
}

impl From<BinaryRowError> for ExportError {
    fn from(error: BinaryRowError) -> Self {
        Self::Encode(error.into())
    }
}

impl ExportError {
    /// Whether another attempt may succeed without anything being done.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error,
                StoreError::Unavailable(_)
                    | StoreError::Contended(_)
                    | StoreError::UnknownOutcome(_)
            ),
            Self::File(error) => error.is_transient(),
            Self::Encode(_) | Self::TooManyRows(_) | Self::Panicked | Self::Stopped => false,
        }
    }
}

/// A view of an export: what a row is, and its columns.
pub(crate) struct ExportedSchema {
    pub view: ExportedView,
    pub comment: String,
    pub columns: Arc<[ExportedColumn]>,
}

/// The files of an export, without the manifest.
pub(crate) struct WrittenExport {
    pub complete_through: Option<DateTime<Utc>>,
    pub schemas: Vec<ExportedSchema>,
    pub files: Vec<WrittenFile>,
}

/// From the database to the encoder.
enum RowMessage {
    View {
        view: ExportedView,
        columns: Arc<[ExportedColumn]>,
    },
    Rows(Vec<Bytes>),
    /// The view has no more rows.
    End,
}

/// From the encoder to the store of files.
enum FileMessage {
    Begin(String),
    Block(Bytes),
    End(WrittenFile),
}

/// Writes the files. `progress` counts the rows.
///
/// # Errors
///
/// [`ExportError`]; the files that were written are to be deleted then.
pub(crate) async fn write_files(
    mut snapshot: TenantSnapshot,
    request: &ExportRequest,
    sink: &FileSink,
    limits: PipelineLimits,
    progress: Arc<AtomicU64>,
) -> Result<WrittenExport, ExportError> {
    snapshot.select_rows(request).await?;
    let complete_through = snapshot.evaluated_through().await?;
    let (to_encoder, rows) = channel(MAX_MESSAGES);
    let (to_sink, messages) = channel(MAX_MESSAGES);
    let encoder = RowsEncoder { format: request.format, limits, progress, total: 0, to_sink };
    let encoding = tokio::task::spawn_blocking(move || encoder.run(rows));
    let encoding = async { encoding.await.unwrap_or(Err(ExportError::Panicked)) };
    let (schemas, encoded, files) = tokio::join!(
        read_views(&mut snapshot, &request.what, to_encoder),
        encoding,
        write_messages(sink, messages)
    );
    // What stopped because another part failed is not the reason.
    let results = (schemas, encoded, files);
    let failed = |error: &ExportError| !matches!(error, ExportError::Stopped);
    match results {
        (Ok(schemas), Ok(()), Ok(files)) => Ok(WrittenExport { complete_through, schemas, files }),
        (schemas, encoded, files) => {
            let errors = [files.err(), encoded.err(), schemas.err()];
            Err(errors.into_iter().flatten().find(failed).unwrap_or(ExportError::Stopped))
        }
    }
}

/// Sends the rows of all views.
async fn read_views(
    snapshot: &mut TenantSnapshot,
    views: &[ExportedView],
    to_encoder: Sender<RowMessage>,
) -> Result<Vec<ExportedSchema>, ExportError> {
    let send = async |message| to_encoder.send(message).await.map_err(|_| ExportError::Stopped);
    let mut schemas = Vec::new();
    for view in views.iter().copied() {
        let (columns, comment) = snapshot.exported_columns(view).await?;
        let columns: Arc<[ExportedColumn]> = columns.into();
        send(RowMessage::View { view, columns: Arc::clone(&columns) }).await?;
        schemas.push(ExportedSchema { view, comment, columns });
        let mut rows = snapshot.exported_rows(view).await?;
        let (mut batch, mut size) = (Vec::new(), 0);
        while let Some(bytes) = rows.next().await {
            let bytes = bytes?;
            size += bytes.len();
            batch.push(bytes);
            if size >= BATCH_BYTES {
                send(RowMessage::Rows(std::mem::take(&mut batch))).await?;
                size = 0;
            }
        }
        send(RowMessage::Rows(batch)).await?;
        send(RowMessage::End).await?;
    }
    Ok(schemas)
}

/// Encodes the rows of all views.
struct RowsEncoder {
    format: ExportFormat,
    limits: PipelineLimits,
    progress: Arc<AtomicU64>,
    /// Rows of all files.
    total: u64,
    to_sink: Sender<FileMessage>,
}

/// A view whose rows arrive.
struct OpenView {
    view: ExportedView,
    columns: Arc<[ExportedColumn]>,
    received: BinaryRows,
    /// Number of the file.
    number: u32,
    file: EncodedFile,
}

/// A file that is being encoded.
struct EncodedFile {
    name: String,
    encoder: FileEncoder,
    rows: u64,
    bytes: u64,
    hasher: Sha256,
    /// What is encoded and not sent.
    block: Vec<u8>,
}

impl RowsEncoder {
    /// Runs on a thread of its own, until the last row.
    fn run(mut self, mut messages: Receiver<RowMessage>) -> Result<(), ExportError> {
        let mut open: Option<OpenView> = None;
        while let Some(message) = messages.blocking_recv() {
            open = match (open, message) {
                (_, RowMessage::View { view, columns }) => {
                    let file = self.begin(view, &columns, 1)?;
                    let received = BinaryRows::default();
                    Some(OpenView { view, columns, received, number: 1, file })
                }
                (Some(open), RowMessage::Rows(rows)) => Some(self.encode(open, &rows)?),
                (Some(open), RowMessage::End) => {
                    open.received.end()?;
                    self.end(open.view, open.file)?;
                    None
                }
                (None, _) => None,
            };
        }
        // The database failed in the middle of a view.
        if open.is_some() { Err(ExportError::Stopped) } else { Ok(()) }
    }

    fn encode(&mut self, mut open: OpenView, rows: &[Bytes]) -> Result<OpenView, ExportError> {
        for bytes in rows {
            open.received.push(bytes);
            while let Some(row) = open.received.next_row(open.columns.len())? {
                if open.file.rows >= self.limits.file_rows {
                    open.number += 1;
                    let next = self.begin(open.view, &open.columns, open.number)?;
                    self.end(open.view, std::mem::replace(&mut open.file, next))?;
                }
                if self.total >= self.limits.rows {
                    return Err(ExportError::TooManyRows(self.limits.rows));
                }
                let file = &mut open.file;
                file.encoder.row(&row, &mut file.block)?;
                file.rows += 1;
                self.total += 1;
                if file.block.len() >= BLOCK_BYTES {
                    self.send_block(file)?;
                }
            }
        }
        let before = self.progress.swap(self.total, Ordering::Relaxed);
        counter!(names::EXPORT_ROWS).increment(self.total.saturating_sub(before));
        Ok(open)
    }

    fn begin(
        &self,
        view: ExportedView,
        columns: &Arc<[ExportedColumn]>,
        number: u32,
    ) -> Result<EncodedFile, ExportError> {
        let name = format!("{}-{number}.{}", view.name(), self.format.ending());
        let mut block = Vec::new();
        let encoder = FileEncoder::begin(self.format, columns, view.time_column(), &mut block)?;
        Ok(EncodedFile { name, encoder, rows: 0, bytes: 0, hasher: Sha256::new(), block })
    }

    fn end(&self, view: ExportedView, file: EncodedFile) -> Result<(), ExportError> {
        let EncodedFile { name, encoder, rows, mut bytes, mut hasher, mut block } = file;
        encoder.end(&mut block)?;
        if bytes == 0 {
            self.send(FileMessage::Begin(name.clone()))?;
        }
        bytes += block.len() as u64;
        hasher.update(&block);
        self.send(FileMessage::Block(block.into()))?;
        let sha256 = Digest::from_bytes(&hasher.finalize()).ok_or(ExportError::Panicked)?;
        let view = Some(view.name());
        self.send(FileMessage::End(WrittenFile { name, view, rows, bytes, sha256 }))
    }

    /// The first block of a file begins it.
    fn send_block(&self, file: &mut EncodedFile) -> Result<(), ExportError> {
        if file.bytes == 0 {
            self.send(FileMessage::Begin(file.name.clone()))?;
        }
        let block = std::mem::take(&mut file.block);
        file.bytes += block.len() as u64;
        file.hasher.update(&block);
        self.send(FileMessage::Block(block.into()))
    }

    fn send(&self, message: FileMessage) -> Result<(), ExportError> {
        self.to_sink.blocking_send(message).map_err(|_| ExportError::Stopped)
    }
}

/// Writes the files, one after the other.
async fn write_messages(
    sink: &FileSink,
    mut messages: Receiver<FileMessage>,
) -> Result<Vec<WrittenFile>, ExportError> {
    let mut written = Vec::new();
    let mut open: Option<OpenFile> = None;
    while let Some(message) = messages.recv().await {
        open = match (open, message) {
            (_, FileMessage::Begin(name)) => Some(sink.create(&name).await?),
            (Some(file), FileMessage::Block(block)) => {
                let file = file.write(block).await?;
                failpoint::reached("export-block-written");
                Some(file)
            }
            (Some(file), FileMessage::End(summary)) => {
                file.finish().await?;
                written.push(summary);
                None
            }
            (None, _) => None,
        };
    }
    Ok(written)
}
