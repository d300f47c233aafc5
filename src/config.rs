//! The settings, from four layers: command line > environment (and `.env`) > TOML file > defaults.
//!
//! Every value knows where it came from. Unknown keys and unknown `CRYPTOSTREAM_*` variables are errors; all
//! errors are reported at once, one line each, with their place. Secrets come from the environment only and
//! are never shown. The values and their defaults are those of the parts that use them; one table, [`KEYS`],
//! gives the names, the flags with their help, parsing and display.

mod keys;
mod layers;
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
use crate::transport::direct::BatchLimits;
use crate::tui::DashboardSettings;

pub use keys::{Flag, KEYS, Setting, Takes};
pub use layers::Layers;

/// What the program runs with; everything is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Folder of the tables.
    pub storage: PathBuf,
    pub source: SourceKind,
    /// The recording that a replay reads; `-` is stdin.
    pub input: Option<PathBuf>,
    /// Speed of a replay.
    pub speed: Speed,
    /// Ids of the coins, lower case, each once, in the order given; never empty.
    pub coins: Vec<String>,
    /// So many made-up coins in the simulator instead of `coins`.
    pub markets: Option<usize>,
    pub coingecko: CoinGeckoSettings,
    pub simulator: SimulatorSettings,
    pub limits: BatchLimits,
    pub rule: Rule,
    /// Queries answer for this source only.
    pub from: Option<Arc<str>>,
    /// Ignore the lock of the storage: the pipeline that holds it is fenced off.
    pub take_over: bool,
    pub dashboard: DashboardSettings,
    pub log: Log,
    /// Accepted today, used by a later version.
    pub later: Later,
    origins: BTreeMap<&'static str, Origin>,
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as in `RUST_LOG`.
    pub level: String,
    /// The file; none: `logs/cryptostream.log` in the storage while a dashboard has the terminal, else no
    /// file.
    pub file: Option<PathBuf>,
}

/// What `.env` files of the old stack hold and this version does not use yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Later {
    pub kafka_brokers: Option<String>,
    pub kafka_sasl_password: Option<Secret>,
    /// May hold a password.
    pub mongo_uri: Option<Secret>,
    pub mongo_username: Option<String>,
    pub mongo_password: Option<Secret>,
    /// Without the `[url](url)` form around it.
    pub webhook_url: Option<Secret>,
}

const DEFAULT_STORAGE: &str = "./storage";
/// Made-up prices never mix with real ones.
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

/// Where a value came from. Ordered: the greater one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// Follows from another setting.
    Implied(&'static str),
    /// A line of the settings file.
    File {
        /// The file, as it was named.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line of `.env` in the working directory.
    DotEnv {
        /// The line, counted from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Origin {
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

/// Settings that cannot be used: one line for each error, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(
    /// Never empty; without line breaks.
    pub Vec<String>,
);

/// What a command does with the settings, and so what they must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It runs the source: a replay needs its recording.
    Feed,
    /// It reads the storage, or only shows settings.
    Read,
}

/// A value of the command line: the key's name and the text.
pub type Override = (&'static str, String);

impl Settings {
    /// The settings in force, from the given command line, the process's environment, `.env` and
    /// `cryptostream.toml` of the working directory (or the named file).
    ///
    /// # Errors
    /// [`Invalid`] with everything that is wrong.
    pub fn load(file: Option<&Path>, flags: Vec<Override>, purpose: Purpose) -> Result<Self, Invalid> {
        Self::resolve(Layers::read(file, flags), purpose)
    }

    /// The settings that follow from the layers. Looks at nothing else but whether `input` exists.
    ///
    /// # Errors
    /// [`Invalid`] with everything that is wrong.
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

    /// Where the value of a key came from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Whether the user gave a value for this key, in whatever layer.
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

    /// The table of `cryptostream config`: key, value, origin. Secrets are masked.
    pub fn table(&self) -> String {
        let rows: Vec<_> = KEYS
            .iter()
            .filter(|k| !k.later || self.is_given(k.name))
            .map(|k| {
                let note = if k.later { ", not used by this version" } else { "" };
                (k.name, crate::market::printable(&(k.get)(self)), format!("{}{note}", self.origin(k.name)))
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

    /// What one setting means for another, and what they must hold together.
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

/// The key of this name. Names in code are checked by a test.
fn key(name: &str) -> &'static Setting {
    KEYS.iter().find(|k| k.name == name).unwrap_or(&KEYS[0])
}

/// Where a value stands, in an error's words.
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
