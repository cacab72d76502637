//! The days that a reader asks about, from the address.

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;

use crate::console::calls::typed_filter::TypedFilter;
use crate::http::problem::Problem;
use crate::postgres::QuestionPeriod;
use crate::query::time_range::parse_zone;

/// Days that are asked about unless the address says otherwise.
const DAYS: u64 = 7;
/// Maximum number of days.
const MAX_DAYS: i64 = 366;

/// Days of a zone; the last one is included.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedPeriod {
    pub first: NaiveDate,
    pub last: NaiveDate,
    pub zone: Tz,
}

impl AskedPeriod {
    /// The last days before `now`, today included.
    pub(super) fn recent(now: DateTime<Utc>, zone: Tz) -> Self {
        let last = now.with_timezone(&zone).date_naive();
        Self { first: last.checked_sub_days(Days::new(DAYS - 1)).unwrap_or(last), last, zone }
    }

    /// The period of an address.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(super) fn parse(
        typed: &TypedFilter,
        otherwise: Tz,
        now: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let zone = match typed.first("tz") {
            "" => otherwise,
            name => parse_zone(Some(name))?,
        };
        let recent = Self::recent(now, zone);
        let day = |name: &'static str, otherwise: NaiveDate| match typed.first(name) {
            "" => Ok(otherwise),
            text => text.parse().map_err(|_| {
                Problem::invalid(name, format!("{name} is a day, for example 2026-11-23"))
            }),
        };
        let last = day("to", recent.last)?;
        let otherwise = last.checked_sub_days(Days::new(DAYS - 1)).unwrap_or(last);
        let first = day("from", otherwise)?;
        if first > last {
            return Err(Problem::invalid("to", "the last day is not before the first"));
        }
        if (last - first).num_days() >= MAX_DAYS {
            return Err(Problem::invalid(
                "from",
                format!("a question is about {MAX_DAYS} days at most; an export has more"),
            ));
        }
        Ok(Self { first, last, zone })
    }

    /// The parameters of an address, percent-encoded.
    pub(super) fn query(&self) -> String {
        let (first, last) = (self.first.to_string(), self.last.to_string());
        let pairs = [("from", first.as_str()), ("to", &last), ("tz", self.zone.name())];
        // Pairs of texts can always be written.
        serde_urlencoded::to_string(pairs).unwrap_or_default()
    }

    /// Its days, in order.
    pub(super) fn days(&self) -> Vec<NaiveDate> {
        self.first.iter_days().take_while(|day| *day <= self.last).collect()
    }

    pub(super) fn of_question(&self) -> QuestionPeriod {
        QuestionPeriod { first: self.first, last: self.last, zone: self.zone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_period_the_last_seven_days_of_the_zone_are_asked_about() {
        let now = "2026-11-23T23:30:00Z".parse().unwrap();
        let of = |query: &str| {
            AskedPeriod::parse(&TypedFilter::of(Some(query)).unwrap(), Tz::Europe__Berlin, now)
        };
        let recent = of("").unwrap();
        assert_eq!(recent.query(), "from=2026-11-18&to=2026-11-24&tz=Europe%2FBerlin");
        assert_eq!(recent.days().len(), 7);
        assert_eq!(of("to=2026-03-07").unwrap().first.to_string(), "2026-03-01");
        for (query, member) in [
            ("from=yesterday", "from"),
            ("from=2026-11-02&to=2026-11-01", "to"),
            ("from=2024-11-02&to=2026-11-01", "from"),
            ("tz=Mars", "tz"),
        ] {
            let refused = serde_json::json!(of(query).unwrap_err());
            assert_eq!(refused["member"], member, "{query}");
        }
    }
}
