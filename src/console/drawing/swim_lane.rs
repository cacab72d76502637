//! The swim lane of a call: one lane for each participant, and one for the call itself.
//!
//! A lane has the presence of the participant, a band for each capture in it, the time in which the notice was
//! on the screen, the exposure as an outlined gap, and a sign for each step of the notice.

use super::time_scale::{InstantScale, TimeWindow};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::CaptureType;

/// Width of the drawing.
pub(in crate::console) const WIDTH: f64 = 1_000.0;
/// Where the plot begins; names are left of it.
const LEFT: f64 = 186.0;
const RIGHT: f64 = 962.0;
/// Height of the axis.
const AXIS: f64 = 34.0;
/// Height of a lane without rows for the texts of exposures.
const LANE: f64 = 78.0;
/// Height of the row of these texts, above the band of recordings and below that of transcriptions.
const TEXT_ROW: f64 = 13.0;
/// About the width of a letter of these texts.
const LETTER: f64 = 6.6;
/// Height of a band.
const BAND: f64 = 13.0;
/// Minimum distance of the middles of two signs.
const SIGN_DISTANCE: f64 = 13.0;
/// Minimum width of what has a length, so that it can be seen.
const MIN_VISIBLE: f64 = 1.6;
/// Maximum length of a name, in characters.
const MAX_NAME: usize = 20;

/// A step of a notice, or an answer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub(in crate::console) enum SignKind {
    Dispatched,
    Delivered,
    Displayed,
    Hidden,
    Acknowledged,
    ConsentGiven,
    ConsentDeclined,
}

impl SignKind {
    pub(in crate::console) fn name(self) -> &'static str {
        self.into()
    }

    /// Its form around the origin, and its class. Forms differ, so that colours need not.
    pub(in crate::console) fn form(self) -> (&'static str, &'static str) {
        match self {
            // An arrow away, an arrow down, an eye-shaped lozenge, the empty lozenge, a tick in a box, a full
            // disc with a tick, a cross.
            Self::Dispatched => ("M-4-4 5 0-4 4Z", "sign"),
            Self::Delivered => ("M-4.5-3.5h9L0 4.5Z", "sign filled"),
            Self::Displayed => ("M0-5 5 0 0 5-5 0Z", "sign filled"),
            Self::Hidden => ("M0-5 5 0 0 5-5 0Z", "sign"),
            Self::Acknowledged => ("M-4.5-4.5h9v9h-9ZM-2 0-.5 2 2.5-2", "sign"),
            Self::ConsentGiven => ("M0-5A5 5 0 1 1-.01-5ZM-2.5 0H2.5M0-2.5V2.5", "sign good"),
            Self::ConsentDeclined => ("M-4-4 4 4M4-4-4 4", "sign bad"),
        }
    }
}

/// One participant who had to be told of one capture.
#[derive(Clone, Debug)]
pub(in crate::console) struct LaneObligation {
    pub capture_type: CaptureType,
    pub due_at: Millis,
    /// Open ones end with the chart.
    pub ends_at: Millis,
    pub shown_at: Option<Millis>,
    /// `None`: another party notifies the participant.
    pub exposure_ms: Option<Millis>,
}

/// One presence of one participant.
#[derive(Clone, Debug)]
pub(in crate::console) struct LaneInput {
    pub name: String,
    /// A line below the name.
    pub note: String,
    pub is_ours: bool,
    pub from: Millis,
    pub to: Millis,
    pub obligations: Vec<LaneObligation>,
    /// In any order.
    pub signs: Vec<(Millis, CaptureType, SignKind)>,
}

/// What the chart shows.
#[derive(Clone, Debug)]
pub(in crate::console) struct SwimLaneInput {
    pub window: TimeWindow,
    pub call: TimeWindow,
    /// The name of the first lane.
    pub call_name: String,
    pub captures: Vec<(CaptureType, Millis, Millis)>,
    pub lanes: Vec<LaneInput>,
    /// Intervals that the service did not observe.
    pub unseen: Vec<(Millis, Millis)>,
    /// Offset of the zone from UTC, ms.
    pub offset: Millis,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::console) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    fn of((left, right): (f64, f64), y: f64, height: f64) -> Self {
        let width = (right - left).max(MIN_VISIBLE);
        Self { x: round(left.min(RIGHT - width)), y: round(y), width: round(width), height }
    }
}

