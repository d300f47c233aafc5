//! The command line: what can be said, with help and examples. Values stay text: `config` judges them with
//! all others, so that everything that is wrong is told at once.

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
        layer: Scope,
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

/// Options that every command takes, before or after its name: the flags of the settings, and the file.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// The settings file.
    pub config: Option<PathBuf>,
    /// The layer above all others.
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
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// [`Refused`] with everything that is wrong in it.
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
