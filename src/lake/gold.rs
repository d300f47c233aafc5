//! The gold table: one row per market and minute that has ticks, always the exact aggregation of silver.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use deltalake::arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::parquet::{assemble, times};
use super::quarantine::by_date;
use super::{DataFile, LakeError, Table, TableContext as _, TableKind, silver};
use crate::market::window::{ClosedCandle, GRACE, Window, window_start};
use crate::market::{Candle, MINUTE, Market, Micros, Stream};

pub(super) fn batch(rows: &[&ClosedCandle]) -> Result<RecordBatch, ArrowError> {
    let doubles = |pick: fn(&Candle) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(pick(&r.candle))).collect::<Float64Array>())
    };
    let names = |pick: fn(&Market) -> &str| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(pick(&r.market))).collect::<StringArray>())
    };
    assemble(
        TableKind::Gold,
        [
            ("window_start", times(rows.iter().map(|r| r.candle.window_start))),
            ("window_end", times(rows.iter().map(|r| r.candle.window_end))),
            ("coin_id", names(|m| &m.coin_id)),
            ("source", names(|m| &m.source)),
            ("quote", names(|m| &m.quote)),
            ("open_price", doubles(|c| c.open)),
            ("max_price", doubles(|c| c.high)),
            ("min_price", doubles(|c| c.low)),
            ("close_price", doubles(|c| c.close)),
            ("avg_price", doubles(|c| c.avg)),
            ("volume", Arc::new(rows.iter().map(|r| r.candle.volume).collect::<Float64Array>())),
            ("tick_count", Arc::new(rows.iter().map(|r| Some(r.candle.ticks)).collect::<Int64Array>())),
            ("price_change", doubles(Candle::change)),
            ("price_change_pct", doubles(Candle::change_pct)),
            ("volatility_pct", doubles(Candle::volatility_pct)),
            ("first_event_time", times(rows.iter().map(|r| r.first_event_time))),
            ("last_event_time", times(rows.iter().map(|r| r.last_event_time))),
            ("closed_at", times(rows.iter().map(|r| r.closed_at))),
            ("closed_in", Arc::new(rows.iter().map(|r| Some(r.closed_in)).collect::<Int64Array>())),
        ],
    )
}

/// Writes rows to data files, one a date, ordered by (window, market), to be committed.
///
/// # Errors
/// What the storage says.
pub async fn write(table: &Table, rows: &[ClosedCandle]) -> Result<Vec<Add>, LakeError> {
    let mut adds = Vec::new();
    for (date, mut rows) in by_date(rows, |row| row.candle.window_start) {
        rows.sort_by(|a, b| (a.candle.window_start, &a.market).cmp(&(b.candle.window_start, &b.market)));
        let batch = batch(&rows).when("write", TableKind::Gold)?;
        adds.push(table.write(Some(&date), &batch).await?);
    }
    Ok(adds)
}

/// The rows of one file, in the file's order.
///
/// # Errors
/// What the storage says.
pub async fn read(table: &Table, file: &DataFile) -> Result<Vec<ClosedCandle>, LakeError> {
    rows(file, table.read(file, None).await?)
}