/// A band of a capture.
#[derive(Debug)]
pub(in crate::console) struct BandDrawing {
    pub area: Area,
    pub capture_type: CaptureType,
}

/// The rows of all lanes of a chart, from the top of a lane.
#[derive(Clone, Copy, Debug)]
struct LaneRows {
    /// Above the bands, for the texts of exposures to recordings.
    above: f64,
    /// Below them, for those to transcriptions.
    below: f64,
}

impl LaneRows {
    fn of(lanes: &[LaneInput]) -> Self {
        let row = |capture_type| {
            let exposed = |it: &LaneObligation| {
                it.capture_type == capture_type && it.exposure_ms.is_some_and(|ms| ms > 0)
            };
            let is_needed = lanes.iter().flat_map(|lane| &lane.obligations).any(exposed);
            if is_needed { TEXT_ROW } else { 0.0 }
        };
        Self { above: row(CaptureType::Recording), below: row(CaptureType::Transcription) }
    }

    fn height(self) -> f64 {
        LANE + self.above + self.below
    }

    /// Where the band of a type begins.
    fn band(self, capture_type: CaptureType) -> f64 {
        let first = self.above + 10.0;
        match capture_type {
            CaptureType::Recording => first,
            CaptureType::Transcription => first + BAND + 5.0,
        }
    }

    /// The line on which the text of an exposure stands: outside of the bands.
    fn text(self, capture_type: CaptureType) -> f64 {
        match capture_type {
            CaptureType::Recording => self.above + 3.0,
            CaptureType::Transcription => self.band(capture_type) + BAND + 15.0,
        }
    }

    /// The presence around the bands.
    fn presence(self) -> f64 {
        self.above + 6.0
    }

    /// Where the rows below the bands and their texts begin.
    fn signs(self) -> f64 {
        self.above + self.below + 46.0
    }
}

/// An exposure, and the place of its text.
#[derive(Debug)]
pub(in crate::console) struct ExposureDrawing {
    pub area: Area,
    pub exposure_ms: Millis,
    /// The text begins or ends here.
    pub text_x: f64,
    pub text_y: f64,
    pub anchor: &'static str,
}

/// A sign, and the place of the instant that it stands for.
#[derive(Debug, PartialEq)]
pub(in crate::console) struct SignDrawing {
    pub kind: SignKind,
    pub capture_type: CaptureType,
    pub at: Millis,
    pub x: f64,
    pub y: f64,
    /// Where the line from the sign to its instant ends.
    pub instant_x: f64,
    pub instant_y: f64,
}

/// A lane.
#[derive(Debug)]
pub(in crate::console) struct LaneDrawing {
    pub name: String,
    pub note: String,
    pub is_ours: bool,
    pub y: f64,
    /// The line of its name.
    pub name_y: f64,
    pub presence: Option<Area>,
    pub bands: Vec<BandDrawing>,
    pub shown: Vec<Area>,
    /// Where nothing can be known, because another party notifies.
    pub unobserved: Option<Area>,
    pub exposures: Vec<ExposureDrawing>,
    pub signs: Vec<SignDrawing>,
}

/// A tick of the axis.
#[derive(Debug)]
pub(in crate::console) struct TickDrawing {
    pub x: f64,
    pub at: Millis,
}

/// The chart.
#[derive(Debug)]
pub(in crate::console) struct SwimLaneDrawing {
    pub height: f64,
    pub plot_bottom: f64,
    /// Step between ticks, ms.
    pub step: Millis,
    pub ticks: Vec<TickDrawing>,
    pub unseen: Vec<Area>,
    pub lanes: Vec<LaneDrawing>,
}

/// Draws a call.
pub(in crate::console) fn draw(input: &SwimLaneInput) -> SwimLaneDrawing {
    let scale = InstantScale::new(input.window, LEFT, RIGHT);
    let (step, ticks) = scale.ticks(input.offset);
    let lane_count = input.lanes.len() + 1;
    let rows = LaneRows::of(&input.lanes);
    let plot_bottom = AXIS + rows.height() * lane_count as f64;
    let unseen = input
        .unseen
        .iter()
        .filter_map(|(from, to)| Some(Area::of(scale.span(*from, *to)?, AXIS, plot_bottom - AXIS)));
    let mut lanes = vec![call_lane(input, &scale, rows)];
    lanes.extend(input.lanes.iter().zip(1..).map(|(lane, number)| {
        participant_lane(lane, &scale, rows, AXIS + rows.height() * f64::from(number))
    }));
    SwimLaneDrawing {
        height: plot_bottom + 6.0,
        plot_bottom,
        step,
        ticks: ticks.into_iter().map(|at| TickDrawing { x: round(scale.x(at)), at }).collect(),
        unseen: unseen.collect(),
        lanes,
    }
}

