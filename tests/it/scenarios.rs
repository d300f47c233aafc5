//! The scenarios of `tests/scenarios`: ticks in, candles, rejects and alerts out, one rule of the contract per
//! file.
//!
//! Each is replayed in batches of one line and in one batch, into tables that must also pass `verify`. The
//! format:
//!
//! ```toml
//! contract = "the rule, as a sentence"
//! [rule]                          # optional, as are its values
//! threshold = 0.02                # percent
//! cooldown = 300                  # seconds
//! max_age = 300                   # seconds
//! [[replay]]                      # recordings, replayed in order, each by a new pipeline
//! totals = { ticks = 1 }          # some of: records ticks duplicates rejected candles alerts cooled_down
//! lines = '''
//! {"coin_id":"bitcoin","price":1,"event_time":"2025-05-12T00:00:00Z"}'''
//! [tables]                        # some of: silver quarantine candles alerts
//! candles = '''
//! coin_id | open_price            # columns of the table, then all of its rows in any order
//! bitcoin | 1'''
//! [[rollup]]                      # columns and rows of `cryptostream candles COIN --interval INTERVAL`
//! coin = "bitcoin"
//! interval = "5m"
//! candles = '''
//! window_start         | ticks
//! 2025-05-12T00:00:00Z | 1'''
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use cryptostream::alert::rule::Rule;
use cryptostream::lake::verify::{Scope, verify};
use cryptostream::lake::{Storage, TableKind};
use cryptostream::market::SECOND;
use cryptostream::pipeline::PipelineSettings;
use cryptostream::pipeline::status::Totals;
use serde::Deserialize;

use crate::support::process::{program, succeed};
use crate::support::tables::{Row, canonical, difference, replaying, rows, run};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    contract: String,
    #[serde(default)]
    rule: RuleText,
    replay: Vec<Replay>,
    #[serde(default)]
    tables: BTreeMap<String, String>,
    #[serde(default)]
    rollup: Vec<Rollup>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    threshold: Option<f64>,
    cooldown: Option<i64>,
    max_age: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    lines: String,
    #[serde(default)]
    totals: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollup {
    coin: String,
    interval: String,
    candles: String,
}

impl RuleText {
    fn rule(&self) -> Rule {
        let standard = Rule::default();
        Rule {
            threshold: self.threshold.unwrap_or(standard.threshold),
            cooldown: self.cooldown.map_or(standard.cooldown, |seconds| seconds * SECOND),
            max_age: self.max_age.map_or(standard.max_age, |seconds| seconds * SECOND),
            ..standard
        }
    }
}

/// The columns and the rows of a table in a scenario. Cells of the last column may contain `|`.
fn parse_table(text: &str) -> Result<(Vec<&str>, Vec<Vec<&str>>), String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let head = lines.next().ok_or("a table without columns")?;
    let columns: Vec<&str> = head.split('|').map(str::trim).collect();
    let rows: Vec<Vec<&str>> =
        lines.map(|line| line.splitn(columns.len(), '|').map(str::trim).collect()).collect();
    match rows.iter().find(|row| row.len() != columns.len()) {
        Some(row) => Err(format!("the row {row:?} has not as many cells as {columns:?}")),
        None => Ok((columns, rows)),
    }
}

fn table_named(name: &str) -> Result<TableKind, String> {
    match name {
        "silver" => Ok(TableKind::Silver),
        "quarantine" => Ok(TableKind::Quarantine),
        "candles" => Ok(TableKind::Gold),
        "alerts" => Ok(TableKind::Alerts),
        _ => Err(format!("there is no table '{name}'")),
    }
}

fn total_named(totals: &Totals, name: &str) -> Result<u64, String> {
    match name {
        "records" => Ok(totals.records),
        "ticks" => Ok(totals.ticks),
        "duplicates" => Ok(totals.duplicates),
        "rejected" => Ok(totals.rejected),
        "candles" => Ok(totals.candles),
        "alerts" => Ok(totals.alerts),
        "cooled_down" => Ok(totals.cooled_down),
        _ => Err(format!("there is no total '{name}'")),
    }
}

async fn compare_table(storage: &Path, name: &str, text: &str) -> Result<Option<String>, String> {
    let kind = table_named(name)?;
    let (columns, wanted) = parse_table(text)?;
    let canonical = |row: Vec<&str>| {
        columns.iter().zip(row).map(|(column, cell)| canonical(kind, column, cell)).collect()
    };
    let mut wanted = wanted.into_iter().map(canonical).collect::<Result<Vec<Row>, String>>()?;
    wanted.sort_unstable();
    let mut found = rows(storage, kind, &columns).await;
    found.iter_mut().flatten().for_each(|cell| *cell = cell.trim().to_owned());
    found.sort_unstable();
    Ok(difference(&found, &wanted))
}

