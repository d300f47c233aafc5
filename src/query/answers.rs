//! The queries one by one: their files, SQL and rows.

use std::collections::HashMap;
use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Row, params};

use super::engine::over;
use super::tables::TableView;
use super::worker::Worker;
use super::{
    CandleQuery, CandleSeries, CoinGaps, KnownMarket, MarketFilter, MarketRow, QueryError, TableKind,
    gaps_between,
};
use crate::lake::DataFile;
use crate::market::{Alert, Candle, HOUR, Interval, MINUTE, Market, Micros, date};

const CANDLES: &str = include_str!("candles.sql");
const ROLLUP: &str = include_str!("rollup.sql");
const BUCKETS: &str = include_str!("buckets.sql");
const MARKETS: &str = include_str!("markets.sql");
const ALERTS: &str = include_str!("alerts.sql");
const WINDOWS: &str = include_str!("windows.sql");

/// Later than any candle and within DuckDB's range: the end of the year 9999.
const END_OF_TIME: Micros = 253_402_300_799_999_999;
/// How far back the market table looks from the source's newest candle.
const MARKETS_REACH: Micros = 25 * HOUR;
/// How much older than the source's newest tick the details of a market may be.
const DETAILS_REACH: Micros = 5 * MINUTE;
/// Most silver files that are opened for details, which are optional.
const DETAILS_FILES: usize = 4;

impl Worker {
    pub(super) fn candles(&mut self, query: &CandleQuery) -> Result<CandleSeries, QueryError> {
        self.survey()?;
        let Some(KnownMarket { market, newest, .. }) =
            self.census.find(&query.market, self.preferred.as_ref())
        else {
            return Ok(CandleSeries::default());
        };
        let counts = self.counts(&market, query.interval)?;
        let total = counts.iter().map(|(_, candles)| candles).sum();
        let before = query.before.unwrap_or(END_OF_TIME).clamp(0, END_OF_TIME);
        let limit = query.last.map_or(i64::MAX, |last| i64::try_from(last).unwrap_or(i64::MAX));
        let days = days_for(&counts, before, limit);
        let newest = Some(newest);
        if days.is_empty() {
            return Ok(CandleSeries { market: Some(market), candles: Vec::new(), total, newest });
        }
        let mut candles = match query.interval {
            Interval::Minute1 => {
                let params = params![&*market.source, &*market.coin_id, &*market.quote, before, limit];
                self.rows("read candles", &self.over_gold(CANDLES, &market, &days), params, candle)?
            }
            wide => {
                let params =
                    params![&*market.source, &*market.coin_id, &*market.quote, before, limit, wide.micros()];
                self.rows("roll up candles", &self.over_gold(ROLLUP, &market, &days), params, candle)?
            }
        };
        candles.reverse();
        Ok(CandleSeries { market: Some(market), candles, total, newest })
    }

    /// A template over the gold files of these days that hold candles of the market.
    fn over_gold(&self, template: &str, market: &Arc<Market>, days: &[&str]) -> String {
        let gold = self.tables.known(TableKind::Gold);
        over(
            template,
            TableKind::Gold,
            gold,
            gold.map(|gold| self.census.files_of(gold, market, days)).unwrap_or_default(),
        )
    }

