//! The intervals that the reports of one client state (`docs/evidence-rules.md`, section 3).
//!
//! The level `on` begins an interval; `paused` and `off` end it. A client without further reports ends
//! it only if another reporter is live, or if no session that must be notified is present.

use super::interval::{CaptureInterval, CaptureSource, IntervalStatus, TimeBounds};
use super::reporter::Reporter;
use super::span::{OPEN_END, Span, SpanSet};
use crate::event::instant::Millis;
use crate::fact::kinds::{CaptureType, Level};

/// The instants at which clients are live, and at which sessions that must be notified are present.
#[derive(Debug)]
pub(crate) struct LiveReporters<'a> {
    /// When the reporter itself is live for the capture type.
    pub(crate) own: &'a SpanSet,
    /// When any reporter is live for the capture type, including the reporter itself.
    pub(crate) any: &'a SpanSet,
    /// When a session that must be notified may be present.
    pub(crate) ours_present: &'a SpanSet,
}

impl LiveReporters<'_> {
    /// The instant in `span` that ends an interval without a report of its reporter: the first instant
    /// at which the reporter is not live and another one is, or at which no session that must be
    /// notified is present.
    fn closing(&self, span: Span) -> Option<Millis> {
        self.own.missing_in(span).find_map(|orphaned| {
            // A reporter that is live in this span is another one.
            let contradicted = self.any.first_within(orphaned);
            let abandoned = self.ours_present.missing_in(orphaned).next().map(Span::from);
            contradicted.into_iter().chain(abandoned).min()
        })
    }
}

