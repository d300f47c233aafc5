//! Candles of every width, of one source, of what is committed so far.

use super::*;

/// One line per candle: start, O H L C, mean, volume, ticks.
fn lines(series: &CandleSeries) -> Vec<String> {
    let line = |c: &Candle| {
        assert!(c.closed);
        let volume = c.volume.map_or_else(|| "-".to_owned(), |v| format!("{v:?}"));
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {volume} {}",
            &rfc3339(c.window_start)[5..16],
            c.open,
            c.high,
            c.low,
            c.close,
            c.avg,
            c.ticks
        )
    };
    series.candles.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_of_every_width_across_midnight() {
    let folder = tempfile::tempdir().unwrap();
    two_days(&storage(folder.path())).await;
    let queries = Queries::open(storage(folder.path()), Some("binance".into())).unwrap();
    let minutes = queries.candles(ask(Interval::Minute1, None, None)).await.unwrap();
    assert_eq!(minutes.market, Some(Arc::new(Market::new("binance", "bitcoin", "usd"))));
    let all = [
        "05-12T23:40 10.0 12.0 9.0 11.0 10.5 1.5 2",
        "05-12T23:41 11.0 11.0 10.0 10.5 10.5 - 1",
        "05-12T23:57 10.0 10.5 10.0 10.5 10.25 - 3",
        "05-13T00:00 10.5 20.0 10.0 20.0 15.0 - 4",
        "05-13T00:01 20.0 25.0 20.0 21.0 22.5 0.25 1",
        "05-13T00:07 21.0 21.0 19.0 19.5 20.0 - 1",
    ];
    assert_eq!((lines(&minutes), minutes.total), (all.map(String::from).into(), 6));
    assert!(minutes.candles.iter().all(|c| c.window_end == c.window_start + MINUTE));
    let expected: [(Interval, &[&str]); 5] = [
        (
            Interval::Minute5,
            &[
                "05-12T23:40 10.0 12.0 9.0 10.5 10.5 1.5 3",
                "05-12T23:55 10.0 10.5 10.0 10.5 10.25 - 3",
                "05-13T00:00 10.5 25.0 10.0 21.0 16.5 0.25 5",
                "05-13T00:05 21.0 21.0 19.0 19.5 20.0 - 1",
            ],
        ),
        (
            Interval::Minute15,
            &[
                "05-12T23:30 10.0 12.0 9.0 10.5 10.5 1.5 3",
                "05-12T23:45 10.0 10.5 10.0 10.5 10.25 - 3",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
        (
            Interval::Hour1,
            &[
                "05-12T23:00 10.0 12.0 9.0 10.5 10.375 1.5 6",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
        (
            Interval::Hour4,
            &[
                "05-12T20:00 10.0 12.0 9.0 10.5 10.375 1.5 6",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
        (
            Interval::Day1,
            &[
                "05-12T00:00 10.0 12.0 9.0 10.5 10.375 1.5 6",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
    ];
    for (interval, rows) in expected {
        let series = queries.candles(ask(interval, None, None)).await.unwrap();
        assert_eq!(lines(&series), rows, "{interval}");
        assert_eq!(series.total, rows.len() as u64, "{interval}");
        assert!(series.candles.iter().all(|c| c.window_end == c.window_start + interval.micros()));
        // Any part of the whole.
        for last in 0..=rows.len() + 1 {
            for end in 0..=rows.len() {
                let before = series.candles.get(end).map(|c| c.window_start);
                let part = queries.candles(ask(interval, Some(last), before)).await.unwrap();
                assert_eq!(
                    part.candles,
                    series.candles[end.saturating_sub(last)..end],
                    "{interval}, last {last} before {before:?}"
                );
                assert_eq!(part.total, series.total);
            }
        }
    }
    for (end, candle) in minutes.candles.iter().enumerate() {
        let part = queries.candles(ask(Interval::Minute1, Some(2), Some(candle.window_start))).await.unwrap();
        assert_eq!(part.candles, minutes.candles[end.saturating_sub(2)..end]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_are_of_one_source() {
    let folder = tempfile::tempdir().unwrap();
    let mut gold = two_days(&storage(folder.path())).await;
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let preferring = Queries::open(storage(folder.path()), Some("kraken".into())).unwrap();
    let source = async |queries: &Queries, source: Option<&str>, coin: &str| {
        let query = CandleQuery {
            market: market(source, coin),
            interval: Interval::Minute1,
            last: Some(1),
            before: None,
        };
        queries.candles(query).await.unwrap().market.map(|market| market.source.to_string())
    };
    assert_eq!(source(&queries, None, "bitcoin").await.as_deref(), Some("binance"), "the newest candle");
    assert_eq!(source(&preferring, None, "bitcoin").await.as_deref(), Some("kraken"), "the preferred source");
    assert_eq!(
        source(&preferring, None, "ethereum").await.as_deref(),
        Some("binance"),
        "the preferred source has none"
    );
    assert_eq!(
        source(&preferring, Some("binance"), "bitcoin").await.as_deref(),
        Some("binance"),
        "the named source"
    );
    assert_eq!(source(&queries, Some("nobody"), "bitcoin").await, None);
    assert_eq!(source(&queries, None, "dogecoin").await, None);
    let newer = minute("kraken", "bitcoin", "usd", START + 2 * DAY, [1.0; 4], None, 1);
    put(&mut gold, Some("2025-05-14"), &[newer], |_| false).await;
    assert_eq!(source(&queries, None, "bitcoin").await.as_deref(), Some("kraken"), "the newest candle, now");

    let known = queries.known().await.unwrap();
    let names: Vec<_> = known
        .iter()
        .map(|known| format!("{} {} {}", known.market, known.candles, rfc3339(known.newest)))
        .collect();
    assert_eq!(
        names,
        [
            "binance/bitcoin/eur 1 2025-05-12T23:41:00Z",
            "binance/bitcoin/usd 6 2025-05-13T00:07:00Z",
            "binance/ethereum/usd 1 2025-05-12T23:42:00Z",
            "kraken/bitcoin/usd 2 2025-05-14T00:00:00Z",
        ]
    );
    assert_eq!(queries.newest(market(None, "bitcoin")).await.unwrap(), Some(known[3].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_seen_at_once_and_a_restated_file_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut gold = table(&storage(folder.path()), TableKind::Gold).await;
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let totals = async || {
        let mut totals = Vec::new();
        for interval in [Interval::Minute1, Interval::Minute5, Interval::Hour1, Interval::Day1] {
            totals.push(queries.candles(ask(interval, None, None)).await.unwrap().total);
        }
        totals
    };
    put(&mut gold, Some("2025-05-12"), &flat((0..10).map(|at| (at, 1.0))), |_| false).await;
    assert_eq!(totals().await, [10, 2, 1, 1]);
    put(&mut gold, Some("2025-05-12"), &flat((10..12).map(|at| (at, 2.0))), |_| false).await;
    assert_eq!(totals().await, [12, 3, 1, 1]);
    // The first file restated with a changed row and one more; the old file is deleted from the disk, too.
    let old: Vec<_> = gold.files().filter(|file| file.rows == 10).map(|file| gold.absolute(file)).collect();
    let rows = flat((0..10).map(|at| (at, if at == 9 { 7.0 } else { 1.0 })).chain([(61, 3.0)]));
    put(&mut gold, Some("2025-05-12"), &rows, |file| file.rows == 10).await;
    old.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(totals().await, [13, 4, 2, 1]);
    let series = queries.candles(ask(Interval::Minute1, None, None)).await.unwrap();
    let prices: Vec<_> = series.candles.iter().map(|c| c.close).collect();
    assert_eq!(prices, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 7.0, 2.0, 2.0, 3.0]);
}
