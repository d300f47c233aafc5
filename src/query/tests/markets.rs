//! The market table and the alerts.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_market_table_measures_every_market_from_its_own_newest_candle() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(folder.path());
    let mut gold = table(&storage, TableKind::Gold).await;
    let at = |hours: i64, minutes: i64| START + hours * HOUR + minutes * MINUTE;
    let row = |coin, start, prices, volume| minute("binance", coin, "usd", start, prices, volume, 1);
    let first = [
        row("bitcoin", at(0, 29), [50.0; 4], Some(100.0)), // a day and a minute before
        row("bitcoin", at(12, 0), [70.0; 4], Some(5.0)),
        row("bitcoin", at(23, 25), [80.0; 4], None), // 65 minutes before: the candle an hour before is missing
    ];
    put(&mut gold, Some("2025-05-12"), &first, |_| false).await;
    let second = [
        row("bitcoin", at(24, 0), [90.0, 125.0, 90.0, 90.0], Some(0.5)),
        row("bitcoin", at(24, 29), [99.0, 100.0, 98.0, 100.0], None),
        row("bitcoin", at(24, 30), [100.0, 110.0, 100.0, 110.0], Some(0.25)),
        row("ethereum", at(24, 10), [5.0; 4], None), // 20 minutes older than bitcoin's newest, and alone
        minute("kraken", "bitcoin", "usd", at(24, 29), [1.0; 4], None, 1),
    ];
    put(&mut gold, Some("2025-05-13"), &second, |_| false).await;
    let queries = Queries::open(storage.clone(), None).unwrap();
    let bitcoin = MarketRow {
        market: Arc::new(Market::new("binance", "bitcoin", "usd")),
        symbol: None,
        price: 110.0,
        event_time: at(24, 30) + 59_000_000,
        change_1m: Some(10.0),
        price_1h_ago: Some(80.0),
        price_24h_ago: Some(50.0),
        source_change_24h: None,
        volatility_1m: Some(10.0),
        volatility_1h: Some((125.0 - 90.0) / 90.0 * 100.0),
        volume_24h: Some(5.75),
        closes: vec![90.0, 100.0, 110.0],
    };
    let mut ethereum = MarketRow {
        market: Arc::new(Market::new("binance", "ethereum", "usd")),
        symbol: None,
        price: 5.0,
        event_time: at(24, 10) + 59_000_000,
        change_1m: None,
        price_1h_ago: None,
        price_24h_ago: None,
        source_change_24h: None,
        volatility_1m: Some(0.0),
        volatility_1h: Some(0.0),
        volume_24h: None,
        closes: vec![5.0],
    };
    assert_eq!(queries.markets(None).await.unwrap(), [bitcoin.clone(), ethereum.clone()]);
    assert_eq!(queries.markets(Some("kraken".into())).await.unwrap().len(), 1);
    assert_eq!(queries.markets(Some("nobody".into())).await.unwrap(), []);

    let mut silver = table(&storage, TableKind::Silver).await;
    let tick = |coin: &str, symbol: &str, at: Micros, value: f64, change: f64| {
        cells! { coin_id: coin, symbol: symbol, source: "binance", quote: "usd", price: 5.0, volume_24h: value, price_change_pct_24h: change, event_time: at }
    };
    let ticks = [
        tick("ethereum", "old", at(24, 9), 1.0, 1.0),
        tick("ethereum", "old", at(24, 10) + 59_000_000, 1.0, 2.5),
        // Newer than the newest candle: its change belongs to a price that is not in the row.
        tick("ethereum", "eth", at(24, 11), 10.0, 99.0),
        tick("bitcoin", "btc", at(24, 10), 1.0, 1.0),
    ];
    put(&mut silver, Some("2025-05-13"), &ticks, |_| false).await;
    ethereum.symbol = Some("eth".into());
    ethereum.source_change_24h = Some(2.5);
    ethereum.volume_24h = Some(2.0);
    let bitcoin = MarketRow { symbol: Some("btc".into()), ..bitcoin };
    assert_eq!(queries.markets(None).await.unwrap(), [bitcoin, ethereum]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_come_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(folder.path());
    let mut table = table(&storage, TableKind::Alerts).await;
    let alert = |n: i64| Alert {
        alert_id: format!("id{n}"),
        rule: "volatility".into(),
        market: Market::new("binance", "bitcoin", "usd"),
        window_start: START + n * MINUTE,
        window_end: START + (n + 1) * MINUTE,
        avg_price: 1.5,
        min_price: 1.0,
        max_price: 2.0,
        volatility: 100.0,
        threshold: 0.02,
        timestamp: START + (n + 2) * MINUTE,
    };
    let row = |n: i64| {
        let a = alert(n);
        cells! {
            alert_id: a.alert_id.as_str(), rule: a.rule.as_str(), source: "binance", coin_id: "bitcoin", quote: "usd", window_start: a.window_start,
            window_end: a.window_end, avg_price: a.avg_price, min_price: a.min_price, max_price: a.max_price, volatility: a.volatility,
            threshold: a.threshold, timestamp: a.timestamp,
        }
    };
    // Files that overlap in time: 0 4 8, 1 5 9, …
    for first in 0..4 {
        put(&mut table, None, &[row(first), row(first + 4), row(first + 8)], |_| false).await;
    }
    let queries = Queries::open(storage, None).unwrap();
    for limit in [0, 1, 3, 5, 12, 100] {
        let expected: Vec<_> = (0..12).rev().take(limit).map(alert).collect();
        assert_eq!(queries.alerts(limit).await.unwrap(), expected);
    }
}