pub(super) fn rows(file: &DataFile, batches: Vec<RecordBatch>) -> Result<Vec<ClosedCandle>, LakeError> {
    let mut rows = Vec::new();
    let mut markets: HashMap<[String; 3], Arc<Market>> = HashMap::new();
    for batch in batches {
        let column = |name: &str| {
            let missing = || LakeError::Corrupt {
                table: TableKind::Gold,
                what: format!("{} without {name}", file.path()),
            };
            batch.column_by_name(name).ok_or_else(missing)
        };
        let time = |name: &str| {
            column(name).map(deltalake::arrow::array::AsArray::as_primitive::<TimestampMicrosecondType>)
        };
        let double =
            |name: &str| column(name).map(deltalake::arrow::array::AsArray::as_primitive::<Float64Type>);
        let long = |name: &str| column(name).map(deltalake::arrow::array::AsArray::as_primitive::<Int64Type>);
        let text = |name: &str| column(name).map(deltalake::arrow::array::AsArray::as_string::<i32>);
        let (coin, source, quote) = (text("coin_id")?, text("source")?, text("quote")?);
        let (start, end) = (time("window_start")?, time("window_end")?);
        let (open, high, low, close) =
            (double("open_price")?, double("max_price")?, double("min_price")?, double("close_price")?);
        let (avg, volume, ticks) = (double("avg_price")?, double("volume")?, long("tick_count")?);
        let (first, last, closed_at, closed_in) =
            (time("first_event_time")?, time("last_event_time")?, time("closed_at")?, long("closed_in")?);
        for i in 0..batch.num_rows() {
            let names = [source.value(i).to_owned(), coin.value(i).to_owned(), quote.value(i).to_owned()];
            let market = markets
                .entry(names)
                .or_insert_with_key(|[source, coin, quote]| Arc::new(Market::new(source, coin, quote)));
            rows.push(ClosedCandle {
                market: Arc::clone(market),
                candle: Candle {
                    window_start: start.value(i),
                    window_end: end.value(i),
                    open: open.value(i),
                    high: high.value(i),
                    low: low.value(i),
                    close: close.value(i),
                    avg: avg.value(i),
                    volume: volume.is_valid(i).then(|| volume.value(i)),
                    ticks: ticks.value(i),
                    closed: true,
                },
                first_event_time: first.value(i),
                last_event_time: last.value(i),
                closed_at: closed_at.value(i),
                closed_in: closed_in.value(i),
            });
        }
    }
    Ok(rows)
}

/// The files that may hold some windows, each with all of its rows.
///
/// # Errors
/// What the storage says.
pub async fn files_with(
    table: &Table,
    wanted: &BTreeMap<(Arc<Market>, Micros), Micros>,
) -> Result<Vec<(Arc<DataFile>, Vec<ClosedCandle>)>, LakeError> {
    let starts: BTreeSet<Micros> = wanted.keys().map(|(_, start)| *start).collect();
    let mut found = Vec::new();
    for file in table.files() {
        if file.times("window_start").is_none_or(|(min, max)| starts.range(min..=max).next().is_some()) {
            let rows = read(table, file).await?;
            if rows.iter().any(|row| wanted.contains_key(&row.key())) {
                found.push((Arc::clone(file), rows));
            }
        }
    }
    Ok(found)
}

/// The newest window end in gold of each of some markets; none for a market that gold does not have.
///
/// # Errors
/// What the storage says.
pub async fn newest_ends(
    table: &Table,
    markets: &HashSet<Arc<Market>>,
) -> Result<HashMap<Arc<Market>, Micros>, LakeError> {
    let mut files: Vec<_> = table.files().collect();
    files.sort_by_key(|file| {
        std::cmp::Reverse(file.times("window_start").map_or(Micros::MAX, |(_, max)| max))
    });
    let mut ends: HashMap<Arc<Market>, Micros> = HashMap::new();
    for file in files {
        let (_, newest) = file.times("window_start").unwrap_or((Micros::MIN, Micros::MAX - MINUTE));
        let open = |market: &&Arc<Market>| {
            ends.get(*market).is_none_or(|end| *end < newest + MINUTE)
                && file.may_hold_text("source", &market.source)
                && file.may_hold_text("coin_id", &market.coin_id)
                && file.may_hold_text("quote", &market.quote)
        };
        if !markets.iter().any(|market| open(&market)) {
            continue;
        }
        for row in read(table, file).await? {
            if markets.contains(&row.market) {
                let end = ends.entry(row.market).or_insert(row.candle.window_end);
                *end = row.candle.window_end.max(*end);
            }
        }
    }
    Ok(ends)
}

/// Rows first written by some commits, one after the other.
#[derive(Debug)]
pub struct Slice {
    /// In the order in which they are judged: (`closed_in`, market, window).
    pub rows: Vec<ClosedCandle>,
    /// The last of the commits.
    pub upto: i64,
}

/// The rows first written by a commit after `after`, in the order in which they are judged.
///
/// # Errors
/// What the storage says.
pub async fn closed_after(table: &Table, after: i64) -> Result<Vec<ClosedCandle>, LakeError> {
    Ok(slice_after(table, after, i64::MAX, |_| true).await?.rows)
}

