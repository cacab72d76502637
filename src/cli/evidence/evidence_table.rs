//! The evidence of one call as a table: for each participant and capture, when the notice was due and
//! when it was shown, in words.

use chrono::{DateTime, Utc};

use super::display_zone::DisplayZone;
use onrecord_evidence::event::instant::Millis;

/// The evidence of one call.
pub(in crate::cli) struct EvidenceTable {
    pub title: String,
    /// What is known of the call and its report: a label and a text each.
    pub summary: Vec<(&'static str, String)>,
    pub rows: Vec<EvidenceRow>,
    /// What must be known besides.
    pub notes: Vec<String>,
    pub zone: DisplayZone,
}

/// One participant and one capture.
pub(in crate::cli) struct EvidenceRow {
    pub who: String,
    pub capture_type: String,
    pub due_at: Millis,
    pub shown_at: Option<Millis>,
    pub exposure_ms: Option<Millis>,
    /// The code of the status.
    pub status: String,
    /// The code of the consent.
    pub consent: String,
    /// Why the status is as it is.
    pub why: Option<String>,
}

/// What is shown where there is nothing.
const NOTHING: &str = "–";

/// The verdict of a report in words, with its code.
pub(in crate::cli) fn verdict_words(code: &str) -> String {
    in_words(
        code,
        match code {
            "COMPLIANT" => "every required notice was shown in time",
            "EXCEPTIONS" => "a required notice is missing or late",
            "UNOBSERVED" => "too little was observed to know what was captured",
            "PENDING" => "not decided yet",
            _ => "",
        },
    )
}

/// The consent of a report or an obligation in words, with its code.
pub(in crate::cli) fn consent_words(code: &str) -> String {
    in_words(
        code,
        match code {
            "GIVEN" => "given",
            "DECLINED" => "declined",
            "REQUIRED" | "OUTSTANDING" => "asked for, no answer",
            "NOT_REQUIRED" => "not required",
            _ => "",
        },
    )
}

/// The status of an obligation in words, with its code.
fn status_words(code: &str) -> String {
    in_words(
        code,
        match code {
            "MET" => "shown in time",
            "LATE" => "shown too late",
            "BRIEF" => "over before a notice was required",
            "UNCONFIRMED" => "arrived, not known to be shown",
            "UNDELIVERED" => "sent, not known to have arrived",
            "NOT_SENT" => "no notice was sent",
            "PENDING" => "there is still time",
            "NOT_OURS" => "another party notifies",
            _ => "",
        },
    )
}

/// What the flags of a session say about its clients; `None`: it has none.
pub(in crate::cli) fn flag_note<'f>(
    who: &str,
    flags: impl IntoIterator<Item = &'f str>,
) -> Option<String> {
    let flags: Vec<&str> = flags.into_iter().collect();
    let reasons = flags.iter().map(|&flag| match flag {
        "CLAIM_REFUSED" => "a client names a participantId that is not its own",
        "OUTSIDER" => "the platform names others in the call and not this person",
        _ => "see the documents",
    });
    let reasons = reasons.collect::<Vec<_>>().join(", and ");
    (!flags.is_empty()).then(|| {
        format!(
            "{who} is flagged {}: {reasons}. Its reports and acknowledgements count for no other participant.",
            flags.join(" and ")
        )
    })
}

/// The code stands beside its words: the documents and the API use it.
fn in_words(code: &str, words: &str) -> String {
    if words.is_empty() { code.to_owned() } else { format!("{words} ({code})") }
}

impl EvidenceTable {
    /// The names of the columns.
    fn columns(&self) -> Vec<String> {
        let zones = self.zone.shown();
        let of =
            |what: &'static str| zones.iter().map(move |zone| format!("{what} ({})", zone.name()));
        let before = ["who", "type"].map(str::to_owned).into_iter();
        let after = ["exposure", "status", "consent"].map(str::to_owned);
        before.chain(of("due")).chain(of("shown")).chain(after).collect()
    }

    /// The rows of the table in texts.
    fn text_rows(&self) -> impl Iterator<Item = Vec<String>> {
        // Times of the day of the first notice have no date.
        let first = self.rows.iter().map(|row| row.due_at).min().and_then(instant);
        self.rows.iter().map(move |row| {
            let zones = self.zone.shown();
            let times = |at: Option<Millis>| {
                let at = at.and_then(instant);
                let time = |zone: &DisplayZone| {
                    let day = first.map(|first| zone.day(first));
                    let time = at.zip(day).map(|(at, day)| zone.time(at, day));
                    time.unwrap_or_else(|| NOTHING.to_owned())
                };
                zones.iter().map(time).collect::<Vec<String>>()
            };
            let exposure = row.exposure_ms.map(|exposure| format!("{exposure} ms"));
            let mut cells = vec![row.who.clone(), row.capture_type.clone()];
            cells.extend(times(Some(row.due_at)));
            cells.extend(times(row.shown_at));
            cells.push(exposure.unwrap_or_else(|| NOTHING.to_owned()));
            cells.push(status_words(&row.status));
            cells.push(consent_words(&row.consent));
            cells
        })
    }

