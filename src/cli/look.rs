//! Commands that only read the storage.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::args::Size;
use super::exit::{AlreadyReported, Interrupted};
use super::{print, print_with, signals, wiring};
use crate::config::{Origin, Settings};
use crate::lake::verify::{self, Scope};
use crate::market::{Interval, Market};
use crate::pipeline::{WhenHeld, monitor, supervisor};
use crate::query::output::{Format, write_answer, write_candles};
use crate::query::{KnownMarket, QueryError};
use crate::{staged, tui};

/// How long a user's query may run.
const QUERY_TIMEOUT: Duration = Duration::from_mins(1);
/// Most bytes of memory of the whole process while a query runs: the engine's own limit does not count the
/// row vectors that it works on.
const QUERY_MEMORY: u64 = 1536 << 20;

/// Prints the candles of a coin, oldest first, the open one last.
pub(super) async fn candles(
    settings: &Settings,
    coin: &str,
    last: Option<usize>,
    format: Format,
) -> anyhow::Result<()> {
    let coin_id = coin.trim().to_lowercase();
    // Only the flag applies here: a width from the file or the environment is meant for the dashboard.
    let is_flag = matches!(settings.origin("ui.interval"), Origin::Flag(_));
    let interval = settings.dashboard.interval.filter(|_| is_flag).unwrap_or(Interval::Minute1);
    let queries = wiring::queries(settings)?;
    let market = choose_market(settings, &coin_id, &queries.known().await?)?;
    let series = monitor::candles(&wiring::storage(settings)?, &queries, &market, interval, last).await?;
    if series.market.is_none() {
        bail!("the candles of '{coin_id}' are gone from {}", settings.storage.display())
    }
    print_with(|mut out| write_candles(&mut out, format, &series, wiring::width()))
}

/// The market whose candles are printed. Source: that of `--from`, else that of `--source` if it has the
/// coin, else the one with the newest candle. Currency: that of `--quote`, else the only one, else usd.
fn choose_market(settings: &Settings, coin_id: &str, known: &[KnownMarket]) -> anyhow::Result<Market> {
    let storage = settings.storage.display();
    let names = |pick: fn(&Market) -> &Arc<str>, of: &[&KnownMarket]| {
        of.iter().map(|known| pick(&known.market).to_string()).collect::<BTreeSet<_>>()
    };
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    let quote = settings.is_given("quote").then(|| settings.coingecko.vs_currency.clone());
    let all: Vec<_> = known.iter().collect();
    let from: Vec<_> = known
        .iter()
        .filter(|known| settings.from.as_ref().is_none_or(|source| *source == known.market.source))
        .collect();
    let of_coin: Vec<_> = from.iter().copied().filter(|known| *known.market.coin_id == *coin_id).collect();
    let candidates: Vec<_> = of_coin
        .iter()
        .copied()
        .filter(|known| quote.as_ref().is_none_or(|quote| *known.market.quote == **quote))
        .collect();
    if known.is_empty() {
        bail!("there are no candles in {storage} yet");
    } else if from.is_empty() {
        bail!(
            "there are no candles of that source in {storage}; its sources are {}",
            list(names(|market| &market.source, &all))
        );
    } else if of_coin.is_empty() {
        bail!(
            "there are no candles of '{coin_id}' in {storage}; its coins are {}",
            list(names(|market| &market.coin_id, &from))
        );
    }
    let preferred = wiring::preferred_source(settings);
    let newest = || candidates.iter().max_by_key(|known| known.newest);
    let chosen =
        candidates.iter().find(|known| preferred.as_ref() == Some(&known.market.source)).or_else(newest);
    let Some(source) = chosen.map(|known| Arc::clone(&known.market.source)) else {
        let (asked, known) = (quote.unwrap_or_default(), list(names(|market| &market.quote, &of_coin)));
        bail!("there are no candles of '{coin_id}' in '{asked}' in {storage}; its currencies are {known}");
    };
    let of_source: Vec<_> = candidates.into_iter().filter(|known| known.market.source == source).collect();
    let quotes = names(|market| &market.quote, &of_source);
    let quote: Arc<str> = match quotes.first() {
        Some(only) if quotes.len() == 1 => only.as_str().into(),
        _ if quotes.contains("usd") => "usd".into(),
        _ => {
            bail!("the candles of '{coin_id}' from {source} are in {}: choose one with --quote", list(quotes))
        }
    };
    Ok(Market { source, coin_id: coin_id.into(), quote })
}

/// Runs a user's SQL and prints the rows. A signal ends it at any point, also while a pager blocks the output.
pub(super) async fn query(settings: &Settings, sql: String, format: Format) -> anyhow::Result<()> {
    let bound = wiring::bound_memory(QUERY_MEMORY);
    let cancel = signals::cancel_on_signal()?;
    let answer = match wiring::queries(settings)?.sql(sql, QUERY_TIMEOUT, &cancel).await {
        Err(QueryError::Interrupted) => return Err(Interrupted.into()),
        answer => answer?,
    };
    // A failed allocation of the engine is an error of the query, but one of this program aborts it: printing
    // the answer must not run into the limit.
    drop(bound);
    let printing = tokio::task::spawn_blocking(move || {
        print_with(|mut out| write_answer(&mut out, format, &answer, wiring::width()))
    });
    tokio::select! {
        () = cancel.cancelled() => Err(Interrupted.into()),
        printed = printing => printed.context("the printer ended by a panic")?,
    }
}

/// Checks the guarantees of the tables and prints the report on stdout.
pub(super) async fn verify(settings: &Settings, scope: Scope) -> anyhow::Result<()> {
    let storage = wiring::existing_storage(settings)?;
    let report = verify::verify(&storage, scope).await?;
    print(report.to_string().as_bytes())?;
    if report.is_sound() { Ok(()) } else { Err(AlreadyReported.into()) }
}

/// Draws the dashboard over the current state of the storage as an SVG.
pub(super) async fn screenshot(settings: &Settings, size: Size, output: Option<&Path>) -> anyhow::Result<()> {
    let pipeline = wiring::pipeline(settings, WhenHeld::Wait)?;
    let backend = wiring::backend(settings)?;
    let snapshot = supervisor::picture(&pipeline).await?;
    let svg = tui::picture(snapshot, backend, &settings.dashboard, (size.columns, size.rows)).await;
    match output {
        Some(path) => {
            staged::write(path, svg.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
        }
        None => print(svg.as_bytes()),
    }
}
