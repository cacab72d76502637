//! The hours, days and weeks of a zone.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;

use crate::query::time_range::start_of_day;

/// The length of the intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    Hour,
    Day,
    /// From Monday on.
    Week,
}

/// An interval, from its first instant to that of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub starts: DateTime<Utc>,
    pub ends: DateTime<Utc>,
}

impl Resolution {
    /// The whole intervals of a zone that a range touches, in order; one more than `max` if they are more.
    pub(super) fn intervals(
        self,
        zone: Tz,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        max: usize,
    ) -> Vec<Interval> {
        let mut starts = self.start(zone, from);
        let mut intervals = Vec::new();
        while starts < to && intervals.len() <= max {
            let ends = self.next(zone, starts);
            intervals.push(Interval { starts, ends });
            starts = ends;
        }
        intervals
    }

    /// The start of the interval that contains an instant.
    fn start(self, zone: Tz, at: DateTime<Utc>) -> DateTime<Utc> {
        let local = at.with_timezone(&zone);
        match self {
            Self::Hour => start_of_hour(zone, at),
            Self::Day => start_of_day(zone, local.date_naive()),
            Self::Week => start_of_day(zone, monday(local.date_naive())),
        }
    }

    /// The start of the interval after the one that starts then.
    fn next(self, zone: Tz, starts: DateTime<Utc>) -> DateTime<Utc> {
        let day = starts.with_timezone(&zone).date_naive();
        let days = match self {
            Self::Hour => {
                // Where the clock goes by half an hour, the next full hour is another time away.
                let next = start_of_hour(zone, starts + TimeDelta::hours(1));
                return if next > starts { next } else { starts + TimeDelta::hours(1) };
            }
            Self::Day => 1,
            Self::Week => 7,
        };
        // A zone may leave out a day.
        let next = (days..=days + 2).filter_map(|days| day.checked_add_days(Days::new(days)));
        let mut next = next.map(|day| start_of_day(zone, day));
        next.find(|next| *next > starts).unwrap_or(starts + TimeDelta::days(1))
    }
}

fn start_of_hour(zone: Tz, at: DateTime<Utc>) -> DateTime<Utc> {
    let local = at.with_timezone(&zone);
    let since = TimeDelta::minutes(i64::from(local.minute()))
        + TimeDelta::seconds(i64::from(local.second()))
        + TimeDelta::nanoseconds(i64::from(local.nanosecond()));
    at - since
}

fn monday(day: NaiveDate) -> NaiveDate {
    let since = u64::from(day.weekday().num_days_from_monday());
    day.checked_sub_days(Days::new(since)).unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use chrono_tz::TZ_VARIANTS;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn lengths(resolution: Resolution, zone: Tz, from: &str, to: &str) -> Vec<i64> {
        let intervals = resolution.intervals(zone, at(from), at(to), 1_000);
        intervals.iter().map(|it| (it.ends - it.starts).num_minutes()).collect()
    }

    #[test]
    fn a_day_on_which_the_clock_changes_has_23_or_25_hours() {
        let berlin = Tz::Europe__Berlin;
        let (from, to) = ("2026-10-23T22:00:00Z", "2026-10-26T23:00:00Z");
        assert_eq!(lengths(Resolution::Day, berlin, from, to), [1440, 1500, 1440]);
        let spring =
            lengths(Resolution::Day, berlin, "2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z");
        assert_eq!(spring, [23 * 60]);
        let hours =
            lengths(Resolution::Hour, berlin, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_eq!(hours, [60; 25]);
        let week = Resolution::Week.intervals(
            berlin,
            at("2026-10-25T12:00:00Z"),
            at("2026-10-25T13:00:00Z"),
            9,
        );
        assert_eq!(
            week,
            [Interval { starts: at("2026-10-18T22:00:00Z"), ends: at("2026-10-25T23:00:00Z") }]
        );
    }

    #[test]
    fn the_hours_of_a_zone_with_half_an_hour_begin_where_its_clock_shows_them() {
        let hours = Resolution::Hour.intervals(
            Tz::Asia__Kolkata,
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T00:01:00Z"),
            9,
        );
        assert_eq!(hours[0].starts, at("2025-12-31T23:30:00Z"));
        let lord_howe = lengths(
            Resolution::Hour,
            Tz::Australia__Lord_Howe,
            "2026-04-04T13:00:00Z",
            "2026-04-04T17:00:00Z",
        );
        assert_eq!(lord_howe.iter().sum::<i64>() % 30, 0);
    }

    proptest! {
        #[test]
        fn intervals_follow_each_other_and_contain_the_range(
            zone in 0..TZ_VARIANTS.len(), from in 1_000_000_000_i64..1_900_000_000, length in 1_i64..2_000_000,
        ) {
            let zone = TZ_VARIANTS[zone];
            let from = DateTime::from_timestamp(from, 0).unwrap();
            let to = from + TimeDelta::seconds(length);
            for resolution in [Resolution::Hour, Resolution::Day, Resolution::Week] {
                let intervals = resolution.intervals(zone, from, to, 10_000);
                prop_assert!(intervals[0].starts <= from && intervals[0].ends > from, "{:?}", intervals[0]);
                prop_assert!(intervals.last().unwrap().ends >= to);
                for pair in intervals.windows(2) {
                    prop_assert_eq!(pair[0].ends, pair[1].starts);
                }
                for one in &intervals {
                    prop_assert!(one.ends > one.starts);
                }
            }
        }
    }
}
