//! Rows as columns: a statement that writes many rows takes one array for each column.

/// One value of each row.
pub(crate) fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
