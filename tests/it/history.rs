//! Price history from `CoinGecko` through the whole pipeline to gold.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptostream::lake::TableKind;
use cryptostream::market::time::{floor, now};
use cryptostream::market::{MINUTE, Micros};
use cryptostream::pipeline::status::Snapshot;
use cryptostream::pipeline::summary::Summary;
use cryptostream::pipeline::{Connections, PipelineSettings, supervisor};
use cryptostream::source::{Source, coingecko};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::http::{Answer, Server};
use crate::support::tables::{Row, assert_rows, assert_sound, instant, replaying, rows};

/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(1);
const COLUMNS: [&str; 7] =
    ["coin_id", "window_start", "open_price", "close_price", "avg_price", "volume", "tick_count"];

/// A list of prices with the current time.
fn markets(coins: &[&str]) -> Answer {
    let prices = coins
        .iter()
        .map(|coin| format!(r#"{{"id":"{coin}","current_price":99.5,"last_updated":"{}"}}"#, instant(now())));
    Answer::json(&format!("[{}]", prices.collect::<Vec<_>>().join(",")))
}

/// Runs a pipeline over a `CoinGecko` server until a snapshot satisfies `wanted`.
async fn run_until(
    storage: &Path,
    server: &Server,
    coins: &[&str],
    wanted: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Summary {
    let coingecko = coingecko::CoinGeckoSettings {
        base_url: server.url().to_owned(),
        coins: coins.iter().map(|coin| (*coin).to_owned()).collect(),
        poll: Duration::from_millis(50),
        ..coingecko::CoinGeckoSettings::default()
    };
    let mut settings = PipelineSettings {
        source: Source::CoinGecko(Box::new(coingecko)),
        ..replaying(storage, Path::new("-"), 50_000)
    };
    settings.limits.latency = Duration::from_millis(50);
    let (snapshots, mut shown) = watch::channel(Arc::new(supervisor::blank(&settings)));
    let (_select, selected) = watch::channel(None);
    let cancel = CancellationToken::new();
    let pipeline =
        tokio::spawn(supervisor::run(settings, Connections { snapshots, selected, cancel: cancel.clone() }));
    tokio::time::timeout(LONG, shown.wait_for(wanted)).await.expect("in time").expect("it runs");
    cancel.cancel();
    pipeline.await.unwrap().unwrap().expect("it began")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn history_is_in_gold_once_also_after_a_restart() {
    const COINS: [&str; 2] = ["bitcoin", "ethereum"];
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    // A point every five minutes for two hours; the first answer lacks forty minutes, which a restart requests
    // again.
    let first = floor(now() - 150 * MINUTE, MINUTE) + 7_000;
    let all: Vec<(Micros, f64)> =
        (0..24_u32).map(|n| (first + i64::from(n) * 5 * MINUTE, 100.0 + f64::from(n))).collect();
    let some = [&all[..10], &all[18..]].concat();
    let newest = instant(floor(all[23].0, MINUTE));
    for (points, new, when) in [(&some, 16, "at the first start"), (&all, 8, "after a restart")] {
        let chart = points
            .iter()
            .map(|(at, price)| format!("[{},{price:?}]", at / 1000))
            .collect::<Vec<_>>()
            .join(",");
        let chart = Answer::json(&format!(r#"{{"prices":[{chart}],"market_caps":[],"total_volumes":[]}}"#));
        let server = Server::start(vec![markets(&COINS)], vec![chart]).await;
        run_until(&storage, &server, &COINS, |s| s.totals.candles >= new * COINS.len() as u64).await;
        let bar = |coin: &str, (at, price): &(Micros, f64)| -> Row {
            let (start, price) = (instant(floor(*at, MINUTE)), format!("{price:?}"));
            [coin, &start, &price, &price, &price, "null", "1"].map(str::to_owned).to_vec()
        };
        let bars: Vec<Row> =
            COINS.iter().flat_map(|coin| points.iter().map(|point| bar(coin, point))).collect();
        let mut found = rows(&storage, TableKind::Gold, &COLUMNS).await;
        found.retain(|row| row[1] <= newest); // later ones are of the live price
        assert_rows(&found, &bars, when);
        assert_sound(&storage, when).await;
    }
}
