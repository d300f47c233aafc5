//! The command line: commands and flags, with help and examples. Values of settings stay text here; `config`
//! checks them together with those of all other layers, so that all errors are reported at once.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::refused::{self, Parsed, Refused};
use crate::config::{Invalid, KEYS, Override, Purpose, Setting, Settings, Takes};
use crate::lake::verify::Scope;
use crate::query::output::Format;

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

Settings come from the command line, the environment (CRYPTOSTREAM_POLL=30s, also in .env), cryptostream.toml and \
the defaults, in this order. 'cryptostream config' shows them with their origins.";

/// A live crypto market monitor in the terminal, on top of a real lakehouse
#[derive(Debug, Clone, Parser)]
#[command(name = "cryptostream", version, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 120)]
pub struct Cli {
    /// None: the pipeline, with the dashboard unless `no_tui` is set.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Run the pipeline alone, logs on stderr; ends with a summary
    #[arg(long)]
    pub no_tui: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// The dashboard alone, over a storage that another process feeds
    Monitor,
    /// Candles of a coin to stdout, oldest first, the open one last
    Candles {
        /// The coin's id, such as bitcoin
        coin: String,
        /// Only the newest N candles
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// SQL over the views bronze, silver, gold, quarantine and alerts; read-only
    Query {
        /// One statement
        #[arg(allow_hyphen_values = true)] // a statement may begin with a comment: `-- …`
        sql: String,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Check the guarantees of the tables; exits 1 with the first violations
    Verify {
        /// The layer to check
        #[arg(value_enum, default_value_t)]
        layer: Scope,
    },
    /// Run compaction, vacuum, checkpoint and log clean-up now
    Compact,
    /// Record what the source delivers to a file that can be replayed
    Record {
        /// NDJSON; gzip when the name ends in .gz; - for stdout
        file: PathBuf,
        /// Replace an existing recording when the new one is complete
        #[arg(long)]
        force: bool,
        /// Append to an existing recording
        #[arg(long, conflicts_with = "force")]
        append: bool,
    },
    /// The dashboard as a picture (SVG)
    Screenshot {
        /// Columns x rows, in cells
        #[arg(long, value_name = "WxH", default_value = "160x48")]
        size: Size,
        /// The file to write [default: stdout]
        #[arg(short, long, value_name = "FILE.svg")]
        output: Option<PathBuf>,
    },
    /// The settings in force, each with its origin
    Config,
    /// A completion script for a shell, to stdout
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The manual page (roff), to stdout
    Man,
}

impl Command {
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Record { .. } => Purpose::Feed,
            Self::Monitor
            | Self::Candles { .. }
            | Self::Query { .. }
            | Self::Verify { .. }
            | Self::Compact
            | Self::Screenshot { .. }
            | Self::Config
            | Self::Completions { .. }
            | Self::Man => Purpose::Read,
        }
    }
}

/// A screen's size in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: u16,
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

/// Accepts any text, which `config` checks later, and lists the possible values in help and completions.
#[derive(Debug, Clone)]
struct Listed(Vec<PossibleValue>);

impl TypedValueParser for Listed {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().cloned()))
    }
}

/// Options that every command takes, before or after its name: the flags of the settings, and `--config`.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// The settings file; none: the default one, if it exists.
    pub config: Option<PathBuf>,
    /// The flags of settings that were given: the layer with the highest priority.
    pub overrides: Vec<Override>,
}

const CONFIG: &str = "config";

impl Args for Common {
    fn augment_args(command: clap::Command) -> clap::Command {
        let flag = |key: &'static Setting| {
            let flag = key.flag.as_ref()?;
            let arg = Arg::new(key.name)
                .long(flag.name.trim_start_matches('-'))
                .help(key.help().unwrap_or_default());
            let arg = match flag.takes {
                Takes::Text(name) => arg.value_name(name),
                Takes::OneOf(name, values) => arg.value_name(name).value_parser(Listed(values())),
                Takes::Nothing(_) => arg.action(ArgAction::SetTrue),
            };
            Some(arg.global(true).help_heading(flag.heading))
        };
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .global(true)
            .help_heading("Settings")
            .help("The settings file [default: ./cryptostream.toml where it exists]");
        command.args(KEYS.iter().filter_map(flag)).arg(config)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Common {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &'static Setting| {
            let text = match key.flag.as_ref()?.takes {
                Takes::Nothing(text) => matches.get_flag(key.name).then(|| text.to_owned()),
                Takes::Text(_) | Takes::OneOf(..) => matches.get_one::<String>(key.name).cloned(),
            };
            Some((key.name, text?))
        };
        Ok(Self {
            config: matches.get_one(CONFIG).cloned(),
            overrides: KEYS.iter().filter_map(given).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Cli {
    /// Parses a command line whose first argument is the program's name.
    ///
    /// # Errors
    /// [`Refused`] with all errors in it.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Parsed<Self>, Refused<Self>> {
        let is_wrong = |cli: &Self| cli.no_tui && cli.command.is_some();
        let message = || "'--no-tui' runs the pipeline and goes without a command".to_owned();
        match refused::parse::<Self>(args) {
            Ok(Parsed::Run(cli)) if is_wrong(&cli) => {
                Err(Refused { errors: vec![message()], rest: Some(cli) })
            }
            Err(Refused { mut errors, rest: Some(cli) }) if is_wrong(&cli) => {
                errors.push(message());
                Err(Refused { errors, rest: Some(cli) })
            }
            read => read,
        }
    }

    /// The settings in force for this command line.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn settings(&self) -> Result<Settings, Invalid> {
        let purpose = self.command.as_ref().map_or(Purpose::Feed, Command::purpose);
        Settings::load(self.common.config.as_deref(), self.common.overrides.clone(), purpose)
    }

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
