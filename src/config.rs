//! The settings, from four layers: command line > environment (and `.env`) > TOML file > defaults.
//!
//! Every value has an [`Origin`]. Unknown keys and unknown `CRYPTOSTREAM_*` variables are errors; all errors
//! are reported at once, one line each, with their place. Secrets come from the environment only and are never
//! shown. Types and defaults are those of the parts that use the values; one table, [`KEYS`], gives the names,
//! the flags with their help, parsing and display.

mod keys;
mod layers;
mod setting;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::alert::rule::Rule;
use crate::market::coins;
use crate::secret::Secret;
use crate::source::coingecko::{CoinGeckoSettings, Plan};
use crate::source::replay::{ReplaySettings, Speed};
use crate::source::simulator::{self, SimulatorSettings};
use crate::source::{Source, SourceKind};
use crate::text::printable;
use crate::transport::direct::BatchLimits;
use crate::tui::DashboardSettings;

pub use keys::KEYS;
pub use layers::Layers;
pub use setting::{Flag, Setting, Takes};

/// The settings in force; every value is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Folder of the tables.
    pub storage: PathBuf,
    pub source: SourceKind,
    /// The recording that a replay reads; `-` is stdin.
    pub input: Option<PathBuf>,
    pub speed: Speed,
    /// Ids of the coins, lower case, each once, in the order given; never empty.
    pub coins: Vec<String>,
    /// Number of made-up coins in the simulator; none: it simulates `coins`.
    pub markets: Option<usize>,
    pub coingecko: CoinGeckoSettings,
    pub simulator: SimulatorSettings,
    pub limits: BatchLimits,
    pub rule: Rule,
    /// Queries answer for this source only; none: for all.
    pub from: Option<Arc<str>>,
    /// Take the storage from the pipeline that holds its lock, which can then commit nothing more.
    pub take_over: bool,
    pub dashboard: DashboardSettings,
    pub log: Log,
    /// Accepted today, used by a later version.
    pub later: Later,
    origins: BTreeMap<&'static str, Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as in `RUST_LOG`.
    pub level: String,
    /// None: `logs/cryptostream.log` in the storage for a dashboard, no file for other commands.
    pub file: Option<PathBuf>,
}

/// Variables in `.env` files of earlier versions that this version accepts and does not use yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Later {
    pub kafka_brokers: Option<String>,
    pub kafka_sasl_password: Option<Secret>,
    /// Secret because it may contain a password.
    pub mongo_uri: Option<Secret>,
    pub mongo_username: Option<String>,
    pub mongo_password: Option<Secret>,
    /// Without the `[url](url)` form around it.
    pub webhook_url: Option<Secret>,
}

const DEFAULT_STORAGE: &str = "./storage";
/// Made-up prices are stored apart from real ones.
const SIMULATED_STORAGE: &str = "./storage/simulated";

impl Default for Settings {
    fn default() -> Self {
        Self {
            storage: DEFAULT_STORAGE.into(),
            source: SourceKind::Coingecko,
            input: None,
            speed: Speed::Times(1.0),
            coins: coins::default_ids().map(str::to_owned).collect(),
            markets: None,
            coingecko: CoinGeckoSettings::default(),
            simulator: SimulatorSettings::default(),
            limits: BatchLimits::default(),
            rule: Rule::default(),
            from: None,
            take_over: false,
            dashboard: DashboardSettings::default(),
            log: Log { level: "info".to_owned(), file: None },
            later: Later::default(),
            origins: BTreeMap::new(),
        }
    }
}

/// Where a value came from. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Follows from the setting of this name.
    Implied(&'static str),
    /// The settings file, by the path that the user gave.
    File {
        path: String,
        line: usize,
    },
    /// The variable `name` in `.env` of the working directory.
    DotEnv {
        line: usize,
        name: String,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, with its dashes.
    Flag(&'static str),
}

impl Origin {
    /// The layer: a higher one overrides a lower one.
    const fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::Implied(_) => 0,
            Self::File { .. } => 1,
            Self::DotEnv { .. } => 2,
            Self::Environment(_) => 3,
            Self::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Implied(by) => write!(f, "follows from {by}"),
            Self::File { path, line } => write!(f, "{path} line {line}"),
            Self::DotEnv { line, name } => write!(f, ".env line {line} ({name})"),
            Self::Environment(name) => write!(f, "environment ({name})"),
            Self::Flag(flag) => write!(f, "command line ({flag})"),
        }
    }
}

/// All errors of the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(
    /// Never empty; without line breaks.
    pub Vec<String>,
);

/// What a command uses the settings for, which decides what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the source: the recording of a replay must exist.
    Feed,
    /// To read the storage or to show the settings.
    Read,
}

