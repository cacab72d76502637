//! The evidence of one call as an HTML page: one file without references to others.

use std::fmt::Write as _;

use super::evidence_table::EvidenceTable;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1b1b1b;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ccc}\
td.time{white-space:nowrap;font-variant-numeric:tabular-nums}dt{font-weight:600}dd{margin:0 0 .5rem}\
@media print{body{margin:0;max-width:none}}";

/// The page of a table.
pub(super) fn page(table: &EvidenceTable) -> String {
    let title = escaped(&table.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>\n"
    );
    for (label, value) in &table.summary {
        write(&mut page, format_args!("<dt>{}</dt><dd>{}</dd>\n", escaped(label), escaped(value)));
    }
    page += "</dl>\n";
    if table.rows.is_empty() {
        page += "<p>Nothing was captured while a participant was in the call, so no notice was due.</p>\n";
    } else {
        page += "<table>\n<thead><tr>";
        for column in table.columns().iter().map(String::as_str).chain(["why"]) {
            write(&mut page, format_args!("<th scope=\"col\">{}</th>", escaped(column)));
        }
        page += "</tr></thead>\n<tbody>\n";
        for row in table.text_rows() {
            page += "<tr>";
            for (cell, column) in row.cells.iter().zip(table.columns()) {
                let is_time = column.starts_with("due") || column.starts_with("shown");
                let class = if is_time { " class=\"time\"" } else { "" };
                write(&mut page, format_args!("<td{class}>{}</td>", escaped(cell)));
            }
            write(
                &mut page,
                format_args!("<td>{}</td></tr>\n", escaped(row.why.unwrap_or_default())),
            );
        }
        page += "</tbody>\n</table>\n";
    }
    for note in &table.notes {
        write(&mut page, format_args!("<p>{}</p>\n", escaped(note)));
    }
    page += "</body>\n</html>\n";
    page
}

fn write(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = page.write_fmt(arguments);
}

/// A text without characters that HTML reads otherwise.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::evidence::evidence_table::tests::table;

    #[test]
    fn the_page_has_the_same_texts_escaped_and_the_reason_of_each_row() {
        let page = page(&table(Some("Europe/Berlin")));
        for part in [
            "<h1>Evidence of the call c</h1>",
            "<td>Ada &lt;Lindqvist&gt;</td>",
            "<td class=\"time\">12:06:40.035</td>",
            "<th scope=\"col\">shown (Europe/Berlin)</th>",
            "<td>no notice was sent (NOT_SENT)</td>",
            "<td>No notice was sent.</td></tr>",
            "<p>A note &amp; its text.</p>",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(
            !page.contains("<Lindqvist") && !page.contains("<script") && !page.contains("http")
        );
    }
}
