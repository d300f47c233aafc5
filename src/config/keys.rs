//! The table of settings: one row a key, which gives its name everywhere and says how its text is read and
//! shown.

use std::sync::Arc;
use std::time::Duration;

use super::value::{self, Backfill, Color, Plan, Rate, Secret, Speed, Theme};
use super::{Settings, SourceKind};
use crate::market::Interval;

/// A key of the settings.
#[derive(Debug)]
pub struct Setting {
    /// As in the TOML file, sections with dots: `coingecko.base_url`.
    pub name: &'static str,
    /// The flag of the command line, where it has one.
    pub flag: Option<&'static str>,
    /// Variables that mean it too, beside `CRYPTOSTREAM_<KEY>`; with a text: what being set at all means.
    pub aliases: &'static [(&'static str, Option<&'static str>)],
    /// It comes from the environment only and is never shown.
    pub secret: bool,
    /// It is accepted, from the environment only, and not used by this version.
    pub later: bool,
    pub(super) get: fn(&Settings) -> String,
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Setting {
    /// `CRYPTOSTREAM_COINGECKO_BASE_URL` for `coingecko.base_url`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// What our own variables start with.
pub(super) const PREFIX: &str = "CRYPTOSTREAM_";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// A key that may stand in the file; the macro keeps a row on few lines.
macro_rules! key {
    ($name:literal, $flag:expr, |$g:ident| $get:expr, |$s:ident, $t:ident| $set:expr) => {
        Setting {
            name: $name,
            flag: $flag,
            aliases: &[],
            secret: false,
            later: false,
            get: |$g| $get,
            set: |$s, $t| {
                $set;
                Ok(())
            },
        }
    };
}

fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map(T::to_string).unwrap_or_default()
}

fn parse_source(text: &str) -> Result<SourceKind, String> {
    let all = [SourceKind::Coingecko, SourceKind::Replay, SourceKind::Simulator];
    all.into_iter()
        .find(|k| k.label() == text)
        .ok_or_else(|| value::not_one_of(text, &all.map(SourceKind::label)))
}

fn parse_level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|_| {
        format!("'{text}' is neither a level (error, warn, info, debug, trace) nor a list of TARGET=LEVEL")
    })
}

