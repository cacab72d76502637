//! Reports opened and closed exceptions as metrics and log lines.

use metrics::counter;

use super::history::ExceptionCounts;
use crate::telemetry::names;
use onrecord_evidence::exception::Severity;

impl ExceptionCounts {
    /// Reports what was opened and closed. Called after the commit, so that an aborted transaction
    /// reports nothing.
    pub fn report(&self) {
        for (kind, count) in &self.opened {
            counter!(names::EXCEPTIONS_OPENED, "kind" => kind.as_str()).increment(*count);
            // Many calls have a minor exception; it is found beside its call.
            if kind.severity() != Severity::Minor {
                tracing::warn!(
                    exception.kind = kind.as_str(),
                    exception.count = count,
                    "{count} exception(s) of kind {} were opened",
                    kind.as_str()
                );
            }
        }
        for (kind, count) in &self.closed {
            counter!(names::EXCEPTIONS_CLOSED, "kind" => kind.as_str(), "by" => "itself")
                .increment(*count);
        }
    }
}
