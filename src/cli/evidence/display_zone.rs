//! The time zone in which instants are shown beside UTC.

use anyhow::Context as _;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

/// A named time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct DisplayZone(Tz);

impl DisplayZone {
    /// UTC alone.
    pub(in crate::cli) const UTC: Self = Self(Tz::UTC);

    /// The zone of this name, else that of this machine.
    ///
    /// # Errors
    ///
    /// No zone has this name.
    pub(super) fn named(name: Option<&str>) -> anyhow::Result<Self> {
        let zone = match name {
            Some(name) => name.parse().ok().with_context(|| {
                format!("no time zone has the name {name}; name one of the IANA database, for example Europe/Berlin")
            })?,
            // A machine without a named zone has UTC.
            None => iana_time_zone::get_timezone().ok().and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC),
        };
        Ok(Self(zone))
    }

    /// The zones in which instants are shown: UTC, and this one if it is another.
    pub(super) fn shown(self) -> Vec<Self> {
        let is_utc = matches!(
            self.0,
            Tz::UTC
                | Tz::Etc__UTC
                | Tz::Etc__UCT
                | Tz::UCT
                | Tz::Universal
                | Tz::Zulu
                | Tz::Etc__Universal
                | Tz::Etc__Zulu
        );
        if is_utc { vec![Self::UTC] } else { vec![Self::UTC, self] }
    }

    /// The zone itself.
    pub(super) fn zone(self) -> Tz {
        self.0
    }

    /// The name of the zone.
    pub(super) fn name(self) -> &'static str {
        self.0.name()
    }

    /// The day of an instant.
    pub(super) fn day(self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.0).date_naive()
    }

    /// The date and the time of an instant, to the millisecond.
    pub(super) fn date_and_time(self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.0).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }

    /// The time of an instant, with its date if that is another day.
    pub(super) fn time(self, at: DateTime<Utc>, day: NaiveDate) -> String {
        if self.day(at) == day {
            at.with_timezone(&self.0).format("%H:%M:%S%.3f").to_string()
        } else {
            self.date_and_time(at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn an_instant_has_the_wall_clock_time_of_the_zone_in_winter_and_summer() {
        let berlin = DisplayZone::named(Some("Europe/Berlin")).unwrap();
        let winter = at("2026-11-18T11:06:40.123Z");
        assert_eq!(berlin.date_and_time(winter), "2026-11-18 12:06:40.123");
        assert_eq!(berlin.date_and_time(at("2026-07-18T11:06:40Z")), "2026-07-18 13:06:40.000");
        let kolkata = DisplayZone::named(Some("Asia/Kolkata")).unwrap();
        let late = at("2026-11-18T20:06:40Z");
        assert_eq!(kolkata.time(late, kolkata.day(winter)), "2026-11-19 01:36:40.000");
        assert_eq!(DisplayZone::UTC.time(late, DisplayZone::UTC.day(winter)), "20:06:40.000");
    }

    #[test]
    fn utc_is_shown_once_and_an_unknown_zone_is_refused() {
        for (name, shown) in [("UTC", 1), ("Etc/UTC", 1), ("Europe/Berlin", 2)] {
            assert_eq!(DisplayZone::named(Some(name)).unwrap().shown().len(), shown, "{name}");
        }
        for wrong in ["", "Berlin", "CEST", "Europe/Bonn"] {
            assert!(DisplayZone::named(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(DisplayZone::named(None).is_ok());
    }
}