fn call_lane(input: &SwimLaneInput, scale: &InstantScale, rows: LaneRows) -> LaneDrawing {
    let y = AXIS;
    let bands = input.captures.iter().filter_map(|(capture_type, from, to)| {
        let area = Area::of(scale.span(*from, *to)?, y + rows.band(*capture_type), BAND);
        Some(BandDrawing { area, capture_type: *capture_type })
    });
    LaneDrawing {
        name: shortened(&input.call_name),
        note: String::new(),
        is_ours: true,
        y,
        name_y: y + rows.presence() + 18.0,
        presence: scale
            .span(input.call.from, input.call.to)
            .map(|span| Area::of(span, y + rows.presence(), 2.0 * BAND + 12.0)),
        bands: bands.collect(),
        shown: Vec::new(),
        unobserved: None,
        exposures: Vec::new(),
        signs: Vec::new(),
    }
}

fn participant_lane(lane: &LaneInput, scale: &InstantScale, rows: LaneRows, y: f64) -> LaneDrawing {
    let presence = scale.span(lane.from, lane.to);
    let (mut bands, mut shown) = (Vec::new(), Vec::new());
    let mut exposures: Vec<ExposureDrawing> = Vec::new();
    for obligation in &lane.obligations {
        let band_y = y + rows.band(obligation.capture_type);
        if let Some(span) = scale.span(obligation.due_at, obligation.ends_at) {
            let area = Area::of(span, band_y, BAND);
            bands.push(BandDrawing { area, capture_type: obligation.capture_type });
        }
        let on_screen = obligation.shown_at.map(|at| at.max(obligation.due_at));
        let on_screen = on_screen.filter(|at| *at <= obligation.ends_at);
        if let Some(span) = on_screen.and_then(|at| scale.span(at, obligation.ends_at)) {
            shown.push(Area::of(span, band_y + BAND, 2.6));
        }
        let Some(exposure_ms) = obligation.exposure_ms.filter(|ms| *ms > 0) else { continue };
        let until = obligation.due_at.saturating_add(exposure_ms).min(obligation.ends_at);
        if let Some(span) = scale.span(obligation.due_at, until) {
            let area = Area::of(span, band_y, BAND);
            let text_y = round(y + rows.text(obligation.capture_type));
            let width = text_width(exposure_ms);
            // Not over the text before it in the same row.
            let free = exposures.iter().filter(|it| (it.text_y - text_y).abs() < 1.0);
            let free = free.map(ExposureDrawing::text_end).fold(area.x, f64::max);
            let (text_x, anchor) =
                if free + width <= RIGHT { (free, "start") } else { (RIGHT, "end") };
            exposures.push(ExposureDrawing {
                area,
                exposure_ms,
                text_x: round(text_x),
                text_y,
                anchor,
            });
        }
    }
    LaneDrawing {
        name: shortened(&lane.name),
        note: lane.note.clone(),
        is_ours: lane.is_ours,
        y,
        name_y: y + rows.presence() + 18.0,
        presence: presence.map(|span| Area::of(span, y + rows.presence(), 2.0 * BAND + 12.0)),
        unobserved: presence
            .filter(|_| !lane.is_ours)
            .map(|span| Area::of(span, y + rows.signs() + 2.0, 22.0)),
        bands,
        shown,
        exposures,
        signs: signs(lane, scale, y + rows.signs()),
    }
}

