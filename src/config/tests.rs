//! Layers, origins, errors, secrets, and the sample file.

use std::time::Duration;

use proptest::prelude::any;

use super::*;
use crate::source::simulator::Rate;

const SAMPLE: &str = include_str!("../../cryptostream.toml.example");
const DOT_ENV_SAMPLE: &str = include_str!("../../.env.example");

fn layers(file: &str, dot_env: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Layers {
    let mut layers = Layers::default();
    layers.flags(flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect());
    layers.environment(environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    layers.dot_env(dot_env);
    layers.file("x.toml", file);
    layers
}

fn settings(
    file: &str,
    dot_env: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Settings {
    Settings::resolve(layers(file, dot_env, environment, flags), Purpose::Read).unwrap()
}

fn errors(layers: Layers, purpose: Purpose) -> Vec<String> {
    Settings::resolve(layers, purpose).unwrap_err().0
}

#[test]
fn names_are_unique_and_those_in_code_exist() {
    let mut names: Vec<_> = KEYS
        .iter()
        .flat_map(|k| {
            [k.name.to_owned(), k.variable()].into_iter().chain(k.aliases.iter().map(|a| a.0.to_owned()))
        })
        .chain(KEYS.iter().filter_map(|k| k.flag.as_ref().map(|flag| flag.name.to_owned())))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for name in ["input", "source", "storage", "coingecko.base_url", "coingecko.plan"] {
        assert_eq!(key(name).name, name);
    }
}

#[test]
fn the_text_of_every_default_is_read_back() {
    let defaults = Settings::default();
    for key in KEYS {
        let text = (key.get)(&defaults);
        if !text.is_empty() {
            let mut settings = Settings::default();
            (key.set)(&mut settings, &text).unwrap_or_else(|why| panic!("{}: {why}", key.name));
            assert_eq!(settings, defaults, "{}", key.name);
        }
    }
}

#[test]
fn the_sample_file_is_the_defaults() {
    let defaults = Settings::default();
    let active = Settings::resolve(layers(SAMPLE, "", &[], &[]), Purpose::Read).unwrap();
    assert_eq!(active, defaults, "as it stands, the sample changes nothing");

    // `#key = value` is a setting that is commented out, `# text` is a comment.
    let all: String = SAMPLE
        .lines()
        .map(|l| if l.starts_with('#') && !l.starts_with("# ") { &l[1..] } else { l })
        .fold(String::new(), |text, line| text + line + "\n");
    let layers = layers(&all, "", &[], &[]);
    assert_eq!(layers.errors, Vec::<String>::new());
    for key in KEYS.iter().filter(|k| !k.secret && !k.later) {
        let value = layers.values.iter().find(|v| v.key.name == key.name);
        let value = value.unwrap_or_else(|| panic!("{} is missing in the sample", key.name));
        let default = (key.get)(&defaults);
        if !default.is_empty() {
            assert_eq!(value.text, default, "{}", key.name);
        }
    }
}

#[test]
fn the_sample_of_dot_env_parses_and_sets_nothing() {
    assert_eq!(settings("", DOT_ENV_SAMPLE, &[], &[]), Settings::default());
    let on =
        DOT_ENV_SAMPLE.lines().map(|l| if l.starts_with('#') && !l.starts_with("# ") { &l[1..] } else { l });
    let on = settings("", &on.fold(String::new(), |text, line| text + line + "\n"), &[], &[]);
    for key in KEYS.iter().filter(|k| k.secret || k.later) {
        assert!(on.is_given(key.name), "{} is missing in .env.example", key.name);
    }
}

#[test]
fn the_higher_layer_overrides_and_is_the_origin() {
    let file = "poll = '20s'\nspeed = 7\ncoins = [' Bitcoin ', 'ethereum', 'bitcoin']\n[alerts.overrides]\nbitcoin = 0.5";
    let dot_env = "# mine\nCRYPTOSTREAM_POLL=25s\nexport CRYPTOSTREAM_SPEED='8' # fast\n";
    let at = settings(file, dot_env, &[("CRYPTOSTREAM_POLL", "30s")], &[("poll", "35s")]);
    assert_eq!((at.coingecko.poll, at.speed), (Duration::from_secs(35), Speed::Times(8.0)));
    assert_eq!(at.coins, ["bitcoin", "ethereum"]);
    assert_eq!(at.coingecko.coins, at.coins);
    assert_eq!(at.rule.overrides["bitcoin"].to_string(), "0.5");
    assert_eq!(at.origin("poll").to_string(), "command line (--poll)");
    assert_eq!(at.origin("speed").to_string(), ".env line 3 (CRYPTOSTREAM_SPEED)");
    assert_eq!(at.origin("coins").to_string(), "x.toml line 3");
    assert_eq!(at.origin("backfill").to_string(), "default");
    let at = settings(file, dot_env, &[("CRYPTOSTREAM_POLL", "30s")], &[]);
    assert_eq!(at.origin("poll").to_string(), "environment (CRYPTOSTREAM_POLL)");
}

#[test]
fn a_settings_own_variable_overrides_its_aliases() {
    let names = [("CRYPTOSTREAM_LOG_LEVEL", "debug"), ("RUST_LOG", "trace"), ("NO_COLOR", "1")];
    let at = settings("", "", &names, &[]);
    assert_eq!((at.log.level.as_str(), at.dashboard.no_color), ("debug", true));
    assert!(!settings("", "NO_COLOR=\nRUST_LOG=warn", &[], &[]).dashboard.no_color);
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    let file = "pol = '1s'\nsource = 'kafka'\n[coingecko]\napi_key = 'hush'\ntimeout = 5\n[ui]\ntheme = {}\n";
    let environment =
        [("CRYPTOSTREAM_SPEDE", "1"), ("CRYPTOSTREAM_RATE", "1"), ("CRYPTOSTREAM_COINS", " , ")];
    let flags =
        [("poll", "10ms"), ("storage", "s3://bucket/x"), ("batch_latency", "2m"), ("batch_records", "0")];
    let found = errors(layers(file, "\nCRYPTOSTREAM_SPEED=-1", &environment, &flags), Purpose::Read);
    let expected = [
        "CRYPTOSTREAM_RATE: there is no such setting: did you mean 'CRYPTOSTREAM_SIMULATOR_RATE'?",
        "CRYPTOSTREAM_SPEDE: there is no such setting: did you mean 'CRYPTOSTREAM_SPEED'?",
        "x.toml line 1: pol: there is no such setting: did you mean 'poll'?",
        "x.toml line 4: coingecko.api_key: secrets come from the environment only: take it out of the file and set COINGECKO_API_KEY",
        "x.toml line 2: source: 'kafka' is none of coingecko, replay and simulator",
        "x.toml line 5: coingecko.timeout: '5' has no unit: write 5s or 5ms",
        "x.toml line 7: ui.theme: '' is none of default, truecolor, colorblind and mono",
        ".env line 2: CRYPTOSTREAM_SPEED: '-1' is neither a number above 0 nor 'max'",
        "CRYPTOSTREAM_COINS: no coin is named: give ids such as bitcoin,ethereum",
        "--poll: '10ms' is too short: at least 1s",
        "--storage: storage on S3 is not supported yet: give a folder",
        "--batch-latency: '2m' is too long: at most 1m",
        "--batch-records: '0' is not a whole number of 1 or more",
    ];
    assert_eq!(found, expected);
    assert!(!found.join("\n").contains("hush"));
    let found = errors(layers("a = = 1\n", "", &[], &[]), Purpose::Read);
    assert!(found.iter().all(|e| e.starts_with("x.toml line 1: ") && !e.contains('\n')), "{found:?}");
}

#[test]
fn an_input_implies_the_source_replay() {
    let at = settings("source = 'simulator'", "", &[], &[("input", "a.ndjson")]);
    assert_eq!((at.source, at.origin("source")), (SourceKind::Replay, &Origin::Implied("input")));
    let at = settings("input = 'a.ndjson'", "", &[], &[("source", "simulator")]);
    assert_eq!(at.source, SourceKind::Simulator);
    let found = errors(layers("", "", &[], &[("source", "coingecko"), ("input", "-")]), Purpose::Feed);
    assert_eq!(found, ["--input: a recording is read by '--source replay' only, not by coingecko"]);
    let found = errors(layers("", "", &[], &[("source", "replay")]), Purpose::Feed);
    assert_eq!(found, ["the source replay needs a recording: give '--input FILE' ('-' for stdin)"]);
    let found = errors(layers("", "", &[], &[("input", "/no/such/file")]), Purpose::Feed);
    assert_eq!(found, ["--input: there is no file '/no/such/file'"]);
    assert!(Settings::resolve(layers("", "", &[], &[("input", "-")]), Purpose::Feed).is_ok());
}

#[test]
fn simulated_data_has_its_own_storage() {
    let at = settings("", "", &[], &[("source", "simulator")]);
    assert_eq!(
        (at.storage.to_str(), at.origin("storage")),
        (Some(SIMULATED_STORAGE), &Origin::Implied("source"))
    );
    let at = settings("storage = 'x'", "", &[], &[("source", "simulator")]);
    assert_eq!(at.storage.to_str(), Some("x"));
}

#[test]
fn made_up_coins_replace_real_ones_in_the_simulator_only() {
    let at = settings("", "", &[], &[("coins", "monero"), ("simulator.markets", "12")]);
    assert_eq!((at.simulator.coins.len(), at.simulator.coins[11].as_str()), (12, "coin-0012"));
    assert_eq!(at.coingecko.coins, ["monero"]);
    let at = settings("", "", &[], &[("coins", "monero")]);
    assert_eq!(at.simulator.coins, ["monero"]);
}

#[test]
fn dot_env_files_of_earlier_versions_are_accepted_and_secrets_are_never_shown() {
    let old = "MONGO_URI=mongodb+srv://u:s3cret@host/?x=1\nMONGO_USERNAME=me\nMONGO_PASSWORD=\"s3cret $x\"\n\
        WEBHOOK_URL=[https://discord.com/api/webhooks/1/s3cret](https://discord.com/api/webhooks/1/s3cret)\n\
        KAFKA_BROKERS=localhost:9092\nKAFKA_SASL_PASSWORD=s3cret\nCOINGECKO_API_KEY=s3cret\nCOINGECKO_API_PLAN=pro\nOTHER=1\nnonsense";
    let at = settings("", old, &[], &[]);
    assert_eq!(at.later.webhook_url.as_ref().unwrap().expose(), "https://discord.com/api/webhooks/1/s3cret");
    assert_eq!(at.later.mongo_password.as_ref().unwrap().expose(), "s3cret $x");
    assert_eq!(at.coingecko.api_key.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(at.coingecko.base_url, Plan::Pro.url());
    let shown = format!("{}{at:?}", at.table());
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(at.table().contains("not used by this version"));
    assert!(!Settings::default().table().contains("mongodb"));
}

#[test]
fn values_out_of_bounds_are_errors() {
    for (name, good, bad) in [
        ("poll", "1s", "999ms"),
        ("batch_latency", "1m", "61s"),
        ("speed", "0.5", "0"),
        ("speed", "max", "inf"),
        ("simulator.rate", "max", "nan"),
        ("simulator.events", "1_000_000", "0"),
        ("simulator.start", "2025-01-01", "yesterday"),
        ("simulator.tick", "1us", "0s"),
        ("alerts.threshold", "0", "-0.1"),
        ("alerts.cooldown", "0s", "soon"),
        ("alerts.overrides", "btc=0.1, eth=2", "btc"),
        ("coingecko.base_url", "http://127.0.0.1:8100/api/v3/", "ftp://x"),
        ("coingecko.base_url", "http://localhost", "http://me:pw@host"),
        ("ui.interval", "4h", "2h"),
        ("ui.utc", "no", "maybe"),
        ("log.level", "warn,cryptostream=trace", "x=loud"),
        ("storage", "/tmp/a b", "gs://x"),
        ("coins", "avalanche-2", "a b"),
    ] {
        let mut settings = Settings::default();
        assert_eq!((key(name).set)(&mut settings, good), Ok(()), "{name} {good}");
        assert!((key(name).set)(&mut settings, bad).is_err(), "{name} {bad}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_gives_settings_or_errors(toml in "[a-z.\\[\\]={}\"' #0-9\n\u{1b}é]{0,80}", odd in ".{0,40}", text in any::<String>()) {
        let dot_env = format!("CRYPTOSTREAM_POLL={odd}\nCRYPTOSTREAM_COINS={text}\n{odd}");
        let mut layers = layers(&toml, &dot_env, &[], &[("speed", &text)]);
        layers.file("y.toml", &text);
        if let Err(Invalid(errors)) = Settings::resolve(layers, Purpose::Read) {
            assert!(!errors.is_empty());
        }
    }

    #[test]
    fn shown_values_parse_to_the_same_settings(
        (poll, tick) in (1_000_u64..86_400_000, 1_u64..1_000_000),
        (rate, threshold) in (1e-9..1e12_f64, 0.0..100.0_f64),
        start in 1_300_000_000_000_000_i64..3_000_000_000_000_000,
    ) {
        let mut settings = Settings::default();
        settings.coingecko.poll = Duration::from_millis(poll);
        settings.simulator.tick = Duration::from_micros(tick);
        settings.simulator.rate = Rate::PerSecond(rate);
        settings.simulator.start = start;
        settings.rule.overrides = BTreeMap::from([("a".to_owned(), threshold), ("b".to_owned(), 0.1)]);
        let mut again = Settings::default();
        for key in KEYS {
            let text = (key.get)(&settings);
            if !text.is_empty() {
                (key.set)(&mut again, &text).unwrap();
            }
        }
        assert_eq!(again, settings);
    }
}
