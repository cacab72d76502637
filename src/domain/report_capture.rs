//! What clients see: on opens, paused and off close, and silence closes only when somebody
//! else can tell, or when nobody of ours is left.

use super::capture::{CaptureSource, Horizon, Interval, Standing};
use super::fact::{CaptureType, Level};
use super::instant::Millis;
use super::reporter::Reporter;
use super::span::{FOR_EVER, Span, SpanSet};

/// Who could tell whether a capture that a reporter saw still goes on.
#[derive(Debug)]
pub struct Witnesses<'a> {
    /// When the reporter itself is live for the type.
    pub own: &'a SpanSet,
    /// When any reporter is, itself included.
    pub anybody: &'a SpanSet,
    /// When some session of ours may be present.
    pub ours_present: &'a SpanSet,
}

impl Witnesses<'_> {
    /// When a level that is open over `span` is closed without the reporter: the first
    /// instant at which the reporter is not live and another is, or nobody of ours is
    /// present.
    fn closing(&self, span: Span) -> Option<Millis> {
        self.own.missing_in(span).find_map(|orphaned| {
            // Whoever is live while it is not is another one.
            let contradicted = self.anybody.first_within(orphaned);
            let abandoned = self.ours_present.first_missing_in(orphaned);
            contradicted.into_iter().chain(abandoned).min()
        })
    }
}

/// The intervals of one reporter.
#[must_use]
pub fn report_intervals<'f>(
    reporter: &Reporter<'f>,
    capture: CaptureType,
    witnesses: &Witnesses<'_>,
    horizon: Horizon,
    bridge: Millis,
) -> Vec<Interval<'f>> {
    let mut levels = Vec::new();
    let mut open = None;
    for (at, next, report) in reporter.until_next() {
        match (report.level(capture), open) {
            (Some(Level::On), None) => open = Some(at),
            (Some(ending @ (Level::Paused | Level::Off)), Some(from)) => {
                levels.push((from, at, Some(ending)));
                open = None;
            }
            _ => {}
        }
        let unattended = open.zip(Span::new(at, next));
        if let Some((from, span)) = unattended
            && let Some(closing) = witnesses.closing(span)
        {
            levels.push((from, closing, None));
            open = None;
        }
    }
    levels.extend(open.map(|from| (from, FOR_EVER, None)));

    levels
        .into_iter()
        .filter_map(|(from, to, ending)| {
            let span = horizon.cut(from, to)?;
            let settled_at = to.saturating_add(bridge);
            let settling = ending == Some(Level::Off)
                && horizon.call.end.is_none()
                && horizon.now < settled_at;
            let (span, standing) = if settling {
                let open = Span::new(from, FOR_EVER)?;
                (open, Standing::Settling { until: settled_at })
            } else if !span.is_open() {
                (span, Standing::Closed)
            } else if witnesses.own.contains(horizon.now) {
                (span, Standing::Open)
            } else {
                (span, Standing::Orphaned)
            };
            Some(Interval {
                span,
                source: CaptureSource::Report,
                standing,
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
    use crate::domain::call::Call;
    use crate::domain::fact_json::read_facts;
    use crate::domain::fact_set::FactSet;

    const NOW: Millis = 200;
    const BRIDGE: Millis = 5;

    fn report(t: Millis, level: &str) -> Value {
        json!({
            "id": format!("f{t}"), "kind": "report", "t": t, "session": "a", "reporter": "a1",
            "sequence": t, "recording": level,
        })
    }

    /// How the recording level of one reporter stands, which is believed for 30 ms, given
    /// when another one is live, and when somebody of ours is present.
    fn told(
        reports: &[Value],
        other: Option<Span>,
        ours_present: Option<Span>,
    ) -> Vec<(Millis, Millis, Standing)> {
        let facts = read_facts(json!(reports)).unwrap();
        let set = FactSet::at(&facts, NOW);
        let reporters = Reporter::all(&set);
        let own = reporters[0].live(CaptureType::Recording, Span::new(0, FOR_EVER), 30);
        let witnesses = Witnesses {
            own: &own,
            anybody: &own.spans().chain(other).collect(),
            ours_present: &ours_present.into_iter().collect(),
        };
        let call = Call {
            start: 0,
            end: None,
            presumed: false,
        };
        let horizon = Horizon { call, now: NOW };
        let capture = CaptureType::Recording;
        report_intervals(&reporters[0], capture, &witnesses, horizon, BRIDGE)
            .into_iter()
            .map(|interval| (interval.span.from(), interval.span.to(), interval.standing))
            .collect()
    }

    fn always() -> Option<Span> {
        Span::new(0, FOR_EVER)
    }

    #[test]
    fn on_opens_and_paused_and_off_close() {
        let reports = [
            report(10, "on"),
            report(20, "on"),
            report(30, "paused"),
            report(40, "on"),
            report(50, "off"),
            report(60, "off"),
        ];
        let expected = [(10, 30, Standing::Closed), (40, 50, Standing::Closed)];
        assert_eq!(told(&reports, None, always()), expected);
    }

    #[test]
    fn an_off_settles_for_the_bridge_and_a_pause_does_not() {
        let off = [report(190, "on"), report(196, "off")];
        let settling = Standing::Settling { until: 201 };
        assert_eq!(told(&off, None, always()), [(190, FOR_EVER, settling)]);
        let settled = [report(190, "on"), report(195, "off")];
        assert_eq!(
            told(&settled, None, always()),
            [(190, 195, Standing::Closed)]
        );
        let paused = [report(190, "on"), report(196, "paused")];
        assert_eq!(
            told(&paused, None, always()),
            [(190, 196, Standing::Closed)]
        );
    }

    #[test]
    fn silence_alone_never_closes() {
        let expected = [(10, FOR_EVER, Standing::Orphaned)];
        assert_eq!(told(&[report(10, "on")], None, always()), expected);
        let live = [(190, FOR_EVER, Standing::Open)];
        assert_eq!(told(&[report(190, "on")], None, always()), live);
    }

    #[test]
    fn an_orphan_closes_as_soon_as_somebody_else_can_tell() {
        let on = [report(10, "on")];
        let before = told(&on, Span::new(5, 90), always());
        assert_eq!(before, [(10, 41, Standing::Closed)]);
        let later = told(&on, Span::new(70, 90), always());
        assert_eq!(later, [(10, 70, Standing::Closed)]);
        let too_early = told(&on, Span::new(5, 41), always());
        assert_eq!(too_early, [(10, FOR_EVER, Standing::Orphaned)]);
    }

    #[test]
    fn an_orphan_closes_when_nobody_of_ours_is_left() {
        let abandoned = told(&[report(10, "on")], None, Span::new(0, 80));
        assert_eq!(abandoned, [(10, 80, Standing::Closed)]);
    }

    #[test]
    fn a_reporter_that_is_back_opens_anew_only_if_it_had_been_closed() {
        let back = [report(10, "on"), report(100, "on"), report(190, "on")];
        assert_eq!(
            told(&back, None, always()),
            [(10, FOR_EVER, Standing::Open)]
        );
        let contradicted = told(&back, Span::new(45, 50), always());
        let expected = [(10, 45, Standing::Closed), (100, FOR_EVER, Standing::Open)];
        assert_eq!(contradicted, expected);
    }
}