/// The signs of a lane below `y`, in order. One that would cover the sign before is moved right.
fn signs(lane: &LaneInput, scale: &InstantScale, y: f64) -> Vec<SignDrawing> {
    let mut ordered: Vec<_> = lane.signs.iter().filter(|(at, _, _)| scale.has(*at)).collect();
    ordered.sort_by_key(|(at, _, kind)| (*at, *kind));
    // Very many stand closer.
    let distance = SIGN_DISTANCE.min((RIGHT - LEFT) / ordered.len().max(1) as f64);
    let mut drawn: Vec<SignDrawing> = Vec::new();
    for &&(at, capture_type, kind) in &ordered {
        let instant_x = round(scale.x(at));
        let free = drawn.last().map_or(LEFT, |before| before.x + distance);
        drawn.push(SignDrawing {
            kind,
            capture_type,
            at,
            x: round(instant_x.max(free)),
            y: y + 14.0,
            instant_x,
            instant_y: y,
        });
    }
    // What was moved over the edge is moved back, from the last one on.
    let mut most = RIGHT;
    for sign in drawn.iter_mut().rev() {
        sign.x = round(sign.x.min(most));
        most = sign.x - distance;
    }
    drawn
}

impl ExposureDrawing {
    /// Where the text ends, with the distance to the next one.
    fn text_end(&self) -> f64 {
        let width = if self.anchor == "start" { text_width(self.exposure_ms) } else { 0.0 };
        self.text_x + width + LETTER
    }
}

/// About the width of the text of an exposure: its digits with their groups, and the unit.
fn text_width(exposure_ms: Millis) -> f64 {
    let digits = exposure_ms.unsigned_abs().to_string().len();
    (digits + digits / 3 + 4) as f64 * LETTER
}

