//! Logs: one line an event, without control characters, to a file of bounded size and to the dashboard's log
//! pane while it has the terminal; to stderr otherwise. Engines and HTTP stacks are heard from `warn` on.

mod rolling;

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chrono::{SecondsFormat, Utc};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::market::printable;
use rolling::Rolling;

/// Lines that the log pane keeps.
const PANE_LINES: usize = 2_000;

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To the pane of a dashboard, which has the terminal, and to a file; to the pane alone, with a warning,
    /// where the file cannot be written: a storage that may only be read can still be looked at.
    Dashboard {
        /// The log file.
        file: PathBuf,
    },
    /// To stderr, and to a file where one is named.
    Stderr {
        /// The log file.
        file: Option<PathBuf>,
        /// Colours, when stderr is a terminal.
        color: bool,
    },
}

/// Why there can be no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file cannot be written.
    #[error("the log file '{}' cannot be written", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The level is not understood.
    #[error("'{0}' is not a log level")]
    Level(String),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Twice,
}

/// Sets up the process's logs; once.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(level: &str, destination: &Destination) -> Result<(), TelemetryError> {
    let open = |path: &Path| {
        Rolling::open(path)
            .map(|f| Sink::File(Mutex::new(f)))
            .map_err(|source| TelemetryError::File { path: path.to_owned(), source })
    };
    let mut no_file = None;
    let sinks = match destination {
        Destination::Dashboard { file } => {
            tui_logger::set_default_level(tui_logger::LevelFilter::Trace);
            tui_logger::set_buffer_depth(PANE_LINES);
            let mut sinks = vec![Sink::Pane];
            match open(file) {
                Ok(file) => sinks.push(file),
                Err(error) => no_file = Some(error),
            }
            sinks
        }
        Destination::Stderr { file, color } => {
            let stderr = Sink::Stderr { color: *color && std::io::stderr().is_terminal() };
            file.as_deref().map(open).transpose()?.into_iter().chain([stderr]).collect()
        }
    };
    let filter =
        EnvFilter::builder().parse(directives(level)).map_err(|_| TelemetryError::Level(level.to_owned()))?;
    tracing_subscriber::registry()
        .with(Lines { sinks }.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    if let Some(error) = no_file {
        tracing::warn!(error = &error as &dyn std::error::Error, "logging to the log pane only");
    }
    Ok(())
}

/// A level alone is this program's, others are heard from `warn` on; what is said of a library by name holds.
fn directives(level: &str) -> String {
    let ours = |part: &str| match part {
        "info" | "debug" | "trace" => format!("warn,cryptostream={part}"),
        _ => part.to_owned(),
    };
    level.split(',').map(|part| ours(part.trim())).collect::<Vec<_>>().join(",")
}

enum Sink {
    File(Mutex<Rolling>),
    Pane,
    Stderr { color: bool },
}

struct Lines {
    sinks: Vec<Sink>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let text = printable(&format!("{}{}", words.message, words.fields));
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let target = target.strip_prefix("cryptostream::").unwrap_or(target);
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        for sink in &self.sinks {
            // A log that cannot be written must not stop what it tells of.
            match sink {
                Sink::File(file) => {
                    if let Ok(mut file) = file.lock() {
                        let _ = file.line(&format!("{now} {level:>5} {target}: {text}\n"));
                    }
                }
                Sink::Stderr { color } => {
                    let (on, off) = if *color { (paint(level), "\u{1b}[0m") } else { ("", "") };
                    let _ = writeln!(std::io::stderr().lock(), "{now} {on}{level:>5}{off} {target}: {text}");
                }
                Sink::Pane => {
                    tui_logger::Drain::new().log(
                        &log::Record::builder()
                            .level(pane_level(level))
                            .target(target)
                            .args(format_args!("{text}"))
                            .build(),
                    );
                    tui_logger::move_events();
                }
            }
        }
    }
}

fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    }
}

fn pane_level(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}

/// An event in words: its message, then ` name=value` for each field; values with blanks in quotes.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: &str) {
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name if quoted => drop(write!(self.fields, " {name}={value:?}")),
            name => drop(write!(self.fields, " {name}={value}")),
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let causes: Vec<_> =
            std::iter::successors(Some(value), |e| e.source()).map(ToString::to_string).collect();
        self.add(field, &causes.join(": "));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_structured_and_cannot_steer_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/x.log");
        let lines = Lines { sinks: vec![Sink::File(Mutex::new(Rolling::open(&path).unwrap()))] };
        let filter = EnvFilter::builder().parse(directives("debug,hyper=info")).unwrap();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(lines.with_filter(filter)),
            || {
                tracing::info!(target: "cryptostream::pipeline::gold", candles = 10, why = "two words", who = %"\u{1b}[31mred", "closed\nwindows");
                tracing::info!(target: "deltalake_core::kernel", "noise");
                tracing::info!(target: "hyper::proto", "asked for");
                tracing::trace!("too fine");
            },
        );
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(|l| l.split_once(' ').unwrap().1).collect();
        assert_eq!(
            lines,
            [
                " INFO pipeline::gold: closed windows candles=10 why=\"two words\" who=[31mred",
                " INFO hyper::proto: asked for"
            ]
        );
    }
}
