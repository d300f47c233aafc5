//! A setting: its names, and how its text is parsed and shown.

use clap::builder::PossibleValue;

use super::Settings;

#[derive(Debug)]
pub struct Setting {
    /// As in the TOML file, sections with dots: `coingecko.base_url`.
    pub name: &'static str,
    pub flag: Option<Flag>,
    /// Other variables than `CRYPTOSTREAM_<KEY>` that set it; one with a text sets that text, whatever its own
    /// value is.
    pub aliases: &'static [(&'static str, Option<&'static str>)],
    /// It can be set by the environment only, and is never shown.
    pub secret: bool,
    /// It can be set by the environment only, and this version does not use it.
    pub later: bool,
    pub(super) get: fn(&Settings) -> String,
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
}

/// A setting on the command line.
#[derive(Debug)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    pub takes: Takes,
    /// The section of the help.
    pub heading: &'static str,
    /// One line of help. [`Setting::help`] appends the default unless the line contains one.
    help: &'static str,
}

/// The value of a flag.
#[derive(Debug)]
pub enum Takes {
    /// Any text; the value's name in the help.
    Text(&'static str),
    /// One of a set of names; the value's name in the help, and the set.
    OneOf(&'static str, fn() -> Vec<PossibleValue>),
    /// None: the flag sets this text.
    Nothing(&'static str),
}

impl Setting {
    pub(super) const fn new(
        name: &'static str,
        get: fn(&Settings) -> String,
        set: fn(&mut Settings, &str) -> Result<(), String>,
    ) -> Self {
        Self { name, flag: None, aliases: &[], secret: false, later: false, get, set }
    }

    pub(super) const fn flag(
        mut self,
        name: &'static str,
        takes: Takes,
        heading: &'static str,
        help: &'static str,
    ) -> Self {
        self.flag = Some(Flag { name, takes, heading, help });
        self
    }

    pub(super) const fn aliases(mut self, aliases: &'static [(&'static str, Option<&'static str>)]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn later(mut self) -> Self {
        self.later = true;
        self
    }

    /// The environment variable: `CRYPTOSTREAM_COINGECKO_BASE_URL` for `coingecko.base_url`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The help line of its flag with the default; none without a flag.
    pub fn help(&self) -> Option<String> {
        let Flag { takes, help, .. } = self.flag.as_ref()?;
        let default = (self.get)(&Settings::default());
        let is_complete =
            matches!(takes, Takes::Nothing(_)) || default.is_empty() || help.contains("[default");
        Some(if is_complete { (*help).to_owned() } else { format!("{help} [default: {default}]") })
    }
}

/// The prefix of this program's environment variables.
pub(super) const PREFIX: &str = "CRYPTOSTREAM_";
