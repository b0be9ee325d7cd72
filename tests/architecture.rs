//! The architecture as `ARCHITECTURE.md` tells it: which room imports which, and which room may name which library.
//! The tables there are read here, and what the code does is held against them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Module = Vec<String>;

/// A table of the document: the first column, and the names in the second.
fn table(heading: &str) -> BTreeMap<String, BTreeSet<String>> {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the document");
    let (_, after) = document.split_once(heading).expect("the table's heading");
    let rows = after.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.split('|').skip(1).map(names);
        let room = cells.next().and_then(|mut names| names.pop_first()).expect("a name");
        (room, cells.next().expect("a second column"))
    });
    rows.collect()
}

/// What stands between backticks.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All modules and their text, without comments, strings and unit tests.
fn modules() -> BTreeMap<Module, String> {
    let source = root().join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = module_of(path.strip_prefix(&source).expect("below it"));
                let text = fs::read_to_string(&path).expect("a file");
                if !module.iter().any(|part| part == "tests") {
                    found.insert(module, without_tests(&bare(&text)).to_owned());
                }
            }
        }
    }
    found
}

fn module_of(path: &Path) -> Module {
    let path = path.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Comments and strings are blanked out.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string_length(rest),
            // A character, and no lifetime.
            '\'' if rest.starts_with("'\\") => rest[2..].find('\'').map_or(1, |end| end + 3),
            '\'' if rest.chars().nth(2) == Some('\'') => {
                2 + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            _ => {
                out.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            }
        };
        out.push(' ');
        rest = &rest[length..];
    }
    out
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn without_tests(text: &str) -> &str {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    &text[..end]
}

/// Every path that a text names: the leaves of its `use` trees, and what it writes out.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let pieces = text.split(';');
    for piece in pieces {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let tree = piece.rfind("use ").filter(|at| !piece[..*at].ends_with(is_word));
        if let Some(at) = tree.filter(|at| !piece[*at..].contains('=')) {
            leaves(&piece[at + 4..], &mut Vec::new(), &mut found);
        }
        for head in ["crate::", "super::", "telewarden::"] {
            let mut rest = piece;
            while let Some(at) = rest.find(head) {
                // `pub(in …)` names who may see it, and imports nothing.
                let is_start = !rest[..at].ends_with(is_word)
                    && !rest[..at].ends_with(':')
                    && !rest[..at].ends_with("(in ");
                let path = rest[at..].split(|c: char| !is_word(c) && c != ':').next().unwrap_or("");
                if is_start {
                    found.push(
                        path.split("::")
                            .filter(|part| !part.is_empty())
                            .map(str::to_owned)
                            .collect(),
                    );
                }
                rest = &rest[at + head.len()..];
            }
        }
    }
    found
}

/// The leaves of a `use` tree; answers what follows it.
fn leaves<'t>(
    mut tree: &'t str,
    prefix: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> &'t str {
    let depth = prefix.len();
    loop {
        let end = tree.find(['{', '}', ',']).unwrap_or(tree.len());
        let (name, rest) = tree.split_at(end);
        let name = name.split(" as ").next().unwrap_or(name);
        prefix.extend(
            name.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned),
        );
        match rest.chars().next() {
            Some('{') => tree = leaves(&rest[1..], prefix, found),
            _ if prefix.len() > depth => {
                found.push(prefix.clone());
                tree = rest;
            }
            _ => tree = rest,
        }
        prefix.truncate(depth);
        match tree.chars().next() {
            Some(',') => tree = &tree[1..],
            Some('}') => return &tree[1..],
            _ => return tree,
        }
    }
}

/// From a path as it is written in `module` to one of the crate; `None` when it names another crate.
fn absolute(module: &Module, path: &[String], exists: impl Fn(&Module) -> bool) -> Option<Module> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let kept = module.len().checked_sub(supers)?;
            Some(module[..kept].iter().chain(&path[supers..]).cloned().collect())
        }
        // What a folder re-exports of its own.
        child => {
            let own = module.iter().map(String::as_str).chain([child]).map(str::to_owned).collect();
            exists(&own).then(|| module.iter().chain(path).cloned().collect())
        }
    }
}

