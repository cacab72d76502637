//! No cycle of imports between files.

use std::collections::{BTreeMap, BTreeSet};

use super::assert_none;
use super::source::{Source, rust_sources};

/// A file, by the modules that lead to it from its crate's root.
type Module = Vec<String>;

/// The files of one crate, and what they import.
struct Crate {
    files: BTreeMap<Module, String>,
    /// What each module exports under a name, and where that comes from.
    reexports: BTreeMap<(Module, String), Module>,
    imports: BTreeMap<Module, Vec<Module>>,
}

impl Crate {
    fn of(sources: &[&Source]) -> Self {
        let (mut files, mut reexports, mut imports) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for source in sources {
            let module = source.module_path();
            files.insert(module.clone(), source.path.clone());
            let mut paths = Vec::new();
            for import in source.imports() {
                match import.path.last().filter(|_| import.is_reexport) {
                    Some(name) => {
                        reexports.insert((module.clone(), name.clone()), import.path.clone());
                    }
                    None => paths.push(import.path),
                }
            }
            imports.insert(module, paths);
        }
        Self { files, reexports, imports }
    }

    /// The file in which the item of a path is defined.
    fn file_of(&self, path: &[String]) -> Option<Module> {
        // A re-export of a re-export leads on; a path in a circle leads nowhere.
        const MAX_REEXPORTS: usize = 8;
        let mut path = path.to_vec();
        for _ in 0..MAX_REEXPORTS {
            let depth =
                (0..=path.len()).rev().find(|depth| self.files.contains_key(&path[..*depth]))?;
            let (module, rest) = path.split_at(depth);
            let reexported =
                rest.first().and_then(|name| self.reexports.get(&(module.to_vec(), name.clone())));
            match reexported {
                Some(origin) => path = [origin.as_slice(), &rest[1..]].concat(),
                None => return Some(module.to_vec()),
            }
        }
        None
    }

    /// The imports between files that are part of a cycle.
    fn cycles(&self) -> Vec<(String, String)> {
        let mut edges: BTreeSet<(Module, Module)> = BTreeSet::new();
        for (from, paths) in &self.imports {
            let targets = paths.iter().filter_map(|path| self.file_of(path));
            edges.extend(targets.filter(|to| to != from).map(|to| (from.clone(), to)));
        }
        // Without the edges from files that none imports, and to files that import none, as long as
        // there are such edges, those of cycles are left.
        loop {
            let from: BTreeSet<Module> = edges.iter().map(|(from, _)| from.clone()).collect();
            let to: BTreeSet<Module> = edges.iter().map(|(_, to)| to.clone()).collect();
            let before = edges.len();
            edges.retain(|edge| to.contains(&edge.0) && from.contains(&edge.1));
            if edges.len() == before {
                break;
            }
        }
        // What is left between two cycles leads on from one, and not back.
        let leads_back = |(from, to): &&(Module, Module)| {
            let (mut reached, mut next) = (BTreeSet::from([to]), vec![to]);
            while let Some(module) = next.pop() {
                let targets = edges.iter().filter(|(from, _)| from == module);
                next.extend(targets.map(|(_, to)| to).filter(|to| reached.insert(to)));
            }
            reached.contains(from)
        };
        let file = |module: &Module| self.files.get(module).cloned().unwrap_or_default();
        edges.iter().filter(leads_back).map(|(from, to)| (file(from), file(to))).collect()
    }
}

fn cycles_of(sources: &[Source]) -> Vec<(String, String)> {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        // The program itself is a crate of its own.
        if source.path != "src/main.rs" {
            crates.entry(source.crate_folder()).or_default().push(source);
        }
    }
    crates.values().flat_map(|sources| Crate::of(sources).cycles()).collect()
}

#[test]
fn no_file_imports_itself_through_others() {
    let sources: Vec<Source> = ["src", "crates"].into_iter().flat_map(rust_sources).collect();
    let violations: Vec<String> =
        cycles_of(&sources).into_iter().map(|(from, to)| format!("{from} → {to}")).collect();
    assert_none(
        &violations,
        "imports between files form no cycle; move what both sides need to a file of its own:",
    );
}

#[test]
fn a_cycle_is_found_and_a_map_of_re_exports_is_none() {
    let map = Source::of("src/a/mod.rs", "mod b;\nmod c;\npub use b::B;\npub use c::C;\n");
    let b = Source::of("src/a/b.rs", "use super::C;\nstruct B;\n");
    let c = Source::of("src/a/c.rs", "struct C;\n");
    assert_eq!(cycles_of(&[map, b, c]), []);

    let b = Source::of("src/a/b.rs", "use super::c::C;\nstruct B;\n");
    let c = Source::of("src/a/c.rs", "use crate::a::b::B;\nstruct C;\n");
    let expected = [("src/a/b.rs", "src/a/c.rs"), ("src/a/c.rs", "src/a/b.rs")];
    let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(cycles_of(&[b, c]), expected);
}
