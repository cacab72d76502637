//! What a message stated of one call, for the facts about it, and inside the cursor that came with
//! it.

use crate::domain::alias::Anchor;
use crate::domain::fact::{CaptureType, Level};
use crate::domain::indication::IndicationState;
use crate::domain::instant::Millis;
use crate::domain::notice::{CaptureView, IndicationView};

/// A level, and when the stretch began that it is about, ms.
type Stage = (Level, Option<Millis>);

/// The levels that were stated; what is unknown is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stated {
    /// The call as it was called then. A cursor of one call does not have it.
    pub call: Option<Anchor>,
    /// The id of the message. A cursor does not have it.
    pub notice: Option<String>,
    stages: [Option<Stage>; 2],
}

impl Stated {
    /// What a message states; `None`: nothing.
    pub fn of(call: &Anchor, notice: &str, view: &IndicationView) -> Option<Self> {
        let stages = [stage(&view.recording), stage(&view.transcription)];
        stages.iter().any(Option::is_some).then(|| Self {
            call: Some(call.clone()),
            notice: Some(notice.to_owned()),
            stages,
        })
    }

    /// Each type of which something is stated.
    pub fn levels(&self) -> impl Iterator<Item = (CaptureType, Level, Option<Millis>)> {
        CaptureType::ALL
            .into_iter()
            .zip(self.stages)
            .filter_map(|(capture, stage)| {
                let (level, stretch) = stage?;
                Some((capture, level, stretch))
            })
    }

    /// Whether this is what a cursor says was stated.
    pub fn is(&self, in_cursor: &Self) -> bool {
        let same_call = in_cursor.call.is_none() || in_cursor.call == self.call;
        self.stages == in_cursor.stages && same_call
    }

    /// Appends it as it stands in a cursor: for each type a letter and the stretch, then perhaps the
    /// call.
    pub fn write(&self, with_call: bool, text: &mut String) {
        let [recording, transcription] = self.stages;
        write(recording, text);
        text.push('-');
        write(transcription, text);
        if let Some(call) = self.call.as_ref().filter(|_| with_call) {
            text.extend(["_", call.as_str()]);
        }
    }

    /// Reads what [`Stated::write`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let (stages, call) = match text.split_once('_') {
            Some((stages, call)) => (stages, Some(call)),
            None => (text, None),
        };
        let (recording, transcription) = stages.split_once('-')?;
        Some(Self {
            call: call.map(|call| Anchor::from_stored(call.to_owned())),
            notice: None,
            stages: [read(recording)?, read(transcription)?],
        })
    }
}

fn stage(view: &CaptureView) -> Option<Stage> {
    let level = match view.state {
        IndicationState::On => Level::On,
        IndicationState::Paused => Level::Paused,
        IndicationState::Off => Level::Off,
        IndicationState::Unknown => return None,
    };
    Some((level, view.stretch.filter(|start| *start >= 0)))
}

fn write(stage: Option<Stage>, text: &mut String) {
    let Some((level, stretch)) = stage else {
        text.push('u');
        return;
    };
    let letter = match level {
        Level::On => 'n',
        Level::Paused => 'p',
        Level::Off => 'f',
    };
    text.push(letter);
    if let Some(start) = stretch {
        text.push_str(&format!("{start:x}"));
    }
}

fn read(text: &str) -> Option<Option<Stage>> {
    let (letter, stretch) = text.split_at_checked(1)?;
    let level = match letter {
        "n" => Level::On,
        "p" => Level::Paused,
        "f" => Level::Off,
        "u" => return Some(None),
        _ => return None,
    };
    let stretch = match stretch {
        "" => None,
        start => Some(Millis::from_str_radix(start, 16).ok()?),
    };
    Some(Some((level, stretch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stated_reads_its_own_writing() {
        let call = Anchor::attachment("a");
        for stages in [
            [Some((Level::On, Some(1_763_000_000_000))), None],
            [Some((Level::Off, None)), Some((Level::Paused, Some(0)))],
        ] {
            let stated = Stated {
                call: Some(call.clone()),
                notice: None,
                stages,
            };
            let written = |stated: &Stated, with_call| {
                let mut text = String::new();
                stated.write(with_call, &mut text);
                text
            };
            assert_eq!(Stated::read(&written(&stated, true)), Some(stated.clone()));
            let without = Stated {
                call: None,
                ..stated.clone()
            };
            assert_eq!(Stated::read(&written(&stated, false)), Some(without));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_read(text in ".{0,40}") {
            let _read_or_not = Stated::read(&text);
        }
    }
}