/// To a tenth: more digits are bytes without use.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    name.chars().take(MAX_NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lane(obligations: Vec<LaneObligation>, signs: &[(Millis, SignKind)]) -> LaneInput {
        let signs = signs.iter().map(|(at, kind)| (*at, CaptureType::Recording, *kind));
        LaneInput {
            name: "Ada".to_owned(),
            note: String::new(),
            is_ours: true,
            from: 1_000,
            to: 9_000,
            obligations,
            signs: signs.collect(),
        }
    }

    fn chart(window: (Millis, Millis), lanes: Vec<LaneInput>) -> SwimLaneDrawing {
        draw(&SwimLaneInput {
            window: TimeWindow::new(window.0, window.1),
            call: TimeWindow::new(0, 10_000),
            call_name: "Call".to_owned(),
            captures: vec![(CaptureType::Recording, 2_000, 8_000)],
            lanes,
            unseen: vec![(0, 500), (20_000, 30_000)],
            offset: 0,
        })
    }

    fn obligation(shown_at: Option<Millis>, exposure_ms: Option<Millis>) -> LaneObligation {
        LaneObligation {
            capture_type: CaptureType::Recording,
            due_at: 2_000,
            ends_at: 8_000,
            shown_at,
            exposure_ms,
        }
    }

    #[test]
    fn an_exposure_ends_where_the_notice_is_on_the_screen() {
        let told = obligation(Some(2_500), Some(500));
        let drawing = chart((0, 10_000), vec![lane(vec![told], &[])]);
        let lane = &drawing.lanes[1];
        let (exposure, shown) = (&lane.exposures[0], lane.shown[0]);
        assert_eq!(exposure.exposure_ms, 500);
        assert!((exposure.area.x + exposure.area.width - shown.x).abs() < 0.2);
        assert!((lane.bands[0].area.x - exposure.area.x).abs() < 0.2);
        let end = lane.bands[0].area.x + lane.bands[0].area.width;
        assert!((shown.x + shown.width - end).abs() < 0.2);
    }

    #[test]
    fn who_was_never_told_is_exposed_to_the_end_and_others_are_not_observed() {
        let never = chart((0, 10_000), vec![lane(vec![obligation(None, Some(6_000))], &[])]);
        let lane_of = &never.lanes[1];
        assert!(lane_of.shown.is_empty());
        assert_eq!(lane_of.exposures[0].area.width, lane_of.bands[0].area.width);
        assert_eq!(lane_of.unobserved, None);
        let mut other = lane(vec![obligation(None, None)], &[]);
        other.is_ours = false;
        let other = chart((0, 10_000), vec![other]);
        assert!(other.lanes[1].exposures.is_empty());
        assert!(other.lanes[1].unobserved.is_some());
    }

    #[test]
    fn the_text_of_an_exposure_covers_no_band_and_no_other_text() {
        let mut transcription = obligation(Some(2_300), Some(300));
        transcription.capture_type = CaptureType::Transcription;
        let again = LaneObligation { due_at: 2_050, ..obligation(Some(2_100), Some(50)) };
        let late = LaneObligation { due_at: 7_990, ends_at: 8_000, ..obligation(None, Some(10)) };
        let told = vec![obligation(Some(2_500), Some(500)), again, transcription, late];
        let drawing = chart((0, 8_000), vec![lane(told, &[(2_100, SignKind::Dispatched)])]);
        let lane = &drawing.lanes[1];
        assert_eq!(lane.exposures.len(), 4);
        // The letters of a text are between its line and 9 above.
        let clear = |text_y: f64, top: f64, bottom: f64| text_y <= top || text_y - 9.0 >= bottom;
        for exposure in &lane.exposures {
            for band in &lane.bands {
                let (top, bottom) = (band.area.y, band.area.y + band.area.height);
                assert!(clear(exposure.text_y, top, bottom), "{exposure:?} {band:?}");
            }
            assert!(exposure.text_y - 9.0 > lane.y, "{exposure:?}");
            assert!(lane.signs.iter().all(|sign| sign.y - 6.0 > exposure.text_y), "{exposure:?}");
            let end =
                if exposure.anchor == "start" { text_width(exposure.exposure_ms) } else { 0.0 };
            assert!(exposure.text_x + end <= RIGHT + 0.1, "{exposure:?}");
        }
        // Positions are rounded to a tenth.
        assert!(
            lane.exposures[1].text_x + 0.1 >= lane.exposures[0].text_end(),
            "{:?}",
            lane.exposures
        );
        // Without exposures the lanes are as high as they need.
        let plain = chart((0, 8_000), vec![]);
        assert!(plain.lanes[0].bands[0].area.y < drawing.lanes[0].bands[0].area.y);
    }

    #[test]
    fn what_lies_outside_of_the_window_is_not_drawn() {
        let told = obligation(Some(2_100), Some(100));
        let signs = [(2_050, SignKind::Dispatched), (8_100, SignKind::Hidden)];
        let drawing = chart((5_000, 6_000), vec![lane(vec![told], &signs)]);
        let lane = &drawing.lanes[1];
        assert!(lane.exposures.is_empty() && lane.signs.is_empty());
        // The band goes through the whole window.
        assert!((lane.bands[0].area.width - (RIGHT - LEFT)).abs() < 0.2);
        assert!(drawing.unseen.is_empty());
        assert_eq!(chart((0, 10_000), vec![]).unseen.len(), 1);
    }

    #[test]
    fn a_long_name_is_shortened() {
        assert_eq!(shortened("Ada"), "Ada");
        assert_eq!(shortened(&"x".repeat(40)).chars().count(), MAX_NAME);
    }

    proptest! {
        #[test]
        fn signs_keep_their_order_and_do_not_cover_each_other(
            at in prop::collection::vec(0_i64..10_000, 0..40), from in 0_i64..9_000, length in 200_i64..10_000,
        ) {
            let signs: Vec<(Millis, SignKind)> = at.iter().map(|at| (*at, SignKind::Delivered)).collect();
            let drawing = chart((from, from + length), vec![lane(vec![], &signs)]);
            let drawn = &drawing.lanes[1].signs;
            for pair in drawn.windows(2) {
                prop_assert!(pair[0].at <= pair[1].at);
                prop_assert!(pair[1].x - pair[0].x > SIGN_DISTANCE - 0.21, "{pair:?}");
            }
            prop_assert!(drawn.iter().all(|sign| sign.x <= RIGHT));
        }

        #[test]
        fn everything_lies_in_the_drawing(
            due in -20_000_i64..40_000, length in 0_i64..40_000, shown in prop::option::of(-20_000_i64..60_000),
            from in -20_000_i64..40_000, window in 0_i64..50_000,
        ) {
            let obligation = LaneObligation {
                capture_type: CaptureType::Transcription, due_at: due, ends_at: due + length, shown_at: shown,
                exposure_ms: Some(length),
            };
            let drawing = chart((from, from + window), vec![lane(vec![obligation], &[])]);
            for lane in &drawing.lanes {
                let areas = lane.bands.iter().map(|it| it.area).chain(lane.shown.iter().copied());
                for area in areas.chain(lane.exposures.iter().map(|it| it.area)).chain(lane.presence) {
                    prop_assert!(area.width > 0.0 && area.x >= LEFT - 0.1 && area.x + area.width <= RIGHT + 0.2, "{area:?}");
                    prop_assert!(area.y >= 0.0 && area.y + area.height <= drawing.height);
                }
            }
        }
    }
}
