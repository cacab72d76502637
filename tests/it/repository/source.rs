//! Rust sources, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file with its comments and strings blanked, line for line.
pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    code: String,
}

/// A path into our own crate.
pub struct Import {
    pub line: usize,
    /// Its names, from the root of the crate.
    pub path: Vec<String>,
    /// Whether it is a `pub use` of another file's item.
    pub is_reexport: bool,
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A text of the repository.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|refused| panic!("{path}: {refused}"))
}

/// The section of a Markdown text with this title, up to the next one of the same level.
pub fn section<'t>(markdown: &'t str, title: &str) -> &'t str {
    let heading = format!("## {title}\n");
    let (_, rest) =
        markdown.split_once(&heading).unwrap_or_else(|| panic!("there is no section {title:?}"));
    rest.split("\n## ").next().unwrap_or_default()
}

/// Every Rust file below a folder of the repository, in the order of their paths. There are none in
/// a folder that does not exist.
pub fn rust_sources(folder: &str) -> Vec<Source> {
    let folder = root().join(folder);
    if !folder.is_dir() {
        return Vec::new();
    }
    files_below(&folder)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| Source::of(&relative(&file), &fs::read_to_string(&file).unwrap()))
        .collect()
}

/// Every text of the repository with its path. Other files are left out.
pub fn repository_texts() -> Vec<(String, String)> {
    files_below(&root())
        .into_iter()
        .filter_map(|file| Some((relative(&file), fs::read_to_string(&file).ok()?)))
        .collect()
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    const CHECKED_HIDDEN: [&str; 4] = [".ci", ".dockerignore", ".github", ".gitignore"];
    const GENERATED: [&str; 2] = ["target", "node_modules"];
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str());
            // Hidden files belong to a developer's editor and environment.
            let is_skipped = name.is_some_and(|name| {
                GENERATED.contains(&name)
                    || (name.starts_with('.') && !CHECKED_HIDDEN.contains(&name))
            });
            match path.is_dir() {
                _ if is_skipped => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}

