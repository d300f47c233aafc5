//! The monitor: the open candles that it shows are exactly the ticks that are not yet in gold.

use std::path::Path;
use std::sync::Arc;

use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::{Storage, Table, TableKind, gold, silver};
use cryptostream::market::candle::with_open;
use cryptostream::market::window::{ClosedCandle, Place, Window};
use cryptostream::market::{Candle, Interval, MINUTE, Market, Micros, SECOND, Stream, Tick, Ticks};
use cryptostream::pipeline::meter::Meters;
use cryptostream::pipeline::monitor::{Monitor, candles};
use cryptostream::pipeline::status::Live;
use cryptostream::query::Queries;

/// 2025-05-12T00:00:00Z.
const START: Micros = 1_747_008_000_000_000;

/// A storage whose silver and gold are written by the test.
struct Lake {
    silver: Table,
    gold: Table,
    ticks: Vec<Tick>,
    rows: Vec<ClosedCandle>,
}

fn market() -> Arc<Market> {
    Arc::new(Market::new("s", "bitcoin", "usd"))
}

fn stream() -> Arc<Stream> {
    Arc::new(Stream::direct())
}

impl Lake {
    async fn create(folder: &Path) -> Self {
        let storage = Storage::new(folder).unwrap();
        let silver = Table::open_or_create(&storage, TableKind::Silver).await.unwrap();
        let gold = Table::open_or_create(&storage, TableKind::Gold).await.unwrap();
        Self { silver, gold, ticks: Vec::new(), rows: Vec::new() }
    }

    /// Commits a tick to silver, `second` seconds after [`START`].
    async fn tick(&mut self, second: i64) {
        let (offset, at) = (i64::try_from(self.ticks.len()).unwrap(), START + second * SECOND);
        let (market_id, index, price) = (0, 0, 100.0 + second as f64);
        let (event_time, ingested_at) = (at, at);
        let tick = Tick {
            market: market_id,
            index,
            offset,
            event_time,
            price,
            size: None,
            trade_id: None,
            details: None,
            ingested_at,
        };
        self.ticks.push(tick.clone());
        let ticks = Ticks { markets: Arc::new(vec![market()]), ticks: vec![tick] };
        let adds = silver::write(&self.silver, &stream(), &ticks).await.unwrap();
        let txns = vec![(self.silver.app_id(&stream()), offset)];
        self.silver
            .commit(Commit { change: Change::Append, adds, removes: vec![], txns, facts: &[] })
            .await
            .unwrap();
    }

    /// Commits the candle of a minute to gold, with this position in silver.
    async fn close(&mut self, minute: i64, position: i64) {
        let start = START + minute * MINUTE;
        let mut window: Option<Window> = None;
        for tick in self.ticks.iter().filter(|tick| (start..start + MINUTE).contains(&tick.event_time)) {
            let place = Place::of(&stream(), tick);
            match &mut window {
                Some(window) => window.add(place, tick.price, tick.size),
                None => window = Some(Window::new(place, tick.price, tick.size)),
            }
        }
        let version = i64::try_from(self.gold.version() + 1).unwrap();
        let row = window.unwrap().row(&market(), start + 4 * MINUTE, version);
        let adds = gold::write(&self.gold, std::slice::from_ref(&row)).await.unwrap();
        self.rows.push(row);
        let txns = vec![(self.gold.app_id(&stream()), position)];
        self.gold
            .commit(Commit { change: Change::Append, adds, removes: vec![], txns, facts: &[] })
            .await
            .unwrap();
    }

