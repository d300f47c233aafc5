//! Logs: one line per event, without control characters. A dashboard logs to its pane and to a file of
//! bounded size; every other command logs to stderr and, if one is named, to a file. Libraries are logged
//! from level `warn` on, unless the level setting names them.

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

use crate::text::{chain, printable};
use rolling::Rolling;

/// Lines that the log pane keeps.
const PANE_LINES: usize = 2_000;

/// Where logs go. A file that the user named and that cannot be written is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The log pane, and a file.
    Dashboard {
        /// The file that the user named.
        file: Option<PathBuf>,
        /// The file where the user named none. Where it cannot be written, the pane alone gets the logs, with
        /// a warning: the dashboard also works on a storage that is read-only.
        default_file: PathBuf,
    },
    /// Stderr, and a file if the user named one.
    Stderr {
        file: Option<PathBuf>,
        /// Whether lines have colours while stderr is a terminal.
        color: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log file '{}' cannot be written", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("'{0}' is not a log level")]
    Level(String),
    /// [`init`] was called before.
    #[error("logs are set up already")]
    Twice,
}

/// Sets up the logs of the process; once. `level` is a level or a list of `target=level`, as in `RUST_LOG`.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(level: &str, destination: &Destination) -> Result<(), TelemetryError> {
    let open = |path: &Path| {
        Rolling::open(path)
            .map(|f| Sink::File(Mutex::new(f)))
            .map_err(|source| TelemetryError::File { path: path.to_owned(), source })
    };
    let mut without_default = None;
    let sinks = match destination {
        Destination::Dashboard { file, default_file } => {
            tui_logger::set_default_level(tui_logger::LevelFilter::Trace);
            tui_logger::set_buffer_depth(PANE_LINES);
            let opened = match file {
                Some(file) => Some(open(file)?),
                None => open(default_file).map_err(|error| without_default = Some(error)).ok(),
            };
            [Sink::Pane].into_iter().chain(opened).collect()
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
    if let Some(error) = without_default {
        tracing::warn!(error = &error as &dyn std::error::Error, "logging to the log pane only");
    }
    Ok(())
}

/// Filter directives for a level setting: `info`, `debug` and `trace` alone hold for this program, everything
/// else logs from `warn` on; directives with a target are kept as they are.
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

/// Formats each event as one line and writes it to every sink.
struct Lines {
    sinks: Vec<Sink>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut event_text = EventText::default();
        event.record(&mut event_text);
        let text = printable(&format!("{}{}", event_text.message, event_text.fields));
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let target = target.strip_prefix("cryptostream::").unwrap_or(target);
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        for sink in &self.sinks {
            // A failure to write a log line must not stop the work that is logged.
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

/// The text of an event: its message, and ` name=value` for each field, quoted where the value has blanks.
#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl EventText {
    fn add(&mut self, field: &Field, value: &str) {
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name if quoted => drop(write!(self.fields, " {name}={value:?}")),
            name => drop(write!(self.fields, " {name}={value}")),
        }
    }
}

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_structured_and_without_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/x.log");
        let lines = Lines { sinks: vec![Sink::File(Mutex::new(Rolling::open(&path).unwrap()))] };
        let filter = EnvFilter::builder().parse(directives("debug,hyper=info")).unwrap();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(lines.with_filter(filter)),
            || {
                tracing::info!(target: "cryptostream::pipeline::gold", candles = 10, why = "two words", who = %"\u{1b}[31mred", "closed\nwindows");
                tracing::info!(target: "deltalake_core::kernel", "noise");
                tracing::info!(target: "hyper::proto", "named in the level");
                tracing::trace!("too fine");
            },
        );
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(|l| l.split_once(' ').unwrap().1).collect();
        assert_eq!(
            lines,
            [
                " INFO pipeline::gold: closed windows candles=10 why=\"two words\" who=[31mred",
                " INFO hyper::proto: named in the level"
            ]
        );
    }
}
