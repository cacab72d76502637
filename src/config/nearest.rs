//! The known name that is most similar to one that is not known.

/// Minimum similarity (0 to 1) of an unknown name to the known one that an error suggests.
const MIN_SIMILARITY: f64 = 0.8;

/// The most similar of the known names. `None`: none is similar.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let similarity = |known: &'k str| (strsim::jaro_winkler(name, known), known);
    known
        .into_iter()
        .map(similarity)
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}
