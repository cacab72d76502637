//! The limits of what comes out of a body, and why a body is not received.

/// Why a body is not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeRefusal {
    /// The text exceeds its maximum size.
    TooLarge,
    /// There is no capacity for what comes out.
    NoCapacity,
}

/// The limits of what comes out.
pub(crate) struct OutputLimits<'g> {
    /// Maximum size of each step.
    pub(crate) max: usize,
    /// Takes the capacity for more bytes; returns whether there is as much.
    pub(crate) grow: &'g mut dyn FnMut(usize) -> bool,
}
