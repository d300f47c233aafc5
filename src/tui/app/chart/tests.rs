//! Panning, zooming, the crosshair, and minutes on their way from the open ones into gold.

use super::*;
use crate::market::MINUTE;

fn minute(at: i64) -> Candle {
    Candle { high: 2.0, low: 0.5, volume: Some(1.0), ..Candle::of_tick(at * MINUTE, MINUTE, 1.5) }
}

fn series(candles: Vec<Candle>, newest: i64) -> CandleSeries {
    let total = candles.len() as u64;
    CandleSeries { market: Some(market()), candles, total, newest: Some(newest * MINUTE) }
}

fn market() -> Arc<Market> {
    Arc::new(Market::new("coingecko", "bitcoin", "usd"))
}

fn live(minutes: &[i64]) -> Vec<Live> {
    vec![Live {
        market: market(),
        symbol: None,
        price: 1.0,
        event_time: 0,
        volume_24h: None,
        change_24h: None,
        open: minutes.iter().map(|m| minute(*m)).collect(),
    }]
}

fn chart(minutes: std::ops::Range<i64>) -> Chart {
    let mut chart = Chart::default();
    chart.set_interval(Interval::Minute1, None);
    chart.set_market(Some(&market()));
    let query = chart.wanted(20).unwrap();
    let newest = minutes.end - 1;
    let candles: Vec<Candle> = minutes.map(minute).collect();
    let last = candles[candles.len().saturating_sub(query.last.unwrap())..].to_vec();
    chart.answer(&query, series(last, newest));
    chart
}

#[test]
fn a_minute_is_shown_between_its_close_and_the_answer_that_has_it() {
    let mut chart = chart(0..50);
    chart.set_live(&live(&[50, 51]));
    assert_eq!(chart.last().map(|c| c.window_start), Some(51 * MINUTE));
    chart.set_live(&live(&[51]));
    assert_eq!(chart.view(4).candles.iter().flatten().count(), 4, "minute 50 is still there");
    let query = chart.wanted(20).unwrap();
    chart.answer(&query, series((0..51).map(minute).collect(), 50));
    assert!(chart.leaving.is_empty());
    assert_eq!(chart.view(4).candles.iter().flatten().count(), 4);
}

#[test]
fn panning_stops_at_the_oldest_candle_and_follows_at_the_newest() {
    let mut chart = chart(0..50);
    chart.pan(-10);
    assert!(!chart.follows());
    assert_eq!(chart.view(20).time(19), 39 * MINUTE);
    chart.pan(-1000);
    assert_eq!(chart.view(20).time(19), 0);
    chart.pan(1000);
    assert!(chart.follows());
}

#[test]
fn an_answer_covers_the_view_until_it_is_panned_beyond_it() {
    let mut chart = chart(0..5000);
    let query = chart.wanted(20).unwrap();
    assert!(chart.covered(&query, 20));
    chart.pan(-80);
    assert!(chart.covered(&query, 20));
    chart.pan(-50);
    assert!(!chart.covered(&query, 20));
    let further = chart.wanted(20).unwrap();
    assert!(further.before.is_some());
    assert!(chart.covered(&query, 500) || chart.wanted(500).unwrap() != query);
}

#[test]
fn the_crosshair_moves_from_candle_to_candle_and_the_view_follows_it() {
    let mut chart = chart(0..50);
    let step = |chart: &mut Chart, step| {
        chart.move_cursor(step, &chart.view(10));
        chart.pan_to_cursor(&chart.view(10));
    };
    step(&mut chart, Step::Before);
    assert_eq!(chart.cursor, Some(49 * MINUTE));
    for _ in 0..12 {
        step(&mut chart, Step::Before);
    }
    assert_eq!(chart.cursor, Some(37 * MINUTE));
    assert!(chart.view(10).slot(37 * MINUTE).is_some());
    for _ in 0..20 {
        step(&mut chart, Step::After);
    }
    assert_eq!(chart.cursor, Some(49 * MINUTE));
    assert!(chart.follows());
}

#[test]
fn zooming_goes_from_thirty_candles_in_a_column_to_a_candle_of_five_columns() {
    let mut chart = chart(0..50);
    for _ in 0..20 {
        chart.zoom(Direction::In, None);
    }
    assert_eq!((chart.zoom.columns(), chart.zoom.candles()), (5, 1));
    for _ in 0..20 {
        chart.zoom(Direction::Out, None);
    }
    assert_eq!((chart.zoom.columns(), chart.zoom.candles()), (1, 30));
    assert_eq!(chart.view(10).candles.iter().flatten().count(), 2);
    chart.reset();
    assert_eq!((chart.zoom.columns(), chart.zoom.candles()), (1, 1));
}

#[test]
fn another_coins_answer_is_not_shown() {
    let mut chart = chart(0..50);
    let mut query = chart.wanted(20).unwrap();
    query.market.coin_id = "ethereum".into();
    chart.answer(&query, CandleSeries::default());
    assert!(chart.last().is_some());
}

#[test]
fn a_wide_candle_counts_a_minute_once_when_gold_has_it_and_it_is_still_open() {
    let mut chart = Chart::default();
    chart.set_interval(Interval::Minute5, None);
    chart.set_market(Some(&market()));
    let query = chart.wanted(20).unwrap();
    let wide = |minutes: i64| {
        let volume = Some(f64::from(i32::try_from(minutes).unwrap()));
        let candle = Candle { volume, ticks: minutes, ..Candle::of_tick(0, 5 * MINUTE, 1.5) };
        series(vec![candle], minutes - 1)
    };
    let sums = |chart: &Chart| chart.last().map(|c| (c.volume, c.ticks));
    let three = Some((Some(3.0), 3));
    // Minutes 0 and 1 are in gold, minute 2 is open.
    chart.answer(&query, wide(2));
    chart.set_live(&live(&[2]));
    assert_eq!(sums(&chart), three);
    // Gold commits minute 2 and is asked before the next snapshot.
    chart.answer(&query, wide(3));
    assert_eq!(sums(&chart), three, "it is in gold and still open");
    chart.set_live(&live(&[]));
    assert_eq!(sums(&chart), three, "it is no longer open");
    // The other order: minute 3 is no longer open before gold is asked again.
    let four = Some((Some(4.0), 4));
    chart.set_live(&live(&[3]));
    assert_eq!(sums(&chart), four);
    chart.set_live(&live(&[4]));
    assert_eq!(sums(&chart), Some((Some(5.0), 5)));
    chart.set_live(&live(&[]));
    chart.answer(&query, wide(4));
    assert_eq!(sums(&chart), Some((Some(5.0), 5)), "minute 4 is not in gold yet");
    chart.answer(&query, wide(5));
    assert_eq!(sums(&chart), Some((Some(5.0), 5)));
}