impl Source {
    pub fn of(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: blanked(text) }
    }

    /// The path below the crate's `src`, and the path of `src`.
    fn below_crate(&self) -> (&str, &str) {
        match self.path.split_once("src/") {
            Some((before, below)) => (&self.path[..before.len() + 4], below),
            None => ("", &self.path),
        }
    }

    /// The folder of the crate's root.
    pub fn crate_folder(&self) -> &str {
        self.below_crate().0
    }

    /// The module that the file is, from the crate's root; none for the root itself.
    pub fn module_path(&self) -> Vec<String> {
        let below = self.below_crate().1.trim_end_matches(".rs");
        let mut names: Vec<String> = below.split('/').map(str::to_owned).collect();
        if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            names.pop();
        }
        names
    }

    /// The module at the top of the crate that the file is part of.
    pub fn module(&self) -> String {
        let below = self.below_crate().1;
        below.split(['/', '.']).next().unwrap_or_default().to_owned()
    }

    /// The line at which the tests at the end of the file begin, or one after the last.
    pub fn first_test_line(&self) -> usize {
        let tests = self.lines_with("#[cfg(test)]").next();
        tests.unwrap_or_else(|| self.code.lines().count() + 1)
    }

    /// The numbers of the lines that have this text outside comments and strings.
    pub fn lines_with<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code
            .lines()
            .enumerate()
            .filter(move |(_, line)| line.contains(wanted))
            .map(|(number, _)| number + 1)
    }

    /// The same for a whole word.
    pub fn lines_with_word<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = usize> + 'a {
        let has = move |line: &str| line.split(|c: char| !is_of_word(c)).any(|word| word == wanted);
        self.code
            .lines()
            .enumerate()
            .filter(move |(_, line)| has(line))
            .map(|(number, _)| number + 1)
    }

    /// The functions that are defined here, with their lines.
    pub fn functions(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        self.code.lines().enumerate().filter_map(|(number, line)| {
            let mut words = words(line);
            words.find(|word| *word == "fn")?;
            Some((number + 1, words.next()?.to_owned()))
        })
    }

    /// The types and traits that are defined here, outside tests, with their lines.
    pub fn types(&self) -> Vec<(usize, String)> {
        let mut types = Vec::new();
        let lines = self.code.lines().enumerate().take(self.first_test_line());
        for (number, line) in lines {
            let mut words = words(line)
                .skip_while(|word| matches!(*word, "pub" | "crate" | "super" | "in" | "unsafe"));
            let is_definition = match words.next() {
                Some("struct" | "enum" | "trait") => true,
                // Elsewhere it is the associated type of a trait.
                Some("type") => !line.starts_with(' '),
                _ => false,
            };
            if let Some(name) = words.next().filter(|_| is_definition) {
                types.push((number + 1, name.to_owned()));
            }
        }
        types
    }

    /// The modules that are declared here with a file of their own.
    pub fn child_modules(&self) -> Vec<String> {
        let declared = |line: &str| {
            let mut words = words(line.strip_suffix(';')?)
                .skip_while(|word| matches!(*word, "pub" | "crate" | "super"));
            (words.next() == Some("mod")).then(|| words.next().map(str::to_owned))?
        };
        self.code.lines().filter_map(declared).collect()
    }

    /// Every path into a module of the crate, in the order of the text, outside tests.
    pub fn imports(&self) -> Vec<Import> {
        let module = self.module_path();
        let children = self.child_modules();
        let mut imports = Vec::new();
        // The inline modules around a line, each with the indentation of its end.
        let mut inline: Vec<(usize, String)> = Vec::new();
        let mut at = 0;
        for (number, line) in self.code.split_inclusive('\n').enumerate() {
            if number + 1 >= self.first_test_line() {
                break;
            }
            let indentation = line.len() - line.trim_start().len();
            let statement = line.trim();
            if statement == "}" && inline.last().is_some_and(|(end, _)| *end == indentation) {
                inline.pop();
            }
            let mut here = module.clone();
            here.extend(inline.iter().map(|(_, name)| name.clone()));
            let is_reexport =
                statement.starts_with("pub") && words(statement).any(|it| it == "use");
            for (start, end, base) in path_starts(line, &here, &children) {
                // `pub(in …)` only says who sees an item.
                let before = &line[..start];
                let begins_path = !before.ends_with([':', '$'])
                    && !before.ends_with(is_of_word)
                    && !before.ends_with("pub(in ");
                if begins_path {
                    let tails = tails(&self.code[at + end..]);
                    imports.extend(tails.into_iter().map(|tail| Import {
                        line: number + 1,
                        path: [base.clone(), tail].concat(),
                        is_reexport,
                    }));
                }
            }
            let mut opening =
                words(statement).skip_while(|word| matches!(*word, "pub" | "crate" | "super"));
            if opening.next() == Some("mod") && statement.ends_with('{') {
                let name = opening.next().unwrap_or_default().to_owned();
                inline.push((indentation, name));
            }
            at += line.len();
        }
        imports
    }
}

/// The beginnings of paths in a line: where each begins and ends, and the module that it means.
fn path_starts(
    line: &str,
    here: &[String],
    children: &[String],
) -> Vec<(usize, usize, Vec<String>)> {
    let mut starts = Vec::new();
    for (start, text) in line.match_indices("crate::") {
        starts.push((start, start + text.len(), Vec::new()));
    }
    let mut after_supers = 0;
    for (start, _) in line.match_indices("super::") {
        if start < after_supers {
            continue;
        }
        let (mut end, mut base) = (start, here.to_vec());
        while line[end..].starts_with("super::") {
            base.pop();
            end += "super::".len();
        }
        after_supers = end;
        starts.push((start, end, base));
    }
    for child in children {
        let text = format!("{child}::");
        for (start, _) in line.match_indices(&text) {
            let base = [here, std::slice::from_ref(child)].concat();
            starts.push((start, start + text.len(), base));
        }
    }
    starts.sort();
    starts
}

