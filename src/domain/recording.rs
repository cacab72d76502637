//! Recordings: what provider and files tell of each.

use std::collections::BTreeMap;

use super::fact::{CaptureType, FactKind, ProviderStatement, RecordingFile};
use super::fact_set::FactSet;
use super::instant::Millis;

/// One recording, or one transcription, with all that the facts tell of it.
#[derive(Debug)]
pub struct Recording<'f> {
    /// Which.
    pub id: &'f str,
    /// What the provider stated.
    pub states: Vec<DatedStatement<'f>>,
    /// Its files; a transcription has none.
    pub files: Vec<&'f RecordingFile>,
}

/// A provider's statement with its fact's time and id.
#[derive(Clone, Copy, Debug)]
pub struct DatedStatement<'f> {
    /// In Unix milliseconds.
    pub t: Millis,
    /// The fact's.
    pub id: &'f str,
    /// What it says.
    pub statement: &'f ProviderStatement,
}

impl<'f> Recording<'f> {
    /// All recordings of one type that a provider or a file names, by id.
    #[must_use]
    pub fn all(facts: &FactSet<'f>, capture: CaptureType) -> Vec<Self> {
        let mut recordings: BTreeMap<&str, Self> = BTreeMap::new();
        for fact in facts.iter() {
            match fact.kind() {
                FactKind::ProviderState(statement) if statement.capture == capture => {
                    let recording = Self::entry(&mut recordings, &statement.recording);
                    recording.states.push(DatedStatement {
                        t: fact.t(),
                        id: fact.id(),
                        statement,
                    });
                }
                FactKind::File(file) if capture == CaptureType::Recording => {
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

    /// When its first file starts.
    #[must_use]
    pub fn files_start(&self) -> Option<Millis> {
        self.files.iter().map(|file| file.start).min()
    }

    /// When the last of its files to end ends.
    #[must_use]
    pub fn files_end(&self) -> Option<Millis> {
        self.files.iter().map(|file| file.end()).max()
    }

    /// The provider's kinds of capture, each once, sorted.
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
