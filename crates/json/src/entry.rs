//! The entries of a JSON index: kind and byte range of each value, the limits and the errors.

/// Maximum depth of nested arrays and objects. An Azure event has 6 levels; common parsers stop at
/// 128.
pub const MAX_DEPTH: usize = 100;

/// Maximum number of values and member names of one text.
///
/// # Why
///
/// A text of 1 MiB, the maximum that Event Grid sends, cannot hold more. An index entry takes many
/// times the memory of the two bytes `0,`, so a larger text could exhaust the memory.
pub const MAX_VALUES: usize = 512 * 1024;

/// The kind of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A string.
    String,
    /// A number.
    Number,
    /// The literal `true`.
    True,
    /// The literal `false`.
    False,
    /// The literal `null`.
    Null,
}

/// The reason why a text cannot be indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text is not JSON.
    Syntax {
        /// Offset in bytes of the first byte that violates the grammar.
        at: usize,
    },
    /// Values are nested deeper than [`MAX_DEPTH`].
    Depth,
    /// There are more than [`MAX_VALUES`] values.
    Values,
}

/// One value of the index.
///
/// The entries of an object are, in turn, a name (a [`ValueKind::String`]) and its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueEntry {
    pub(crate) kind: ValueKind,
    /// Whether a string or name contains a backslash.
    pub(crate) escaped: bool,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Number of the following entries that are inside this value.
    pub(crate) descendants: usize,
}