/// The intervals of one capture type that one reporter states. `bridge` is in ms.
pub(crate) fn report_intervals<'f>(
    reporter: &Reporter<'f>,
    capture_type: CaptureType,
    live_reporters: &LiveReporters<'_>,
    bounds: TimeBounds,
    bridge: Millis,
) -> Vec<CaptureInterval<'f>> {
    let mut levels = Vec::new();
    let mut open = None;
    for (at, next, report) in reporter.until_next() {
        match (report.level(capture_type), open) {
            (Some(Level::On), None) => open = Some(at),
            (Some(ending @ (Level::Paused | Level::Off)), Some(from)) => {
                levels.push((from, at, Some(ending)));
                open = None;
            }
            _ => {}
        }
        let until_next = open.zip(Span::new(at, next));
        if let Some((from, span)) = until_next
            && let Some(closing) = live_reporters.closing(span)
        {
            levels.push((from, closing, None));
            open = None;
        }
    }
    levels.extend(open.map(|from| (from, OPEN_END, None)));

    levels
        .into_iter()
        .filter_map(|(from, to, ending)| {
            let span = bounds.clip(from, to)?;
            let until = to.saturating_add(bridge);
            let is_debouncing =
                ending == Some(Level::Off) && bounds.call.ended_at.is_none() && bounds.now < until;
            let (span, status) = if is_debouncing {
                let open = Span::new(from, OPEN_END)?;
                (open, IntervalStatus::Debouncing { until })
            } else if !span.is_open() {
                (span, IntervalStatus::Closed)
            } else if live_reporters.own.contains(bounds.now) {
                (span, IntervalStatus::Open)
            } else {
                (span, IntervalStatus::Orphaned)
            };
            Some(CaptureInterval {
                span,
                source: CaptureSource::Report,
                status,
                recording: None,
                kinds: Vec::new(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::call::lifetime::CallLifetime;
    use crate::fact::fact_set::FactSet;
    use crate::fact::json::read_facts;

    const NOW: Millis = 200;
    const BRIDGE: Millis = 5;

    fn report(t: Millis, level: &str) -> Value {
        json!({
            "id": format!("f{t}"), "kind": "report", "at": t, "session": "a", "reporter": "a1",
            "sequence": t, "recording": level,
        })
    }

    /// The recording intervals of one reporter that is live for 30 ms after a report. `other` is when
    /// another reporter is live, `ours_present` when a session that must be notified is present.
    fn intervals(
        reports: &[Value],
        other: Option<Span>,
        ours_present: Option<Span>,
    ) -> Vec<(Millis, Millis, IntervalStatus)> {
        let facts = read_facts(json!(reports)).unwrap();
        let set = FactSet::at(&facts, NOW);
        let reporters = Reporter::all(&set);
        let own = reporters[0].live(CaptureType::Recording, Span::new(0, OPEN_END), 30);
        let live_reporters = LiveReporters {
            own: &own,
            any: &own.spans().chain(other).collect(),
            ours_present: &ours_present.into_iter().collect(),
        };
        let call =
            CallLifetime { started_at: 0, ended_at: None, end_presumed: false, stated_start: None };
        let bounds = TimeBounds { call, now: NOW };
        let recording = CaptureType::Recording;
        report_intervals(&reporters[0], recording, &live_reporters, bounds, BRIDGE)
            .into_iter()
            .map(|interval| (interval.span.from(), interval.span.to(), interval.status))
            .collect()
    }

    fn always() -> Option<Span> {
        Span::new(0, OPEN_END)
    }

    #[test]
    fn on_begins_and_paused_and_off_end_an_interval() {
        let reports = [
            report(10, "on"),
            report(20, "on"),
            report(30, "paused"),
            report(40, "on"),
            report(50, "off"),
            report(60, "off"),
        ];
        let expected = [(10, 30, IntervalStatus::Closed), (40, 50, IntervalStatus::Closed)];
        assert_eq!(intervals(&reports, None, always()), expected);
    }

    #[test]
    fn an_off_is_debounced_for_the_bridge_and_a_pause_is_not() {
        let off = [report(190, "on"), report(196, "off")];
        let debouncing = IntervalStatus::Debouncing { until: 201 };
        assert_eq!(intervals(&off, None, always()), [(190, OPEN_END, debouncing)]);
        let ended = [report(190, "on"), report(195, "off")];
        assert_eq!(intervals(&ended, None, always()), [(190, 195, IntervalStatus::Closed)]);
        let paused = [report(190, "on"), report(196, "paused")];
        assert_eq!(intervals(&paused, None, always()), [(190, 196, IntervalStatus::Closed)]);
    }

    #[test]
    fn missing_reports_alone_never_end_an_interval() {
        let expected = [(10, OPEN_END, IntervalStatus::Orphaned)];
        assert_eq!(intervals(&[report(10, "on")], None, always()), expected);
        let live = [(190, OPEN_END, IntervalStatus::Open)];
        assert_eq!(intervals(&[report(190, "on")], None, always()), live);
    }

    #[test]
    fn an_orphaned_interval_ends_when_another_reporter_is_live() {
        let on = [report(10, "on")];
        let before = intervals(&on, Span::new(5, 90), always());
        assert_eq!(before, [(10, 41, IntervalStatus::Closed)]);
        let later = intervals(&on, Span::new(70, 90), always());
        assert_eq!(later, [(10, 70, IntervalStatus::Closed)]);
        let too_early = intervals(&on, Span::new(5, 41), always());
        assert_eq!(too_early, [(10, OPEN_END, IntervalStatus::Orphaned)]);
    }

    #[test]
    fn an_orphaned_interval_ends_when_no_session_of_ours_is_present() {
        let abandoned = intervals(&[report(10, "on")], None, Span::new(0, 80));
        assert_eq!(abandoned, [(10, 80, IntervalStatus::Closed)]);
    }

    #[test]
    fn a_returned_reporter_begins_a_new_interval_only_if_the_old_one_ended() {
        let back = [report(10, "on"), report(100, "on"), report(190, "on")];
        assert_eq!(intervals(&back, None, always()), [(10, OPEN_END, IntervalStatus::Open)]);
        let contradicted = intervals(&back, Span::new(45, 50), always());
        let expected = [(10, 45, IntervalStatus::Closed), (100, OPEN_END, IntervalStatus::Open)];
        assert_eq!(contradicted, expected);
    }
}