    /// The open minutes, and the numbers of ticks in the five-minute candles that the chart makes of gold and
    /// the open candles.
    fn shown(&self, live: &[Live]) -> (Vec<i64>, Vec<i64>) {
        let open = &live[0].open;
        let mut wide: Vec<Candle> = Vec::new();
        for row in &self.rows {
            let bucket = Interval::Minute5.bucket(row.candle.window_start);
            match wide.last_mut().filter(|candle| candle.window_start == bucket) {
                Some(candle) => candle.absorb(&row.candle),
                None => wide.push(Candle { window_start: bucket, ..row.candle.clone() }),
            }
        }
        let newest = self.rows.last().map(|row| row.candle.window_start);
        let wide = with_open(&wide, newest, open, Interval::Minute5);
        (
            open.iter().map(|c| (c.window_start - START) / MINUTE).collect(),
            wide.iter().map(|c| c.ticks).collect(),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_minute_is_counted_once_whether_ticks_or_the_clock_closed_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Lake::create(folder.path()).await;
    let (mut monitor, meters) = (Monitor::new(Storage::new(folder.path()).unwrap()), Meters::default());
    for second in [10, 20, 70] {
        lake.tick(second).await;
    }
    let live = monitor.refresh(&meters).await.unwrap().unwrap();
    assert_eq!(lake.shown(&live), (vec![0, 1], vec![3]));

    // The clock closes both minutes in gold; the monitor sees no tick that closes them.
    lake.close(0, 1).await;
    lake.close(1, 2).await;
    let live = monitor.refresh(&meters).await.unwrap().unwrap();
    assert_eq!(lake.shown(&live), (vec![], vec![3]));
    assert!(monitor.refresh(&meters).await.unwrap().is_none(), "nothing has changed");

    // Ticks have closed a minute that gold has not written yet: it is shown until gold has it.
    for second in [130, 140, 260] {
        lake.tick(second).await;
    }
    let live = monitor.refresh(&meters).await.unwrap().unwrap();
    assert_eq!(lake.shown(&live), (vec![2, 4], vec![6]));
    lake.close(2, 4).await;
    let live = monitor.refresh(&meters).await.unwrap().unwrap();
    assert_eq!(lake.shown(&live), (vec![4], vec![6]));

    // A monitor that starts now shows the same.
    let live = Monitor::new(Storage::new(folder.path()).unwrap()).refresh(&meters).await.unwrap().unwrap();
    assert_eq!(lake.shown(&live), (vec![4], vec![6]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_missing_file_is_an_error_and_the_monitor_recovers_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Lake::create(folder.path()).await;
    let (mut monitor, meters) = (Monitor::new(Storage::new(folder.path()).unwrap()), Meters::default());
    lake.tick(10).await;
    monitor.refresh(&meters).await.unwrap().unwrap();
    lake.tick(20).await;
    let newest = lake.silver.files().find(|file| file.integers("offset") == Some((1, 1))).unwrap();
    let (path, aside) = (lake.silver.absolute(newest), folder.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    assert!(monitor.refresh(&meters).await.unwrap_err().to_string().contains("is missing"));
    std::fs::rename(&aside, &path).unwrap();
    let live = monitor.refresh(&meters).await.unwrap().unwrap();
    assert_eq!(lake.shown(&live), (vec![0], vec![2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn candles_have_every_minute_once_while_gold_closes_them() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(folder.path()).unwrap();
    let mut lake = Lake::create(folder.path()).await;
    lake.tick(0).await;
    lake.tick(60).await;
    lake.close(0, 0).await;
    let writer = tokio::spawn(async move {
        for minute in 1..60 {
            lake.tick((minute + 1) * 60).await;
            lake.close(minute, minute).await;
        }
    });
    let queries = Queries::open(storage.clone(), None).unwrap();
    while !writer.is_finished() {
        for interval in [Interval::Minute1, Interval::Minute5] {
            let series = candles(&storage, &queries, &market(), interval, None).await.unwrap();
            let starts: Vec<_> = series.candles.iter().map(|candle| candle.window_start).collect();
            let wanted: Vec<_> = (0..).map(|n| START + n * interval.micros()).take(starts.len()).collect();
            assert_eq!(starts, wanted);
            let (open, whole) = series.candles.split_last().unwrap();
            let minutes = interval.micros() / MINUTE;
            assert!(whole.iter().all(|candle| candle.ticks == minutes), "{whole:?}");
            assert!(open.ticks <= minutes, "{open:?}");
        }
    }
    writer.await.unwrap();
}