    /// The table as text.
    pub(in crate::cli) fn text(&self) -> String {
        let mut text = format!("\n{}\n\n", self.title);
        let label_width = self.summary.iter().map(|(label, _)| label.chars().count()).max();
        for (label, value) in &self.summary {
            text += &format!("{label:<width$}  {value}\n", width = label_width.unwrap_or(0));
        }
        if !self.summary.is_empty() {
            text += "\n";
        }
        let mut lines = vec![self.columns()];
        lines.extend(self.text_rows());
        if self.rows.is_empty() {
            text +=
                "Nothing was captured while a participant was in the call, so no notice was due.\n";
            lines.clear();
        }
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns().len()).map(width).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text += "\n";
        }
        let explained = self.rows.iter().filter_map(|row| Some((row, row.why.as_ref()?)));
        for (row, why) in explained {
            let (who, status, capture_type) = (&row.who, &row.status, &row.capture_type);
            text += &format!("\nWhy {who} is {status} for the {capture_type}: {why}\n");
        }
        for note in &self.notes {
            text += &format!("\n{note}\n");
        }
        text
    }
}

/// `None`: beyond the calendar, where no parsed time is.
pub(super) fn instant(at: Millis) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with one participant who was notified, one who was not, and one of another party.
    fn table(zone: Option<&str>) -> EvidenceTable {
        let row = |who: &str, shown_at, exposure_ms, status: &str, why: Option<&str>| EvidenceRow {
            who: who.to_owned(),
            capture_type: "recording".to_owned(),
            due_at: 1_795_000_000_000,
            shown_at,
            exposure_ms,
            status: status.to_owned(),
            consent: "NOT_REQUIRED".to_owned(),
            why: why.map(str::to_owned),
        };
        EvidenceTable {
            title: "Evidence of the call c".to_owned(),
            summary: vec![
                ("verdict", verdict_words("EXCEPTIONS")),
                ("consent", consent_words("NOT_REQUIRED")),
            ],
            rows: vec![
                row("Ada <Lindqvist>", Some(1_795_000_000_035), Some(35), "MET", None),
                row(
                    "ACS user …77e1",
                    None,
                    Some(86_400_000),
                    "NOT_SENT",
                    Some("No notice was sent."),
                ),
                row("phone number …0123", None, None, "NOT_OURS", None),
            ],
            notes: vec!["A note & its text.".to_owned()],
            zone: DisplayZone::named(zone).unwrap(),
        }
    }

    #[test]
    fn the_table_has_wall_clock_times_of_both_zones_and_words_for_the_status() {
        let expected = "
Evidence of the call c

verdict  a required notice is missing or late (EXCEPTIONS)
consent  not required (NOT_REQUIRED)

who                 type       due (UTC)     due (Europe/Berlin)  shown (UTC)   shown (Europe/Berlin)  exposure     status                         consent
Ada <Lindqvist>     recording  11:06:40.000  12:06:40.000         11:06:40.035  12:06:40.035           35 ms        shown in time (MET)            not required (NOT_REQUIRED)
ACS user …77e1      recording  11:06:40.000  12:06:40.000         –             –                      86400000 ms  no notice was sent (NOT_SENT)  not required (NOT_REQUIRED)
phone number …0123  recording  11:06:40.000  12:06:40.000         –             –                      –            another party notifies (NOT_OURS)  not required (NOT_REQUIRED)

Why ACS user …77e1 is NOT_SENT for the recording: No notice was sent.

A note & its text.
";
        let squeezed = |text: &str| {
            let lines =
                text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.collect::<Vec<_>>()
        };
        let text = table(Some("Europe/Berlin")).text();
        assert_eq!(squeezed(&text), squeezed(expected));
        let columns: Vec<usize> =
            text.lines().filter_map(|line| line.find("NOT_REQUIRED")).collect();
        assert_eq!(columns.len(), 4, "{text}");
    }

    #[test]
    fn another_day_has_its_date_and_utc_alone_has_one_column() {
        let mut table = table(Some("UTC"));
        table.rows[0].shown_at = Some(1_795_000_000_000 + 86_400_000);
        let text = table.text();
        assert!(text.contains("due (UTC)") && !text.contains("Berlin"), "{text}");
        assert!(text.contains("2026-11-19 11:06:40.000"), "{text}");
        table.rows.clear();
        assert!(table.text().contains("no notice was due"));
    }
}
