//! The filter of lists of calls: parameters become terms, which the store has in an index.

use serde::{Deserialize, Serialize};

use crate::http::problem::Problem;
use crate::postgres::{CallOrder, MAX_NAMES, TenantSnapshot, TermFilter};
use crate::query::time_range::{TimeRange, parse_zone};
use onrecord_evidence::identity::alias_graph::Anchor;

const STATES: &[&str] = &["open", "ended"];
const VERDICTS: &[&str] = &["COMPLIANT", "EXCEPTIONS", "PENDING", "UNOBSERVED"];
const CONSENTS: &[&str] = &["DECLINED", "OUTSTANDING", "GIVEN", "NOT_REQUIRED"];
const TYPES: &[&str] = &["recording", "transcription", "none"];
const KINDS: &[&str] = &["room", "meeting", "two_party", "group", "unknown"];
const HAS_EXCEPTIONS: &[&str] = &["true", "false", "open"];
const ORDERS: &[&str] = &["-started_at", "started_at"];

/// Maximum number of values of one parameter.
const MAX_VALUES: usize = 50;
/// Maximum length of a call that a filter names, in ms: longer ones have the same term.
const MAX_LENGTH_MS: i64 = 1 << 40;

/// The parameters that select calls. Several values of one are alternatives; a call has to pass all
/// parameters.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CallListQuery {
    /// Started, from this instant on: RFC 3339, or a day (`2026-11-23`) of the time zone `tz`.
    pub from: Option<String>,
    /// Started, before this instant: RFC 3339, or a day of the time zone `tz`, which is included
    /// whole.
    pub to: Option<String>,
    /// The time zone of days: a name of the IANA database. Default: UTC.
    pub tz: Option<String>,
    /// `open` or `ended` (a presumed end too). Several values by repetition or comma: one of them
    /// has to fit.
    pub state: Vec<String>,
    /// The latest verdict: `COMPLIANT`, `EXCEPTIONS`, `PENDING`, `UNOBSERVED`. Several values by
    /// repetition or comma.
    pub verdict: Vec<String>,
    /// The worst of the obligations that are ours: `DECLINED`, `OUTSTANDING`, `GIVEN`,
    /// `NOT_REQUIRED`. Several values by repetition or comma.
    pub consent: Vec<String>,
    /// Captured at all: `recording`, `transcription`, or `none`. Several values by repetition or
    /// comma.
    pub r#type: Vec<String>,
    /// `room`, `meeting`, `two_party`, `group`, or `unknown` where no event states it. Several
    /// values by repetition or comma.
    pub kind: Vec<String>,
    /// A raw id, or a part of a display name in letters of any case. Several values by repetition.
    /// The read is logged.
    pub participant: Vec<String>,
    /// An app as reports name it (`contoso-web/7.1.0`), or without its version. Several values by
    /// repetition or comma.
    pub app: Vec<String>,
    /// Minimum length of the ended call: seconds, or `90s`, `15m`, `2h`.
    pub min_duration: Option<String>,
    /// `true` (open or closed ones), `open`, or `false`.
    #[param(pattern = "^(true|false|open)$")]
    pub has_exceptions: Option<String>,
    /// Any id of a call, a group id, a raw id, an app, or a part of a display name. The read is
    /// logged.
    pub q: Option<String>,
    /// `-started_at` (newest first, the default) or `started_at`.
    #[param(pattern = "^-?started_at$")]
    pub sort: Option<String>,
    /// `beginning`, or the `changed_through` of an answer: the calls that changed since, in the
    /// order of their last change. It goes with `limit` alone.
    pub changed_after: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    pub cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
}

/// What the parameters say, before names are looked up.
#[derive(Debug)]
pub(crate) struct ParsedFilter {
    pub range: TimeRange,
    pub order: CallOrder,
    terms: Vec<TermFilter>,
    /// Raw ids or parts of display names, alternatives.
    participants: Vec<String>,
    /// An id of a call or a group, a raw id, an app, or a part of a display name.
    anything: Option<String>,
}

impl CallListQuery {
    /// Whether a parameter is given that changes cannot be filtered by.
    pub(crate) fn has_filter(&self) -> bool {
        let lists = [
            &self.state,
            &self.verdict,
            &self.consent,
            &self.r#type,
            &self.kind,
            &self.participant,
            &self.app,
        ];
        let words = [
            &self.from,
            &self.to,
            &self.tz,
            &self.min_duration,
            &self.has_exceptions,
            &self.q,
            &self.sort,
        ];
        lists.iter().any(|list| !list.is_empty()) || words.iter().any(|word| word.is_some())
    }

