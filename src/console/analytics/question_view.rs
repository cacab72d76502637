//! How each question is shown: its subject, its drawing, and the resource of the API that answers it too.

use super::asked_period::AskedPeriod;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum QuestionSubject {
    Notices,
    Calls,
    Captures,
    Service,
}

/// The drawing of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlotPlan {
    /// A group of bars for each row, which these columns name.
    Bars { labels: &'static [&'static str], values: &'static [&'static str] },
    /// A bar for each of these columns of the only row.
    OneRow(&'static [&'static str]),
    /// A group of columns for each day.
    Days(&'static [&'static str]),
    /// A stack of columns for each hour: a part for each value of a column.
    Hours { part: &'static str, value: &'static str },
}

impl PlotPlan {
    /// Whether the drawing is over time, which a pointer helps to read.
    pub(super) fn is_over_time(self) -> bool {
        matches!(self, Self::Days(_) | Self::Hours { .. })
    }
}

/// How a question is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuestionView {
    pub subject: QuestionSubject,
    pub plan: PlotPlan,
    /// Path and parameters of the API besides the period. `None`: SQL and exports answer it only.
    resource: Option<&'static str>,
}

/// Columns of percentiles.
const PERCENTILES: &[&str] = &["p50_ms", "p95_ms", "p99_ms"];

impl QuestionView {
    /// How the question of this number is shown.
    pub(super) fn of(number: u32) -> Option<Self> {
        use PlotPlan::{Bars, Days, Hours, OneRow};
        use QuestionSubject::{Calls, Captures, Notices, Service};
        let bars = |labels, values| Bars { labels, values };
        let (subject, plan, resource) = match number {
            1 => (Calls, Days(&["calls"]), Some("/v1/stats/calls")),
            2 => (
                Notices,
                OneRow(&["obligations", "in_time"]),
                Some("/v1/stats/notices?type=recording"),
            ),
            3 => (Notices, bars(&["app"], PERCENTILES), None),
            4 => (Notices, bars(&["sdk"], PERCENTILES), None),
            5 => (Notices, bars(&["transport"], PERCENTILES), None),
            6 => (Notices, bars(&["status", "type"], &["never_told"]), Some("/v1/stats/notices")),
            7 => (
                Captures,
                Hours { part: "kind", value: "captures" },
                Some("/v1/stats/captures?type=recording&by=hour"),
            ),
            8 => (Captures, Days(&["minutes"]), None),
            9 => (Captures, bars(&["recording_consent"], &["persons"]), None),
            10 => (Service, bars(&["kind"], &["exceptions", "open"]), Some("/v1/exceptions")),
            11 => (Service, bars(&["role"], &["minutes"]), None),
            12 => (Service, OneRow(&["percent"]), None),
            13 => (Calls, bars(&["verdict", "consent"], &["calls"]), Some("/v1/stats/calls")),
            14 => (Calls, OneRow(&["calls", "open", "presumed"]), Some("/v1/stats/calls")),
            15 => (
                Calls,
                bars(&["call"], &["open_captures"]),
                Some("/v1/calls?state=open&sort=started_at"),
            ),
            16 => (Notices, bars(&["participant", "type", "status"], &["exposure_ms"]), None),
            17 => (
                Calls,
                bars(&["call"], &["present_ms", "recorded_ms"]),
                Some("/v1/participants/{person}?purpose={purpose}"),
            ),
            18 => (
                Notices,
                Days(&["p50_le_ms", "p90_le_ms"]),
                Some("/v1/stats/notices?type=recording"),
            ),
            19 => (Calls, Days(&["calls"]), None),
            20 => (Service, bars(&["provenance"], &["p50_ms", "p95_ms"]), None),
            _ => return None,
        };
        Some(Self { subject, plan, resource })
    }

    /// Path and query of the resource for a period, percent-encoded.
    pub(super) fn api_path(
        &self,
        period: &AskedPeriod,
        person: &str,
        purpose: &str,
    ) -> Option<String> {
        let resource = self.resource?;
        let encoded = |text: &str| url_encoded(if text.is_empty() { "…" } else { text });
        let path =
            resource.replace("{person}", &encoded(person)).replace("{purpose}", &encoded(purpose));
        // A person's history has no period.
        if path.contains("/participants/") {
            return Some(path);
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        Some(format!("{path}{separator}{}", period.query()))
    }
}

/// A text as a part of an address.
fn url_encoded(text: &str) -> String {
    let pair = serde_urlencoded::to_string([("", text)]).unwrap_or_default();
    pair.trim_start_matches('=').replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::postgres::ReadingQuestion;

    #[test]
    fn each_question_has_a_view() {
        for question in ReadingQuestion::all() {
            assert!(QuestionView::of(question.number).is_some(), "{}", question.number);
        }
        assert!(QuestionView::of(21).is_none());
    }

    #[test]
    fn the_address_of_the_api_has_the_period_or_the_person() {
        let period = AskedPeriod {
            first: "2025-10-24".parse().unwrap(),
            last: "2025-10-27".parse().unwrap(),
            zone: Tz::Europe__Berlin,
        };
        let path =
            |number| QuestionView::of(number).unwrap().api_path(&period, "8:acs:a b", "DSR 7");
        let days = "from=2025-10-24&to=2025-10-27&tz=Europe%2FBerlin";
        assert_eq!(path(1), Some(format!("/v1/stats/calls?{days}")));
        assert_eq!(path(2), Some(format!("/v1/stats/notices?type=recording&{days}")));
        assert_eq!(path(17).as_deref(), Some("/v1/participants/8%3Aacs%3Aa%20b?purpose=DSR%207"));
        assert_eq!(path(3), None);
    }
}
