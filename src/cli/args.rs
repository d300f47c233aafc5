//! The command line: what can be said, with help and examples. Values stay text: `config` judges them with
//! all others, so that everything that is wrong is told at once.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::refused::{self, Outcome, Refused};
use crate::config::{Backfill, Invalid, Override, Purpose, Settings, Theme};

const EXAMPLES: &str = "\
Without a command: the pipeline and the dashboard in one process.

Examples:
  cryptostream                                         watch ten coins
  cryptostream --coins bitcoin,monero --poll 30s       watch others
  cryptostream --source simulator                      no network: a made-up market
  cryptostream --input day.ndjson.gz --speed 60        replay a recording, a minute a second
  cryptostream --no-tui                                the pipeline alone
  cryptostream candles bitcoin --interval 5m --last 12
  cryptostream query 'SELECT coin_id, count(*) FROM gold GROUP BY 1'

Settings come from the command line, the environment (CRYPTOSTREAM_POLL=30s, also in .env), cryptostream.toml and the
defaults, the first that has one. 'cryptostream config' shows them with where each came from.";

/// A live crypto market monitor in the terminal, on top of a real lakehouse
#[derive(Debug, Clone, Parser)]
#[command(name = "cryptostream", version, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 120)]
pub struct Cli {
    /// What to do; nothing: the dashboard.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Run the pipeline alone, logs on stderr; ends with a summary
    #[arg(long)]
    pub no_tui: bool,
    /// Options that every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// The dashboard alone, over a storage that another process feeds
    Monitor,
    /// Candles of a coin to stdout, oldest first, the open one last
    Candles {
        /// The coin's id, such as bitcoin
        coin: String,
        /// Only the newest N
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// How to write them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// SQL over the views bronze, silver, gold, quarantine and alerts; read-only
    Query {
        /// One statement
        #[arg(allow_hyphen_values = true)] // it may begin with a comment
        sql: String,
        /// How to write the rows
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Check that the tables keep their promises; exits 1 with the first differences
    Verify {
        /// Which of them
        #[arg(value_enum, default_value_t)]
        layer: Layer,
    },
    /// Compaction, vacuum, checkpoint and log clean-up now
    Compact,
    /// What the source delivers, to a file that replay reads back
    Record {
        /// NDJSON; gzip when the name ends in .gz; - for stdout
        file: PathBuf,
        /// Replace a recording of that name, at the end
        #[arg(long)]
        force: bool,
        /// Add to the end of a recording of that name
        #[arg(long, conflicts_with = "force")]
        append: bool,
    },
    /// The dashboard as a picture (SVG)
    Screenshot {
        /// Columns x rows
        #[arg(long, value_name = "WxH", default_value = "160x48")]
        size: Size,
        /// The file to write; else stdout
        #[arg(short, long, value_name = "FILE.svg")]
        output: Option<PathBuf>,
    },
    /// The settings in force, each with where it came from
    Config,
    /// A completion script for a shell, to stdout
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The manual page (roff), to stdout
    Man,
}

impl Command {
    /// What the command needs of the settings.
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Record { .. } => Purpose::Feed,
            _ => Purpose::Read,
        }
    }
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Aligned columns, for eyes.
    #[default]
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON array of objects.
    Json,
}

/// What `verify` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Layer {
    /// Positions and files of the raw records.
    Bronze,
    /// Silver and quarantine against bronze.
    Silver,
    /// Gold against silver.
    Gold,
    /// Everything.
    #[default]
    All,
}

/// A screen's size in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Cells in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('x')
            .and_then(|(columns, rows)| {
                Some(Self { columns: columns.parse().ok()?, rows: rows.parse().ok()? })
            })
            .filter(|s| (1..=500).contains(&s.columns) && (1..=200).contains(&s.rows))
            .ok_or_else(|| "columns x rows such as 160x48, at most 500x200".to_owned())
    }
}

/// Text that help and completions list values for; `config` judges it.
#[derive(Debug, Clone)]
struct OneOf(&'static [&'static str]);

impl TypedValueParser for OneOf {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Folder of the tables [default: ./storage; ./storage/simulated for the simulator]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Storage")]
    pub storage: Option<String>,
    /// Take the storage from the pipeline that has it
    #[arg(long, global = true, help_heading = "Storage")]
    pub take_over: bool,
    /// Queries answer for this source only
    #[arg(long, value_name = "SOURCE", global = true, help_heading = "Storage")]
    pub from: Option<String>,
    /// A batch is committed after this time [default: 1s]
    #[arg(long, value_name = "TIME", global = true, help_heading = "Storage")]
    pub batch_latency: Option<String>,
    /// … or with so many records [default: 50000]
    #[arg(long, value_name = "N", global = true, help_heading = "Storage")]
    pub batch_records: Option<String>,

