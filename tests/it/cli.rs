//! The command line from outside: exit codes, one line for each error, and the commands of the README, which
//! must all parse.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory;
use cryptostream::cli::args::Cli;
use cryptostream::cli::refused::Parsed;
use cryptostream::config::KEYS;

/// Runs the program in an empty folder and an empty environment.
fn run(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cryptostream"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn read(words: &[&str]) -> Result<Parsed<Cli>, String> {
    Cli::read(std::iter::once("cryptostream").chain(words.iter().copied()).map(OsString::from))
        .map_err(|refused| refused.errors.join("\n"))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn common_options_stand_before_or_after_the_command() {
    for words in [["--coins", "bitcoin", "candles", "tron"], ["candles", "tron", "--coins", "bitcoin"]] {
        let Ok(Parsed::Run(cli)) = read(&words) else { panic!("{words:?}") };
        assert_eq!(cli.common.overrides, [("coins", "bitcoin".to_owned())]);
    }
}

#[test]
fn help_names_the_defaults_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let help = lines(&run(folder.path(), &["--help"], &[]).stdout).join("\n");
    for key in [
        "poll",
        "batch_latency",
        "batch_records",
        "backfill",
        "speed",
        "simulator.rate",
        "simulator.start",
        "simulator.tick",
    ] {
        let config = lines(&run(folder.path(), &["config"], &[]).stdout);
        let row = config.iter().find(|l| l.split_whitespace().next() == Some(key)).unwrap();
        let value = row.split_whitespace().nth(1).unwrap();
        assert!(help.contains(&format!("[default: {value}]")), "{key} {value}");
    }
}

#[test]
fn each_error_is_one_line_and_the_exit_code_is_2() {
    let folder = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (
            &["--sorce", "simulator"][..],
            &[
                "error: unexpected argument '--sorce' found; a similar argument exists: '--source'; see 'cryptostream --help'",
            ][..],
        ),
        (
            &["candles"],
            &["error: the following required arguments were not provided: <COIN>; see 'cryptostream --help'"],
        ),
        (&["frobnicate"], &["error: unrecognized subcommand 'frobnicate'; see 'cryptostream --help'"]),
        (&["--no-tui", "compact"], &["error: '--no-tui' runs the pipeline and goes without a command"]),
        (
            &["--source", "replay"],
            &["error: the source replay needs a recording: give '--input FILE' ('-' for stdin)"],
        ),
        (&["--input", "no.ndjson"], &["error: --input: there is no file 'no.ndjson'"]),
        (
            &["candles", "bitcoin", "--poll", "0s", "--speed", "fast"],
            &[
                "error: --speed: 'fast' is neither a number above 0 nor 'max'",
                "error: --poll: '0s' is too short: at least 1s",
            ],
        ),
        (
            &["config", "--storage", "s3://bucket"],
            &["error: --storage: storage on S3 is not supported yet: give a folder"],
        ),
    ] {
        let output = run(folder.path(), args, &[]);
        let mut errors = lines(&output.stderr);
        let mut expected: Vec<_> = expected.iter().map(|l| (*l).to_owned()).collect();
        errors.sort();
        expected.sort();
        assert_eq!(errors, expected);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    let output = run(folder.path(), &["config", "--config", "no.toml"], &[("CRYPTOSTREAM_POL", "1s")]);
    let errors = lines(&output.stderr);
    assert_eq!(
        errors[0],
        "error: CRYPTOSTREAM_POL: there is no such setting: did you mean 'CRYPTOSTREAM_POLL'?"
    );
    assert!(errors[1].starts_with("error: --config: no.toml: "), "{errors:?}");
    assert_eq!((errors.len(), output.status.code()), (2, Some(2)));
}

#[test]
fn errors_of_command_line_variables_and_file_are_reported_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cryptostream.toml"), "pol = 1\n").unwrap();
    let args = [
        "--qqq",
        "1",
        "--sorce=simulator",
        "candles",
        "bitcoin",
        "--last",
        "many",
        "--format=xml",
        "--poll",
        "0s",
        "--theme",
        "pink",
        "--input",
        "no.ndjson",
        "extra",
    ];
    let output = run(folder.path(), &args, &[("CRYPTOSTREAM_SPEED", "fast"), ("CRYPTOSTREAM_COIN", "x")]);
    let see = "; see 'cryptostream --help'";
    let mut expected = vec![
        format!("error: unexpected argument '--qqq' found{see}"),
        format!("error: unexpected argument '--sorce' found; a similar argument exists: '--source'{see}"),
        format!("error: invalid value 'many' for '--last <N>': invalid digit found in string{see}"),
        format!(
            "error: invalid value 'xml' for '--format <FORMAT>' [possible values: table, csv, json]{see}"
        ),
        format!("error: unexpected argument 'extra' found{see}"),
    ];
    expected.extend(
        [
            "CRYPTOSTREAM_COIN: there is no such setting: did you mean 'CRYPTOSTREAM_COINS'?",
            "CRYPTOSTREAM_SPEED: 'fast' is neither a number above 0 nor 'max'",
            "cryptostream.toml line 1: pol: there is no such setting: did you mean 'poll'?",
            "--poll: '0s' is too short: at least 1s",
            "--theme: 'pink' is none of default, truecolor, colorblind and mono",
        ]
        .map(|line| format!("error: {line}")),
    );
    let mut found = lines(&output.stderr);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(output.status.code(), Some(2));
    for (args, expected) in [
        (&["candles", "--poll", "0s"][..], 2),
        (&["--source"], 1),
        (&["--coins", "a", "--coins", "b", "--speed", "fast"], 2),
        (&["candels", "bitcoin", "--poll", "0s"], 2),
        (&["verify", "brass", "--poll", "0s"], 2),
    ] {
        let output = run(folder.path(), args, &[]);
        assert_eq!(lines(&output.stderr).len(), expected + 1, "{args:?}: {:?}", lines(&output.stderr));
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn config_shows_values_with_their_origin_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "COINGECKO_API_KEY=hush-hush\nCRYPTOSTREAM_POLL=20s\n")
        .unwrap();
    std::fs::write(folder.path().join("cryptostream.toml"), "[ui]\ntheme = \"mono\"\n").unwrap();
    let output = run(
        folder.path(),
        &["config", "--speed", "max"],
        &[("WEBHOOK_URL", "[https://x/hush-hush](https://x/hush-hush)")],
    );
    assert_eq!(output.status.code(), Some(0), "{:?}", lines(&output.stderr));
    let shown = lines(&output.stdout);
    let row = |key: &str| {
        let row = shown
            .iter()
            .find(|l| l.split_whitespace().next() == Some(key))
            .unwrap_or_else(|| panic!("{key}"));
        row.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("poll"), "20s .env line 2 (CRYPTOSTREAM_POLL)");
    assert_eq!(row("ui.theme"), "mono cryptostream.toml line 2");
    assert_eq!(row("speed"), "max command line (--speed)");
    assert_eq!(row("coingecko.api_key"), "*** .env line 1 (COINGECKO_API_KEY)");
    assert_eq!(row("discord.webhook_url"), "*** environment (WEBHOOK_URL), not used by this version");
    assert_eq!(row("backfill"), "1d default");
    assert!(!shown.join("\n").contains("hush"));
}

