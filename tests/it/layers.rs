//! Reads the sources and fails where a module imports from a higher layer, or where modules below one parent
//! import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each top module may use, with `a::b` for a part of one; lowest layer first.
const MAY_USE: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("backoff", &[]),
    ("secret", &[]),
    ("staged", &["text"]),
    ("market", &["text"]),
    ("source", &["text", "backoff", "secret", "staged", "market"]),
    ("transport", &["text", "market"]),
    ("lake", &["text", "staged", "market"]),
    ("query", &["text", "market", "source", "transport", "lake"]),
    ("alert", &["text", "market", "source", "transport", "lake"]),
    ("pipeline", &["text", "backoff", "market", "source", "transport", "lake", "query", "alert"]),
    ("tui", &["text", "market", "pipeline::status", "query"]),
    (
        "config",
        &["text", "secret", "market", "source", "transport", "lake", "query", "alert", "pipeline", "tui"],
    ),
    ("telemetry", &["text", "market", "source", "transport", "lake", "query", "alert", "pipeline", "tui"]),
    (
        "cli",
        &[
            "text",
            "staged",
            "market",
            "source",
            "transport",
            "lake",
            "query",
            "alert",
            "pipeline",
            "tui",
            "config",
            "telemetry",
        ],
    ),
    ("main", &["cli"]),
];

/// The dashboard must not use the engines behind the query handle.
const ENGINES: &[&str] = &["arrow", "arrow_array", "arrow_schema", "deltalake", "duckdb", "parquet"];

#[test]
fn modules_import_downwards_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&source);
    assert!(files.len() > 10, "the sources are found");
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&source).unwrap().with_extension("");
        let module: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module == ["lib"] {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        wrong.extend(
            violations(&module, &text).into_iter().map(|v| format!("src/{}.rs: {v}", inside.display())),
        );
    }
    assert!(wrong.is_empty(), "imports from higher layers:\n{}", wrong.join("\n"));
}

#[test]
fn violations_are_found_in_every_form_of_path() {
    let seen = |module: &[&str], text: &str| {
        violations(&module.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>(), text)
    };
    assert_eq!(seen(&["market"], "use crate::lake::Table;"), ["lake"]);
    assert_eq!(
        seen(&["lake", "silver"], "use crate::{market::{Tick, sum}, query::{self, pool}};"),
        ["query"]
    );
    assert_eq!(seen(&["lake"], "fn f() { let _ = crate::source::SourceKind::Replay; }"), ["source"]);
    assert_eq!(seen(&["lake", "silver"], "use super::super::tui;"), ["tui"]);
    assert_eq!(seen(&["lake"], "use super::{market, tui::app};"), ["tui"]);
    assert_eq!(seen(&["lake"], "mod tests { use super::*; use super::super::query::X; }"), ["query"]);
    assert_eq!(
        seen(&["tui", "app"], "use crate::pipeline::{status::Snapshot, supervisor};"),
        ["pipeline::supervisor"]
    );
    assert_eq!(seen(&["tui", "app"], "use crate::pipeline::{self, status};"), ["pipeline::self"]);
    assert_eq!(seen(&["tui"], "fn f(x: duckdb::Row) {}"), ["duckdb"]);
    assert_eq!(seen(&["main"], "use cryptostream::{cli, lake};"), ["lake"]);
    assert_eq!(seen(&["config"], "use crate::cli::args;"), ["cli"]);
    assert_eq!(seen(&["lake"], "use crate::*;"), ["*"]);
    let fine = r##"
        //! [`crate::cli`] in docs, /* crate::cli */ is no import
        use crate::market::{Tick, candle::{self, Candle}}; /* use crate::tui; /* nested */ crate::cli */
        const A: &str = "crate::cli \" crate::tui"; const B: &str = r#"crate::tui " "#; const C: char = '"';
        fn f<'a>(x: &'a str) -> char { '\'' } // crate::tui
        pub(crate) struct X; use crate::lake::table; mod inner { use super::super::lake; mod deeper { use super::super::table; } }
    "##;
    assert_eq!(seen(&["lake"], fine), Vec::<String>::new());
}