/// The `wanted` ones of the rows first written by the commits after `after`: of as many whole commits as come
/// to `ticks` ticks at most, but of one commit at least. Not much more than that is held in memory, however
/// many rows there are.
///
/// # Errors
/// What the storage says.
pub async fn slice_after(
    table: &Table,
    after: i64,
    ticks: i64,
    mut wanted: impl FnMut(&ClosedCandle) -> bool,
) -> Result<Slice, LakeError> {
    let range = |file: &Arc<DataFile>| file.integers("closed_in").unwrap_or((i64::MIN, i64::MAX));
    let mut files: Vec<_> =
        table.files().map(|file| (range(file), file)).filter(|((_, max), _)| *max > after).collect();
    files.sort_by_key(|((min, _), _)| *min);
    let mut slice = Slice { rows: Vec::new(), upto: i64::try_from(table.version()).unwrap_or(i64::MAX) };
    for ((min, _), file) in files {
        if min > slice.upto {
            break;
        }
        let inside = read(table, file)
            .await?
            .into_iter()
            .filter(|row| row.closed_in > after && row.closed_in <= slice.upto);
        slice.rows.extend(inside.filter(|row| wanted(row)));
        slice.cut(ticks);
    }
    Ok(slice)
}

impl Slice {
    /// Drops the commits at the end that make it more than so many ticks.
    fn cut(&mut self, ticks: i64) {
        self.rows.sort_by(|a, b| {
            (a.closed_in, &a.market, a.candle.window_start).cmp(&(
                b.closed_in,
                &b.market,
                b.candle.window_start,
            ))
        });
        let mut sum = 0_i64;
        let mut exceeds = |row: &ClosedCandle| {
            sum = sum.saturating_add(row.candle.ticks);
            sum > ticks
        };
        let Some(excess) = self.rows.iter().find(|row| exceeds(row)).map(|row| row.closed_in) else { return };
        let before = self.rows.partition_point(|row| row.closed_in < excess);
        self.rows.truncate(if before > 0 {
            before
        } else {
            self.rows.partition_point(|row| row.closed_in == excess)
        });
        self.upto = self.rows.last().map_or(self.upto, |row| row.closed_in);
    }
}

/// The rows as they were when they closed, worked out from silver: what a later tick restated is taken back.
/// A window that had no tick by then (its first one came late) is left out.
///
/// # Errors
/// What the storage says.
pub async fn as_closed(silver: &Table, rows: Vec<ClosedCandle>) -> Result<Vec<ClosedCandle>, LakeError> {
    let mut history = History::default();
    silver::scan(silver, &History::wanted(&rows), |tick| history.add(tick)).await?;
    Ok(rows.iter().filter_map(|row| history.as_closed(row)).collect())
}

/// The ticks that tell how rows of gold were when they closed.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<(Arc<Market>, Micros), Vec<silver::TickRow>>);

/// What orders ticks as they came in.
pub(super) fn arrival(tick: &silver::TickRow) -> (Micros, &Stream, i64, i32) {
    (tick.tick.ingested_at, &tick.place.stream, tick.tick.offset, tick.tick.index)
}

fn sum<'a>(row: &ClosedCandle, ticks: impl Iterator<Item = &'a silver::TickRow>) -> Option<ClosedCandle> {
    let mut window: Option<Window> = None;
    for silver::TickRow { place, tick, .. } in ticks {
        match &mut window {
            Some(window) => window.add(place.clone(), tick.price, tick.size),
            None => window = Some(Window::new(place.clone(), tick.price, tick.size)),
        }
    }
    Some(window?.row(&row.market, row.closed_at, row.closed_in))
}

