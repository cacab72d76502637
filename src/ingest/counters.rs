//! The counters of deliveries, which begin at 0 for each source.
//!
//! # Why
//!
//! Prometheus sees an increase only between two values. A counter that appeared with its first occurrence
//! would not show that occurrence, and no alert would fire for it.

use metrics::counter;
use strum::VariantNames as _;

use super::auth::keys::AuthError;
use super::outcome::RejectionReason;
use super::quarantine::QuarantineReason;
use crate::telemetry::names;
use onrecord_evidence::event::calling_event::{FlagReason, Statement};

/// The statuses of answers to deliveries.
const STATUSES: [&str; 4] = ["200", "405", "413", "503"];

/// Starts the counters of a source.
pub(super) fn start_counters_of(source: &str) {
    let of_source = |name: &'static str, label: &'static str, values: &[&'static str]| {
        for value in values {
            counter!(name, "source" => source.to_owned(), label => *value).absolute(0);
        }
    };
    of_source(names::INGEST_DELIVERIES, "status", &STATUSES);
    of_source(names::INGEST_EVENTS, "type", Statement::VARIANTS);
    of_source(names::INGEST_REJECTED, "reason", AuthError::VARIANTS);
    of_source(names::INGEST_REJECTED, "reason", RejectionReason::VARIANTS);
    of_source(names::INGEST_QUARANTINED, "reason", QuarantineReason::VARIANTS);
    of_source(names::INGEST_FLAGGED_MEMBERS, "reason", FlagReason::VARIANTS);
}

/// Starts the counters that are of no source.
pub(super) fn start_common_counters() {
    for status in ["405", "503"] {
        counter!(names::INGEST_DELIVERIES, "source" => "unknown", "status" => status).absolute(0);
    }
    let unknown: &'static str = RejectionReason::UnknownSource.into();
    counter!(names::INGEST_REJECTED, "source" => "unknown", "reason" => unknown).absolute(0);
    for outcome in ["succeeded", "failed"] {
        counter!(names::INGEST_JWKS_FETCHES, "outcome" => outcome).absolute(0);
    }
}
