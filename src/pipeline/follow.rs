//! Reads into windows what silver has and gold has not: for the gold stage, and for the monitor.

use std::collections::HashSet;
use std::sync::Arc;
use std::vec;

use super::status::Live;
use crate::lake::silver::{Part, TickBatch};
use crate::lake::{LakeError, Table, gold, silver};
use crate::market::window::{Outcome, Windows};
use crate::market::{Market, Stream, Ticks};

/// Offsets that are read back from silver at once.
const CATCH_UP: i64 = 200_000;

/// The ticks of silver that some windows lack, read batch by batch.
#[derive(Debug)]
pub(super) struct Backlog {
    parts: Vec<Part>,
    read: vec::IntoIter<TickBatch>,
}

impl Backlog {
    /// All ticks up to some positions of silver that are neither in the windows nor in gold.
    pub(super) fn new(windows: &mut Windows, gold: &Table, positions: Vec<(Stream, i64)>) -> Self {
        let mut parts = Vec::new();
        for (stream, to) in positions {
            let stream = Arc::new(stream);
            let after = windows.read_to(&stream).or_else(|| gold.position(&stream)).unwrap_or(-1);
            if after < to {
                parts.push(Part { stream, after, to });
            } else if windows.read_to(&stream).is_none() {
                windows.add(&stream, &Ticks::default(), to);
            }
        }
        Self { parts, read: Vec::new().into_iter() }
    }

    pub(super) async fn next(&mut self, silver: &Table) -> Result<Option<TickBatch>, LakeError> {
        loop {
            if let Some(batch) = self.read.next() {
                return Ok(Some(batch));
            }
            if self.parts.is_empty() {
                return Ok(None);
            }
            self.read = silver::read_on(silver, &mut self.parts, CATCH_UP).await?.into_iter();
        }
    }
}

/// Adds a batch to the windows. The watermark of a market that is new to them starts at the end of its newest
/// candle in gold.
pub(super) async fn add(
    windows: &mut Windows,
    gold: &Table,
    batch: &TickBatch,
) -> Result<Outcome, LakeError> {
    let is_new = |market: &&Arc<Market>| !windows.knows(market);
    let new: HashSet<Arc<Market>> = batch.ticks.markets.iter().filter(is_new).cloned().collect();
    if !new.is_empty() {
        let mut ends = gold::newest_ends(gold, &new).await?;
        for market in new {
            let end = ends.remove(&market);
            windows.resume(market, end);
        }
    }
    Ok(tokio::task::block_in_place(|| windows.add(&batch.stream, &batch.ticks, batch.last)))
}

/// The newest price and the open windows of each market.
pub(super) fn live(windows: &Windows) -> Vec<Live> {
    let live = windows.live().into_iter().map(|(market, latest, open)| Live {
        market,
        symbol: latest.symbol.clone(),
        price: latest.price,
        event_time: latest.event_time(),
        volume_24h: latest.volume_24h,
        change_24h: latest.change_24h,
        open,
    });
    live.collect()
}
