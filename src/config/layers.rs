//! Reads the layers over the defaults: file, `.env`, environment, command line. Each value is kept as text with
//! its origin. Reading does not stop at an error, so that all of them can be reported together.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::setting::{PREFIX, Setting};
use super::{Origin, Override};
use crate::text::printable;

/// The settings file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "cryptostream.toml";
/// The prefix of variables for tests, which are not settings.
const TEST_PREFIX: &str = "CRYPTOSTREAM_TEST_";
/// The variable that names the settings file, like `--config`.
const FILE_VARIABLE: &str = "CRYPTOSTREAM_CONFIG";

/// A value before it is parsed.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) key: &'static Setting,
    pub(super) text: String,
    pub(super) origin: Origin,
    /// It was set by one of [`Setting::aliases`], which the setting's own variable overrides in the same layer.
    pub(super) alias: bool,
}

/// The values of all layers, and the errors found in reading them. The layers may be added in any order.
#[derive(Debug, Default)]
pub struct Layers {
    pub(super) values: Vec<Value>,
    pub(super) errors: Vec<String>,
}

impl Layers {
    /// Reads all layers of this process.
    pub(super) fn read(file: Option<&Path>, flags: Vec<Override>) -> Self {
        let mut layers = Self::default();
        layers.flags(flags);
        // Variables that are not Unicode are ignored: no setting has such a name or value.
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let named = environment
            .iter()
            .find(|(name, text)| name == FILE_VARIABLE && !text.is_empty())
            .map(|(_, text)| text.clone());
        layers.environment(environment);
        match std::fs::read_to_string(".env") {
            Ok(text) => layers.dot_env(&text),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => layers.errors.push(format!(".env: {why}")),
        }
        let named = file.map(Path::to_path_buf).or(named.map(Into::into));
        let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        match std::fs::read_to_string(&path) {
            Ok(text) => layers.file(&path.display().to_string(), &text),
            Err(why) if named.is_none() && why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => layers.errors.push(format!("--config: {}: {why}", path.display())),
        }
        layers
    }

    /// Adds the command line.
    pub fn flags(&mut self, flags: Vec<Override>) {
        for (name, text) in flags {
            if let Some(key) = KEYS.iter().find(|k| k.name == name) {
                self.values.push(Value {
                    key,
                    text,
                    origin: Origin::Flag(key.flag.as_ref().map_or(key.name, |flag| flag.name)),
                    alias: false,
                });
            }
        }
    }

