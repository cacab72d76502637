//! The levels that a message stated of one call, as notice facts and cursors carry them.

use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Level};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::IndicationState;
use onrecord_evidence::notice::variant::{CaptureView, IndicationView};

/// A level, and when the capture that it belongs to started, ms.
type StatedCapture = (Level, Option<Millis>);

/// The stated levels; unknown ones are left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatedLevels {
    /// The anchor that named the call at that time. A cursor for one call omits it.
    pub call: Option<Anchor>,
    /// The id of the message. A cursor omits it.
    pub notice: Option<String>,
    captures: [Option<StatedCapture>; 2],
}

impl StatedLevels {
    /// The levels that a message states; `None`: none is known.
    pub(crate) fn of(call: &Anchor, notice: &str, view: &IndicationView) -> Option<Self> {
        let captures = [stated_capture(&view.recording), stated_capture(&view.transcription)];
        captures.iter().any(Option::is_some).then(|| Self {
            call: Some(call.clone()),
            notice: Some(notice.to_owned()),
            captures,
        })
    }

    /// Each capture type whose level is stated.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (CaptureType, Level, Option<Millis>)> {
        CaptureType::ALL.into_iter().zip(self.captures).filter_map(|(capture_type, stated)| {
            let (level, started_at) = stated?;
            Some((capture_type, level, started_at))
        })
    }

    /// Whether these are the levels that a cursor carries.
    pub(crate) fn matches(&self, in_cursor: &Self) -> bool {
        let same_call = in_cursor.call.is_none() || in_cursor.call == self.call;
        self.captures == in_cursor.captures && same_call
    }

    /// Appends the text of a cursor: for each capture type a letter and the start of the capture,
    /// then the call if `with_call`.
    pub(crate) fn write(&self, with_call: bool, text: &mut String) {
        let [recording, transcription] = self.captures;
        write(recording, text);
        text.push('-');
        write(transcription, text);
        if let Some(call) = self.call.as_ref().filter(|_| with_call) {
            text.extend(["_", call.as_str()]);
        }
    }

    /// Reads what [`StatedLevels::write`] wrote.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (captures, call) = match text.split_once('_') {
            Some((captures, call)) => (captures, Some(call)),
            None => (text, None),
        };
        let (recording, transcription) = captures.split_once('-')?;
        Some(Self {
            call: call.map(|call| Anchor::from_stored(call.to_owned())),
            notice: None,
            captures: [read(recording)?, read(transcription)?],
        })
    }
}

fn stated_capture(view: &CaptureView) -> Option<StatedCapture> {
    let level = match view.state {
        IndicationState::On => Level::On,
        IndicationState::Paused => Level::Paused,
        IndicationState::Off => Level::Off,
        IndicationState::Unknown => return None,
    };
    Some((level, view.capture_started_at.filter(|start| *start >= 0)))
}

fn write(capture: Option<StatedCapture>, text: &mut String) {
    let Some((level, started_at)) = capture else {
        text.push('u');
        return;
    };
    let letter = match level {
        Level::On => 'n',
        Level::Paused => 'p',
        Level::Off => 'f',
    };
    text.push(letter);
    if let Some(start) = started_at {
        text.push_str(&format!("{start:x}"));
    }
}

fn read(text: &str) -> Option<Option<StatedCapture>> {
    let (letter, started_at) = text.split_at_checked(1)?;
    let level = match letter {
        "n" => Level::On,
        "p" => Level::Paused,
        "f" => Level::Off,
        "u" => return Some(None),
        _ => return None,
    };
    let started_at = match started_at {
        "" => None,
        start => Some(Millis::from_str_radix(start, 16).ok()?),
    };
    Some(Some((level, started_at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_levels_are_read_as_they_were_written() {
        let call = Anchor::attachment("a");
        for captures in [
            [Some((Level::On, Some(1_763_000_000_000))), None],
            [Some((Level::Off, None)), Some((Level::Paused, Some(0)))],
        ] {
            let stated = StatedLevels { call: Some(call.clone()), notice: None, captures };
            let written = |stated: &StatedLevels, with_call| {
                let mut text = String::new();
                stated.write(with_call, &mut text);
                text
            };
            assert_eq!(StatedLevels::read(&written(&stated, true)), Some(stated.clone()));
            let without = StatedLevels { call: None, ..stated.clone() };
            assert_eq!(StatedLevels::read(&written(&stated, false)), Some(without));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _read_or_not = StatedLevels::read(&text);
        }
    }
}
