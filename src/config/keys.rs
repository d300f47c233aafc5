//! The table of settings. A row gives a setting's name, its flag and variables, and how its text is parsed and
//! shown. A new setting needs a row here, a field in the part that uses it, and a line in the sample file.

use std::time::Duration;

use super::setting::{Setting, Takes};
use super::value;
use crate::secret::Secret;
use crate::source::SourceKind;
use crate::source::coingecko::{History, Plan};
use crate::tui::format::Zone;
use crate::tui::theme::ThemeKind;

const MICROSECOND: Duration = Duration::from_micros(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

const STORAGE: &str = "Storage";
const SOURCE: &str = "Source";
const SIMULATOR: &str = "Simulator";
const DISPLAY: &str = "Display";
const SETTINGS: &str = "Settings";

use Takes::{Nothing, OneOf, Text};

/// The text of an optional value; empty where it is absent.
fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map(T::to_string).unwrap_or_default()
}

/// Sets an optional value whose every text is understood.
#[expect(clippy::unnecessary_wraps, reason = "the setters of the table return a result")]
fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    *slot = Some(value);
    Ok(())
}

fn level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|_| {
        format!("'{text}' is neither a level (error, warn, info, debug, trace) nor a list of TARGET=LEVEL")
    })
}

/// All settings, in the order of the sample file.
pub static KEYS: &[Setting] = &[
    Setting::new(
        "storage",
        |s| s.storage.display().to_string(),
        |s, t| value::folder(t).map(|folder| s.storage = folder),
    )
    .flag(
        "--storage",
        Text("DIR"),
        STORAGE,
        "Folder of the tables [default: ./storage; ./storage/simulated for the simulator]",
    ),
    Setting::new(
        "source",
        |s| value::name(&s.source),
        |s, t| value::one_of(t).map(|source| s.source = source),
    )
    .flag(
        "--source",
        OneOf("SOURCE", value::names::<SourceKind>),
        SOURCE,
        "Where prices come from [default: coingecko; replay when --input is given]",
    ),
    Setting::new(
        "input",
        |s| s.input.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        |s, t| set(&mut s.input, t.into()),
    )
    .flag("--input", Text("FILE"), SOURCE, "The recording to replay: NDJSON, plain or .gz; - for stdin"),
    Setting::new("speed", |s| s.speed.to_string(), |s, t| t.parse().map(|speed| s.speed = speed)).flag(
        "--speed",
        Text("N|max"),
        SOURCE,
        "Speed of a replay: N times real time, or max",
    ),
    Setting::new("coins", |s| s.coins.join(","), |s, t| value::coins(t).map(|coins| s.coins = coins)).flag(
        "--coins",
        Text("A,B,C"),
        SOURCE,
        "Coins by CoinGecko's ids, separated by commas [default: ten large ones]",
    ),
    Setting::new(
        "quote",
        |s| s.coingecko.vs_currency.clone(),
        |s, t| value::currency(t).map(|currency| s.coingecko.vs_currency = currency),
    )
    .flag(
        "--quote",
        Text("CURRENCY"),
        SOURCE,
        "Currency of CoinGecko's prices and of 'candles', such as eur [default: usd; for 'candles' the only one, or usd]",
    ),
    Setting::new(
        "poll",
        |s| value::show_duration(s.coingecko.poll),
        |s, t| value::duration(t, SECOND, DAY).map(|poll| s.coingecko.poll = poll),
    )
    .flag("--poll", Text("TIME"), SOURCE, "Time between polls of CoinGecko"),
    Setting::new(
        "backfill",
        |s| value::name(&s.coingecko.history),
        |s, t| value::one_of(t).map(|history| s.coingecko.history = history),
    )
    .flag(
        "--backfill",
        OneOf("REACH", value::names::<History>),
        SOURCE,
        "History that a first start fetches from CoinGecko",
    ),
    Setting::new(
        "batch_latency",
        |s| value::show_duration(s.limits.latency),
        |s, t| value::duration(t, MILLISECOND, MINUTE).map(|latency| s.limits.latency = latency),
    )
    .flag("--batch-latency", Text("TIME"), STORAGE, "Commit a batch after this time"),
    Setting::new(
        "batch_records",
        |s| s.limits.records.to_string(),
        |s, t| value::count(t, 1).map(|records| s.limits.records = records),
    )
    .flag("--batch-records", Text("N"), STORAGE, "Commit a batch at this number of records"),
    Setting::new(
        "from",
        |s| shown(s.from.as_ref()),
        |s, t| set(&mut s.from, t.trim().into()),
    )
    .flag("--from", Text("SOURCE"), STORAGE, "Queries answer for this source only"),
    Setting::new(
        "take_over",
        |s| s.take_over.to_string(),
        |s, t| value::flag(t).map(|take_over| s.take_over = take_over),
    )
    .flag("--take-over", Nothing("true"), STORAGE, "Take the storage from the pipeline that uses it"),
    Setting::new(
        "coingecko.base_url",
        |s| s.coingecko.base_url.clone(),
        |s, t| value::address(t).map(|address| s.coingecko.base_url = address),
    )
    .aliases(&[("COINGECKO_BASE_URL", None)]),
    Setting::new(
        "coingecko.plan",
        |s| value::name(&s.coingecko.plan),
        |s, t| value::one_of::<Plan>(&t.to_lowercase()).map(|plan| s.coingecko.plan = plan),
    )
    .aliases(&[("COINGECKO_API_PLAN", None)]),
    Setting::new(
        "coingecko.api_key",
        |s| shown(s.coingecko.api_key.as_ref()),
        |s, t| set(&mut s.coingecko.api_key, Secret::new(t)),
    )
    .aliases(&[("COINGECKO_API_KEY", None)])
    .secret(),
    Setting::new(
        "coingecko.connect_timeout",
        |s| value::show_duration(s.coingecko.connect_timeout),
        |s, t| value::duration(t, MILLISECOND, 10 * MINUTE).map(|limit| s.coingecko.connect_timeout = limit),
    ),
    Setting::new(
        "coingecko.timeout",
        |s| value::show_duration(s.coingecko.timeout),
        |s, t| value::duration(t, MILLISECOND, 10 * MINUTE).map(|limit| s.coingecko.timeout = limit),
    ),
    Setting::new(
        "simulator.rate",
        |s| s.simulator.rate.to_string(),
        |s, t| t.parse().map(|rate| s.simulator.rate = rate),
    )
    .flag("--rate", Text("N|max"), SIMULATOR, "Ticks per second, or max (on virtual time)"),
    Setting::new(
        "simulator.events",
        |s| shown(s.simulator.events.as_ref()),
        |s, t| value::count(t, 1).map(|events| s.simulator.events = Some(events)),
    )
    .flag("--events", Text("N"), SIMULATOR, "End after N ticks"),
    Setting::new(
        "simulator.seed",
        |s| s.simulator.seed.to_string(),
        |s, t| value::count(t, 0).map(|seed| s.simulator.seed = seed),
    )
    .flag("--seed", Text("N"), SIMULATOR, "Seed of the market: the same seed makes the same market"),
    Setting::new(
        "simulator.start",
        |s| value::show_time(s.simulator.start),
        |s, t| value::time(t).map(|start| s.simulator.start = start),
    )
    .flag("--start", Text("WHEN"), SIMULATOR, "Start of virtual time"),
    Setting::new(
        "simulator.tick",
        |s| value::show_duration(s.simulator.tick),
        |s, t| value::duration(t, MICROSECOND, DAY).map(|tick| s.simulator.tick = tick),
    )
    .flag("--tick", Text("TIME"), SIMULATOR, "Virtual time between two ticks of a coin"),
    Setting::new(
        "simulator.markets",
        |s| shown(s.markets.as_ref()),
        |s, t| value::count(t, 1).map(|markets| s.markets = Some(markets)),
    )
    .flag("--markets", Text("N"), SIMULATOR, "N made-up coins instead of --coins"),
    Setting::new(
        "alerts.threshold",
        |s| s.rule.threshold.to_string(),
        |s, t| value::percent(t).map(|threshold| s.rule.threshold = threshold),
    ),
    Setting::new(
        "alerts.cooldown",
        |s| value::show_micros(s.rule.cooldown),
        |s, t| value::micros(t, Duration::ZERO, YEAR).map(|cooldown| s.rule.cooldown = cooldown),
    ),
    Setting::new(
        "alerts.max_age",
        |s| value::show_micros(s.rule.max_age),
        |s, t| value::micros(t, Duration::ZERO, YEAR).map(|max_age| s.rule.max_age = max_age),
    ),
    Setting::new(
        "alerts.overrides",
        |s| value::show_thresholds(&s.rule.overrides),
        |s, t| value::thresholds(t).map(|overrides| s.rule.overrides = overrides),
    ),
    Setting::new(
        "ui.theme",
        |s| value::name(&s.dashboard.theme),
        |s, t| value::one_of(t).map(|theme| s.dashboard.theme = theme),
    )
    .flag("--theme", OneOf("THEME", value::names::<ThemeKind>), DISPLAY, "Colours of the dashboard"),
    Setting::new(
        "ui.color",
        |s| if s.dashboard.no_color { "never" } else { "auto" }.to_owned(),
        |s, t| value::one_of_two(t, ["auto", "never"]).map(|never| s.dashboard.no_color = never),
    )
    .aliases(&[("NO_COLOR", Some("never"))])
    .flag("--no-color", Nothing("never"), DISPLAY, "No colours, as with NO_COLOR"),
    Setting::new(
        "ui.red_up",
        |s| s.dashboard.red_up.to_string(),
        |s, t| value::flag(t).map(|red_up| s.dashboard.red_up = red_up),
    ),
    Setting::new(
        "ui.utc",
        |s| (s.dashboard.zone == Zone::Utc).to_string(),
        |s, t| value::flag(t).map(|utc| s.dashboard.zone = if utc { Zone::Utc } else { Zone::Local }),
    ),
    Setting::new(
        "ui.interval",
        |s| s.dashboard.interval.map_or_else(|| "auto".to_owned(), |interval| interval.to_string()),
        |s, t| {
            s.dashboard.interval = if t == "auto" { None } else { Some(t.parse()?) };
            Ok(())
        },
    )
    .flag(
        "--interval",
        Text("WIDTH"),
        DISPLAY,
        "Width of candles: 1m, 5m, 15m, 1h, 4h, 1d [default: what suits the source; 1m for 'candles']",
    ),
    Setting::new(
        "log.level",
        |s| s.log.level.clone(),
        |s, t| level(t).map(|level| s.log.level = level),
    )
    .aliases(&[("RUST_LOG", None)])
    .flag("--log-level", Text("LEVEL"), SETTINGS, "error, warn, info, debug, trace, or as in RUST_LOG"),
    Setting::new(
        "log.file",
        |s| s.log.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        |s, t| set(&mut s.log.file, t.into()),
    ),
    Setting::new(
        "kafka.brokers",
        |s| shown(s.later.kafka_brokers.as_ref()),
        |s, t| set(&mut s.later.kafka_brokers, t.to_owned()),
    )
    .aliases(&[("KAFKA_BROKERS", None)])
    .later(),
    Setting::new(
        "kafka.sasl_password",
        |s| shown(s.later.kafka_sasl_password.as_ref()),
        |s, t| set(&mut s.later.kafka_sasl_password, Secret::new(t)),
    )
    .aliases(&[("KAFKA_SASL_PASSWORD", None)])
    .secret()
    .later(),
    Setting::new(
        "mongodb.uri",
        |s| shown(s.later.mongo_uri.as_ref()),
        |s, t| set(&mut s.later.mongo_uri, Secret::new(t)),
    )
    .aliases(&[("MONGO_URI", None)])
    .secret()
    .later(),
    Setting::new(
        "mongodb.username",
        |s| shown(s.later.mongo_username.as_ref()),
        |s, t| set(&mut s.later.mongo_username, t.to_owned()),
    )
    .aliases(&[("MONGO_USERNAME", None)])
    .later(),
    Setting::new(
        "mongodb.password",
        |s| shown(s.later.mongo_password.as_ref()),
        |s, t| set(&mut s.later.mongo_password, Secret::new(t)),
    )
    .aliases(&[("MONGO_PASSWORD", None)])
    .secret()
    .later(),
    Setting::new(
        "discord.webhook_url",
        |s| shown(s.later.webhook_url.as_ref()),
        |s, t| set(&mut s.later.webhook_url, Secret::new(value::unlinked(t))),
    )
    .aliases(&[("WEBHOOK_URL", None)])
    .secret()
    .later(),
];
