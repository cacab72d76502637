//! The little Markdown of descriptions as HTML: paragraphs, lists, `code` and **strong** words. Everything else
//! is text.

/// Escapes a text for HTML, also inside an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
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

/// The words of a line.
pub(crate) fn inline(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            html.push_str(&format!("<code>{}</code>", escape(part)));
            continue;
        }
        for (index, part) in part.split("**").enumerate() {
            let part = escape(part);
            if index % 2 == 1 {
                html.push_str(&format!("<strong>{part}</strong>"));
            } else {
                html.push_str(&part);
            }
        }
    }
    html
}

/// The blocks of a text.
pub(crate) fn blocks(text: &str) -> String {
    let mut html = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        if block.starts_with("* ") {
            let items = block.split("\n* ").map(|item| item.trim_start_matches("* "));
            let items = items.map(|item| format!("<li>{}</li>", inline(item)));
            html.push_str(&format!("<ul>{}</ul>", items.collect::<String>()));
        } else {
            html.push_str(&format!("<p>{}</p>", inline(block)));
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html_and_nothing_else_does() {
        assert_eq!(
            inline("a `<b>` **c** <d>"),
            "a <code>&lt;b&gt;</code> <strong>c</strong> &lt;d&gt;"
        );
        assert_eq!(
            blocks("One\ntwo.\n\n* a\n* `b`"),
            "<p>One\ntwo.</p><ul><li>a</li><li><code>b</code></li></ul>"
        );
    }
}
