//! A named SQL statement, as `statements!` lists it.

/// A named SQL statement of this module.
#[derive(Clone, Copy, Debug)]
pub struct SqlStatement {
    /// The file that declares it.
    pub file: &'static str,
    pub name: &'static str,
    pub sql: &'static str,
}