/// A flag that was given: the setting's name and the value as text.
pub type Override = (&'static str, String);

impl Settings {
    /// The settings in force, from the given command line, the process's environment, `.env` and
    /// `cryptostream.toml` of the working directory (or `file`).
    ///
    /// # Errors
    /// [`Invalid`] with all errors of all layers.
    pub fn load(file: Option<&Path>, flags: Vec<Override>, purpose: Purpose) -> Result<Self, Invalid> {
        Self::resolve(Layers::read(file, flags), purpose)
    }

    /// The settings that follow from the layers. Its only access to the system is to check that `input`
    /// exists.
    ///
    /// # Errors
    /// [`Invalid`] with all errors of all layers.
    pub fn resolve(layers: Layers, purpose: Purpose) -> Result<Self, Invalid> {
        let Layers { mut values, mut errors } = layers;
        let mut settings = Self::default();
        values.sort_by_key(|v| (v.origin.rank(), !v.alias));
        for value in values {
            match (value.key.set)(&mut settings, &value.text) {
                Ok(()) => {
                    settings.origins.insert(value.key.name, value.origin);
                }
                Err(why) => errors.push(format!("{}: {why}", place(value.key, &value.origin))),
            }
        }
        settings.imply(purpose, &mut errors);
        if errors.is_empty() { Ok(settings) } else { Err(Invalid(errors)) }
    }

    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Whether the user gave a value for this key in any layer.
    pub fn is_given(&self, key: &str) -> bool {
        self.origin(key).rank() > 0
    }

    /// The source in force, with its settings.
    pub fn source(&self) -> Source {
        match self.source {
            SourceKind::Coingecko => Source::CoinGecko(Box::new(self.coingecko.clone())),
            SourceKind::Replay => Source::Replay(ReplaySettings {
                input: self.input.clone().unwrap_or_default(),
                speed: self.speed,
            }),
            SourceKind::Simulator => Source::Simulator(self.simulator.clone()),
        }
    }

    /// The output of `cryptostream config`: a line of key, value and origin for each setting. Secrets are
    /// masked.
    pub fn table(&self) -> String {
        let rows: Vec<_> = KEYS
            .iter()
            .filter(|k| !k.later || self.is_given(k.name))
            .map(|k| {
                let note = if k.later { ", not used by this version" } else { "" };
                (k.name, printable(&(k.get)(self)), format!("{}{note}", self.origin(k.name)))
            })
            .collect();
        let width =
            |of: fn(&(&'static str, String, String)) -> usize| rows.iter().map(of).max().unwrap_or(0).min(40);
        let (name_width, value_width) = (width(|r| r.0.len()), width(|r| r.1.chars().count()));
        rows.iter().fold(String::new(), |mut table, (name, value, origin)| {
            let value = if value.is_empty() { "–" } else { value };
            let _ = writeln!(table, "{name:name_width$}  {value:value_width$}  {origin}");
            table
        })
    }

    /// Sets what follows from other settings, and checks settings that depend on each other.
    fn imply(&mut self, purpose: Purpose, errors: &mut Vec<String>) {
        if self.input.is_some() && self.source != SourceKind::Replay {
            let (input, source) = (self.origin("input").rank(), self.origin("source").rank());
            if input > source {
                self.source = SourceKind::Replay;
                self.origins.insert("source", Origin::Implied("input"));
            } else if input == source && purpose == Purpose::Feed {
                errors.push(format!(
                    "{}: a recording is read by '--source replay' only, not by {}",
                    place(key("input"), self.origin("input")),
                    self.source.label()
                ));
            }
        }
        if self.source == SourceKind::Replay && purpose == Purpose::Feed {
            match &self.input {
                None => errors.push(
                    "the source replay needs a recording: give '--input FILE' ('-' for stdin)".to_owned(),
                ),
                Some(input) if input.as_os_str() != "-" && !input.is_file() => {
                    let what = if input.is_dir() {
                        "this is a folder, not a recording:"
                    } else {
                        "there is no file"
                    };
                    errors.push(format!(
                        "{}: {what} '{}'",
                        place(key("input"), self.origin("input")),
                        input.display()
                    ));
                }
                Some(_) => {}
            }
        }
        if self.source == SourceKind::Simulator && !self.is_given("storage") {
            self.storage = SIMULATED_STORAGE.into();
            self.origins.insert("storage", Origin::Implied("source"));
        }
        if self.coingecko.plan == Plan::Pro && !self.is_given("coingecko.base_url") {
            Plan::Pro.url().clone_into(&mut self.coingecko.base_url);
            self.origins.insert("coingecko.base_url", Origin::Implied("coingecko.plan"));
        }
        self.coingecko.coins.clone_from(&self.coins);
        self.simulator.coins = self.markets.map_or_else(|| self.coins.clone(), simulator::coins);
    }
}

/// The setting of this name. A test checks the names that the code passes.
fn key(name: &str) -> &'static Setting {
    KEYS.iter().find(|k| k.name == name).unwrap_or(&KEYS[0])
}

/// The prefix of an error about a value: its flag, its variable, or its line and key in the file.
fn place(key: &Setting, origin: &Origin) -> String {
    match origin {
        Origin::Flag(flag) => (*flag).to_owned(),
        Origin::Environment(name) => name.clone(),
        Origin::DotEnv { line, name } => format!(".env line {line}: {name}"),
        Origin::File { path, line } => format!("{path} line {line}: {}", key.name),
        Origin::Default | Origin::Implied(_) => key.name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