/// The room that a path lies in.
fn room<'r>(rooms: impl Iterator<Item = &'r String>, path: &Module) -> Option<&'r String> {
    let path = path.join("::");
    let holds = |room: &&String| path == **room || path.starts_with(&format!("{room}::"));
    rooms.filter(holds).max_by_key(|room| room.len())
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let rooms = table("### Rooms and arrows");
    let mut wrong = Vec::new();
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    let all = modules();
    for (module, text) in &all {
        let Some(own) = room(rooms.keys(), module) else {
            // The crate, and folders of rooms, hold nothing but rooms.
            let name = module.join("::");
            let is_above = rooms.keys().any(|room| room.starts_with(&format!("{name}::")));
            assert!(module.is_empty() || is_above, "{name} is in no room of the table");
            continue;
        };
        for path in paths(text) {
            let named = absolute(module, &path, |child| all.contains_key(child));
            let Some(other) = named.and_then(|path| room(rooms.keys(), &path)) else { continue };
            if other == own || rooms[own].contains(other) {
                used.insert((own.clone(), other.clone()));
            } else {
                wrong.push(format!(
                    "{own} -> {other}: {} imports {}",
                    module.join("::"),
                    path.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n{}", wrong.join("\n"));
    for (own, allowed) in &rooms {
        for other in allowed {
            let arrow = (own.clone(), other.clone());
            assert!(
                used.contains(&arrow),
                "nobody uses the arrow from {own} to {other}: take it out"
            );
        }
    }
}

#[test]
fn there_is_no_circle_between_rooms() {
    let mut left = table("### Rooms and arrows");
    for (room, others) in &left {
        assert!(others.iter().all(|other| left.contains_key(other)), "{room}: {others:?}");
    }
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, others)| others.iter().all(|other| !left.contains_key(other)))
            .map(|(room, _)| room.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|room| drop(left.remove(room)));
    }
    assert!(left.is_empty(), "in or behind a circle: {:?}", left.keys());
}

#[test]
fn rooms_of_the_store_import_only_rooms_above_them() {
    let text = fs::read_to_string(root().join("src/store/mod.rs")).expect("the store");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let rooms: Vec<String> =
        rows.filter_map(|row| row.split('`').next()).map(|room| format!("store::{room}")).collect();
    assert!(rooms.len() > 5, "the table of rooms in src/store/mod.rs");
    let place = |path: &Module| {
        let room = room(rooms.iter(), path)?;
        rooms.iter().position(|known| known == room)
    };
    let all = modules();
    for (module, text) in &all {
        let Some(own) = place(module) else { continue };
        for path in paths(text) {
            let named = absolute(module, &path, |child| all.contains_key(child));
            let other = named.and_then(|path| place(&path));
            let is_fine = other.is_none_or(|other| other <= own);
            assert!(is_fine, "{} imports {}", module.join("::"), path.join("::"));
        }
    }
}

#[test]
fn libraries_are_named_only_where_the_table_allows_it() {
    let libraries = table("### Libraries");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (module, text) in modules() {
        let module = module.join("::");
        for (library, rooms) in &libraries {
            let names = text
                .match_indices(&format!("{library}::"))
                .any(|(at, _)| !text[..at].ends_with(is_word) && !text[..at].ends_with(':'));
            let is_allowed = rooms
                .iter()
                .any(|room| module == *room || module.starts_with(&format!("{room}::")));
            assert!(!names || is_allowed, "{module} names {library}");
        }
    }
}

#[test]
fn the_reader_of_code_sees_paths_and_nothing_else() {
    let text = bare(
        "use a::{b, c::{self, D as E}};\n// crate::not\nlet x = \"crate::no\"; crate::f::g(super::h)\n\
         pub(in crate::seen) fn f() {}",
    );
    let found: Vec<String> = paths(&text).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::c::self", "a::c::D", "crate::f::g", "super::h"]);
}

/// What a document calls a file: a path from the top, or from `src/`.
fn files_named_in(document: &str) -> BTreeSet<String> {
    let is_path = |name: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        name.ends_with(".rs") && name.contains('/') && name.chars().all(is_plain)
    };
    names(document).into_iter().filter(is_path).collect()
}

#[test]
fn files_that_documents_name_are_there() {
    let mut documents = vec![root().join("ARCHITECTURE.md"), root().join("README.md")];
    let folder = fs::read_dir(root().join("docs")).expect("the documents");
    documents.extend(folder.map(|entry| entry.expect("an entry").path()));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for name in files_named_in(&text) {
            let is_there = root().join(&name).exists() || root().join("src").join(&name).exists();
            assert!(is_there, "{} names {name}, which is not there", document.display());
        }
    }
}

/// Names of tests in a document: long ones in backticks, which nothing else has there.
fn tests_named_in(document: &str) -> BTreeSet<String> {
    let is_test = |name: &String| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let others = ["telewarden_", "telegram_", "invite_", "process_"];
        name.chars().all(is_plain)
            && name.matches('_').count() > 4
            && !others.iter().any(|other| name.starts_with(other))
    };
    names(document).into_iter().filter(is_test).collect()
}

fn all_text_below(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            all_text_below(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a file"));
        }
    }
}

#[test]
fn tests_that_documents_name_are_there() {
    let mut text = String::new();
    for folder in ["src", "tests", "vendor"] {
        all_text_below(&root().join(folder), &mut text);
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let known: BTreeSet<&str> = text.split(|c| !is_word(c)).collect();
    for document in ["reliability.md", "security.md", "internals.md"] {
        let document = root().join("docs").join(document);
        let named = tests_named_in(&fs::read_to_string(&document).expect("a document"));
        let gone: Vec<&String> =
            named.iter().filter(|name| !known.contains(name.as_str())).collect();
        assert!(gone.is_empty(), "{} names tests that are not there: {gone:?}", document.display());
    }
}