    /// Adds the environment. Empty variables count as unset; unknown ones whose names start with
    /// `CRYPTOSTREAM_` are errors.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        self.variables(variables, |name| Origin::Environment(name.to_owned()));
    }

    /// Adds a `.env` file: `NAME=value` lines, with optional `export` and quotes; `#` starts a comment. Lines of
    /// any other form are ignored.
    pub fn dot_env(&mut self, text: &str) {
        for (line, (name, value)) in (1..).zip(text.lines().map(variable)).filter_map(|(n, v)| Some((n, v?)))
        {
            self.variables([(name, value)], |name| Origin::DotEnv { line, name: name.to_owned() });
        }
    }

    /// Adds a TOML file. `path` is what origins and errors call it.
    pub fn file(&mut self, path: &str, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line = |at: usize| text.char_indices().filter(|(i, c)| *i < at && *c == '\n').count() + 1;
        for error in &errors {
            let at = error.span().map_or(1, |s| line(s.start));
            self.errors.push(format!(
                "{path} line {at}: {}",
                error.message().lines().collect::<Vec<_>>().join(", ")
            ));
        }
        self.table(path, "", table.get_ref(), &line);
    }

    fn table(&mut self, path: &str, prefix: &str, table: &DeTable<'_>, line: &impl Fn(usize) -> usize) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let full = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            let at = line(name.span().start);
            let mut refuse = |why: String| {
                self.errors.push(format!("{path} line {at}: {}: {why}", printable(&full)));
            };
            match (KEYS.iter().find(|k| k.name == full), value.get_ref()) {
                (Some(key), _) if key.secret => refuse(format!(
                    "secrets come from the environment only: take it out of the file and set {}",
                    key.aliases.first().map_or_else(|| key.variable(), |(name, _)| (*name).to_owned())
                )),
                (Some(key), _) if key.later => {
                    refuse("not supported by this version: take it out".to_owned());
                }
                (Some(key), value) => self.values.push(Value {
                    key,
                    text: plain(value),
                    origin: Origin::File { path: path.to_owned(), line: at },
                    alias: false,
                }),
                (None, DeValue::Table(inner))
                    if KEYS.iter().any(|k| k.name.starts_with(&format!("{full}."))) =>
                {
                    self.table(path, &full, inner, line);
                }
                (None, _) => {
                    let hint = nearest(
                        &full,
                        KEYS.iter().filter(|k| !k.secret && !k.later).map(|k| k.name.to_owned()),
                    );
                    refuse(format!("there is no such setting{hint}"));
                }
            }
        }
    }

    fn variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        origin: impl Fn(&str) -> Origin,
    ) {
        for (name, text) in variables {
            if let Some((key, fixed)) = by_alias(&name) {
                if !text.is_empty() {
                    let text = fixed.map_or(text, str::to_owned);
                    self.values.push(Value { key, text, origin: origin(&name), alias: true });
                }
            } else if name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX) && name != FILE_VARIABLE {
                match KEYS.iter().find(|k| k.variable() == name) {
                    Some(_) if text.is_empty() => {}
                    Some(key) => self.values.push(Value { key, text, origin: origin(&name), alias: false }),
                    None => {
                        let hint = nearest(&name, KEYS.iter().map(Setting::variable));
                        let place = match origin(&name) {
                            Origin::DotEnv { line, .. } => format!(".env line {line}: {name}"),
                            _ => name,
                        };
                        self.errors.push(format!("{place}: there is no such setting{hint}"));
                    }
                }
            }
        }
    }
}

fn by_alias(name: &str) -> Option<(&'static Setting, Option<&'static str>)> {
    KEYS.iter().find_map(|k| k.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, fixed)| (k, *fixed)))
}

/// A TOML value as the text that a flag would have: lists with commas, tables as `name=value`.
fn plain(value: &DeValue<'_>) -> String {
    let joined = |parts: Vec<String>| parts.join(",");
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(n) => n.to_string(),
        DeValue::Float(n) => n.to_string(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(t) => t.to_string(),
        DeValue::Array(items) => {
            joined(items.iter().map(|item: &Spanned<DeValue<'_>>| plain(item.get_ref())).collect())
        }
        DeValue::Table(table) => {
            joined(table.iter().map(|(k, v)| format!("{}={}", k.get_ref(), plain(v.get_ref()))).collect())
        }
    }
}

/// Name and value of a line of `.env`.
fn variable(line: &str) -> Option<(String, String)> {
    let line = line.trim_start_matches('\u{feff}').trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let value = value.trim();
    let quoted = value
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))
        .and_then(|q| Some(value[1..].split_once(q)?.0));
    let plain = || {
        let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
        if value.starts_with('#') { "" } else { value[..end].trim_end() }
    };
    Some((name.to_owned(), quoted.unwrap_or_else(plain).to_owned()))
}

/// `: did you mean 'x'?` for the nearest of `names`: the same without its section, or with few letters wrong;
/// empty where none is near.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> String {
    let own = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let wanted = own(name);
    names
        .map(|candidate| {
            let known = own(&candidate);
            let without_section = known.strip_suffix(&wanted).is_some_and(|rest| rest.ends_with(['.', '_']));
            let distance = if without_section { 0 } else { strsim::osa_distance(&wanted, &known) };
            (distance, known.len(), candidate)
        })
        .min()
        .filter(|(distance, length, _)| *distance <= (length / 4).max(1))
        .map(|(.., candidate)| format!(": did you mean '{candidate}'?"))
        .unwrap_or_default()
}
