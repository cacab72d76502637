//! The filter of the list as it was typed. What cannot be read is kept, and shown with the reason.

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::de::DeserializeOwned;

use super::columns::CallColumn;
use crate::http::body;
use crate::http::problem::Problem;
use crate::query::calls::filter::CallListQuery;
use crate::query::exceptions::ExceptionQuery;

/// Rows of a page, unless the address says otherwise.
const PAGE_ROWS: &str = "50";
/// The parameters that are of the page, not of the list.
const OF_PAGE: [&str; 1] = ["columns"];

/// The parameters of an address, without empty ones: a form sends each of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::console) struct TypedFilter(Vec<(String, String)>);

/// A parameter that is in force, and the address without it.
pub(in crate::console) struct ActiveFilter {
    pub name: String,
    pub value: String,
    pub without: String,
}

impl TypedFilter {
    /// The parameters of a query.
    ///
    /// # Errors
    ///
    /// It is not percent-encoded UTF-8.
    pub(in crate::console) fn of(query: Option<&str>) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query.unwrap_or_default())
            .map_err(|_| Problem::invalid("query", "the address is not percent-encoded UTF-8"))?;
        Ok(Self::of_pairs(pairs))
    }

    /// These parameters.
    pub(in crate::console) fn of_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let typed = pairs.into_iter().map(|(name, value)| (name, value.trim().to_owned()));
        Self(typed.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The first value of a parameter; empty without one.
    pub(in crate::console) fn first(&self, name: &str) -> &str {
        self.0.iter().find(|(it, _)| it == name).map_or("", |(_, value)| value)
    }

    /// Whether a field for days can show a parameter; what it cannot show is kept in a field for texts.
    pub(in crate::console) fn is_day(&self, name: &str) -> bool {
        let text = self.first(name);
        text.is_empty() || NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
    }

    /// Whether a parameter has this value, alone or in a list with commas.
    pub(in crate::console) fn has(&self, name: &str, value: &str) -> bool {
        self.values(name).flat_map(|values| values.split(',')).any(|it| it.trim() == value)
    }

    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(in crate::console) fn columns(&self) -> Vec<CallColumn> {
        CallColumn::chosen(self.values("columns"))
    }

    /// The query of the list. Days are those of the zone of the page.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(in crate::console) fn query(&self, zone: Tz) -> Result<CallListQuery, Problem> {
        let defaults = [("tz", zone.name()), ("limit", PAGE_ROWS)];
        body::of_pairs(self.with_defaults(&OF_PAGE, &defaults))
    }

    /// The query of another list of rows with instants.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(in crate::console) fn list_query<T: DeserializeOwned>(
        &self,
        zone: &str,
    ) -> Result<T, Problem> {
        body::of_pairs(self.with_defaults(&[], &[("tz", zone), ("limit", PAGE_ROWS)]))
    }

    /// The query of a list without a zone.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(in crate::console) fn plain_query<T: DeserializeOwned>(
        &self,
        rows: &str,
    ) -> Result<T, Problem> {
        body::of_pairs(self.with_defaults(&[], &[("limit", rows)]))
    }

    /// The parameters but those of the page, and the defaults of those that are absent.
    fn with_defaults(&self, of_page: &[&str], defaults: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = self.0.iter().filter(|(name, _)| !of_page.contains(&name.as_str())).cloned();
        let absent = defaults.iter().filter(|(name, _)| self.first(name).is_empty());
        let absent = absent.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        own.chain(absent).collect()
    }

    /// The query of the queue of exceptions.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(in crate::console) fn exception_query(
        &self,
        zone: &str,
    ) -> Result<ExceptionQuery, Problem> {
        let defaults = [("tz", zone), ("limit", PAGE_ROWS)];
        body::of_pairs(self.with_defaults(&["assignee", "closed"], &defaults))
    }

    /// The zone in which the page shows instants: that of the address, so that a shared address shows the
    /// same.
    pub(in crate::console) fn zone(&self, otherwise: Tz) -> Tz {
        self.first("tz").parse().unwrap_or(otherwise)
    }

    /// The address with another value of a parameter; without it for an empty one. Another list begins at its
    /// first page.
    pub(in crate::console) fn address(&self, path: &str, name: &str, value: &str) -> String {
        let others = self.0.iter().filter(|(it, _)| it != name && it != "cursor").cloned();
        let mut pairs: Vec<(String, String)> = others.collect();
        if !value.is_empty() {
            pairs.push((name.to_owned(), value.to_owned()));
        }
        with_query(path, &pairs)
    }

    /// The address of the same page elsewhere, with its cursor.
    pub(in crate::console) fn same_at(&self, path: &str) -> String {
        with_query(path, &self.0)
    }

    /// The parameters of the list without the place in it, as a query.
    pub(in crate::console) fn kept(&self) -> String {
        let kept = self.0.iter().filter(|(name, _)| name != "cursor");
        // Pairs of texts can always be written.
        serde_urlencoded::to_string(kept.collect::<Vec<_>>()).unwrap_or_default()
    }

    /// The parameters that are in force, each with the address without it.
    pub(in crate::console) fn active(&self, path: &str) -> Vec<ActiveFilter> {
        let not_shown = ["tz", "limit", "cursor", "sort", "columns"];
        let shown = self.0.iter().filter(|(name, _)| !not_shown.contains(&name.as_str()));
        shown
            .map(|(name, value)| {
                let others = self.0.iter().filter(|it| **it != (name.clone(), value.clone()));
                let others: Vec<_> = others.filter(|(it, _)| it != "cursor").cloned().collect();
                ActiveFilter {
                    name: name.clone(),
                    value: value.clone(),
                    without: with_query(path, &others),
                }
            })
            .collect()
    }

    /// Whether the form shows all of its fields: one that is hidden otherwise is in force.
    pub(in crate::console) fn has_more(&self) -> bool {
        let more = ["state", "type", "consent", "kind", "app", "min_duration", "participant"];
        more.iter().any(|name| !self.first(name).is_empty())
    }
}

