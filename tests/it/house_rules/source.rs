//! Rust sources, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file with its comments and strings blanked, line for line.
pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    lines: usize,
    code: String,
}

/// A path into our own crate.
pub struct Import {
    pub line: usize,
    /// The module at the top of the crate.
    pub to: String,
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A text of the repository.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|refused| panic!("{path}: {refused}"))
}

/// Every Rust file below a folder of the repository, in the order of their paths.
pub fn rust_sources(folder: &str) -> Vec<Source> {
    files_below(&root().join(folder))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| Source::of(&relative(&file), &fs::read_to_string(&file).unwrap()))
        .collect()
}

/// Every text of the repository with its path; what is not text is left out.
pub fn repository_texts() -> Vec<(String, String)> {
    files_below(&root())
        .into_iter()
        .filter_map(|file| Some((relative(&file), fs::read_to_string(&file).ok()?)))
        .collect()
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str());
            // Somebody's editor and environment are nobody else's business.
            let is_hidden = name.is_some_and(|name| {
                name.starts_with('.') && ![".ci", ".dockerignore", ".gitignore"].contains(&name)
            });
            match path.is_dir() {
                _ if is_hidden || name == Some("target") => {}
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
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            code: blanked(text),
        }
    }

    pub fn number_of_lines(&self) -> usize {
        self.lines
    }

    /// The module at the top of the crate that the file is part of.
    pub fn room(&self) -> String {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below
            .split(['/', '.'])
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// How many modules the file lies below the crate's root.
    fn depth(&self) -> usize {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let steps = below.split('/').count();
        if below.ends_with("/mod.rs") || below == "lib.rs" || below == "main.rs" {
            steps - 1
        } else {
            steps
        }
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
        let has = move |line: &str| {
            line.split(|c: char| !is_of_word(c))
                .any(|word| word == wanted)
        };
        self.code
            .lines()
            .enumerate()
            .filter(move |(_, line)| has(line))
            .map(|(number, _)| number + 1)
    }

    /// The functions that are defined here, with their lines.
    pub fn functions(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        self.code.lines().enumerate().filter_map(|(number, line)| {
            let mut words = line
                .split(|c: char| !is_of_word(c))
                .filter(|word| !word.is_empty());
            words.find(|word| *word == "fn")?;
            Some((number + 1, words.next()?.to_owned()))
        })
    }

    /// Every path that leads from the crate's root into a module, in the order of the text.
    pub fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        // Modules that are open in the file, by their indentation: rustfmt closes each where it
        // was opened.
        let mut open: Vec<usize> = Vec::new();
        let mut at = 0;
        for (number, line) in self.code.split_inclusive('\n').enumerate() {
            let indentation = line.len() - line.trim_start().len();
            let statement = line.trim();
            if statement == "}" && open.last() == Some(&indentation) {
                open.pop();
            }
            let mut from = 0;
            while let Some(found) = line.get(from..).and_then(first_anchor) {
                let (start, supers, end) = (from + found.start, found.supers, from + found.end);
                let begins_path =
                    !line[..start].ends_with([':', '$']) && !line[..start].ends_with(is_of_word);
                let reaches_root = supers.is_none_or(|supers| supers == self.depth() + open.len());
                if begins_path && reaches_root {
                    imports.extend(heads(&self.code[at + end..], number + 1));
                }
                from = end;
            }
            let opens = statement
                .trim_start_matches("pub ")
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub(crate) ");
            if opens.starts_with("mod ") && opens.ends_with('{') {
                open.push(indentation);
            }
            at += line.len();
        }
        imports
    }
}

/// The beginning of a path: `crate::`, or so many times `super::`.
struct PathStart {
    start: usize,
    end: usize,
    supers: Option<usize>,
}

fn first_anchor(text: &str) -> Option<PathStart> {
    const CRATE: &str = "crate::";
    const SUPER: &str = "super::";
    let root = text.find(CRATE);
    let parent = text.find(SUPER);
    if let Some(start) = root.filter(|root| parent.is_none_or(|parent| *root < parent)) {
        return Some(PathStart {
            start,
            end: start + CRATE.len(),
            supers: None,
        });
    }
    let start = parent?;
    let mut end = start;
    while text[end..].starts_with(SUPER) {
        end += SUPER.len();
    }
    Some(PathStart {
        start,
        end,
        supers: Some((end - start) / SUPER.len()),
    })
}

/// The first names behind a path's beginning: one, or those of a `{group}`.
fn heads(rest: &str, line: usize) -> Vec<Import> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| is_of_word(*c))
            .collect::<String>()
    };
    let Some(group) = rest.strip_prefix('{') else {
        let to = word(rest);
        // A name of the root itself that is no module: a macro, or `self`.
        let is_module = rest[to.len()..].starts_with("::")
            || rest[to.len()..].starts_with([';', ',', ' ', '}']);
        return if is_module && is_name(&to) {
            vec![Import { line, to }]
        } else {
            Vec::new()
        };
    };
    let mut imports = Vec::new();
    let (mut depth, mut line, mut expects_name) = (1, line, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expects_name = true,
            '\n' => line += 1,
            _ if depth == 1 && expects_name && !c.is_whitespace() => {
                let to = word(&group[at..]);
                if is_name(&to) {
                    imports.push(Import { line, to });
                }
                expects_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    imports
}

/// Modules are written in small letters.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word != "self" && word != "crate"
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The text with comments, strings and character literals made of blanks; lines stay lines.
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

/// The length of `r"…"`, `r#"…"#`, `br"…"`, if that is what stands here.
fn raw_string(text: &str) -> Option<usize> {
    let behind = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = behind.chars().take_while(|c| *c == '#').count();
    let body = behind.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(text.len() - body.len() + length)
}

/// The length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if body.starts_with('\\') {
        // The escaped character may be a quotation mark itself.
        let end = body.char_indices().skip(2).find(|(_, c)| *c == '\'')?.0;
        return Some(end + 2);
    }
    let c = body.chars().next()?;
    body[c.len_utf8()..]
        .starts_with('\'')
        .then_some(c.len_utf8() + 2)
}