#[test]
fn candles_choose_the_currency_or_list_the_ones_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let lines_in = [("bitcoin", "eur", "80000"), ("ethereum", "btc", "0.03"), ("ethereum", "eur", "3000"), ("tiny", "usd", "3.1e-13")].map(
        |(coin, quote, price)| {
            format!(r#"{{"source":"kraken","coin_id":"{coin}","quote":"{quote}","price":{price},"event_time":1741082400000}}"#)
        },
    );
    std::fs::write(folder.path().join("in.ndjson"), lines_in.join("\n")).unwrap();
    let fed = run(folder.path(), &["--no-tui", "--input", "in.ndjson", "--speed", "max"], &[]);
    assert!(fed.status.success(), "{:?}", lines(&fed.stderr));
    for (args, expected) in [
        (&["bitcoin"][..], "bitcoin in EUR from kraken"),
        (&["ethereum", "--quote", "BTC"], "ethereum in BTC from kraken"),
        (&["tiny"], "tiny in USD from kraken"),
        (
            &["ethereum"],
            "error: the candles of 'ethereum' from kraken are in btc, eur: choose one with --quote",
        ),
        (
            &["bitcoin", "--quote", "gbp"],
            "error: there are no candles of 'bitcoin' in 'gbp' in ./storage; its currencies are eur",
        ),
        (
            &["solana"],
            "error: there are no candles of 'solana' in ./storage; its coins are bitcoin, ethereum, tiny",
        ),
        (
            &["bitcoin", "--from", "binance"],
            "error: there are no candles of that source in ./storage; its sources are kraken",
        ),
    ] {
        let output = run(folder.path(), &[&["candles"], args].concat(), &[]);
        let printed = if output.status.success() { lines(&output.stdout) } else { lines(&output.stderr) };
        assert_eq!(printed[0], expected, "{args:?}");
        assert!(args != ["tiny"] || printed[3].contains(" 3.1e-13 "), "{printed:?}");
    }
}

#[test]
fn completions_and_the_manual_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(folder.path(), &["completions", shell], &[]);
        assert!(
            output.status.success() && lines(&output.stdout).join("\n").contains("batch-latency"),
            "{shell}"
        );
    }
    let page = lines(&run(folder.path(), &["man"], &[]).stdout).join("\n");
    assert!(page.contains(".TH cryptostream") && page.contains("screenshot"));
    // Neither command reads the settings, so an unknown variable is no error.
    let output = run(folder.path(), &["man"], &[("CRYPTOSTREAM_NONSENSE", "1")]);
    assert!(output.status.success());
}

#[test]
fn every_command_of_the_readme_parses() {
    let readme = include_str!("../../README.md");
    let mut inside = false;
    let mut found = 0;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside && line == "```sh";
            continue;
        }
        let line = line.strip_prefix("$ ").unwrap_or(line);
        if let Some(words) = inside.then(|| command(line)).flatten() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert!(
                matches!(read(&words), Ok(Parsed::Run(_) | Parsed::Print(_))),
                "{line}: {:?}",
                read(&words).err()
            );
            found += 1;
        }
    }
    assert!(found >= 15, "only {found} commands found in the README");
    for variable in readme
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|w| w.starts_with("CRYPTOSTREAM_"))
    {
        let known = variable == "CRYPTOSTREAM_CONFIG" || KEYS.iter().any(|k| k.variable() == variable);
        assert!(known || variable == "CRYPTOSTREAM_", "{variable}");
    }
}

/// The arguments of a line of shell that runs the program, up to a comment, pipe or redirection.
fn command(line: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (None, '#' | '|' | '>') if words.last()?.is_empty() => break,
            _ => words.last_mut()?.push(c),
        }
    }
    words.retain(|w| !w.is_empty());
    let start = words.iter().position(|w| !w.contains('='))?;
    let words = words.split_off(start);
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cryptostream", ..] => Some(words[1..].to_vec()),
        ["cargo", "run", "--release"] => Some(Vec::new()),
        ["cargo", "run", "--release", "--", ..] => Some(words[4..].to_vec()),
        _ => None,
    }
}
