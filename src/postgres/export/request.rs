//! What an export has: views, period, filter and format.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::exported_view::ExportedView;
use crate::http::timestamp::serialize_micros;

/// Maximum number of values of a filter.
const MAX_FILTER_VALUES: usize = 100;
/// Maximum size of a value of a filter, in bytes.
const MAX_FILTER_VALUE_BYTES: usize = 256;

/// The format of the files of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames, ToSchema)]
#[strum(serialize_all = "lowercase")]
pub enum ExportFormat {
    Csv,
    Ndjson,
    Parquet,
}

impl ExportFormat {
    /// Parses its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The ending of the names of its files.
    #[must_use]
    pub fn ending(self) -> &'static str {
        self.into()
    }
}

/// Values of columns that the exported rows have; an absent list selects all rows. Each view must
/// have the column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportFilter {
    /// Apps: of `sessions` and `obligations`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app: Vec<String>,
    /// Verdicts: of `calls`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<String>,
    /// Kinds: of `calls`, `participants`, `sessions`, `captures`, `exceptions`, `outages` and
    /// `captures_hourly`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind: Vec<String>,
}

/// What an export has. Its period is half-open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportRequest {
    /// The views.
    pub what: Vec<ExportedView>,
    /// The first instant of the period, by the time column of each view.
    #[serde(serialize_with = "serialize_micros")]
    pub from: DateTime<Utc>,
    /// The first instant after the period.
    #[serde(serialize_with = "serialize_micros")]
    pub to: DateTime<Utc>,
    /// Which rows.
    pub filter: ExportFilter,
    /// The format of the files.
    pub format: ExportFormat,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No view, or one twice.
    Views,
    /// The end is not after the start.
    Period,
    /// The view has no such column.
    Column { column: &'static str, view: ExportedView },
    /// The column of the view never has that value.
    Value { column: &'static str, view: ExportedView, allowed: &'static [&'static str] },
    /// Too many values, or one that is too long.
    Values { column: &'static str },
}

impl RequestError {
    /// The member of the request that is wrong, as a JSON pointer.
    #[must_use]
    pub fn member(&self) -> String {
        match self {
            Self::Views => "/what".to_owned(),
            Self::Period => "/to".to_owned(),
            Self::Column { column, .. } | Self::Value { column, .. } | Self::Values { column } => {
                format!("/filter/{column}")
            }
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Views => f.write_str("what has one view or more, each of them once"),
            Self::Period => f.write_str("to is after from"),
            Self::Column { column, view } => write!(
                f,
                "the view {} has no column {column}; leave out the filter or the view",
                view.name()
            ),
            Self::Value { column, view, allowed } => {
                write!(f, "{column} of the view {} is {}", view.name(), allowed.join(", "))
            }
            Self::Values { column } => write!(
                f,
                "{column} has at most {MAX_FILTER_VALUES} values of {MAX_FILTER_VALUE_BYTES} bytes"
            ),
        }
    }
}

impl ExportRequest {
    /// Checks that the request makes sense.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn check(&self) -> Result<(), RequestError> {
        let is_repeated = |(at, view)| self.what[..at].contains(view);
        if self.what.is_empty() || self.what.iter().enumerate().any(is_repeated) {
            return Err(RequestError::Views);
        }
        if self.from >= self.to {
            return Err(RequestError::Period);
        }
        let ExportFilter { app, verdict, kind } = &self.filter;
        for (column, values) in [("app", app), ("verdict", verdict), ("kind", kind)] {
            if values.is_empty() {
                continue;
            }
            let is_long = values.iter().any(|value| value.len() > MAX_FILTER_VALUE_BYTES);
            if values.len() > MAX_FILTER_VALUES || is_long {
                return Err(RequestError::Values { column });
            }
            for view in self.what.iter().copied() {
                if !view.filter_columns().contains(&column) {
                    return Err(RequestError::Column { column, view });
                }
                let allowed = view.values_of(column);
                if allowed
                    .is_some_and(|it| values.iter().any(|value| !it.contains(&value.as_str())))
                {
                    let allowed = allowed.unwrap_or_default();
                    return Err(RequestError::Value { column, view, allowed });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn request(what: &[ExportedView], filter: ExportFilter) -> ExportRequest {
        let from = DateTime::UNIX_EPOCH;
        let (what, to) = (what.to_vec(), from + TimeDelta::hours(1));
        ExportRequest { what, from, to, filter, format: ExportFormat::Csv }
    }

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_filter_needs_its_column_in_each_view() {
        let of_app = ExportFilter { app: values(&["a"]), ..ExportFilter::default() };
        let views = [ExportedView::Sessions, ExportedView::Obligations, ExportedView::Calls];
        assert_eq!(request(&views[..2], of_app.clone()).check(), Ok(()));
        let error = request(&views, of_app).check().unwrap_err();
        assert_eq!(error.member(), "/filter/app");
        let text = "the view calls has no column app; leave out the filter or the view";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_value_that_a_column_never_has_is_an_error_with_those_that_it_has() {
        let of_verdict = ExportFilter { verdict: values(&["GOOD"]), ..ExportFilter::default() };
        let error = request(&[ExportedView::Calls], of_verdict).check().unwrap_err();
        let text = "verdict of the view calls is COMPLIANT, EXCEPTIONS, PENDING, UNOBSERVED";
        assert_eq!(error.to_string(), text);
        let of_kind = ExportFilter { kind: values(&["meeting"]), ..ExportFilter::default() };
        assert_eq!(request(&[ExportedView::Calls], of_kind.clone()).check(), Ok(()));
        assert!(request(&[ExportedView::Exceptions], of_kind).check().is_err());
    }

    #[test]
    fn a_request_has_views_and_a_period() {
        let twice = [ExportedView::Calls, ExportedView::Calls];
        let of = |what| request(what, ExportFilter::default());
        for what in [&[][..], &twice] {
            assert_eq!(of(what).check(), Err(RequestError::Views));
        }
        let mut empty = of(&twice[..1]);
        empty.to = empty.from;
        assert_eq!(empty.check(), Err(RequestError::Period));
    }
}