    /// Number of candles of a width on each day that has some, oldest first. No width spans days.
    fn counts(&mut self, market: &Arc<Market>, interval: Interval) -> Result<Vec<(String, u64)>, QueryError> {
        match interval {
            Interval::Minute1 => return Ok(self.census.minutes(market)),
            Interval::Day1 => {
                return Ok(self.census.minutes(market).into_iter().map(|(date, _)| (date, 1)).collect());
            }
            _ => {}
        }
        let days = self.census.uncounted(market, interval);
        if !days.is_empty() {
            let sql = self.over_gold(BUCKETS, market, &days.iter().map(String::as_str).collect::<Vec<_>>());
            let params = params![&*market.source, &*market.coin_id, &*market.quote, interval.micros()];
            let counts = self.rows("count candles", &sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
            self.census.count(market, interval, counts);
        }
        Ok(self.census.counted(market, interval))
    }

    pub(super) fn newest(&mut self, filter: &MarketFilter) -> Result<Option<KnownMarket>, QueryError> {
        self.survey()?;
        Ok(self.census.find(filter, self.preferred.as_ref()))
    }

    pub(super) fn known(&mut self) -> Result<Vec<KnownMarket>, QueryError> {
        self.survey()?;
        Ok(self.census.known())
    }

    pub(super) fn markets(&mut self, wanted: Option<&Arc<str>>) -> Result<Vec<MarketRow>, QueryError> {
        self.survey()?;
        let Some((source, newest)) = self.census.source(wanted, self.preferred.as_ref()) else {
            return Ok(Vec::new());
        };
        self.tables.fresh(TableKind::Silver)?;
        let (gold, silver) = (self.tables.known(TableKind::Gold), self.tables.known(TableKind::Silver));
        let windows = files_between(gold, &source, newest - MARKETS_REACH, newest);
        let sql = over(MARKETS, TableKind::Gold, gold, windows);
        let sql = over(
            &sql,
            TableKind::Silver,
            silver,
            silver.map(|silver| detail_files(silver, &source)).unwrap_or_default(),
        );
        self.rows("read the market table", &sql, params![&*source, newest], |row| market_row(&source, row))
    }

    pub(super) fn alerts(&mut self, limit: usize) -> Result<Vec<Alert>, QueryError> {
        self.tables.fresh(TableKind::Alerts)?;
        let alerts = self.tables.known(TableKind::Alerts);
        let sql = over(
            ALERTS,
            TableKind::Alerts,
            alerts,
            alerts.map(|alerts| newest_files(alerts, limit)).unwrap_or_default(),
        );
        self.rows("read alerts", &sql, params![i64::try_from(limit).unwrap_or(i64::MAX)], alert)
    }

    pub(super) fn gaps(
        &mut self,
        source: &Arc<str>,
        quote: &str,
        coins: &[Arc<str>],
        from: Micros,
        to: Micros,
        longest: Micros,
    ) -> Result<Vec<CoinGaps>, QueryError> {
        self.tables.fresh(TableKind::Gold)?;
        let gold = self.tables.known(TableKind::Gold);
        let sql = over(WINDOWS, TableKind::Gold, gold, files_between(gold, source, from, to));
        let mut windows: HashMap<String, Vec<Micros>> = HashMap::new();
        let bound = |time: Micros| time.clamp(0, END_OF_TIME);
        // A window that starts up to a minute earlier reaches into the range.
        let found = self.rows(
            "find gaps",
            &sql,
            params![&**source, bound(from - MINUTE), bound(to), quote],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, Micros>(1)?)),
        )?;
        for (coin, start) in found {
            windows.entry(coin).or_default().push(start);
        }
        let gaps_of = |coin: &Arc<str>| {
            gaps_between(windows.get(&**coin).map_or(&[], Vec::as_slice), from, to, longest)
        };
        Ok(coins.iter().map(|coin| (Arc::clone(coin), gaps_of(coin))).collect())
    }
}

/// The newest days that together have `limit` candles before a time. The day of that time is included, but
/// its candles are not counted: they may be later.
fn days_for(counts: &[(String, u64)], before: Micros, limit: i64) -> Vec<&str> {
    let cut = date(before - 1);
    let (mut days, mut held) = (Vec::new(), 0u64);
    for (day, candles) in counts.iter().rev().filter(|(day, _)| *day <= cut) {
        if limit <= 0 || held >= limit.unsigned_abs() {
            break;
        }
        days.push(day.as_str());
        if *day != cut {
            held = held.saturating_add(*candles);
        }
    }
    days
}

/// Gold files that may hold candles of a source that start in `from..=to`.
fn files_between<'a>(
    gold: Option<&'a TableView>,
    source: &str,
    from: Micros,
    to: Micros,
) -> Vec<&'a Arc<DataFile>> {
    let matters = |file: &&Arc<DataFile>| {
        file.may_hold_text("source", source)
            && file.may_hold_times("window_start", from.saturating_sub(MINUTE), to)
    };
    gold.into_iter().flat_map(|gold| gold.table.files()).filter(matters).collect()
}

/// The silver files with a source's newest ticks, at most [`DETAILS_FILES`].
fn detail_files<'a>(silver: &'a TableView, source: &str) -> Vec<&'a Arc<DataFile>> {
    let newest = |file: &Arc<DataFile>| file.times("event_time").map_or(0, |(_, newest)| newest);
    let mut files: Vec<_> =
        silver.table.files().filter(|file| file.may_hold_text("source", source)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(newest(file)));
    let reach = files.first().map_or(0, |file| newest(file) - DETAILS_REACH);
    files.retain(|file| newest(file) >= reach);
    files.truncate(DETAILS_FILES);
    files
}

