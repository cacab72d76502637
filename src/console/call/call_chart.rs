//! The swim lane of a call: from the report and its facts to a drawing, and its window in the address.

use askama::Template;
use chrono::{DateTime, Offset as _, TimeZone as _, Utc};
use chrono_tz::Tz;
use strum::IntoEnumIterator as _;

use super::shown_report::{ShownReport, name_of};
use crate::console::display::instant_mark::InstantMark;
use crate::console::display::length::exact_ms;
use crate::console::drawing::swim_lane::{
    self, LaneInput, LaneObligation, SignDrawing, SignKind, SwimLaneDrawing, SwimLaneInput, WIDTH,
};
use crate::console::drawing::time_scale::TimeWindow;
use crate::console::words::catalogue::Words;
use crate::postgres::{SessionDetailRow, UnseenInterval};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{
    CaptureType, ConsentDecision, Fact, FactKind, JsonWord as _, Level, NoticeStep,
};

/// Time before and after an instant that a link shows, ms.
const MOMENT: Millis = 2_000;

/// What a chart is made of.
pub(in crate::console) struct CallChartSource<'a> {
    pub report: &'a ShownReport,
    pub facts: &'a [Fact],
    pub sessions: &'a [SessionDetailRow],
    pub unseen: &'a [UnseenInterval],
    pub as_of: Millis,
}

/// The chart of a call as SVG, with its legend.
#[derive(Template)]
#[template(path = "swim_lane.html")]
pub(in crate::console) struct CallChart {
    words: Words,
    zone: Tz,
    window: TimeWindow,
    drawing: SwimLaneDrawing,
    has_unseen: bool,
}

impl askama::filters::HtmlSafe for CallChart {}

impl CallChart {
    pub(in crate::console) fn of(
        source: &CallChartSource<'_>,
        window: TimeWindow,
        words: Words,
        zone: Tz,
    ) -> Self {
        let report = source.report;
        let end = report.end(source.as_of);
        let captures = report.captures.iter();
        let captures =
            captures.map(|it| (it.capture_type, it.started_at, it.ended_at.unwrap_or(end)));
        let unseen = source.unseen.iter().map(|interval| {
            let ms = |at: Option<DateTime<Utc>>, otherwise| {
                at.map_or(otherwise, |at| at.timestamp_millis())
            };
            (ms(interval.from, report.call.started_at), ms(interval.to, end))
        });
        let mut sessions: Vec<_> = report.sessions.iter().collect();
        // Those who have to be told first, each in the order of joining.
        sessions.sort_by_key(|it| (!it.ours, it.joined_at));
        let lanes = sessions.into_iter().map(|session| {
            let of_session = report.obligations.iter().filter(|it| it.session == session.session);
            let signs = source.facts.iter().filter_map(|fact| sign(fact, &session.session));
            let identity = format!("identity.{}.word", session.identity);
            LaneInput {
                name: name_of(source.sessions, &session.session),
                note: words.find(&identity).unwrap_or(&session.identity).to_owned(),
                is_ours: session.ours,
                from: session.joined_at,
                to: session.left_at.unwrap_or(end),
                obligations: of_session
                    .map(|it| LaneObligation {
                        capture_type: it.capture_type,
                        due_at: it.due_at,
                        ends_at: it.ends_at.unwrap_or(end),
                        shown_at: it.shown_at,
                        exposure_ms: it.exposure_ms,
                    })
                    .collect(),
                signs: signs.collect(),
            }
        });
        let input = SwimLaneInput {
            window,
            call: TimeWindow::new(report.call.started_at, end),
            call_name: words.t("call.chart.call").to_owned(),
            captures: captures.collect(),
            lanes: lanes.collect(),
            unseen: unseen.collect(),
            offset: offset(zone, window.from),
        };
        let drawing = swim_lane::draw(&input);
        Self { words, zone, window, has_unseen: !drawing.unseen.is_empty(), drawing }
    }

