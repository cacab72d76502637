//! The columns of the list of calls.

use strum::IntoEnumIterator as _;

/// A column. Its name is that in the address.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub(in crate::console) enum CallColumn {
    Started,
    Length,
    People,
    Captured,
    Verdict,
    Exceptions,
    Consent,
    Kind,
    App,
    Id,
}

impl CallColumn {
    const DEFAULT: [Self; 6] = [
        Self::Started,
        Self::Length,
        Self::People,
        Self::Captured,
        Self::Verdict,
        Self::Exceptions,
    ];

    /// The columns with these names, in their order. The first is always there: it leads to the call.
    pub(in crate::console) fn chosen<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Self> {
        // A name that is no column, as in an old address, shows nothing; the filters beside it still hold.
        let names: Vec<Self> =
            names.flat_map(|names| names.split(',')).filter_map(|name| name.parse().ok()).collect();
        if names.is_empty() {
            return Self::DEFAULT.to_vec();
        }
        Self::iter().filter(|it| *it == Self::Started || names.contains(it)).collect()
    }

    pub(in crate::console) fn name(self) -> &'static str {
        self.into()
    }

    /// The key of its heading.
    pub(in crate::console) fn heading(self) -> String {
        format!("calls.column.{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_one_order_and_the_first_is_always_there() {
        let chosen = |names: &[&str]| CallColumn::chosen(names.iter().copied());
        assert_eq!(chosen(&[]), CallColumn::DEFAULT);
        assert_eq!(chosen(&["nonsense"]), CallColumn::DEFAULT);
        let expected = [CallColumn::Started, CallColumn::Verdict, CallColumn::App];
        assert_eq!(chosen(&["app", "verdict"]), expected);
        assert_eq!(chosen(&["verdict,app"]), expected);
    }
}