    /// Parses the parameters.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter and the allowed values.
    pub(crate) fn parse(&self) -> Result<ParsedFilter, Problem> {
        let zone = parse_zone(self.tz.as_deref())?;
        let range = TimeRange::parse(self.from.as_deref(), self.to.as_deref(), zone)?;
        let states = words("state", &self.state, STATES)?;
        let mut terms = vec![
            // Every call has one of them.
            terms_of("state", if states.is_empty() { STATES.to_vec() } else { states }),
        ];
        for (name, given, allowed) in [
            ("verdict", &self.verdict, VERDICTS),
            ("consent", &self.consent, CONSENTS),
            ("type", &self.r#type, TYPES),
            ("kind", &self.kind, KINDS),
        ] {
            let words = words(name, given, allowed)?;
            if !words.is_empty() {
                terms.push(terms_of(name, words));
            }
        }
        let apps = split(&self.app);
        check_number("app", apps.len())?;
        if !apps.is_empty() {
            terms.push(terms_of("app", apps));
        }
        if let Some(min) = &self.min_duration {
            terms.push(lengths_from(parse_duration(min)?));
        }
        if let Some(has) = &self.has_exceptions {
            let states = match one_of("has_exceptions", has, HAS_EXCEPTIONS)? {
                "open" => vec!["open"],
                "true" => vec!["open", "closed"],
                _ => vec!["none"],
            };
            terms.push(terms_of("exceptions", states));
        }
        let sort = self.sort.as_deref().map(|sort| one_of("sort", sort, ORDERS)).transpose()?;
        let order = match sort {
            Some("started_at") => CallOrder::OldestFirst,
            _ => CallOrder::NewestFirst,
        };
        check_number("participant", self.participant.len())?;
        let empty = self.participant.iter().chain(&self.q).find(|text| text.trim().is_empty());
        if empty.is_some() {
            let name = if self.participant.iter().any(|text| text.trim().is_empty()) {
                "participant"
            } else {
                "q"
            };
            return Err(Problem::invalid(name, format!("{name} is not empty")));
        }
        // One filter on all states says nothing beside another.
        if terms.len() + usize::from(!self.participant.is_empty()) + usize::from(self.q.is_some())
            > 1
            && self.state.is_empty()
        {
            terms.remove(0);
        }
        Ok(ParsedFilter {
            range,
            order,
            terms,
            participants: self.participant.clone(),
            anything: self.q.clone(),
        })
    }
}

impl ParsedFilter {
    /// The person that the list is about, for the access log.
    pub(crate) fn person(&self) -> Option<String> {
        let named: Vec<&str> =
            self.participants.iter().chain(&self.anything).map(String::as_str).collect();
        (!named.is_empty()).then(|| named.join(", "))
    }

    /// The terms of all parameters; parts of names are looked up.
    ///
    /// # Errors
    ///
    /// A part of a name stands for too many names; or the store does not answer.
    pub(crate) async fn terms(
        self,
        snapshot: &mut TenantSnapshot,
    ) -> Result<Vec<TermFilter>, Problem> {
        let mut filters = self.terms;
        // Of the lengths that no call has, each would take its share of the rows that a page may read.
        for filter in filters.iter_mut().filter(|filter| filter.min_length_ms.is_some()) {
            let (first, others) = filter.terms.split_at(1);
            filter.terms = [first, &snapshot.existing_terms(others).await?].concat();
        }
        if !self.participants.is_empty() {
            let mut terms = Vec::new();
            for text in &self.participants {
                terms.push(format!("participant={text}"));
                terms.extend(names("participant", text, snapshot).await?);
            }
            filters.push(alternatives(terms));
        }
        if let Some(text) = &self.anything {
            let mut terms =
                vec![format!("participant={text}"), format!("app={text}"), format!("group={text}")];
            let call = snapshot.call_of(&Anchor::candidates(text)).await?;
            terms.extend(call.map(|call| format!("call={call}")));
            terms.extend(names("q", text, snapshot).await?);
            filters.push(alternatives(terms));
        }
        Ok(filters)
    }
}

/// The terms of the display names that contain a text.
async fn names(
    parameter: &'static str,
    text: &str,
    snapshot: &mut TenantSnapshot,
) -> Result<Vec<String>, Problem> {
    let names = snapshot.names_with(text.trim()).await?;
    let names = names.ok_or_else(|| {
        Problem::invalid(
            parameter,
            format!(
                "more than {MAX_NAMES} display names contain this text; write more of the name"
            ),
        )
    })?;
    Ok(names.into_iter().map(|name| format!("name={name}")).collect())
}

fn alternatives(mut terms: Vec<String>) -> TermFilter {
    terms.sort();
    terms.dedup();
    TermFilter { terms, min_length_ms: None }
}

fn terms_of(name: &str, values: Vec<impl AsRef<str>>) -> TermFilter {
    alternatives(values.iter().map(|value| format!("{name}={}", value.as_ref())).collect())
}

/// The terms of all lengths from this one on; those of the first may be shorter.
fn lengths_from(min_ms: i64) -> TermFilter {
    let half = |length: i64| {
        let digits = 64 - i64::from(length.leading_zeros());
        (digits, if digits > 1 { (length >> (digits - 2)) & 1 } else { 0 })
    };
    let (first, last) = (half(min_ms.max(1)), half(MAX_LENGTH_MS));
    let all = (first.0..=last.0).flat_map(|digits| [(digits, 0), (digits, 1)]);
    let from = all.filter(|length| *length >= first);
    TermFilter {
        terms: from.map(|(digits, second)| format!("length={digits:02}{second}")).collect(),
        min_length_ms: Some(min_ms),
    }
}

/// The words of a parameter, given by repetition or with commas.
fn words(
    name: &'static str,
    given: &[String],
    allowed: &'static [&'static str],
) -> Result<Vec<&'static str>, Problem> {
    let given = split(given);
    check_number(name, given.len())?;
    given.into_iter().map(|word| one_of(name, word, allowed)).collect()
}

