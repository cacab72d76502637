//! The body of `POST /v1/exports`.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use strum::VariantNames as _;
use utoipa::ToSchema;

use crate::http::body::RequestBody;
use crate::http::problem::Problem;
use crate::postgres::{ExportFilter, ExportFormat, ExportRequest, ExportedView, RequestError};
use onrecord_evidence::event::instant;

/// A request for an export. The period is half-open, by the time column of each view.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExportOrder)]
pub(crate) struct ExportBody {
    /// The views, all of one instant.
    #[schema(value_type = Vec<ExportedView>, min_items = 1)]
    pub what: Vec<String>,
    /// The first instant of the period, RFC 3339.
    #[schema(format = DateTime)]
    pub from: String,
    /// The first instant after the period, RFC 3339.
    #[schema(format = DateTime)]
    pub to: String,
    /// The format of the files.
    #[schema(value_type = ExportFormat)]
    pub format: String,
    /// Which rows. Default: all.
    pub filter: Option<ExportFilter>,
}

impl RequestBody for ExportBody {
    const MAX_BYTES: usize = 128 * 1024;
}

impl ExportBody {
    /// The request, if it makes sense.
    ///
    /// # Errors
    ///
    /// A problem that names the member, and the allowed values.
    pub(crate) fn parse(self) -> Result<ExportRequest, Problem> {
        let what = self.what.iter().enumerate().map(|(at, name)| {
            let view = ExportedView::parse(name);
            view.ok_or_else(|| {
                let detail = "no view of the schema reading has this name";
                Problem::invalid(format!("/what/{at}"), detail).allowing(ExportedView::VARIANTS)
            })
        });
        let format = ExportFormat::parse(&self.format).ok_or_else(|| {
            let detail = "format is csv, ndjson or parquet";
            Problem::invalid("/format", detail).allowing(ExportFormat::VARIANTS)
        })?;
        if format == ExportFormat::Parquet && !cfg!(feature = "parquet") {
            let detail = "this build of the service has no Parquet; choose csv or ndjson";
            return Err(Problem::invalid("/format", detail));
        }
        let request = ExportRequest {
            what: what.collect::<Result<_, _>>()?,
            from: parse_instant("/from", &self.from)?,
            to: parse_instant("/to", &self.to)?,
            filter: self.filter.unwrap_or_default(),
            format,
        };
        request.check()?;
        Ok(request)
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let problem = Self::invalid(error.member(), error.to_string());
        match error {
            RequestError::Value { allowed, .. } => problem.allowing(allowed),
            _ => problem,
        }
    }
}

fn parse_instant(member: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    instant::parse_source_time(text).ok_or_else(|| {
        let detail = "an instant in RFC 3339, for example 2026-11-23T18:00:00Z";
        Problem::invalid(member, detail)
    })
}
