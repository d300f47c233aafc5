//! Everything that a parser refuses in one command line: clap stops at its first error, so each refused
//! argument is mended or taken out and the rest parsed again.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What was refused, and what the rest of the command line means, where that can be told.
#[derive(Debug)]
pub struct Refused<C> {
    /// Never empty; without line breaks.
    pub errors: Vec<String>,
    /// The command line without what was refused.
    pub rest: Option<C>,
}

/// A command line as far as it can be understood, or the text of help or version.
#[derive(Debug)]
pub(super) enum Outcome<C> {
    Understood(C),
    Text(String),
    Refused(Refused<C>),
}

/// Stands in for required arguments that are missing.
const PLACEHOLDER: &str = "?";

/// Parses a command line, the program's name first.
pub(super) fn parse<C: Parser>(args: impl IntoIterator<Item = OsString>) -> Outcome<C> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut errors = Vec::new();
    // The word after an unknown flag that was taken out: perhaps its value.
    let mut perhaps_value = None;
    // Each round takes an argument out, or mends one (at most once each).
    for _ in 0..2 * args.len() + 2 {
        let error = match C::try_parse_from(&args) {
            Ok(parsed) if errors.is_empty() => return Outcome::Understood(parsed),
            Ok(parsed) => return Outcome::Refused(Refused { errors, rest: Some(parsed) }),
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                if errors.is_empty() {
                    return Outcome::Text(error.to_string());
                }
                break;
            }
            Err(error) => error,
        };
        let refused = text(&error, ContextKind::InvalidSubcommand)
            .or_else(|| text(&error, ContextKind::InvalidValue).filter(|value| !value.is_empty()))
            .or_else(|| text(&error, ContextKind::InvalidArg));
        if refused.as_deref() == Some(PLACEHOLDER) {
            break;
        }
        if refused.is_none() || refused != perhaps_value {
            errors.push(one_line(&error.to_string()));
        }
        perhaps_value = None;
        match mend(&mut args, &error) {
            Mended::Changed => {}
            Mended::TakenOut(at) => {
                perhaps_value = args.get(at).and_then(|next| next.to_str()).map(str::to_owned);
            }
            Mended::No => break,
        }
    }
    Outcome::Refused(Refused { errors, rest: None })
}

enum Mended {
    Changed,
    /// An unknown flag, which stood here.
    TakenOut(usize),
    No,
}

/// Changes the arguments so that they no longer hold what the error is about.
fn mend(args: &mut Vec<OsString>, error: &clap::Error) -> Mended {
    let argument = text(error, ContextKind::InvalidArg);
    // `--last <N>` names the flag `--last`.
    let name = argument.as_deref().and_then(|argument| argument.split([' ', '=', '[']).next()).unwrap_or("");
    let value = text(error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let Some(at) = find(args, name) else { return Mended::No };
            let Some(similar) = text(error, ContextKind::SuggestedArg) else {
                let is_whole = args[at].to_str() == Some(name);
                args.remove(at);
                return if is_whole && name.starts_with('-') {
                    Mended::TakenOut(at)
                } else {
                    Mended::Changed
                };
            };
            let given = args[at].to_str().and_then(|arg| arg.split_once('='));
            args[at] =
                given.map_or_else(|| similar.clone(), |(_, value)| format!("{similar}={value}")).into();
            Mended::Changed
        }
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let Some(at) = find(args, &word) else { return Mended::No };
            match text(error, ContextKind::SuggestedSubcommand) {
                Some(similar) => args[at] = similar.into(),
                None => {
                    args.remove(at);
                }
            }
            Mended::Changed
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(missing)) => missing.len(),
                _ => 1,
            };
            args.extend(std::iter::repeat_n(PLACEHOLDER.into(), missing));
            Mended::Changed
        }
        _ => {
            let of_flag = find(args, name).filter(|_| name.starts_with('-'));
            match (of_flag, &value) {
                (Some(_), Some(value)) => {
                    let apart = args.windows(2).position(|pair| pair[0] == *name && pair[1] == **value);
                    let joined = format!("{name}={value}");
                    match (apart, args.iter().position(|arg| *arg == *joined)) {
                        (_, Some(at)) => drop(args.remove(at)),
                        (Some(at), None) => drop(args.drain(at..at + 2)),
                        (None, None) => return Mended::No,
                    }
                }
                (Some(_), None) => {
                    // Given twice, or without its value: the last one goes.
                    let is_it = |arg: &OsString| matches(arg, name);
                    let Some(at) = args.iter().rposition(is_it) else { return Mended::No };
                    args.remove(at);
                    return Mended::TakenOut(at);
                }
                (None, Some(value)) => match find(args, value) {
                    Some(at) => drop(args.remove(at)),
                    None => return Mended::No,
                },
                (None, None) => return Mended::No,
            }
            Mended::Changed
        }
    }
}

fn matches(arg: &OsString, name: &str) -> bool {
    arg.to_str()
        .is_some_and(|arg| arg == name || arg.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// Where an argument stands, alone or with `=` and its value; never the program's name.
fn find(args: &[OsString], name: &str) -> Option<usize> {
    (1..args.len()).find(|at| matches(&args[*at], name))
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// Clap's message without its usage block: the error with its tips, and where to look.
fn one_line(text: &str) -> String {
    let lines =
        text.lines().take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"));
    let message = lines.map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    let message = crate::market::printable(message.strip_prefix("error: ").unwrap_or(&message));
    format!("{}; see 'cryptostream --help'", message.replace(" tip: ", "; "))
}
