//! The state of the market table: its rows, their order and filter, and the selected row.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::market::{Market, Micros, coins};
use crate::pipeline::status::{Live, Snapshot};
use crate::query::MarketRow;
use crate::text::printable;
use crate::tui::format::title_case;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tui) enum Column {
    #[default]
    Volume,
    Coin,
    Price,
    Minute,
    Hour,
    Day,
    /// Volatility of the last closed minute.
    Volatility,
    Age,
}

impl Column {
    /// In the order that `s` goes through them.
    pub(in crate::tui) const ALL: [Self; 8] = [
        Self::Volume,
        Self::Coin,
        Self::Price,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Volatility,
        Self::Age,
    ];

    /// `volume`, `coin` …, for the title of the table.
    pub(in crate::tui) const fn label(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Coin => "coin",
            Self::Price => "price",
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Volatility => "volatility",
            Self::Age => "age",
        }
    }

    /// Whether the largest value comes first when the order is not reversed.
    const fn descends(self) -> bool {
        !matches!(self, Self::Coin | Self::Age)
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|c| *c == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// One row as it is shown: the last answer with the newest price of the pipeline. Texts are printable; changes
/// and volatilities are in percent.
#[derive(Debug, Clone)]
pub(in crate::tui) struct MarketEntry {
    pub(in crate::tui) market: Arc<Market>,
    pub(in crate::tui) symbol: String,
    pub(in crate::tui) name: String,
    pub(in crate::tui) price: f64,
    pub(in crate::tui) event_time: Micros,
    pub(in crate::tui) change_1m: Option<f64>,
    pub(in crate::tui) change_1h: Option<f64>,
    pub(in crate::tui) change_24h: Option<f64>,
    pub(in crate::tui) volatility_1m: Option<f64>,
    pub(in crate::tui) volatility_1h: Option<f64>,
    /// Traded value of 24 hours, in quote currency.
    pub(in crate::tui) volume: Option<f64>,
    /// Closes of the last hour's minutes, oldest first.
    pub(in crate::tui) closes: Arc<[f64]>,
    price_1h_ago: Option<f64>,
    price_24h_ago: Option<f64>,
}

/// The identity of a row: coin and quote currency (one source is shown at a time).
type MarketKey = (Arc<str>, Arc<str>);

fn key(market: &Market) -> MarketKey {
    (market.coin_id.clone(), market.quote.clone())
}

#[derive(Debug, Default)]
pub(in crate::tui) struct Markets {
    answered: Vec<MarketEntry>,
    rows: Vec<MarketEntry>,
    hidden: usize,
    /// The symbols of all rows by coin id, hidden rows included.
    symbols: HashMap<Arc<str>, String>,
    selected: Option<MarketKey>,
    /// The coin to select as soon as there is a row of it.
    wanted: Option<Arc<str>>,
    pub(in crate::tui) column: Column,
    pub(in crate::tui) reversed: bool,
    pub(in crate::tui) filter: String,
    /// Index of the first row on the screen.
    pub(in crate::tui) offset: usize,
    /// Whether the user has selected a row.
    chosen: bool,
}

impl Markets {
    /// An empty table that selects this coin as soon as there is a row of it.
    pub(in crate::tui) fn preferring(coin: Option<Arc<str>>) -> Self {
        Self { wanted: coin, ..Self::default() }
    }

    /// The rows, filtered and sorted.
    pub(in crate::tui) fn rows(&self) -> &[MarketEntry] {
        &self.rows
    }

    /// A coin's symbol, printable; made from its id where there is no row of it.
    pub(in crate::tui) fn symbol(&self, market: &Market) -> String {
        self.symbols.get(&market.coin_id).cloned().unwrap_or_else(|| symbol(None, market))
    }

    /// How many rows the filter hides.
    pub(in crate::tui) const fn hidden(&self) -> usize {
        self.hidden
    }

    /// Index of the selected row, if the filter does not hide it.
    pub(in crate::tui) fn position(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.rows.iter().position(|r| r.market.coin_id == selected.0 && r.market.quote == selected.1)
    }

    /// The selected row, if the filter does not hide it.
    pub(in crate::tui) fn selected(&self) -> Option<&MarketEntry> {
        self.position().map(|at| &self.rows[at])
    }

    pub(in crate::tui) fn answer(&mut self, rows: Vec<MarketRow>) {
        // Before the first answer the order was not known: the first row then is not the user's choice.
        if self.answered.is_empty() && !rows.is_empty() && !self.chosen && self.wanted.is_none() {
            self.selected = None;
        }
        self.answered =
            rows.into_iter().filter(|r| r.price.is_finite()).map(|r| MarketEntry::answered(&r)).collect();
    }

    /// Builds the rows from the last answer and the newest prices of the pipeline, filters and sorts them.
    /// Selects the first row if none is selected.
    pub(in crate::tui) fn refresh(&mut self, snapshot: Option<&Snapshot>) {
        let live = snapshot.map_or(&[][..], |s| &s.live[..]);
        let mut rows: HashMap<MarketKey, MarketEntry> =
            self.answered.iter().map(|row| (key(&row.market), row.clone())).collect();
        for live in live.iter().filter(|l| l.price.is_finite()) {
            let row = rows.entry(key(&live.market)).or_insert_with(|| MarketEntry::live(live));
            if row.market != live.market {
                *row = MarketEntry::live(live);
            }
            row.update(live);
        }
        let needle = self.filter.trim().to_lowercase();
        let all = rows.len();
        self.symbols = rows.values().map(|r| (r.market.coin_id.clone(), r.symbol.clone())).collect();
        self.rows = rows.into_values().filter(|r| r.matches(&needle)).collect();
        self.hidden = all - self.rows.len();
        let (column, reversed) = (self.column, self.reversed);
        self.rows.sort_by(|a, b| compare(a, b, column, reversed));
        if let Some(wanted) = self.rows.iter().find(|r| Some(&r.market.coin_id) == self.wanted.as_ref()) {
            self.selected = Some(key(&wanted.market));
            self.wanted = None;
        }
        if self.selected.is_none() || (!self.filter.is_empty() && self.position().is_none()) {
            self.selected = self.rows.first().map(|r| key(&r.market)).or_else(|| self.selected.take());
        }
    }

    /// Selects a row by its index; does nothing where there is none.
    pub(in crate::tui) fn select(&mut self, at: usize) {
        if let Some(row) = self.rows.get(at) {
            self.selected = Some(key(&row.market));
            self.wanted = None;
            self.chosen = true;
        }
    }

    /// Selects the row that is `by` rows below (above, if negative), within the table.
    pub(in crate::tui) fn step(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let at = self.position().map_or(0, |at| at.saturating_add_signed(by).min(last));
        self.select(at);
    }

    /// Sorts by the next column, not reversed.
    pub(in crate::tui) fn sort_next(&mut self) {
        self.column = self.column.next();
        self.reversed = false;
    }

    /// Whether the largest value comes first.
    pub(in crate::tui) const fn descending(&self) -> bool {
        self.column.descends() != self.reversed
    }

    /// Scrolls so that the selected row is among the `height` rows on the screen.
    pub(in crate::tui) fn scroll(&mut self, height: usize) {
        let at = self.position().unwrap_or(0);
        self.offset = self
            .offset
            .min(at)
            .max((at + 1).saturating_sub(height))
            .min(self.rows.len().saturating_sub(height));
    }
}

impl MarketEntry {
    fn answered(row: &MarketRow) -> Self {
        Self {
            symbol: symbol(row.symbol.as_deref(), &row.market),
            name: title_case(&printable(&row.market.coin_id)),
            market: row.market.clone(),
            price: row.price,
            event_time: row.event_time,
            change_1m: row.change_1m,
            change_1h: change(row.price, row.price_1h_ago),
            change_24h: row.source_change_24h.or_else(|| change(row.price, row.price_24h_ago)),
            volatility_1m: row.volatility_1m,
            volatility_1h: row.volatility_1h,
            volume: row.volume_24h.map(|v| v * row.price),
            closes: row.closes.clone().into(),
            price_1h_ago: row.price_1h_ago,
            price_24h_ago: row.price_24h_ago,
        }
    }

    fn live(live: &Live) -> Self {
        Self {
            symbol: symbol(live.symbol.as_deref(), &live.market),
            name: title_case(&printable(&live.market.coin_id)),
            market: live.market.clone(),
            price: live.price,
            event_time: live.event_time,
            change_1m: None,
            change_1h: None,
            change_24h: live.change_24h,
            volatility_1m: None,
            volatility_1h: None,
            volume: None,
            closes: Arc::new([]),
            price_1h_ago: None,
            price_24h_ago: None,
        }
    }

    /// Takes over the pipeline's values that are newer than the last answer.
    fn update(&mut self, live: &Live) {
        if live.event_time >= self.event_time {
            // The change over a minute is kept: only the next answer has the price of a minute ago.
            self.change_1h = change(live.price, self.price_1h_ago);
            self.change_24h = live.change_24h.or_else(|| change(live.price, self.price_24h_ago));
            self.price = live.price;
            self.event_time = live.event_time;
        }
        if live.symbol.is_some() {
            self.symbol = symbol(live.symbol.as_deref(), &live.market);
        }
        self.volume = live.volume_24h.or(self.volume);
    }

    fn matches(&self, needle: &str) -> bool {
        needle.is_empty()
            || self.market.coin_id.contains(needle)
            || self.symbol.to_lowercase().contains(needle)
    }
}

/// The change from the price `before` to the price `now`, percent; none where it is not finite.
fn change(now: f64, before: Option<f64>) -> Option<f64> {
    before.map(|before| (now - before) / before * 100.0).filter(|change| change.is_finite())
}

/// A printable symbol: the source's in capitals, else the well-known one, else made from the coin's id.
fn symbol(given: Option<&str>, market: &Market) -> String {
    let known = || coins::symbol(&market.coin_id);
    let text = printable(given.or_else(known).unwrap_or(&market.coin_id));
    let text = text.trim();
    if text.is_empty() { "?".to_owned() } else { text.to_uppercase() }
}

/// The order of two rows: by the column, rows without a value last, ties by coin.
fn compare(a: &MarketEntry, b: &MarketEntry, column: Column, reversed: bool) -> Ordering {
    let value = |row: &MarketEntry| match column {
        Column::Coin => None,
        Column::Volume => row.volume,
        Column::Price => Some(row.price),
        Column::Minute => row.change_1m,
        Column::Hour => row.change_1h,
        Column::Day => row.change_24h,
        Column::Volatility => row.volatility_1m,
        // Negated, because the smallest age has the latest time.
        #[expect(clippy::cast_precision_loss, reason = "the order of ages may ignore a microsecond")]
        Column::Age => Some(-(row.event_time as f64)),
    };
    let turn = |order: Ordering| if column.descends() == reversed { order } else { order.reverse() };
    let by_coin = || a.market.cmp(&b.market);
    if column == Column::Coin {
        let order = a.symbol.cmp(&b.symbol).then_with(by_coin);
        return if reversed { order.reverse() } else { order };
    }
    match (value(a), value(b)) {
        (Some(x), Some(y)) => turn(x.total_cmp(&y)).then_with(by_coin),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => by_coin(),
    }
}

#[cfg(test)]
mod tests;