impl History {
    /// The windows whose ticks are needed: those of the rows, and those of the ticks that may have closed
    /// them.
    pub(super) fn wanted<'a>(
        rows: impl IntoIterator<Item = &'a ClosedCandle>,
    ) -> BTreeSet<(Arc<Market>, Micros)> {
        rows.into_iter()
            .flat_map(|row| [row.key(), (Arc::clone(&row.market), window_start(row.closed_at))])
            .collect()
    }

    /// Takes in a tick of one of those windows.
    pub(super) fn add(&mut self, tick: silver::TickRow) {
        self.0.entry((Arc::clone(&tick.market), window_start(tick.tick.event_time))).or_default().push(tick);
    }

    fn ticks(&self, market: &Arc<Market>, start: Micros) -> &[silver::TickRow] {
        self.0.get(&(Arc::clone(market), start)).map_or(&[], Vec::as_slice)
    }

    /// The tick that closed a row; none where the clock did.
    fn closing_tick(&self, row: &ClosedCandle) -> Option<&silver::TickRow> {
        let candidates = self.ticks(&row.market, window_start(row.closed_at)).iter();
        let closing = candidates.filter(|tick| {
            tick.tick.event_time == row.closed_at && row.closed_at >= row.candle.window_end + GRACE
        });
        closing.min_by(|a, b| arrival(a).cmp(&arrival(b)))
    }

    /// The row as it was when it closed; none where it had no tick by then. A row that its source's end
    /// closed is taken as it stands.
    pub(super) fn as_closed(&self, row: &ClosedCandle) -> Option<ClosedCandle> {
        if ended(row) {
            return Some(row.clone());
        }
        let closing = self.closing_tick(row);
        let before = |tick: &&silver::TickRow| match closing {
            Some(closing) if tick.place.stream == closing.place.stream => {
                (tick.tick.offset, tick.tick.index) < (closing.tick.offset, closing.tick.index)
            }
            Some(closing) => tick.tick.ingested_at <= closing.tick.ingested_at,
            None => tick.tick.ingested_at <= row.closed_at,
        };
        sum(row, self.ticks(&row.market, row.candle.window_start).iter().filter(before))
    }

    /// What the row may have been when it closed. Where its source's end closed it nothing tells which ticks
    /// came after that: it may be what it was after any of its batches.
    pub(super) fn may_have_closed_as(&self, row: &ClosedCandle) -> Vec<ClosedCandle> {
        if !ended(row) {
            return self.as_closed(row).into_iter().collect();
        }
        let ticks = self.ticks(&row.market, row.candle.window_start);
        let batches: BTreeSet<Micros> = ticks.iter().map(|tick| tick.tick.ingested_at).collect();
        let upto = |last: Micros| sum(row, ticks.iter().filter(|tick| tick.tick.ingested_at <= last));
        batches.into_iter().filter_map(upto).collect()
    }
}