/// The files that hold the newest `limit` alerts.
fn newest_files(alerts: &TableView, limit: usize) -> Vec<&Arc<DataFile>> {
    let span = |file: &Arc<DataFile>| file.times("timestamp").unwrap_or((Micros::MIN, Micros::MAX));
    let mut files: Vec<_> = alerts.table.files().collect();
    files.sort_by_key(|file| std::cmp::Reverse(span(file).1));
    let (mut rows, mut oldest) = (0, Micros::MAX);
    files.retain(|file| {
        let needed = rows < limit as u64 || span(file).1 >= oldest;
        if rows < limit as u64 {
            oldest = oldest.min(span(file).0);
        }
        rows += file.rows;
        needed
    });
    files
}

fn candle(row: &Row<'_>) -> duckdb::Result<Candle> {
    Ok(Candle {
        window_start: row.get(0)?,
        window_end: row.get(1)?,
        open: row.get(2)?,
        high: row.get(3)?,
        low: row.get(4)?,
        close: row.get(5)?,
        avg: row.get(6)?,
        volume: row.get(7)?,
        ticks: row.get(8)?,
        closed: true,
    })
}

fn market_row(source: &Arc<str>, row: &Row<'_>) -> duckdb::Result<MarketRow> {
    let closes = match row.get::<_, Value>(12)? {
        Value::List(closes) => closes
            .into_iter()
            .filter_map(|close| if let Value::Double(close) = close { Some(close) } else { None })
            .collect(),
        _ => Vec::new(),
    };
    Ok(MarketRow {
        market: Arc::new(Market { source: Arc::clone(source), coin_id: text(row, 0)?, quote: text(row, 1)? }),
        symbol: row.get::<_, Option<String>>(2)?.map(Into::into),
        price: row.get(3)?,
        event_time: row.get(4)?,
        change_1m: row.get(5)?,
        price_1h_ago: row.get(6)?,
        price_24h_ago: row.get(7)?,
        source_change_24h: row.get(8)?,
        volatility_1m: row.get(9)?,
        volatility_1h: row.get(10)?,
        volume_24h: row.get(11)?,
        closes,
    })
}

fn alert(row: &Row<'_>) -> duckdb::Result<Alert> {
    Ok(Alert {
        alert_id: row.get(0)?,
        rule: row.get(1)?,
        market: Market { source: text(row, 2)?, coin_id: text(row, 3)?, quote: text(row, 4)? },
        window_start: row.get(5)?,
        window_end: row.get(6)?,
        avg_price: row.get(7)?,
        min_price: row.get(8)?,
        max_price: row.get(9)?,
        volatility: row.get(10)?,
        threshold: row.get(11)?,
        timestamp: row.get(12)?,
    })
}

fn text(row: &Row<'_>, index: usize) -> duckdb::Result<Arc<str>> {
    Ok(row.get::<_, String>(index)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::DAY;

    #[test]
    fn days_are_taken_backwards_until_they_hold_enough() {
        let counts: Vec<_> = [("1970-01-02", 5), ("1970-01-03", 5), ("1970-01-05", 5)]
            .map(|(day, n)| (day.to_owned(), n))
            .into();
        assert_eq!(days_for(&counts, END_OF_TIME, 5), ["1970-01-05"]);
        assert_eq!(days_for(&counts, END_OF_TIME, 6), ["1970-01-05", "1970-01-03"]);
        assert_eq!(days_for(&counts, END_OF_TIME, i64::MAX), ["1970-01-05", "1970-01-03", "1970-01-02"]);
        // Before the start of the 5th: all of the 3rd counts. Before a time in the 3rd: that day is not
        // counted.
        assert_eq!(days_for(&counts, 4 * DAY, 5), ["1970-01-03"]);
        assert_eq!(days_for(&counts, 2 * DAY + MINUTE, 5), ["1970-01-03", "1970-01-02"]);
        assert_eq!(days_for(&counts, 4 * DAY, 0), [""; 0]);
        assert_eq!(days_for(&counts, DAY, 5), [""; 0]);
    }
}
