//! An instant with its date, its time and its zone.

use askama::Template;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::http::timestamp::millis;

/// An instant in a zone. A program reads it in UTC from the attribute.
#[derive(Template)]
#[template(
    source = r#"<time datetime="{{ utc }}"><span class="date">{{ date }}</span> <span class="clock">{{ clock }}<span class="ms">{{ ms }}</span></span> <span class="zone">{{ zone }}</span></time>"#,
    ext = "html"
)]
pub(in crate::console) struct InstantMark {
    utc: String,
    date: String,
    clock: String,
    ms: String,
    pub zone: String,
}

impl askama::filters::HtmlSafe for InstantMark {}

impl InstantMark {
    pub(in crate::console) fn of(at: DateTime<Utc>, zone: Tz) -> Self {
        let local = at.with_timezone(&zone);
        let format = |format: &str| local.format(format).to_string();
        Self {
            utc: millis(at),
            date: format("%Y-%m-%d"),
            clock: format("%H:%M:%S"),
            ms: format("%.3f"),
            zone: format("%Z"),
        }
    }

    /// The instant as text without marks.
    pub(in crate::console) fn text(&self) -> String {
        format!("{} {}{} {}", self.date, self.clock, self.ms, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_its_zone_and_a_program_reads_it_in_utc() {
        let at = "2026-11-23T18:00:00.5Z".parse().unwrap();
        for (zone, text) in [
            (Tz::UTC, "2026-11-23 18:00:00.500 UTC"),
            (Tz::Europe__Berlin, "2026-11-23 19:00:00.500 CET"),
            (Tz::Asia__Kolkata, "2026-11-23 23:30:00.500 IST"),
        ] {
            let mark = InstantMark::of(at, zone);
            assert_eq!(mark.text(), text);
            let html = mark.render().unwrap();
            assert!(html.contains(r#"datetime="2026-11-23T18:00:00.500Z""#), "{html}");
        }
    }
}
