//! Reading silver on from known positions, several streams in the order in which their records came in.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Reader, TickRow};
use crate::lake::{DataFile, LakeError, Table};
use crate::market::{Micros, Stream, Tick, Ticks};

/// Committed ticks of one stream, in position order.
#[derive(Debug)]
pub struct TickBatch {
    /// The stream of their records.
    pub stream: Arc<Stream>,
    pub ticks: Ticks,
    /// The last offset that was read for this batch; it may lie beyond the last tick's.
    pub last: i64,
}

/// A part of a stream that is to be read: the offsets `after + 1 ..= to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub stream: Arc<Stream>,
    pub after: i64,
    pub to: i64,
}

/// Reads about `most` offsets of some parts, in the order in which their records came in, and advances
/// `after` of each part; parts that were read to their end are removed. Reading stream by stream instead
/// would make all ticks of the second stream late where two were ingested in turn.
pub async fn read_on(table: &Table, parts: &mut Vec<Part>, most: i64) -> Result<Vec<TickBatch>, LakeError> {
    // Parts that begin after the first one has ended wait for their turn.
    parts.sort_by_cached_key(|part| came_in(table, part));
    let until = parts.first().map_or(Micros::MAX, |part| came_in(table, part).1);
    let turn = parts.iter().position(|part| came_in(table, part).0 > until).unwrap_or(parts.len());
    let later = parts.get(turn).map_or(Micros::MAX, |part| came_in(table, part).0 - 1);
    let each = (most / i64::try_from(turn).unwrap_or(1).max(1)).max(1);
    let windows: Vec<Part> = parts[..turn]
        .iter()
        .map(|part| Part { to: part.to.min(part.after.saturating_add(each)), ..part.clone() })
        .collect();
    let mut rows = rows_of(table, &windows).await?;
    // The rows beyond the end of a window that is cut short came in later than its last row.
    let newest = |rows: &Vec<TickRow>| rows.iter().map(|row| row.tick.ingested_at).max();
    let is_cut = |i: usize| windows[i].to < parts[i].to;
    let cut = rows.iter().enumerate().filter(|(i, _)| is_cut(*i)).filter_map(|(_, rows)| newest(rows)).min();
    let limit = later.min(cut.unwrap_or(Micros::MAX));
    let mut ordered = Vec::new();
    let mut read = Vec::new();
    for (i, rows) in rows.iter_mut().enumerate() {
        let whole = rows.iter().position(|row| row.tick.ingested_at > limit).unwrap_or(rows.len());
        read.push(rows.get(whole).map_or(windows[i].to, |row| row.tick.offset - 1));
        let mut came_in = Micros::MIN; // rising, so that a clock that was set back does not reorder a stream
        ordered.extend(rows.drain(..whole).map(|row| {
            came_in = row.tick.ingested_at.max(came_in);
            (came_in, i, row)
        }));
    }
    ordered.sort_by_key(|(came_in, i, _)| (*came_in, *i));
    let mut batches: Vec<(usize, TickBatch)> = Vec::new();
    let (mut ids, mut markets) = (HashMap::new(), Vec::new());
    for (_, i, TickRow { market, tick, .. }) in ordered {
        let id = *ids.entry(Arc::clone(&market)).or_insert_with(|| {
            markets.push(market);
            u32::try_from(markets.len() - 1).unwrap_or(u32::MAX)
        });
        if batches.last().is_none_or(|(last, _)| *last != i) {
            batches.push((
                i,
                TickBatch { stream: Arc::clone(&windows[i].stream), ticks: Ticks::default(), last: -1 },
            ));
        }
        let Some((_, batch)) = batches.last_mut() else { continue };
        batch.last = tick.offset;
        batch.ticks.ticks.push(Tick { market: id, ..tick });
    }
    let markets = Arc::new(markets);
    batches.iter_mut().for_each(|(_, batch)| batch.ticks.markets = Arc::clone(&markets));
    for (i, part) in parts[..turn].iter_mut().enumerate() {
        match batches.iter_mut().rev().find(|(of, _)| *of == i) {
            Some((_, batch)) => batch.last = read[i],
            None => batches.push((
                i,
                TickBatch { stream: Arc::clone(&part.stream), ticks: Ticks::default(), last: read[i] },
            )),
        }
        part.after = read[i];
    }
    parts.retain(|part| part.after < part.to);
    Ok(batches.into_iter().map(|(_, batch)| batch).collect())
}

/// Bounds of `ingested_at` in a part, from the files' statistics.
fn came_in(table: &Table, part: &Part) -> (Micros, Micros) {
    let files = table
        .files()
        .filter(|file| file.may_hold_offsets(&part.stream, part.after.saturating_add(1), part.to));
    let times = files.map(|file| file.times("ingested_at").unwrap_or((Micros::MIN + 1, Micros::MAX)));
    times
        .reduce(|(first, last), (from, to)| (from.min(first), to.max(last)))
        .unwrap_or((Micros::MIN + 1, Micros::MIN + 1))
}

/// The rows of some parts, each part's in order of position.
async fn rows_of(table: &Table, parts: &[Part]) -> Result<Vec<Vec<TickRow>>, LakeError> {
    let mut reader = Reader::default();
    let mut rows: Vec<Vec<TickRow>> = parts.iter().map(|_| Vec::new()).collect();
    let may_hold = |file: &&Arc<DataFile>| {
        parts.iter().any(|part| file.may_hold_offsets(&part.stream, part.after.saturating_add(1), part.to))
    };
    for file in table.files().filter(may_hold) {
        reader
            .rows(table, file, |row| {
                let holds = |part: &Part| {
                    row.place.stream == part.stream
                        && row.tick.offset > part.after
                        && row.tick.offset <= part.to
                };
                if let Some(i) = parts.iter().position(holds) {
                    rows[i].push(row);
                }
            })
            .await?;
    }
    rows.iter_mut().for_each(|rows| rows.sort_by_key(|row| (row.tick.offset, row.tick.index)));
    Ok(rows)
}
