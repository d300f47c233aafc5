//! A made-up state of the dashboard, the same every time: for tests, benches and pictures of the
//! documentation.

#![expect(clippy::cast_precision_loss, reason = "small whole numbers become prices")]

use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::Size;

use super::app::{App, Effect, Message};
use super::{DashboardSettings, theme};
use crate::market::{Alert, Candle, Interval, MINUTE, Market, Micros, SECOND};
use crate::pipeline::status::{
    Cooling, Live, Role, Snapshot, SourceKind, SourceState, SourceStatus, StageKind, StageState, StageStatus,
    Totals,
};
use crate::query::{CandleQuery, CandleSeries, MarketRow};

/// 2025-05-12T14:07:32Z.
pub const NOW: Micros = 1_747_058_852 * SECOND;

const COINS: [(&str, &str, f64, f64); 10] = [
    ("bitcoin", "btc", 104_180.0, 33.1e9),
    ("ethereum", "eth", 2_566.4, 21.4e9),
    ("solana", "sol", 179.11, 5.2e9),
    ("ripple", "xrp", 2.6126, 4.9e9),
    ("dogecoin", "doge", 0.2314, 2.4e9),
    ("cardano", "ada", 0.8456, 1.3e9),
    ("tron", "trx", 0.2671, 0.8e9),
    ("chainlink", "link", 17.41, 0.6e9),
    ("avalanche-2", "avax", 25.53, 0.5e9),
    ("shiba-inu", "shib", 0.000_012_34, 0.3e9),
];

/// A small generator of numbers in `-1.0..1.0`; its sequence is part of the tests' pictures.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 / f64::from(1u32 << 31)) * 2.0 - 1.0
    }
}

/// The market of a coin.
pub fn market(coin: &str) -> Arc<Market> {
    Arc::new(Market::new("coingecko", coin, "usd"))
}

/// `count` candles of a coin that end at `price`, the last one before `end`; a few are missing.
pub fn candles(price: f64, interval: Interval, count: usize, end: Micros, volume: bool) -> Vec<Candle> {
    let mut noise = Noise(price.to_bits() ^ count as u64);
    let (mut close, mut pace) = (price, 0.0006);
    let mut candles = Vec::with_capacity(count);
    let last = interval.bucket(end - 1);
    for back in (0..i64::MAX).take(count) {
        pace = (pace * (1.0 + noise.next() * 0.25)).clamp(0.0002, 0.0022);
        let open = close * (1.0 + noise.next() * pace);
        let wick = |n: &mut Noise| 1.0 + n.next().max(0.0) * pace * 0.8;
        let (high, low) = (open.max(close) * wick(&mut noise), open.min(close) / wick(&mut noise));
        let start = last - back * interval.micros();
        let traded = (noise.next().abs() * 300.0 + 20.0) * (pace / 0.0006);
        let missing = back % 37 == 20 || back % 41 == 30;
        if !missing {
            candles.push(Candle {
                window_start: start,
                window_end: start + interval.micros(),
                open,
                high,
                low,
                close,
                avg: f64::midpoint(open, close),
                volume: volume.then_some(traded),
                ticks: 12 + back % 7,
                closed: true,
            });
        }
        close = open;
    }
    candles.reverse();
    candles
}

/// The open minute of a coin at [`NOW`].
fn open_minute(price: f64, volume: bool) -> Candle {
    let start = Interval::Minute1.bucket(NOW);
    Candle {
        window_start: start,
        window_end: start + MINUTE,
        open: price * 0.9996,
        high: price * 1.0003,
        low: price * 0.9994,
        close: price,
        avg: price,
        volume: volume.then_some(88.5),
        ticks: 9,
        closed: false,
    }
}

/// A snapshot of a healthy pipeline.
pub fn snapshot() -> Snapshot {
    let stage = |stage, at: u64| StageStatus {
        stage,
        state: StageState::Ok,
        rows_in: 1041 - at,
        rows_out: 1000 - at,
        in_per_second: 0.7,
        out_per_second: 0.7 - at as f64 / 10.0,
        lag: 0,
        version: Some(1490 - at),
        last_commit: Some(NOW - 2 * SECOND),
        commit_time: Some(Duration::from_millis(12 + at)),
        files: 12 - usize::try_from(at).unwrap_or(0),
        bytes: 1_100_000 / (at + 1),
        restarts: 0,
    };
    let mut source = SourceStatus::starting(SourceKind::Coingecko, COINS.len());
    source.state = SourceState::Live;
    source.records = 14_900;
    source.last_delivery = Some(NOW - SECOND);
    source.next_poll = Some(NOW + 9 * SECOND);
    source.poll = Some(Duration::from_secs(15));
    source.quota_left = Some(0.71);
    Snapshot {
        role: Role::Pipeline,
        source: Some(source),
        stages: StageKind::ALL.into_iter().zip(0..).map(|(s, at)| stage(s, at)).collect(),
        totals: Totals {
            records: 14_900,
            ticks: 14_822,
            duplicates: 41,
            rejected: 0,
            candles: 2310,
            restated: 3,
            alerts: 57,
            cooled_down: 12,
        },
        live: Arc::new(live(true)),
        cooling: Arc::new(vec![Cooling { market: market("solana"), until: NOW + 3 * MINUTE }]),
        revision: 1,
        last_error: None,
        memory: Some(92_000_000),
        alert_threshold: 0.2,
        at: NOW,
    }
}