/// The ends of a path behind its beginning: one, or those of a `{group}`.
fn tails(rest: &str) -> Vec<Vec<String>> {
    if let Some(group) = rest.strip_prefix('{') {
        return group_members(group)
            .into_iter()
            .flat_map(|member| tails(member.trim_start()))
            .collect();
    }
    let name: String = rest.chars().take_while(|c| is_of_word(*c)).collect();
    if name.is_empty() || name == "self" {
        return vec![Vec::new()];
    }
    match rest[name.len()..].strip_prefix("::") {
        Some(more) => {
            tails(more).into_iter().map(|tail| [vec![name.clone()], tail].concat()).collect()
        }
        None => vec![vec![name]],
    }
}

/// The members of a group, whose opening brace is cut off.
fn group_members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                members.push(&group[begin..at]);
                begin = at + 1;
            }
            '}' if depth == 0 => {
                members.push(&group[begin..at]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The text with comments, strings and character literals replaced by blanks, line for line.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' | 'b' if raw_string(rest).is_some() && !code.ends_with(is_of_word) => {
                raw_string(rest).unwrap_or(1)
            }
            '"' => string(rest),
            '\'' => character(rest).unwrap_or(0),
            _ => 0,
        };
        let keeps = taken == 0;
        let (head, tail) = rest.split_at(if keeps { c.len_utf8() } else { taken });
        if keeps {
            code.push_str(head);
        } else {
            code.extend(head.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    code
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"…"`, `r#"…"#`, `br"…"` at the beginning, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let behind = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = behind.chars().take_while(|c| *c == '#').count();
    let body = behind.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(text.len() - body.len() + length)
}

/// The length of a character literal; a lifetime is not one.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if body.starts_with('\\') {
        // The escaped character may be a quotation mark itself.
        let end = body.char_indices().skip(2).find(|(_, c)| *c == '\'')?.0;
        return Some(end + 2);
    }
    let c = body.chars().next()?;
    body[c.len_utf8()..].starts_with('\'').then_some(c.len_utf8() + 2)
}

#[test]
fn every_form_of_import_is_found() {
    let text = r##"
//! [`crate::ledger`] in a comment is not an import.
use crate::store::{self, Store};
use crate::{
    domain::ids::{Digest, Tenant},
    http, ledger::start,
};
use super::super::live::LiveCalls;
pub use routes::router;
pub(in crate::ingest) const A: u8 = 1;
mod routes;
/* crate::api */
fn f() -> &'static str {
    let _quote = '"';
    let _lifetime: &'static str = "crate::publish";
    let _raw = r#"crate::ingest " "#;
    crate::telemetry::start()
}
mod inner {
    use super::super::sse::Stream;
}
#[cfg(test)]
mod tests {
    use super::super::super::config::Settings;
}
"##;
    let source = Source::of("src/ingest/auth/mod.rs", text);
    let imports: Vec<(usize, String)> =
        source.imports().into_iter().map(|import| (import.line, import.path.join("::"))).collect();
    let expected = [
        (3, "store"),
        (3, "store::Store"),
        (4, "domain::ids::Digest"),
        (4, "domain::ids::Tenant"),
        (4, "http"),
        (4, "ledger::start"),
        (8, "live::LiveCalls"),
        (9, "ingest::auth::routes::router"),
        (17, "telemetry::start"),
        (20, "ingest::sse::Stream"),
    ];
    assert_eq!(imports, expected.map(|(line, to)| (line, to.to_owned())));
    assert_eq!(source.module(), "ingest");
    assert_eq!(source.child_modules(), ["routes"]);
    assert_eq!(source.functions().collect::<Vec<_>>(), [(13, "f".to_owned())]);
}