fn with_query(path: &str, pairs: &[(String, String)]) -> String {
    // Pairs of texts can always be written.
    let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(query: &str) -> TypedFilter {
        TypedFilter::of(Some(query)).unwrap()
    }

    #[test]
    fn empty_fields_of_a_form_are_no_filter_and_columns_are_none_of_the_list() {
        let filter = typed("q=&from=&verdict=EXCEPTIONS&verdict=PENDING&columns=app&state=");
        let query = filter.query(Tz::Europe__Berlin).unwrap();
        assert_eq!(query.verdict, ["EXCEPTIONS", "PENDING"]);
        assert_eq!((query.q, query.from), (None, None));
        assert_eq!(query.tz.as_deref(), Some("Europe/Berlin"));
        assert_eq!(query.limit.as_deref(), Some("50"));
        assert!(filter.has("verdict", "PENDING") && !filter.has("verdict", "COMPLIANT"));
        assert!(typed("verdict=EXCEPTIONS,PENDING").has("verdict", "PENDING"));
    }

    #[test]
    fn an_address_keeps_the_other_parameters_and_begins_at_the_first_page() {
        let filter = typed("q=a%26b&sort=started_at&cursor=x");
        assert_eq!(filter.address("/p", "sort", "-started_at"), "/p?q=a%26b&sort=-started_at");
        assert_eq!(filter.address("/p", "q", ""), "/p?sort=started_at");
        assert_eq!(filter.same_at("/p.csv"), "/p.csv?q=a%26b&sort=started_at&cursor=x");
        let active = filter.active("/p");
        assert_eq!(active.len(), 1);
        assert_eq!(
            (active[0].name.as_str(), active[0].without.as_str()),
            ("q", "/p?sort=started_at")
        );
        assert_eq!(typed("").same_at("/p"), "/p");
        assert_eq!(filter.kept(), "q=a%26b&sort=started_at");
    }

    #[test]
    fn what_cannot_be_read_is_kept_and_its_parameter_named() {
        let filter = typed("from=yesterday&verdict=good");
        let refused = serde_json::json!(filter.query(Tz::UTC).unwrap().parse().unwrap_err());
        assert_eq!(refused["member"], "from");
        assert_eq!(filter.first("from"), "yesterday");
        assert!(!filter.is_day("from") && filter.is_day("to"));
        assert!(typed("from=2026-11-23").is_day("from"));
        assert!(typed("sate=open").query(Tz::UTC).is_err());
    }
}