#[test]
fn no_two_modules_below_one_parent_import_each_other() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<(Vec<String>, String)> = rust_files(&source)
        .into_iter()
        .map(|file| {
            let inside = file.strip_prefix(&source).unwrap().with_extension("");
            let module = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            (module, fs::read_to_string(&file).unwrap())
        })
        .collect();
    let circles = circles(&files);
    assert!(circles.is_empty(), "modules that import each other:\n{}", circles.join("\n"));
}

#[test]
fn circles_are_found_through_parents_and_children() {
    let seen = |files: &[(&str, &str)]| {
        let files: Vec<(Vec<String>, String)> = files
            .iter()
            .map(|(module, text)| (module.split("::").map(str::to_owned).collect(), (*text).to_owned()))
            .collect();
        circles(&files)
    };
    let (a, b) = (("x::a", "use super::b::B;"), ("x::b", "use crate::x::a::A;"));
    assert_eq!(seen(&[("x", ""), a, b]), ["x: a -> b -> a"]);
    assert_eq!(seen(&[("x", ""), a, ("x::b::c", "use crate::x::a::A;"), ("x::b", "")]), ["x: a -> b -> a"]);
    assert_eq!(seen(&[("x", "use a::A;"), a, ("x::b", "use super::A;")]), ["x: a -> b -> a"]);
    let inward = ("x::b", "mod tests { use super::super::a::A; } fn f() { self::c() }");
    assert_eq!(seen(&[("x", "pub use b::B;"), a, inward]), Vec::<String>::new());
    let (three, four) = (("x::b", "use super::c::C;"), ("x::c", "use super::a::A;"));
    assert_eq!(seen(&[("x", ""), a, three, four]), ["x: a -> b -> c -> a"]);
}

/// The circles between children of one module, each as `parent: a -> b -> a`. Imports of tests do not count.
fn circles(files: &[(Vec<String>, String)]) -> Vec<String> {
    let modules: BTreeSet<&[String]> =
        files.iter().flat_map(|(m, _)| (1..=m.len()).map(|n| &m[..n])).collect();
    let is_test = |module: &[String]| module.iter().any(|part| part == "tests");
    let mut paths: BTreeMap<&[String], Vec<Vec<String>>> = BTreeMap::new();
    for (module, text) in files.iter().filter(|(module, _)| !is_test(module)) {
        paths.insert(module, absolute_paths(module, &without_tests(tokens(text))));
    }
    // A path may go through a name that a module imports: (module, name) -> the imported path.
    let mut names: BTreeMap<Vec<String>, &Vec<String>> = BTreeMap::new();
    for (module, imported) in &paths {
        for path in imported.iter().filter(|path| path.len() > module.len() + 1 && path.starts_with(module)) {
            names.insert(module.iter().chain(path.last()).cloned().collect(), path);
        }
    }
    let mut edges: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (module, imported) in &paths {
        for path in imported {
            let path = names.get(path).copied().unwrap_or(path);
            let shared = module.iter().zip(path).take_while(|(a, b)| a == b).count();
            if shared == module.len() || shared >= path.len() || !modules.contains(&path[..=shared]) {
                continue;
            }
            let children = edges.entry(&module[..shared]).or_default();
            children.entry(&module[shared]).or_default().insert(&path[shared]);
        }
    }
    edges
        .iter()
        .filter_map(|(parent, edges)| Some(format!("{}: {}", parent.join("::"), circle(edges)?)))
        .collect()
}

