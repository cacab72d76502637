//! Recordings: the statements of the provider and the files of each.

use std::collections::BTreeMap;

use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind, FileFact, ProviderStatement};

/// One recording or one transcription, with the facts about it.
#[derive(Debug)]
pub struct Recording<'f> {
    /// The id of the recording.
    pub id: &'f str,
    /// The statements of the provider.
    pub states: Vec<DatedStatement<'f>>,
    /// The files; a transcription has none.
    pub files: Vec<&'f FileFact>,
}

/// A statement of the provider with the instant and the id of its fact.
#[derive(Clone, Copy, Debug)]
pub struct DatedStatement<'f> {
    /// The instant of the fact, in Unix milliseconds.
    pub at: Millis,
    /// The id of the fact.
    pub id: &'f str,
    /// The statement.
    pub statement: &'f ProviderStatement,
}

impl<'f> Recording<'f> {
    /// All recordings of one type that the provider or a file names, in the order of their ids.
    #[must_use]
    pub fn all(facts: &FactSet<'f>, capture_type: CaptureType) -> Vec<Self> {
        let mut recordings: BTreeMap<&str, Self> = BTreeMap::new();
        for fact in facts.iter() {
            match fact.kind() {
                FactKind::ProviderState(statement) if statement.capture_type == capture_type => {
                    let recording = Self::entry(&mut recordings, &statement.recording);
                    recording.states.push(DatedStatement {
                        at: fact.at(),
                        id: fact.id(),
                        statement,
                    });
                }
                FactKind::File(file) if capture_type == CaptureType::Recording => {
                    Self::entry(&mut recordings, &file.recording)
                        .files
                        .push(file);
                }
                _ => {}
            }
        }
        recordings.into_values().collect()
    }

    fn entry<'m>(recordings: &'m mut BTreeMap<&'f str, Self>, id: &'f str) -> &'m mut Self {
        recordings.entry(id).or_insert_with(|| Self {
            id,
            states: Vec::new(),
            files: Vec::new(),
        })
    }

    /// The earliest start of its files, in Unix milliseconds.
    #[must_use]
    pub fn files_start(&self) -> Option<Millis> {
        self.files.iter().map(|file| file.started_at).min()
    }

    /// The latest end of its files, in Unix milliseconds.
    #[must_use]
    pub fn files_end(&self) -> Option<Millis> {
        self.files.iter().map(|file| file.end()).max()
    }

    /// The products that capture, as the platform states them; each once, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'f str> {
        let stated = self.states.iter();
        let mut kinds: Vec<&str> = stated
            .filter_map(|dated| dated.statement.capture_kind.as_deref())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}