fn split(given: &[String]) -> Vec<&str> {
    given.iter().flat_map(|text| text.split(',')).map(str::trim).collect()
}

fn check_number(name: &'static str, number: usize) -> Result<(), Problem> {
    if number > MAX_VALUES {
        return Err(Problem::invalid(name, format!("{name} has at most {MAX_VALUES} values")));
    }
    Ok(())
}

fn one_of(
    name: &'static str,
    word: &str,
    allowed: &'static [&'static str],
) -> Result<&'static str, Problem> {
    let found = allowed.iter().find(|it| **it == word).copied();
    found.ok_or_else(|| {
        Problem::invalid(name, format!("{name} is one of {}", allowed.join(", "))).allowing(allowed)
    })
}

/// Parses a length: `90s`, `15m`, `2h`, or whole seconds.
fn parse_duration(text: &str) -> Result<i64, Problem> {
    let (number, unit_ms) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1_000),
        Some((at, 'm')) => (&text[..at], 60_000),
        Some((at, 'h')) => (&text[..at], 3_600_000),
        _ => (text, 1_000),
    };
    let number: Option<i64> =
        number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()));
    let length = number.and_then(|number| number.checked_mul(unit_ms));
    length.filter(|length| *length <= MAX_LENGTH_MS).ok_or_else(|| {
        Problem::invalid(
            "min_duration",
            "min_duration is a whole number of seconds, or with a unit: 90s, 15m, 2h",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn term(length: i64) -> String {
        let digits = format!("{length:b}");
        format!("length={:02}{}", digits.len(), digits.chars().nth(1).unwrap_or('0'))
    }

    proptest! {
        #[test]
        fn each_call_that_is_long_enough_has_a_term_of_the_filter(min in 1_i64..1 << 36, more in 0_i64..1 << 36) {
            let filter = lengths_from(min);
            prop_assert!(filter.terms.contains(&term(min + more)));
            // Only the first term has shorter calls.
            let place = filter.terms.iter().position(|it| *it == term(min)).unwrap();
            prop_assert_eq!(place, 0);
        }
    }

    #[test]
    fn a_word_that_does_not_exist_is_refused_with_the_allowed_ones() {
        let of = |query: CallListQuery| json!(query.parse().unwrap_err());
        let wrong = "OPEN".to_owned();
        for (query, member) in [
            (CallListQuery { state: vec!["open,ajar".to_owned()], ..Default::default() }, "state"),
            (
                CallListQuery { verdict: vec!["compliant".to_owned()], ..Default::default() },
                "verdict",
            ),
            (CallListQuery { kind: vec![wrong.clone()], ..Default::default() }, "kind"),
            (CallListQuery { r#type: vec![wrong.clone()], ..Default::default() }, "type"),
            (CallListQuery { consent: vec![wrong.clone()], ..Default::default() }, "consent"),
            (CallListQuery { sort: Some(wrong.clone()), ..Default::default() }, "sort"),
            (CallListQuery { has_exceptions: Some(wrong), ..Default::default() }, "has_exceptions"),
        ] {
            let refused = of(query);
            assert_eq!(refused["member"], member);
            assert!(refused["allowed"].as_array().is_some_and(|it| it.len() > 1), "{refused:#}");
        }
        for min in ["", "x", "-5", "5d", "99999999999999999999", "1.5h"] {
            let query = CallListQuery { min_duration: Some(min.to_owned()), ..Default::default() };
            assert_eq!(of(query)["member"], "min_duration", "{min}");
        }
    }

    #[test]
    fn several_values_are_given_by_repetition_or_with_commas() {
        let one = vec!["EXCEPTIONS,PENDING".to_owned()];
        let two = vec!["PENDING".to_owned(), "EXCEPTIONS".to_owned()];
        let [one, two] = [one, two]
            .map(|verdict| CallListQuery { verdict, ..Default::default() }.parse().unwrap().terms);
        assert_eq!(one, two);
        assert_eq!(one, [terms_of("verdict", vec!["EXCEPTIONS", "PENDING"])]);
        let all = CallListQuery::default().parse().unwrap().terms;
        assert_eq!(all, [terms_of("state", STATES.to_vec())]);
    }
}