/// Whether its source's end closed a row.
fn ended(row: &ClosedCandle) -> bool {
    row.closed_at == row.candle.window_end
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::lake::Storage;
    use crate::lake::table::{Change, Commit};
    use crate::market::window::Place;
    use crate::market::{SECOND, Tick};

    /// A tick by a stream: offset, second of its event, second at which it came in. Its price is its offset.
    pub(in crate::lake) fn tick(topic: &str, offset: i64, event: i64, came_in: i64) -> silver::TickRow {
        let tick = Tick {
            market: 0,
            index: 0,
            offset,
            event_time: event * SECOND,
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            price: offset as f64,
            size: None,
            trade_id: None,
            details: None,
            ingested_at: came_in * SECOND,
        };
        silver::TickRow {
            market: Arc::new(Market::new("s", "c", "usd")),
            place: Place::of(&Arc::new(Stream::new(topic, 0)), &tick),
            tick,
        }
    }

    /// Of the first minute's row, closed at this second: how many ticks it had then; and how many it may have
    /// had.
    fn ticks_when_closed(ticks: &[silver::TickRow], closed_at: i64) -> (Option<i64>, Vec<i64>) {
        let inside = |tick: &&silver::TickRow| tick.tick.event_time < MINUTE;
        let key = (Arc::new(Market::new("s", "c", "usd")), 0);
        let row = ClosedCandle {
            market: Arc::clone(&key.0),
            closed_at: closed_at * SECOND,
            ..all(ticks.iter().filter(inside))
        };
        let (wanted, mut history) = (History::wanted([&row]), History::default());
        for tick in ticks
            .iter()
            .filter(|tick| wanted.contains(&(Arc::clone(&key.0), window_start(tick.tick.event_time))))
        {
            history.add(tick.clone());
        }
        let of = |row: ClosedCandle| row.candle.ticks;
        (history.as_closed(&row).map(of), history.may_have_closed_as(&row).into_iter().map(of).collect())
    }

    pub(in crate::lake) fn all<'a>(mut ticks: impl Iterator<Item = &'a silver::TickRow>) -> ClosedCandle {
        let first = ticks.next().unwrap();
        let mut window = Window::new(first.place.clone(), first.tick.price, None);
        ticks.for_each(|tick| window.add(tick.place.clone(), tick.tick.price, None));
        window.row(&first.market, 0, 1)
    }

    /// The row of a minute with so many ticks, first written by this commit.
    fn row(closed_in: i64, minute: i64, ticks: i64) -> ClosedCandle {
        let ticks: Vec<_> = (0..ticks).map(|n| tick("a", n, minute * 60 + n, minute * 60 + n)).collect();
        ClosedCandle { closed_in, ..all(ticks.iter()) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn slices_are_whole_commits_and_together_all_rows_in_the_order_of_judging() {
        let folder = tempfile::tempdir().unwrap();
        let mut table =
            Table::open_or_create(&Storage::new(folder.path()).unwrap(), TableKind::Gold).await.unwrap();
        let fresh = table.version();
        // As after compaction and restatement: files that overlap, not in the order of their commits.
        let files = [
            vec![row(5, 9, 2), row(2, 3, 4)],
            vec![row(3, 5, 1), row(1, 1, 2), row(4, 7, 7)],
            vec![row(2, 2, 1), row(1, 8, 1)],
        ];
        let rest = (6..=9).map(|version| vec![row(version, 20 + version, 1)]);
        for rows in files.into_iter().chain(rest) {
            let adds = write(&table, &rows).await.unwrap();
            table
                .commit(Commit { change: Change::Append, adds, removes: vec![], txns: vec![], facts: &[] })
                .await
                .unwrap();
        }
        while table.version() < fresh + 9 {
            table
                .commit(Commit {
                    change: Change::Append,
                    adds: vec![],
                    removes: vec![],
                    txns: vec![],
                    facts: &[],
                })
                .await
                .unwrap();
        }
        let version = i64::try_from(table.version()).unwrap();
        for (after, fewest) in [(0, 0), (2, 0), (0, 2)] {
            let whole = closed_after(&table, after)
                .await
                .unwrap()
                .into_iter()
                .filter(|row| row.candle.ticks >= fewest)
                .collect::<Vec<_>>();
            assert!(
                whole.is_sorted_by_key(|row| (row.closed_in, row.candle.window_start)) && !whole.is_empty()
            );
            for most in [0, 1, 3, 5, 9, 100] {
                let (mut judged, mut rows) = (after, Vec::new());
                while judged < version {
                    let slice =
                        slice_after(&table, judged, most, |row| row.candle.ticks >= fewest).await.unwrap();
                    let commits: BTreeSet<i64> = slice.rows.iter().map(|row| row.closed_in).collect();
                    let ticks: i64 = slice.rows.iter().map(|row| row.candle.ticks).sum();
                    assert!(
                        ticks <= most || commits.len() == 1,
                        "{ticks} ticks of {commits:?} where {most} are the most"
                    );
                    assert!(
                        slice.upto > judged
                            && commits.iter().all(|commit| (judged + 1..=slice.upto).contains(commit))
                    );
                    judged = slice.upto;
                    rows.extend(slice.rows);
                }
                assert_eq!((judged, &rows), (version, &whole), "slices of {most}");
            }
        }
    }

    #[test]
    fn a_row_that_a_tick_closed_had_what_stood_before_that_tick() {
        let own =
            [tick("a", 1, 10, 10), tick("a", 2, 100, 100), tick("a", 3, 20, 100), tick("a", 4, 100, 101)];
        assert_eq!(ticks_when_closed(&own, 100), (Some(1), vec![1]));
        // Of another stream: what had come in by then.
        let other = [&own[..], &[tick("b", 1, 30, 99), tick("b", 2, 40, 101)]].concat();
        assert_eq!(ticks_when_closed(&other, 100), (Some(2), vec![2]));
        // Its first tick came late.
        assert_eq!(ticks_when_closed(&[tick("a", 2, 100, 100), tick("a", 3, 20, 100)], 100), (None, vec![]));
    }

    #[test]
    fn a_row_that_the_clock_closed_had_what_had_come_in_by_then() {
        let ticks = [tick("a", 1, 10, 10), tick("a", 2, 20, 190), tick("a", 3, 30, 191)];
        assert_eq!(ticks_when_closed(&ticks, 190), (Some(2), vec![2]));
    }

    #[test]
    fn a_row_that_the_end_of_its_source_closed_may_have_had_what_any_batch_left() {
        let ticks = [tick("a", 1, 10, 900), tick("a", 2, 20, 900), tick("b", 1, 30, 990)];
        assert_eq!(ticks_when_closed(&ticks, 60), (Some(3), vec![2, 3]));
    }
}
