//! Recordings: the statements of the provider and the files of each.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind, FileFact, ProviderStatement};

/// One recording or one transcription, with the facts about it.
#[derive(Debug)]
pub(crate) struct Recording<'f> {
    /// The id of the recording.
    pub(crate) id: &'f str,
    /// The statements of the provider.
    pub(crate) states: Vec<DatedStatement<'f>>,
    /// The files; a transcription has none.
    pub(crate) files: Vec<&'f FileFact>,
}

/// A statement of the provider with the instant and the id of its fact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatedStatement<'f> {
    /// The instant of the fact, in Unix milliseconds.
    pub(crate) at: Millis,
    /// The id of the fact.
    pub(crate) id: &'f str,
    /// The statement.
    pub(crate) statement: &'f ProviderStatement,
}

impl<'f> Recording<'f> {
    /// All recordings of one type that the provider or a file names, in the order of their ids.
    pub(crate) fn all(facts: &FactSet<'f>, capture_type: CaptureType) -> Vec<Self> {
        let mut recordings: BTreeMap<&str, Self> = BTreeMap::new();
        for fact in facts.iter() {
            match fact.kind() {
                FactKind::ProviderState(statement) if statement.capture_type == capture_type => {
                    let recording = Self::entry(&mut recordings, &statement.recording);
                    let (at, id) = (fact.at(), fact.id());
                    recording.states.push(DatedStatement { at, id, statement });
                }
                FactKind::File(file) if capture_type == CaptureType::Recording => {
                    Self::entry(&mut recordings, &file.recording).files.push(file);
                }
                _ => {}
            }
        }
        recordings.into_values().collect()
    }

    fn entry<'m>(recordings: &'m mut BTreeMap<&'f str, Self>, id: &'f str) -> &'m mut Self {
        recordings.entry(id).or_insert_with(|| Self { id, states: Vec::new(), files: Vec::new() })
    }

    /// The earliest start of its files, in Unix milliseconds.
    pub(crate) fn files_start(&self) -> Option<Millis> {
        self.files.iter().map(|file| file.started_at).min()
    }

    /// The latest end of its files, in Unix milliseconds.
    pub(crate) fn files_end(&self) -> Option<Millis> {
        self.files.iter().map(|file| file.end()).max()
    }

    /// The products that capture, as the platform states them; each once, sorted.
    pub(crate) fn kinds(&self) -> Vec<&'f str> {
        let stated = self.states.iter();
        let kinds = stated.filter_map(|dated| dated.statement.capture_kind.as_deref());
        kinds.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
