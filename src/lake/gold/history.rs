//! Rows of gold as they were when they closed: late ticks restate a row, alerts judge it as it closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lake::{LakeError, Table, silver};
use crate::market::window::{ClosedCandle, GRACE, Window, window_start};
use crate::market::{Market, Micros, Stream};

/// The rows as they were when they closed, computed from silver's ticks: later restatements are undone. A
/// window that had no tick by then (its first one came late) is left out.
pub async fn as_closed(silver: &Table, rows: Vec<ClosedCandle>) -> Result<Vec<ClosedCandle>, LakeError> {
    let mut history = History::default();
    silver::scan(silver, &History::wanted(&rows), |tick| history.add(tick)).await?;
    Ok(rows.iter().filter_map(|row| history.as_closed(row)).collect())
}

/// Ticks by (market, window start), from which the state of rows when they closed is computed.
#[derive(Debug, Default)]
pub(in crate::lake) struct History(BTreeMap<(Arc<Market>, Micros), Vec<silver::TickRow>>);

/// Sort key that puts ticks in the order of their arrival.
pub(in crate::lake) fn arrival(tick: &silver::TickRow) -> (Micros, &Stream, i64, i32) {
    (tick.tick.ingested_at, &tick.place.stream, tick.tick.offset, tick.tick.index)
}

/// The row computed from these ticks, closed as `row` was; none without ticks.
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
    /// the rows.
    pub(in crate::lake) fn wanted<'a>(
        rows: impl IntoIterator<Item = &'a ClosedCandle>,
    ) -> BTreeSet<(Arc<Market>, Micros)> {
        rows.into_iter()
            .flat_map(|row| [row.key(), (Arc::clone(&row.market), window_start(row.closed_at))])
            .collect()
    }

    /// Adds a tick of one of the [`Self::wanted`] windows.
    pub(in crate::lake) fn add(&mut self, tick: silver::TickRow) {
        self.0.entry((Arc::clone(&tick.market), window_start(tick.tick.event_time))).or_default().push(tick);
    }

    fn ticks(&self, market: &Arc<Market>, start: Micros) -> &[silver::TickRow] {
        self.0.get(&(Arc::clone(market), start)).map_or(&[], Vec::as_slice)
    }

    /// The tick that closed a row; none where the clock closed it.
    fn closing_tick(&self, row: &ClosedCandle) -> Option<&silver::TickRow> {
        let candidates = self.ticks(&row.market, window_start(row.closed_at)).iter();
        let closing = candidates.filter(|tick| {
            tick.tick.event_time == row.closed_at && row.closed_at >= row.candle.window_end + GRACE
        });
        closing.min_by(|a, b| arrival(a).cmp(&arrival(b)))
    }

    /// The row as it was when it closed; none where it had no tick by then. A row that the end of its source
    /// closed is returned unchanged.
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

    /// The states that the row may have had when it closed. For a row that the end of its source closed, no
    /// column says which ticks came later: its state after each of its batches is possible.
    pub(in crate::lake) fn may_have_closed_as(&self, row: &ClosedCandle) -> Vec<ClosedCandle> {
        if !ended(row) {
            return self.as_closed(row).into_iter().collect();
        }
        let ticks = self.ticks(&row.market, row.candle.window_start);
        let batches: BTreeSet<Micros> = ticks.iter().map(|tick| tick.tick.ingested_at).collect();
        let upto = |last: Micros| sum(row, ticks.iter().filter(|tick| tick.tick.ingested_at <= last));
        batches.into_iter().filter_map(upto).collect()
    }
}

/// Whether the end of its source closed a row.
fn ended(row: &ClosedCandle) -> bool {
    row.closed_at == row.candle.window_end
}

#[cfg(test)]
pub(in crate::lake) mod tests {
    use super::*;
    use crate::market::window::Place;
    use crate::market::{MINUTE, SECOND, Tick};

    /// A tick of a stream: offset, second of its event, second of its arrival. Its price is its offset.
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

    /// Of the first minute's row, closed at this second: [`History::as_closed`] and
    /// [`History::may_have_closed_as`], as numbers of ticks.
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

    /// The row of all these ticks of one window.
    pub(in crate::lake) fn all<'a>(mut ticks: impl Iterator<Item = &'a silver::TickRow>) -> ClosedCandle {
        let first = ticks.next().unwrap();
        let mut window = Window::new(first.place.clone(), first.tick.price, None);
        ticks.for_each(|tick| window.add(tick.place.clone(), tick.tick.price, None));
        window.row(&first.market, 0, 1)
    }

    #[test]
    fn a_row_that_a_tick_closed_had_the_ticks_before_it() {
        let own =
            [tick("a", 1, 10, 10), tick("a", 2, 100, 100), tick("a", 3, 20, 100), tick("a", 4, 100, 101)];
        assert_eq!(ticks_when_closed(&own, 100), (Some(1), vec![1]));
        // Of another stream: the ticks that had arrived by then.
        let other = [&own[..], &[tick("b", 1, 30, 99), tick("b", 2, 40, 101)]].concat();
        assert_eq!(ticks_when_closed(&other, 100), (Some(2), vec![2]));
        // Its first tick came late.
        assert_eq!(ticks_when_closed(&[tick("a", 2, 100, 100), tick("a", 3, 20, 100)], 100), (None, vec![]));
    }

    #[test]
    fn a_row_that_the_clock_closed_had_the_ticks_that_had_arrived() {
        let ticks = [tick("a", 1, 10, 10), tick("a", 2, 20, 190), tick("a", 3, 30, 191)];
        assert_eq!(ticks_when_closed(&ticks, 190), (Some(2), vec![2]));
    }

    #[test]
    fn a_row_that_the_end_of_its_source_closed_may_have_had_its_state_after_any_batch() {
        let ticks = [tick("a", 1, 10, 900), tick("a", 2, 20, 900), tick("b", 1, 30, 990)];
        assert_eq!(ticks_when_closed(&ticks, 60), (Some(3), vec![2, 3]));
    }
}