    /// Where prices come from [default: coingecko; replay when --input is given]
    #[arg(long, global = true, help_heading = "Source",
        value_parser = OneOf(&["coingecko", "replay", "simulator"]))]
    pub source: Option<String>,
    /// Coins by id, with commas between
    #[arg(long, value_name = "A,B,C", global = true, help_heading = "Source")]
    pub coins: Option<String>,
    /// Currency of CoinGecko's prices and of 'candles', such as eur [default: usd; for 'candles' else the only one]
    #[arg(long, value_name = "CURRENCY", global = true, help_heading = "Source")]
    pub quote: Option<String>,
    /// Time between polls of CoinGecko [default: 15s]
    #[arg(long, value_name = "TIME", global = true, help_heading = "Source")]
    pub poll: Option<String>,
    /// History that a first start fetches from CoinGecko [default: 1d]
    #[arg(long, global = true, help_heading = "Source", value_parser = OneOf(Backfill::LABELS))]
    pub backfill: Option<String>,
    /// The recording to replay: NDJSON, plain or .gz; - for stdin
    #[arg(long, value_name = "FILE", global = true, help_heading = "Source")]
    pub input: Option<String>,
    /// Speed of a replay: N times real time, or max [default: 1]
    #[arg(long, value_name = "N|max", global = true, help_heading = "Source")]
    pub speed: Option<String>,

    /// Ticks a second, or max (on virtual time) [default: 20]
    #[arg(long, value_name = "N|max", global = true, help_heading = "Simulator")]
    pub rate: Option<String>,
    /// End after N ticks
    #[arg(long, value_name = "N", global = true, help_heading = "Simulator")]
    pub events: Option<String>,
    /// The same seed makes the same market [default: 1]
    #[arg(long, value_name = "N", global = true, help_heading = "Simulator")]
    pub seed: Option<String>,
    /// Start of virtual time [default: 2025-01-01T00:00:00Z]
    #[arg(long, value_name = "WHEN", global = true, help_heading = "Simulator")]
    pub start: Option<String>,
    /// Virtual time between two ticks of a coin [default: 100ms]
    #[arg(long, value_name = "TIME", global = true, help_heading = "Simulator")]
    pub tick: Option<String>,
    /// N made-up coins instead of --coins
    #[arg(long, value_name = "N", global = true, help_heading = "Simulator")]
    pub markets: Option<String>,

    /// Width of candles: 1m, 5m, 15m, 1h, 4h, 1d [default: what suits the source; 1m for 'candles']
    #[arg(long, value_name = "WIDTH", global = true, help_heading = "Display")]
    pub interval: Option<String>,
    /// Colours of the dashboard
    #[arg(long, global = true, help_heading = "Display", value_parser = OneOf(Theme::LABELS))]
    pub theme: Option<String>,
    /// No colours, as with NO_COLOR
    #[arg(long, global = true, help_heading = "Display")]
    pub no_color: bool,

    /// The settings file [default: ./cryptostream.toml where it exists]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// error, warn, info, debug, trace, or as in RUST_LOG [default: info]
    #[arg(long, value_name = "LEVEL", global = true, help_heading = "Settings")]
    pub log_level: Option<String>,
}

impl Common {
    /// What was given, as the layer above all others.
    pub fn overrides(&self) -> Vec<Override> {
        let switch = |on: bool, text: &str| on.then(|| text.to_owned());
        [
            ("storage", self.storage.clone()),
            ("take_over", switch(self.take_over, "true")),
            ("from", self.from.clone()),
            ("batch_latency", self.batch_latency.clone()),
            ("batch_records", self.batch_records.clone()),
            ("source", self.source.clone()),
            ("coins", self.coins.clone()),
            ("quote", self.quote.clone()),
            ("poll", self.poll.clone()),
            ("backfill", self.backfill.clone()),
            ("input", self.input.clone()),
            ("speed", self.speed.clone()),
            ("simulator.rate", self.rate.clone()),
            ("simulator.events", self.events.clone()),
            ("simulator.seed", self.seed.clone()),
            ("simulator.start", self.start.clone()),
            ("simulator.tick", self.tick.clone()),
            ("simulator.markets", self.markets.clone()),
            ("ui.interval", self.interval.clone()),
            ("ui.theme", self.theme.clone()),
            ("ui.color", switch(self.no_color, "never")),
            ("log.level", self.log_level.clone()),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)))
        .collect()
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// To run.
    Run(Box<Cli>),
    /// To print this: help or version.
    Print(String),
}

impl Cli {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// [`Refused`] with everything that is wrong in it.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refused<Box<Self>>> {
        let alone = |cli: &Self| {
            (cli.no_tui && cli.command.is_some())
                .then(|| "'--no-tui' runs the pipeline and goes without a command".to_owned())
        };
        match refused::parse::<Self>(args) {
            Outcome::Text(text) => Ok(Parsed::Print(text)),
            Outcome::Understood(cli) => match alone(&cli) {
                Some(error) => Err(Refused { errors: vec![error], rest: Some(Box::new(cli)) }),
                None => Ok(Parsed::Run(Box::new(cli))),
            },
            Outcome::Refused(Refused { mut errors, rest }) => {
                errors.extend(rest.as_ref().and_then(alone));
                Err(Refused { errors, rest: rest.map(Box::new) })
            }
        }
    }

    /// The settings in force for this command line.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn settings(&self) -> Result<Settings, Invalid> {
        Settings::load(self.common.config.as_deref(), self.common.overrides(), self.purpose())
    }

    /// What the command needs of the settings.
    pub fn purpose(&self) -> Purpose {
        self.command.as_ref().map_or(Purpose::Feed, Command::purpose)
    }

    /// The completion script for a shell.
    pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Self::command(), "cryptostream", &mut script);
        script
    }

    /// The manual page, in roff.
    ///
    /// # Errors
    /// None in practice: it writes to memory.
    pub fn man() -> std::io::Result<Vec<u8>> {
        let mut page = Vec::new();
        clap_mangen::Man::new(Self::command()).render(&mut page)?;
        Ok(page)
    }
}