fn live(volume: bool) -> Vec<Live> {
    COINS
        .iter()
        .zip(1..)
        .map(|((coin, symbol, price, traded), at)| Live {
            market: market(coin),
            symbol: Some((*symbol).into()),
            price: *price,
            event_time: NOW - at * SECOND - 200_000,
            volume_24h: Some(*traded),
            open: vec![open_minute(*price, volume)],
        })
        .collect()
}

/// The market table's rows.
pub fn rows() -> Vec<MarketRow> {
    let mut noise = Noise(7);
    COINS
        .iter()
        .map(|(coin, symbol, price, _)| {
            let closes: Vec<f64> =
                candles(*price, Interval::Minute1, 61, NOW, false).iter().map(|c| c.close).collect();
            MarketRow {
                market: market(coin),
                symbol: Some((*symbol).into()),
                price: *price,
                event_time: NOW - 3 * SECOND,
                change_1m: Some(noise.next() * 0.3),
                change_1h: Some(noise.next() * 1.5),
                change_24h: Some(noise.next() * 9.0),
                volatility_1m: Some(noise.next().abs() * 0.3),
                volatility_1h: Some(noise.next().abs() * 1.9),
                volume_24h: None,
                closes,
            }
        })
        .collect()
}

/// The alert log.
pub fn alerts() -> Vec<Alert> {
    let mut noise = Noise(11);
    (0..20i64)
        .map(|at| {
            let (coin, _, price, _) = COINS[usize::try_from(at * 7 + 2).unwrap_or(0) % COINS.len()];
            let start = Interval::Minute1.bucket(NOW - (at * at * 3 + 2 * at + 2) * MINUTE);
            Alert {
                alert_id: format!("{at:08x}"),
                rule: "volatility".to_owned(),
                market: (*market(coin)).clone(),
                window_start: start,
                window_end: start + MINUTE,
                avg_price: price,
                min_price: price * 0.999,
                max_price: price * 1.001,
                volatility: 0.2 + noise.next().abs() * 0.4,
                threshold: 0.2,
                timestamp: start + MINUTE + SECOND,
            }
        })
        .collect()
}

/// The answer to a question for candles: as many as are asked for, up to 1,440.
pub fn series(query: &CandleQuery) -> CandleSeries {
    let price = COINS
        .iter()
        .find(|(coin, ..)| *coin == &*query.market.coin_id)
        .map_or(1.0, |(_, _, price, _)| *price);
    let all = candles(price * 0.9996, query.interval, 1440, Interval::Minute1.bucket(NOW), true);
    let total = all.len() as u64;
    let before = query.before.unwrap_or(Micros::MAX);
    let mut candles: Vec<Candle> = all.into_iter().filter(|c| c.window_start < before).collect();
    let skip = query.last.map_or(0, |last| candles.len().saturating_sub(last));
    candles.drain(..skip);
    CandleSeries { market: Some(market(&query.market.coin_id)), candles, total }
}

/// Answers an effect as a lake with the fixture's data would.
pub fn reply(effect: &Effect) -> Option<Message> {
    match effect {
        Effect::AskCandles(query) => Some(Message::Candles(query.clone(), Ok(series(query)))),
        Effect::AskMarkets => Some(Message::Markets(Ok(rows()))),
        Effect::AskAlerts(limit) => Some(Message::Alerts(Ok(alerts().into_iter().take(*limit).collect()))),
        Effect::Selected(_) | Effect::Suspend | Effect::Quit => None,
    }
}

/// Sends a message and answers every question that follows from it. The effects that are no questions.
pub fn send(app: &mut App, message: Message) -> Vec<Effect> {
    let mut messages = vec![message];
    let mut others = Vec::new();
    while let Some(message) = messages.pop() {
        for effect in app.update(message) {
            match reply(&effect) {
                Some(answer) => messages.push(answer),
                None => others.push(effect),
            }
        }
    }
    others
}

/// A dashboard that is fully loaded.
pub fn app(width: u16, height: u16, theme: theme::ThemeKind) -> App {
    let settings = DashboardSettings {
        theme,
        zone: super::format::Zone::Utc,
        interval: Some(Interval::Minute1),
        ..DashboardSettings::default()
    };
    let mut app = App::new(&settings, Size::new(width, height), NOW);
    send(&mut app, Message::Snapshot(Arc::new(snapshot())));
    app
}
