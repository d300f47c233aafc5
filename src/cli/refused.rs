//! Finds all errors of a command line: clap stops at the first one, so each argument that it refuses is
//! corrected or removed and the rest is parsed again.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::text::printable;

/// A command line without errors.
#[derive(Debug)]
pub enum Parsed<C> {
    Run(Box<C>),
    /// The text of `--help` or `--version`, to be printed.
    Print(String),
}

/// A command line with errors.
#[derive(Debug)]
pub struct Refused<C> {
    /// Never empty; without line breaks.
    pub errors: Vec<String>,
    /// The command line without the refused arguments, where the rest can be parsed.
    pub rest: Option<Box<C>>,
}

/// Replaces required arguments that are missing, so that the rest can be parsed.
const PLACEHOLDER: &str = "?";

/// Parses a command line whose first argument is the program's name.
pub(super) fn parse<C: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<Parsed<C>, Refused<C>> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut errors = Vec::new();
    // The argument after an unknown flag that was removed: it may be the flag's value, so an error about it is
    // not reported.
    let mut perhaps_value = None;
    // Each round removes or corrects an argument, each at most once.
    for _ in 0..2 * args.len() + 2 {
        let error = match C::try_parse_from(&args) {
            Ok(parsed) if errors.is_empty() => return Ok(Parsed::Run(Box::new(parsed))),
            Ok(parsed) => return Err(Refused { errors, rest: Some(Box::new(parsed)) }),
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                if errors.is_empty() {
                    return Ok(Parsed::Print(error.to_string()));
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
        match correct(&mut args, &error) {
            Correction::Made => {}
            Correction::Removed(at) => {
                perhaps_value = args.get(at).and_then(|next| next.to_str()).map(str::to_owned);
            }
            Correction::Impossible => break,
        }
    }
    Err(Refused { errors, rest: None })
}

enum Correction {
    Made,
    /// A whole flag was removed from this index.
    Removed(usize),
    Impossible,
}

/// Changes the arguments so that the error does not occur again.
fn correct(args: &mut Vec<OsString>, error: &clap::Error) -> Correction {
    let argument = text(error, ContextKind::InvalidArg);
    // `--last <N>` names the flag `--last`.
    let name = argument.as_deref().and_then(|argument| argument.split([' ', '=', '[']).next()).unwrap_or("");
    let value = text(error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let Some(at) = find(args, name) else { return Correction::Impossible };
            let Some(similar) = text(error, ContextKind::SuggestedArg) else {
                let is_whole = args[at].to_str() == Some(name);
                args.remove(at);
                return if is_whole && name.starts_with('-') {
                    Correction::Removed(at)
                } else {
                    Correction::Made
                };
            };
            let given = args[at].to_str().and_then(|arg| arg.split_once('='));
            args[at] =
                given.map_or_else(|| similar.clone(), |(_, value)| format!("{similar}={value}")).into();
            Correction::Made
        }
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let Some(at) = find(args, &word) else { return Correction::Impossible };
            match text(error, ContextKind::SuggestedSubcommand) {
                Some(similar) => args[at] = similar.into(),
                None => {
                    args.remove(at);
                }
            }
            Correction::Made
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(missing)) => missing.len(),
                _ => 1,
            };
            args.extend(std::iter::repeat_n(PLACEHOLDER.into(), missing));
            Correction::Made
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
                        (None, None) => return Correction::Impossible,
                    }
                }
                (Some(_), None) => {
                    // Given twice, or without its value: remove the last one.
                    let Some(at) = args.iter().rposition(|arg| matches(arg, name)) else {
                        return Correction::Impossible;
                    };
                    args.remove(at);
                    return Correction::Removed(at);
                }
                (None, Some(value)) => match find(args, value) {
                    Some(at) => drop(args.remove(at)),
                    None => return Correction::Impossible,
                },
                (None, None) => return Correction::Impossible,
            }
            Correction::Made
        }
    }
}

/// Whether an argument is `name` or `name=VALUE`.
fn matches(arg: &OsString, name: &str) -> bool {
    arg.to_str()
        .is_some_and(|arg| arg == name || arg.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// The index of the first argument that [`matches()`], without the program's name.
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

/// Clap's message in one line: the error and its tips without the usage block, then a reference to the help.
fn one_line(text: &str) -> String {
    let lines =
        text.lines().take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"));
    let message = lines.map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    let message = printable(message.strip_prefix("error: ").unwrap_or(&message));
    format!("{}; see 'cryptostream --help'", message.replace(" tip: ", "; "))
}
