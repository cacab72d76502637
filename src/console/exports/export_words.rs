//! What the list of exports and the page of one have in common: the state, the progress, the words of views.

use crate::console::frame::PageFrame;
use crate::postgres::{ExportState, StoredExport};

/// The path of the list.
pub(super) const PATH: &str = "/console/exports";

/// How far an export is.
pub(super) struct ExportProgress {
    /// Rows that are written.
    pub rows: i64,
    /// Rows that it has about; never less than those that are written.
    pub of: i64,
    pub is_running: bool,
}

/// How far an export is.
pub(super) fn progress(export: &StoredExport) -> ExportProgress {
    let is_running = matches!(export.state, ExportState::Running { .. });
    // The estimate may be too low.
    let of = export.estimated_rows.max(export.rows).max(1);
    ExportProgress { rows: export.rows, of, is_running }
}

/// The code of a state.
pub(super) fn state_code(state: &ExportState) -> &'static str {
    match state {
        ExportState::Queued => "queued",
        ExportState::Running { .. } => "running",
        ExportState::Done { .. } => "done",
        ExportState::Failed { .. } => "failed",
    }
}

/// The word of a view.
pub(super) fn view_word(f: &PageFrame, name: &str) -> &'static str {
    f.words.find(&format!("export_view.{name}.word")).unwrap_or_default()
}

/// A size in bytes for reading.
pub(super) fn size(bytes: i64) -> String {
    const KILO: i64 = 1_000;
    match bytes {
        ..KILO => format!("{bytes} B"),
        KILO..1_000_000 => format!("{}.{} kB", bytes / KILO, bytes % KILO / 100),
        1_000_000..1_000_000_000 => {
            format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
        }
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_one_digit_after_the_point() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_550, "1.5 kB"),
            (2_400_000, "2.4 MB"),
            (3_000_000_000, "3.0 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