/// The first circle of a graph.
fn circle(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Option<String> {
    fn visit<'a>(
        node: &'a str,
        edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        if let Some(start) = way.iter().position(|seen| *seen == node) {
            return Some([&way[start..], &[node]].concat().join(" -> "));
        }
        if !done.insert(node) {
            return None;
        }
        way.push(node);
        let found = edges.get(node).into_iter().flatten().find_map(|next| visit(next, edges, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|node| visit(node, edges, &mut Vec::new(), &mut done))
}

/// The tokens without those of inline `mod tests`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let opens = token == "{" && kept.ends_with(&["mod".to_owned(), "tests".to_owned()]);
        kept.push(token);
        let mut open = usize::from(opens);
        while open > 0 {
            match tokens.next().as_deref() {
                Some("{") => open += 1,
                Some("}") => open -= 1,
                Some(_) => {}
                None => return kept,
            }
        }
        if opens {
            kept.push("}".to_owned());
        }
    }
    kept
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The forbidden paths in one file; `module` is the path of its module, top module first.
fn violations(module: &[String], text: &str) -> Vec<String> {
    let own = module[0].as_str();
    let allowed =
        MAY_USE.iter().find(|(name, _)| *name == own).unwrap_or_else(|| panic!("{own} is not in MAY_USE")).1;
    let permitted = |path: &[String]| {
        path[0] == own
            || allowed
                .iter()
                .any(|a| a.split("::").zip(path).filter(|(a, p)| a == p).count() == a.split("::").count())
    };
    let mut wrong = Vec::new();
    for path in absolute_paths(module, &tokens(text)) {
        if path.is_empty() || !permitted(&path) {
            let parts = allowed.iter().filter(|a| a.starts_with(&format!("{}::", path[0]))).count();
            wrong.push(path[..path.len().min(1 + usize::from(parts > 0))].join("::"));
        }
    }
    if own == "tui" {
        wrong.extend(
            tokens(text)
                .windows(2)
                .filter(|t| ENGINES.contains(&t[0].as_str()) && t[1] == "::")
                .map(|t| t[0].clone()),
        );
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// All paths that start with `crate`, `cryptostream`, `super` or `self`, and those of `use` that start with a
/// module below this one, each from the crate's root. `module` is the path of the module of the tokens.
fn absolute_paths(module: &[String], tokens: &[String]) -> Vec<Vec<String>> {
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let mut paths = Vec::new();
    // For each open brace: the name of the inline module that it opened.
    let mut braces: Vec<Option<String>> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let inline = || braces.iter().flatten().cloned();
        let here: Vec<String> = module.iter().cloned().chain(inline()).collect();
        match at(i) {
            "{" => braces.push((i >= 2 && at(i - 2) == "mod").then(|| at(i - 1).to_owned())),
            "}" => drop(braces.pop()),
            "crate" | "cryptostream" if at(i + 1) == "::" => {
                i = tree(tokens, i + 2, &[], &mut paths);
                continue;
            }
            "super" if at(i + 1) == "::" => {
                let ups = (0..tokens.len())
                    .take_while(|n| at(i + 2 * n) == "super" && at(i + 2 * n + 1) == "::")
                    .count();
                i = tree(tokens, i + 2 * ups, &here[..here.len().saturating_sub(ups)], &mut paths);
                continue;
            }
            "self" if at(i + 1) == "::" => {
                i = tree(tokens, i + 2, &here, &mut paths);
                continue;
            }
            "use" if !["crate", "cryptostream", "super", "self", "std"].contains(&at(i + 1)) => {
                i = tree(tokens, i + 1, &here, &mut paths);
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    paths
}

/// Reads a path, or a tree of them in braces, from `start`; returns where it ends.
fn tree(tokens: &[String], start: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let mut i = start;
    if at(i) == "{" {
        i += 1;
        while i < tokens.len() && at(i) != "}" {
            i = tree(tokens, i, prefix, paths);
            while i < tokens.len() && at(i) != "," && at(i) != "}" {
                i += 1; // `as name`
            }
            i += usize::from(at(i) == ",");
        }
        return i + 1;
    }
    let path = [prefix, &[at(i).to_owned()]].concat();
    if at(i + 1) == "::" && at(i + 2) != "<" {
        return tree(tokens, i + 2, &path, paths);
    }
    paths.push(path);
    i + 1
}

/// Identifiers, `::` and single signs, without comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < text.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < text.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut open = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (open, i) = (open + 1, i + 2),
                    ('*', '/') => (open, i) = (open - 1, i + 2),
                    _ => i += 1,
                }
                if open == 0 || i >= text.len() {
                    break;
                }
            }
        } else if c == '"' {
            i += 1;
            while i < text.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' {
            // A character ends with a quote, a lifetime does not.
            if at(i + 1) == '\\' {
                i += 3;
                while i < text.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else {
                i += if at(i + 2) == '\'' { 3 } else { 1 };
            }
        } else if c.is_alphabetic() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let word: String = text[start..i].iter().collect();
            let hashes = (i..text.len()).take_while(|n| at(*n) == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                i += hashes + 1;
                while i < text.len() && !text[i..].starts_with(&end) {
                    i += 1;
                }
                i += end.len();
            } else {
                tokens.push(word);
            }
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}