    fn t(&self, key: &str) -> &'static str {
        self.words.t(key)
    }

    fn width(&self) -> f64 {
        WIDTH
    }

    /// The text of a tick: as exact as the step.
    fn tick(&self, at: &Millis) -> String {
        let format = match self.drawing.step {
            ..1_000 => "%H:%M:%S%.3f",
            1_000..60_000 => "%H:%M:%S",
            60_000..86_400_000 => "%H:%M",
            _ => "%Y-%m-%d",
        };
        DateTime::from_timestamp_millis(*at)
            .map(|at| at.with_timezone(&self.zone).format(format).to_string())
            .unwrap_or_default()
    }

    fn from(&self) -> String {
        instant_text(self.window.from, self.zone)
    }

    fn to(&self) -> String {
        instant_text(self.window.to, self.zone)
    }

    fn ms(&self, ms: &Millis) -> String {
        exact_ms(*ms)
    }

    fn type_name(&self, capture_type: &CaptureType) -> &'static str {
        capture_type.as_str()
    }

    fn sign_title(&self, sign: &SignDrawing) -> String {
        let kind = self.words.t(&format!("sign.{}", sign.kind.name()));
        let of = self.words.t(&format!("type.{}.word", sign.capture_type.as_str()));
        format!("{kind} ({of}): {}", instant_text(sign.at, self.zone))
    }

    /// The signs of the legend.
    fn sign_kinds(&self) -> Vec<(SignKind, &'static str)> {
        SignKind::iter()
            .map(|kind| (kind, self.words.t(&format!("sign.{}", kind.name()))))
            .collect()
    }
}

/// An instant of the rules as text in a zone.
pub(in crate::console) fn instant_text(at: Millis, zone: Tz) -> String {
    let at = DateTime::from_timestamp_millis(at);
    at.map(|at| InstantMark::of(at, zone).text()).unwrap_or_default()
}

fn offset(zone: Tz, at: Millis) -> Millis {
    let at = Utc.timestamp_millis_opt(at).single();
    at.map_or(0, |at| {
        Millis::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) * 1_000
    })
}

/// The sign of a fact of a session.
fn sign(fact: &Fact, of: &str) -> Option<(Millis, CaptureType, SignKind)> {
    match fact.kind() {
        FactKind::Notice(notice) if notice.session == of => {
            let kind = match notice.step {
                NoticeStep::Dispatched => SignKind::Dispatched,
                NoticeStep::Delivered => SignKind::Delivered,
                // A notice that the capture is off takes the other one from the screen.
                NoticeStep::Displayed if notice.state == Level::Off => SignKind::Hidden,
                NoticeStep::Displayed => SignKind::Displayed,
                NoticeStep::Hidden => SignKind::Hidden,
                NoticeStep::Acknowledged => SignKind::Acknowledged,
            };
            Some((fact.at(), notice.capture_type, kind))
        }
        FactKind::Consent(consent) if consent.session == of => {
            let kind = match consent.decision {
                ConsentDecision::Given => SignKind::ConsentGiven,
                ConsentDecision::Declined => SignKind::ConsentDeclined,
            };
            Some((fact.at(), consent.capture_type, kind))
        }
        _ => None,
    }
}

/// The window of a chart in an address, in ms from the start of the call: `1500-9000`.
pub(in crate::console) fn parse_window(text: Option<&str>, all: TimeWindow) -> TimeWindow {
    let parsed = text.and_then(|text| text.split_once('-')).and_then(|(from, to)| {
        let (from, to): (Millis, Millis) = (from.parse().ok()?, to.parse().ok()?);
        let from = all.from.checked_add(from)?;
        let to = all.from.checked_add(to)?;
        (from < to).then(|| TimeWindow::new(from, to).within(all))
    });
    parsed.unwrap_or(all)
}

/// A window for the address.
pub(in crate::console) fn window_text(window: TimeWindow, all: TimeWindow) -> String {
    let window = window.within(all);
    format!("{}-{}", window.from - all.from, window.to - all.from)
}

/// The window around an instant.
pub(in crate::console) fn moment(at: Millis, until: Millis) -> TimeWindow {
    TimeWindow::new(at - MOMENT, until.max(at) + MOMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_the_address_lies_in_the_call_and_one_that_cannot_be_read_is_the_whole_call() {
        let all = TimeWindow::new(1_000_000, 1_100_000);
        let part = parse_window(Some("1500-9000"), all);
        assert_eq!(part, TimeWindow { from: 1_001_500, to: 1_009_000 });
        assert_eq!(window_text(part, all), "1500-9000");
        assert_eq!(window_text(part.shifted(-9_000_000), all), "0-7500");
        for wrong in
            ["", "x", "5-", "9000-1500", "-5-10", "9223372036854775807-9223372036854775807"]
        {
            assert_eq!(parse_window(Some(wrong), all), all, "{wrong}");
        }
        assert_eq!(parse_window(None, all), all);
    }

    #[test]
    fn the_offset_of_a_zone_is_that_of_the_season() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
        assert_eq!(offset(Tz::Europe__Berlin, at("2026-11-23T00:00:00Z")), 3_600_000);
        assert_eq!(offset(Tz::Europe__Berlin, at("2026-07-23T00:00:00Z")), 7_200_000);
        assert_eq!(offset(Tz::UTC, 0), 0);
    }
}
