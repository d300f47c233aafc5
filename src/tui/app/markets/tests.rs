//! Order, filter, selection and changes of the market table.

use super::*;

fn row(coin: &str, symbol: &str, price: f64, volume: Option<f64>) -> MarketRow {
    MarketRow {
        market: Arc::new(Market::new("coingecko", coin, "usd")),
        symbol: Some(symbol.into()),
        price,
        event_time: 0,
        change_1m: None,
        price_1h_ago: Some(price / 1.25),
        price_24h_ago: None,
        source_change_24h: None,
        volatility_1m: None,
        volatility_1h: None,
        volume_24h: volume,
        closes: Vec::new(),
    }
}

fn table() -> Markets {
    let mut markets = Markets::default();
    markets.answer(vec![
        row("cardano", "ada", 0.8, None),
        row("bitcoin", "btc", 100.0, Some(5.0)),
        row("ethereum", "eth", 10.0, Some(90.0)),
    ]);
    markets.refresh(None);
    markets
}

fn symbols(markets: &Markets) -> Vec<&str> {
    markets.rows().iter().map(|r| r.symbol.as_str()).collect()
}

#[test]
fn every_column_sorts_both_ways_and_the_selection_survives() {
    let mut markets = table();
    assert_eq!(symbols(&markets), ["ETH", "BTC", "ADA"]);
    markets.select(1);
    for _ in 0..Column::ALL.len() {
        for _ in 0..2 {
            assert_eq!(markets.selected().map(|r| r.symbol.as_str()), Some("BTC"));
            markets.reversed = !markets.reversed;
            markets.refresh(None);
        }
        markets.sort_next();
        markets.refresh(None);
    }
    markets.column = Column::Coin;
    markets.refresh(None);
    assert_eq!(symbols(&markets), ["ADA", "BTC", "ETH"]);
    markets.column = Column::Volume;
    markets.reversed = true;
    markets.refresh(None);
    assert_eq!(symbols(&markets), ["BTC", "ETH", "ADA"], "rows without a value come last in both orders");
}

#[test]
fn find_matches_id_and_symbol_and_selects_a_match() {
    let mut markets = table();
    markets.filter = "CARD".to_owned();
    markets.refresh(None);
    assert_eq!((symbols(&markets), markets.hidden()), (vec!["ADA"], 2));
    assert_eq!(markets.selected().map(|r| r.symbol.as_str()), Some("ADA"));
    markets.filter = "et".to_owned();
    markets.refresh(None);
    assert_eq!(symbols(&markets), ["ETH"]);
    markets.filter = "nothing".to_owned();
    markets.refresh(None);
    assert!(markets.rows().is_empty() && markets.selected().is_none());
    markets.filter.clear();
    markets.refresh(None);
    assert_eq!(markets.selected().map(|r| r.symbol.as_str()), Some("ETH"), "the last match stays selected");
}

#[test]
fn steps_and_scrolling_stay_within_the_table() {
    let mut markets = table();
    markets.step(-5);
    assert_eq!(markets.position(), Some(0));
    markets.step(99);
    assert_eq!(markets.position(), Some(2));
    markets.scroll(2);
    assert_eq!(markets.offset, 1);
    markets.step(-9);
    markets.scroll(2);
    assert_eq!(markets.offset, 0);
    markets.scroll(0);
}

#[test]
fn a_change_over_a_day_is_that_of_the_price_in_the_row() {
    let change = |answered: MarketRow, live: Option<(f64, Option<f64>)>| {
        let market = answered.market.clone();
        let mut entry = MarketEntry::answered(&answered);
        if let Some((price, change_24h)) = live {
            let (symbol, volume_24h, open) = (None, None, Vec::new());
            entry.update(&Live { market, symbol, price, event_time: 1, volume_24h, change_24h, open });
        }
        (entry.price, entry.change_1h, entry.change_24h)
    };
    let row = |own, day_ago| MarketRow {
        source_change_24h: own,
        price_24h_ago: day_ago,
        ..row("bitcoin", "btc", 100.0, None)
    };
    assert_eq!(change(row(Some(0.0), None), None), (100.0, Some(25.0), Some(0.0)));
    assert_eq!(change(row(Some(0.0), None), Some((110.0, Some(10.0)))), (110.0, Some(37.5), Some(10.0)));
    assert_eq!(
        change(row(Some(0.0), None), Some((110.0, None))).2,
        None,
        "the change of 100 is not shown with 110"
    );
    assert_eq!(change(row(None, Some(88.0)), Some((110.0, None))).2, Some(25.0));
    assert_eq!(
        change(row(None, Some(88.0)), Some((110.0, Some(10.0)))).2,
        Some(10.0),
        "the source's comes first"
    );
}

#[test]
fn the_wanted_coin_is_selected_when_it_appears() {
    let mut markets = Markets::preferring(Some("cardano".into()));
    markets.answer(vec![row("bitcoin", "btc", 1.0, None)]);
    markets.refresh(None);
    assert_eq!(markets.selected().map(|r| r.symbol.as_str()), Some("BTC"));
    markets.answer(vec![row("bitcoin", "btc", 1.0, None), row("cardano", "ada", 1.0, None)]);
    markets.refresh(None);
    assert_eq!(markets.selected().map(|r| r.symbol.as_str()), Some("ADA"));
}