/// Compares some columns of the command's CSV.
fn compare_rollup(storage: &Path, rollup: &Rollup) -> Result<Option<String>, String> {
    let (columns, wanted) = parse_table(&rollup.candles)?;
    let command =
        program(&["candles", &rollup.coin, "--interval", &rollup.interval, "--format", "csv"], storage);
    let csv = String::from_utf8(succeed(command).stdout).unwrap();
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().ok_or("no output")?.split(',').collect();
    let place = |column: &&str| {
        head.iter().position(|h| h == column).ok_or_else(|| format!("candles have no column {column}"))
    };
    let places = columns.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let number = |cell: &str| cell.parse::<f64>().map_or_else(|_| cell.to_owned(), |x| format!("{x:?}"));
    let found: Vec<Row> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            places.iter().map(|place| number(cells[*place])).collect()
        })
        .collect();
    let wanted: Vec<Row> = wanted.into_iter().map(|row| row.into_iter().map(number).collect()).collect();
    Ok(difference(&found, &wanted))
}

/// Every difference after the replays in batches of `batch` lines; empty where there is none.
async fn differences(scenario: &Scenario, batch: usize) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    let mut wrong = String::new();
    for (n, replay) in (1..).zip(&scenario.replay) {
        let input = folder.path().join(format!("input-{n}.ndjson"));
        std::fs::write(&input, format!("{}\n", replay.lines.strip_suffix('\n').unwrap_or(&replay.lines)))
            .unwrap();
        let settings = PipelineSettings { rule: scenario.rule.rule(), ..replaying(&storage, &input, batch) };
        let totals = run(settings).await.map_err(|error| format!("replay {n}: {error:?}"))?.totals;
        for (name, wanted) in &replay.totals {
            let found = total_named(&totals, name)?;
            if found != *wanted {
                write!(wrong, "\n replay {n}: {found} {name}, wanted {wanted}").unwrap();
            }
        }
    }
    for (name, text) in &scenario.tables {
        if let Some(difference) = compare_table(&storage, name, text).await? {
            write!(wrong, "\n {name}: {difference}").unwrap();
        }
    }
    for rollup in &scenario.rollup {
        if let Some(difference) = compare_rollup(&storage, rollup)? {
            write!(wrong, "\n {} of {}: {difference}", rollup.interval, rollup.coin).unwrap();
        }
    }
    let report =
        verify(&Storage::new(&storage).unwrap(), Scope::All).await.map_err(|error| error.to_string())?;
    if !report.is_sound() {
        write!(wrong, "\n verify: {report}").unwrap();
    }
    Ok(wrong)
}

/// Runs a scenario.
///
/// # Errors
/// Its differences, or what is wrong with its text.
async fn check(text: &str) -> Result<(), String> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
    if scenario.tables.is_empty() && scenario.rollup.is_empty() {
        return Err("it expects nothing".to_owned());
    }
    for batch in [1, 50_000] {
        let wrong = differences(&scenario, batch).await?;
        if !wrong.is_empty() {
            return Err(format!("{}; in batches of {batch}:{wrong}", scenario.contract));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_scenario_has_the_expected_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut checks = tokio::task::JoinSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            path.extension().and_then(|x| x.to_str()),
            Some("toml"),
            "{} is not a scenario",
            path.display()
        );
        let text = std::fs::read_to_string(&path).unwrap();
        checks.spawn(async move {
            check(&text).await.map_err(|wrong| format!("{}: {wrong}", path.file_name().unwrap().display()))
        });
    }
    assert!(checks.len() >= 10, "only {} scenarios", checks.len());
    let mut wrong: Vec<String> = checks.join_all().await.into_iter().filter_map(Result::err).collect();
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_scenario_that_is_wrong_fails() {
    let sound = r#"
        contract = "one tick is one candle"
        [[replay]]
        totals = { ticks = 1 }
        lines = '{"coin_id":"bitcoin","price":1,"event_time":"2025-05-12T00:00:00Z"}'
        [tables]
        candles = """
        coin_id | open_price
        bitcoin | 1"""
        [[rollup]]
        coin = "bitcoin"
        interval = "5m"
        candles = """
        window_start         | open
        2025-05-12T00:00:00Z | 1"""
        "#;
    assert_eq!(check(sound).await, Ok(()));
    for (from, to, why) in [
        ("contract", "contrct", "unknown field"),
        ("totals", "total", "unknown field"),
        ("ticks = 1", "tcks = 1", "there is no total 'tcks'"),
        ("ticks = 1", "ticks = 2", "1 ticks, wanted 2"),
        ("[tables]\n        candles", "[tables]\n        candels", "there is no table 'candels'"),
        ("coin_id | open_price", "coin_id | price", "has no column price"),
        ("bitcoin | 1\"", "bitcoin\"", "has not as many cells"),
        ("bitcoin | 1\"", "bitcoin | one\"", "invalid float"),
        ("bitcoin | 1\"", "bitcoin | 1.5\"", "+ bitcoin | 1.0\n  - bitcoin | 1.5"),
        ("Z | 1\"", "Z | 2\"", "+ 2025-05-12T00:00:00Z | 1.0\n  - 2025-05-12T00:00:00Z | 2.0"),
        ("window_start         | open", "window_start         | opn", "candles have no column opn"),
    ] {
        assert!(sound.contains(from), "{from}");
        let wrong = check(&sound.replacen(from, to, 1)).await.unwrap_err();
        assert!(wrong.contains(why), "{to}: {wrong}");
    }
}
