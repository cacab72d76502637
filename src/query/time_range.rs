//! Ranges of time in parameters: instants, or days of a named time zone.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::config::nearest;
use crate::http::problem::Problem;
use onrecord_evidence::event::instant;

/// Maximum time between a midnight that a zone leaves out and the first instant of the day; Samoa left out a
/// whole day in 2011.
const MAX_MISSING: TimeDelta = TimeDelta::days(2);
/// Step of the search for that instant; zones leave out multiples of it.
const MISSING_STEP: TimeDelta = TimeDelta::minutes(15);

/// A range of time; absent bounds are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeRange {
    /// Included.
    pub from: Option<DateTime<Utc>>,
    /// Not included.
    pub to: Option<DateTime<Utc>>,
}

impl TimeRange {
    /// Parses the parameters `from` and `to`. A day is a day of this zone; as `to`, it is included whole.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter; also if the range is empty.
    pub(crate) fn parse(from: Option<&str>, to: Option<&str>, zone: Tz) -> Result<Self, Problem> {
        let from = moment("from", from, zone, Some)?;
        let to = moment("to", to, zone, |day| day.succ_opt())?;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Problem::invalid("to", "from is before to; a day as to is included whole"));
        }
        Ok(Self { from, to })
    }
}

/// Parses the parameter `tz`; UTC without it.
///
/// # Errors
///
/// A problem that names the parameter.
pub(crate) fn parse_zone(tz: Option<&str>) -> Result<Tz, Problem> {
    let Some(name) = tz else { return Ok(Tz::UTC) };
    name.parse().map_err(|_| {
        let meant = nearest(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
        let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        let detail = format!(
            "tz is the name of a time zone of the IANA database, for example Europe/Berlin{meant}"
        );
        Problem::invalid("tz", detail)
    })
}

fn moment(
    name: &'static str,
    text: Option<&str>,
    zone: Tz,
    bound: impl Fn(NaiveDate) -> Option<NaiveDate>,
) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let parsed = match day.filter(|day| (1..=9999).contains(&day.year())) {
        Some(day) => bound(day).map(|day| start_of_day(zone, day)),
        None => instant::parse_source_time(text),
    };
    parsed.map(Some).ok_or_else(|| {
        Problem::invalid(
            name,
            format!("{name} is an instant in RFC 3339, for example 2026-11-23T18:00:00Z (percent-encode a +), or a day such as 2026-11-23, which is one of the time zone tz"),
        )
    })
}

/// The first instant of a day in a zone.
pub(crate) fn start_of_day(zone: Tz, day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    let mut missing = TimeDelta::zero();
    while missing <= MAX_MISSING {
        let local = midnight.checked_add_signed(missing);
        if let Some(first) = local.and_then(|local| zone.from_local_datetime(&local).earliest()) {
            return first.to_utc();
        }
        missing += MISSING_STEP;
    }
    midnight.and_utc()
}

/// An instant as the wall clock of a zone shows it, with the offset from UTC.
pub(crate) fn wall_clock(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).to_rfc3339_opts(chrono::SecondsFormat::Millis, zone == Tz::UTC)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::timestamp::millis;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_begins_where_the_zone_begins_it() {
        for (zone, of, begins) in [
            (Tz::UTC, "2026-11-23", "2026-11-23T00:00:00.000Z"),
            (Tz::Europe__Berlin, "2026-11-23", "2026-11-22T23:00:00.000Z"),
            (Tz::Europe__Berlin, "2026-03-30", "2026-03-29T22:00:00.000Z"),
            // Midnight is left out.
            (Tz::Africa__Cairo, "2024-04-26", "2024-04-25T22:00:00.000Z"),
            // Midnight comes twice.
            (Tz::America__Havana, "2024-11-03", "2024-11-03T04:00:00.000Z"),
            // The day is left out.
            (Tz::Pacific__Apia, "2011-12-30", "2011-12-30T10:00:00.000Z"),
        ] {
            assert_eq!(millis(start_of_day(zone, day(of))), begins, "{zone} {of}");
        }
    }

    #[test]
    fn a_day_as_end_is_included_whole() {
        let berlin = parse_zone(Some("Europe/Berlin")).unwrap();
        let range = TimeRange::parse(Some("2026-10-25"), Some("2026-10-25"), berlin).unwrap();
        let length = range.to.unwrap() - range.from.unwrap();
        assert_eq!(length, TimeDelta::hours(25));
        assert_eq!(TimeRange::parse(None, None, berlin).unwrap(), TimeRange::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_meant() {
        for (from, to, member) in [
            (Some("yesterday"), None, "from"),
            (None, Some("2026-13-01"), "to"),
            (Some("2026-11-23"), Some("2026-11-22"), "to"),
            (Some("2026-11-23T00:00:00Z"), Some("2026-11-23T00:00:00Z"), "to"),
        ] {
            let refused = TimeRange::parse(from, to, Tz::UTC).unwrap_err();
            assert_eq!(json!(refused)["member"], member, "{from:?} {to:?}");
        }
        let unknown = parse_zone(Some("Europe/Berlim")).unwrap_err();
        let detail = json!(unknown)["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("did you mean Europe/Berlin?"), "{detail}");
    }

    #[test]
    fn the_wall_clock_shows_its_offset() {
        let at = "2026-11-23T18:00:00.5Z".parse().unwrap();
        assert_eq!(wall_clock(at, Tz::Europe__Berlin), "2026-11-23T19:00:00.500+01:00");
        assert_eq!(wall_clock(at, Tz::UTC), "2026-11-23T18:00:00.500Z");
    }
}