/// All keys, in the order of the sample file.
pub static KEYS: &[Setting] = &[
    key!("storage", Some("--storage"), |s| s.storage.display().to_string(), |s, t| s.storage =
        value::folder(t)?),
    key!("source", Some("--source"), |s| s.source.label().to_owned(), |s, t| s.source = parse_source(t)?),
    key!(
        "input",
        Some("--input"),
        |s| s.input.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
        |s, t| s.input = Some(t.into())
    ),
    key!("speed", Some("--speed"), |s| s.speed.to_string(), |s, t| {
        s.speed = value::max_or_number(t)?.map_or(Speed::Max, Speed::Times);
    }),
    key!("coins", Some("--coins"), |s| s.coins.join(","), |s, t| s.coins = value::coins(t)?),
    key!("quote", Some("--quote"), |s| s.quote.clone(), |s, t| s.quote = value::currency(t)?),
    key!("poll", Some("--poll"), |s| value::show_duration(s.poll), |s, t| s.poll =
        value::duration(t, SECOND, DAY)?),
    key!("backfill", Some("--backfill"), |s| s.backfill.label().to_owned(), |s, t| s.backfill =
        Backfill::parse(t)?),
    key!("batch_latency", Some("--batch-latency"), |s| value::show_duration(s.batch_latency), |s, t| {
        s.batch_latency = value::duration(t, Duration::from_millis(1), MINUTE)?;
    }),
    key!("batch_records", Some("--batch-records"), |s| s.batch_records.to_string(), |s, t| {
        s.batch_records = value::count(t, 1)?;
    }),
    key!("from", Some("--from"), |s| shown(s.from.as_ref()), |s, t| s.from = Some(Arc::from(t.trim()))),
    key!("take_over", Some("--take-over"), |s| s.take_over.to_string(), |s, t| s.take_over = value::flag(t)?),
    Setting {
        aliases: &[("COINGECKO_BASE_URL", None)],
        ..key!("coingecko.base_url", None, |s| s.coingecko.base_url.clone(), |s, t| s.coingecko.base_url =
            value::address(t)?)
    },
    Setting {
        aliases: &[("COINGECKO_API_PLAN", None)],
        ..key!("coingecko.plan", None, |s| s.coingecko.plan.label().to_owned(), |s, t| s.coingecko.plan =
            Plan::parse(&t.to_lowercase())?)
    },
    Setting {
        aliases: &[("COINGECKO_API_KEY", None)],
        secret: true,
        ..key!("coingecko.api_key", None, |s| shown(s.coingecko.api_key.as_ref()), |s, t| s
            .coingecko
            .api_key =
            Some(Secret::new(t)))
    },
    key!("coingecko.connect_timeout", None, |s| value::show_duration(s.coingecko.connect_timeout), |s, t| {
        s.coingecko.connect_timeout = value::duration(t, Duration::from_millis(1), 10 * MINUTE)?;
    }),
    key!("coingecko.timeout", None, |s| value::show_duration(s.coingecko.timeout), |s, t| {
        s.coingecko.timeout = value::duration(t, Duration::from_millis(1), 10 * MINUTE)?;
    }),
    key!("simulator.rate", Some("--rate"), |s| s.simulator.rate.to_string(), |s, t| {
        s.simulator.rate = value::max_or_number(t)?.map_or(Rate::Max, Rate::PerSecond);
    }),
    key!("simulator.events", Some("--events"), |s| shown(s.simulator.events.as_ref()), |s, t| {
        s.simulator.events = Some(value::count(t, 1)?);
    }),
    key!("simulator.seed", Some("--seed"), |s| s.simulator.seed.to_string(), |s, t| s.simulator.seed =
        value::count(t, 0)?),
    key!("simulator.start", Some("--start"), |s| value::show_time(s.simulator.start), |s, t| {
        s.simulator.start = value::time(t)?;
    }),
    key!("simulator.tick", Some("--tick"), |s| value::show_duration(s.simulator.tick), |s, t| {
        s.simulator.tick = value::duration(t, Duration::from_micros(1), DAY)?;
    }),
    key!("simulator.markets", Some("--markets"), |s| shown(s.simulator.markets.as_ref()), |s, t| {
        s.simulator.markets = Some(value::count(t, 1)?);
    }),
    key!("alerts.threshold", None, |s| s.alerts.threshold.to_string(), |s, t| s.alerts.threshold =
        value::percent(t)?),
    key!("alerts.cooldown", None, |s| value::show_duration(s.alerts.cooldown), |s, t| {
        s.alerts.cooldown = value::duration(t, Duration::ZERO, 365 * DAY)?;
    }),
    key!("alerts.max_age", None, |s| value::show_duration(s.alerts.max_age), |s, t| {
        s.alerts.max_age = value::duration(t, Duration::ZERO, 365 * DAY)?;
    }),
    key!(
        "alerts.overrides",
        None,
        |s| s
            .alerts
            .overrides
            .iter()
            .map(|(coin, percent)| format!("{coin}={percent}"))
            .collect::<Vec<_>>()
            .join(","),
        |s, t| s.alerts.overrides = value::thresholds(t)?
    ),
    key!("ui.theme", Some("--theme"), |s| s.ui.theme.label().to_owned(), |s, t| s.ui.theme =
        Theme::parse(t)?),
    Setting {
        aliases: &[("NO_COLOR", Some("never"))],
        ..key!("ui.color", Some("--no-color"), |s| s.ui.color.label().to_owned(), |s, t| s.ui.color =
            Color::parse(t)?)
    },
    key!("ui.red_up", None, |s| s.ui.red_up.to_string(), |s, t| s.ui.red_up = value::flag(t)?),
    key!("ui.utc", None, |s| s.ui.utc.to_string(), |s, t| s.ui.utc = value::flag(t)?),
    key!(
        "ui.interval",
        Some("--interval"),
        |s| s.ui.interval.map_or_else(|| "auto".to_owned(), |i| i.to_string()),
        |s, t| s.ui.interval = if t == "auto" { None } else { Some(t.parse::<Interval>()?) }
    ),
    Setting {
        aliases: &[("RUST_LOG", None)],
        ..key!("log.level", Some("--log-level"), |s| s.log.level.clone(), |s, t| s.log.level =
            parse_level(t)?)
    },
    key!(
        "log.file",
        None,
        |s| s.log.file.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
        |s, t| s.log.file = Some(t.into())
    ),
    Setting {
        aliases: &[("KAFKA_BROKERS", None)],
        later: true,
        ..key!("kafka.brokers", None, |s| shown(s.later.kafka_brokers.as_ref()), |s, t| s
            .later
            .kafka_brokers =
            Some(t.to_owned()))
    },
    Setting {
        aliases: &[("KAFKA_SASL_PASSWORD", None)],
        secret: true,
        later: true,
        ..key!("kafka.sasl_password", None, |s| shown(s.later.kafka_sasl_password.as_ref()), |s, t| {
            s.later.kafka_sasl_password = Some(Secret::new(t));
        })
    },
    Setting {
        aliases: &[("MONGO_URI", None)],
        secret: true,
        later: true,
        ..key!("mongodb.uri", None, |s| shown(s.later.mongo_uri.as_ref()), |s, t| s.later.mongo_uri =
            Some(Secret::new(t)))
    },
    Setting {
        aliases: &[("MONGO_USERNAME", None)],
        later: true,
        ..key!("mongodb.username", None, |s| shown(s.later.mongo_username.as_ref()), |s, t| s
            .later
            .mongo_username =
            Some(t.to_owned()))
    },
    Setting {
        aliases: &[("MONGO_PASSWORD", None)],
        secret: true,
        later: true,
        ..key!("mongodb.password", None, |s| shown(s.later.mongo_password.as_ref()), |s, t| s
            .later
            .mongo_password =
            Some(Secret::new(t)))
    },
    Setting {
        aliases: &[("WEBHOOK_URL", None)],
        secret: true,
        later: true,
        ..key!("discord.webhook_url", None, |s| shown(s.later.webhook_url.as_ref()), |s, t| {
            s.later.webhook_url = Some(Secret::new(value::unlinked(t)));
        })
    },
];
