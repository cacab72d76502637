//! The form for a new export, as it was typed.

use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde::Deserialize;

use crate::console::calls::typed_filter::TypedFilter;
use crate::export::request_body::ExportBody;
use crate::http::body::secrets;
use crate::http::problem::Problem;
use crate::postgres::{ExportFilter, ExportRequest};
use crate::query::time_range::{TimeRange, parse_zone};

/// The fields of the form. All of them are texts, so that what cannot be read is shown again.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewExportFields {
    what: Vec<String>,
    from: String,
    to: String,
    tz: String,
    format: String,
    app: String,
    verdict: Vec<String>,
    kind: String,
}

impl NewExportFields {
    /// The fields as they were typed.
    pub(super) fn typed(&self) -> TypedFilter {
        let one = [
            ("from", &self.from),
            ("to", &self.to),
            ("tz", &self.tz),
            ("format", &self.format),
            ("app", &self.app),
            ("kind", &self.kind),
        ];
        let one = one.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let what = self.what.iter().map(|it| ("what".to_owned(), it.clone()));
        let verdict = self.verdict.iter().map(|it| ("verdict".to_owned(), it.clone()));
        TypedFilter::of_pairs(what.chain(verdict).chain(one))
    }

    /// The request. Days are those of the zone of the form, and the last one is included.
    ///
    /// # Errors
    ///
    /// A problem that names the field.
    pub(super) fn request(&self, otherwise: Tz) -> Result<ExportRequest, Problem> {
        let zone = if self.tz.is_empty() { otherwise } else { parse_zone(Some(&self.tz))? };
        let (from, to) = (self.from.trim(), self.to.trim());
        for (name, text) in [("from", from), ("to", to)] {
            if text.is_empty() {
                return Err(Problem::invalid(name, "an export has a first and a last day"));
            }
        }
        let range = TimeRange::parse(Some(from), Some(to), zone)?;
        let (Some(from), Some(to)) = (range.from, range.to) else {
            return Err(Problem::invalid("from", "an export has a first and a last day"));
        };
        for (name, value) in [("app", &self.app), ("kind", &self.kind)] {
            secrets::check_parameter(name, value)?;
        }
        let instant =
            |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let body = ExportBody {
            what: self.what.clone(),
            from: instant(from),
            to: instant(to),
            format: self.format.clone(),
            filter: Some(ExportFilter {
                app: values(&self.app),
                verdict: self.verdict.clone(),
                kind: values(&self.kind),
            }),
        };
        body.parse()
    }
}

/// The values of a field, which commas separate.
fn values(text: &str) -> Vec<String> {
    let values = text.split(',').map(str::trim).filter(|value| !value.is_empty());
    values.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::timestamp::millis;
    use crate::postgres::ExportedView;

    fn fields() -> NewExportFields {
        NewExportFields {
            what: vec!["calls".to_owned()],
            from: "2026-10-25".to_owned(),
            to: "2026-10-25".to_owned(),
            tz: "Europe/Berlin".to_owned(),
            format: "csv".to_owned(),
            ..NewExportFields::default()
        }
    }

    #[test]
    fn a_day_is_one_of_the_zone_and_the_last_one_is_included() {
        let request = fields().request(Tz::UTC).unwrap();
        assert_eq!(request.what, [ExportedView::Calls]);
        assert_eq!(millis(request.from), "2026-10-24T22:00:00.000Z");
        assert_eq!(millis(request.to), "2026-10-25T23:00:00.000Z");
    }

    #[test]
    fn what_cannot_be_read_names_its_field_and_stays_in_the_form() {
        for (fields, member) in [
            (NewExportFields { from: String::new(), ..fields() }, "from"),
            (NewExportFields { to: "2026-10-01".to_owned(), ..fields() }, "to"),
            (NewExportFields { tz: "Mars/Base".to_owned(), ..fields() }, "tz"),
            (NewExportFields { what: vec!["secrets".to_owned()], ..fields() }, "/what/0"),
            (NewExportFields { what: Vec::new(), ..fields() }, "/what"),
            (NewExportFields { app: "shop, web".to_owned(), ..fields() }, "/filter/app"),
            (NewExportFields { format: "xlsx".to_owned(), ..fields() }, "/format"),
        ] {
            let refused = json!(fields.request(Tz::UTC).unwrap_err());
            assert_eq!(refused["member"], member);
        }
        let typed = NewExportFields { app: "shop, web".to_owned(), ..fields() }.typed();
        assert_eq!(typed.first("app"), "shop, web");
        assert!(typed.has("what", "calls"));
    }
}
