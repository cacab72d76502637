//! The views of the schema `reading` that can be exported, with the statement that reads each.
//!
//! # Why
//!
//! A statement takes its period and filter from settings of the transaction, because `copy` has no parameters
//! and a text that contains the values of a caller would be no constant.

use serde::{Deserialize, Serialize};
use strum::VariantNames as _;
use utoipa::ToSchema;

use onrecord_evidence::exception::kind::ExceptionKind;

/// A view of the schema `reading`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum ExportedView {
    Calls,
    Participants,
    Sessions,
    Captures,
    Obligations,
    ObligationsAll,
    Exceptions,
    ExceptionHistory,
    Notices,
    Events,
    Outages,
    NoticeLatencyHourly,
    CapturesHourly,
}

impl ExportedView {
    /// Parses its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The name in the schema.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The column by which a period selects its rows and by which they are sorted first.
    #[must_use]
    pub fn time_column(self) -> &'static str {
        match self {
            Self::Calls | Self::Captures => "started_at",
            Self::Participants => "first_joined_at",
            Self::Sessions => "joined_at",
            Self::Obligations | Self::ObligationsAll => "due_at",
            Self::Exceptions => "opened_at",
            Self::ExceptionHistory => "at",
            Self::Notices => "entered_at",
            Self::Events => "received_at",
            Self::Outages => "from_at",
            Self::NoticeLatencyHourly | Self::CapturesHourly => "hour",
        }
    }

    /// The columns that an export can filter by.
    #[must_use]
    pub fn filter_columns(self) -> &'static [&'static str] {
        match self {
            Self::Calls => &["verdict", "kind"],
            Self::Participants
            | Self::Captures
            | Self::Exceptions
            | Self::Outages
            | Self::CapturesHourly => &["kind"],
            Self::Sessions => &["app", "kind"],
            Self::Obligations | Self::ObligationsAll => &["app"],
            Self::ExceptionHistory | Self::Notices | Self::Events | Self::NoticeLatencyHourly => {
                &[]
            }
        }
    }

    /// The values that a column can have. `None`: any.
    #[must_use]
    pub fn values_of(self, column: &str) -> Option<&'static [&'static str]> {
        match (self, column) {
            (Self::Calls, "verdict") => Some(&["COMPLIANT", "EXCEPTIONS", "PENDING", "UNOBSERVED"]),
            (Self::Calls, "kind") => Some(&["room", "meeting", "two_party", "group"]),
            (Self::Exceptions, "kind") => Some(ExceptionKind::VARIANTS),
            (Self::Outages, "kind") => Some(&["outage", "rejected", "spool", "stream_gap"]),
            _ => None,
        }
    }

    /// The statement that reads its rows, sorted by their time.
    pub(super) fn statement(self) -> &'static str {
        match self {
            Self::Calls => SELECT_CALLS,
            Self::Participants => SELECT_PARTICIPANTS,
            Self::Sessions => SELECT_SESSIONS,
            Self::Captures => SELECT_CAPTURES,
            Self::Obligations => SELECT_OBLIGATIONS,
            Self::ObligationsAll => SELECT_OBLIGATIONS_ALL,
            Self::Exceptions => SELECT_EXCEPTIONS,
            Self::ExceptionHistory => SELECT_EXCEPTION_HISTORY,
            Self::Notices => SELECT_NOTICES,
            Self::Events => SELECT_EVENTS,
            Self::Outages => SELECT_OUTAGES,
            Self::NoticeLatencyHourly => SELECT_NOTICE_LATENCY_HOURLY,
            Self::CapturesHourly => SELECT_CAPTURES_HOURLY,
        }
    }
}

macro_rules! tenant_rows {
    ($view:literal) => {
        concat!(
            "select * from reading.",
            $view,
            " where tenant = current_setting('onrecord.tenant')"
        )
    };
}

macro_rules! since {
    ($column:literal) => {
        concat!(
            " and ",
            $column,
            " >= current_setting('onrecord.export_from')::timestamptz",
            " and ",
            $column,
            " < current_setting('onrecord.export_to')::timestamptz"
        )
    };
}

macro_rules! one_of {
    ($column:literal) => {
        concat!(
            " and (current_setting('onrecord.export_",
            $column,
            "') = '{}'",
            " or ",
            $column,
            " = any (current_setting('onrecord.export_",
            $column,
            "')::text[]))"
        )
    };
}

statements! {
    const SELECT_CALLS: &str = concat!(
        tenant_rows!("calls"),
        since!("started_at"),
        one_of!("verdict"),
        one_of!("kind"),
        " order by started_at, call"
    );

    const SELECT_PARTICIPANTS: &str = concat!(
        tenant_rows!("participants"),
        since!("first_joined_at"),
        one_of!("kind"),
        " order by first_joined_at, call, participant"
    );

    const SELECT_SESSIONS: &str = concat!(
        tenant_rows!("sessions"),
        since!("joined_at"),
        one_of!("app"),
        one_of!("kind"),
        " order by joined_at, call, session"
    );

    const SELECT_CAPTURES: &str = concat!(
        tenant_rows!("captures"),
        since!("started_at"),
        one_of!("kind"),
        " order by started_at, call, type"
    );

    const SELECT_OBLIGATIONS: &str = concat!(
        tenant_rows!("obligations"),
        since!("due_at"),
        one_of!("app"),
        " order by due_at, call, type, session"
    );

    const SELECT_OBLIGATIONS_ALL: &str = concat!(
        tenant_rows!("obligations_all"),
        since!("due_at"),
        one_of!("app"),
        " order by due_at, call, type, session"
    );

    const SELECT_EXCEPTIONS: &str = concat!(
        tenant_rows!("exceptions"),
        since!("opened_at"),
        one_of!("kind"),
        " order by opened_at, exception"
    );

    const SELECT_EXCEPTION_HISTORY: &str = concat!(
        tenant_rows!("exception_history"),
        since!("at"),
        " order by at, exception, position"
    );

    const SELECT_NOTICES: &str = concat!(
        tenant_rows!("notices"),
        since!("entered_at"),
        " order by entered_at, notice_fact"
    );

    const SELECT_EVENTS: &str = concat!(
        tenant_rows!("events"),
        since!("received_at"),
        " order by received_at, event"
    );

    /// Those that overlap with the period; the beginning of one may not be known. One without a tenant concerns the
    /// whole deployment.
    const SELECT_OUTAGES: &str = concat!(
        "select * from reading.outages where coalesce(tenant, current_setting('onrecord.tenant')) = current_setting('onrecord.tenant')",
        " and coalesce(from_at, '-infinity') < current_setting('onrecord.export_to')::timestamptz
          and coalesce(to_at, 'infinity') > current_setting('onrecord.export_from')::timestamptz",
        one_of!("kind"),
        " order by from_at, kind, subject"
    );

    const SELECT_NOTICE_LATENCY_HOURLY: &str = concat!(
        tenant_rows!("notice_latency_hourly"),
        since!("hour"),
        " order by hour, type, step, outcome, le_ms"
    );

    const SELECT_CAPTURES_HOURLY: &str = concat!(
        tenant_rows!("captures_hourly"),
        since!("hour"),
        one_of!("kind"),
        " order by hour, type, kind, start_source, le_ms"
    );
}
