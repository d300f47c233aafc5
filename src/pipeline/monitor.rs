//! Live prices and open candles from the tables alone, for a storage that another process feeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::follow::{self, Backlog};
use super::meter::Meters;
use super::status::{Live, StageKind, StageState};
use crate::lake::{LakeError, Storage, Table, TableKind, gold};
use crate::market::window::{ClosedCandle, Windows};
use crate::market::{Candle, Interval, Market, Micros, candle};
use crate::query::{CandleQuery, CandleSeries, MarketFilter, Queries, QueryError};

/// Follows silver beyond what gold has: a minute is among the open candles exactly until gold has it.
pub struct Monitor {
    storage: Storage,
    tables: Option<(Table, Table)>,
    /// Bronze and the alert log, for their figures only.
    others: [(StageKind, Option<Table>); 2],
    windows: Windows,
    /// Windows that closed here and are not yet in gold.
    closing: BTreeMap<(Arc<Market>, Micros), Candle>,
}

impl Monitor {
    /// A monitor that has read nothing yet.
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            tables: None,
            others: [(StageKind::Bronze, None), (StageKind::Alerts, None)],
            windows: Windows::default(),
            closing: BTreeMap::new(),
        }
    }

    /// Reads what was committed since the last call; none where that is nothing, or the tables do not exist yet.
    /// After an error it starts again from the tables, at once where files that it knew were cleaned up.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn refresh(&mut self, meters: &Meters) -> Result<Option<Vec<Live>>, LakeError> {
        match self.refresh_or_reset(meters).await {
            Err(error) if error.is_outdated() => self.refresh_or_reset(meters).await,
            result => result,
        }
    }

    async fn refresh_or_reset(&mut self, meters: &Meters) -> Result<Option<Vec<Live>>, LakeError> {
        let result = self.try_refresh(meters).await;
        if result.is_err() {
            *self = Self::new(self.storage.clone());
        }
        result
    }

    async fn try_refresh(&mut self, meters: &Meters) -> Result<Option<Vec<Live>>, LakeError> {
        let first = self.tables.is_none();
        if first {
            let (silver, gold) = (
                Table::open(&self.storage, TableKind::Silver).await?,
                Table::open(&self.storage, TableKind::Gold).await?,
            );
            self.tables = silver.zip(gold);
        }
        let Some((silver, gold)) = &mut self.tables else { return Ok(None) };
        let known = i64::try_from(gold.version()).unwrap_or(i64::MAX);
        let mut changed = gold.refresh().await? | silver.refresh().await?;
        for (stage, table) in &mut self.others {
            let kind = if *stage == StageKind::Bronze { TableKind::Bronze } else { TableKind::Alerts };
            match table {
                Some(table) => changed |= table.refresh().await?,
                None => *table = Table::open(&self.storage, kind).await?,
            }
            if let Some(table) = table {
                meters.of(*stage).table(table);
                meters.of(*stage).state(StageState::Ok);
            }
        }
        if !changed && !first {
            return Ok(None);
        }
        for (stage, table) in [(StageKind::Silver, &*silver), (StageKind::Gold, &*gold)] {
            meters.of(stage).table(table);
            meters.of(stage).state(StageState::Ok);
        }
        let mut backlog = Backlog::new(&mut self.windows, gold, silver.positions());
        while let Some(batch) = backlog.next(silver).await? {
            let closed = follow::add(&mut self.windows, gold, &batch).await?.closed;
            self.closing
                .extend(closed.into_iter().map(|row| (row.key(), Candle { closed: false, ..row.candle })));
        }
        for ClosedCandle { market, candle, .. } in gold::closed_after(gold, known).await? {
            self.windows.close_until(&market, candle.window_end);
            self.closing.remove(&(market, candle.window_start));
        }
        let mut live = follow::live(&self.windows);
        for Live { market, open, .. } in &mut live {
            let closing =
                self.closing.range((Arc::clone(market), Micros::MIN)..=(Arc::clone(market), Micros::MAX));
            open.splice(..0, closing.map(|(_, candle)| candle.clone()));
        }
        Ok(Some(live))
    }
}

/// The candles of a market from the tables alone, oldest first, the open one last; `last`: only so many, the
/// newest. A minute that closes meanwhile is among them once.
///
/// # Errors
/// [`CandlesError`].
pub async fn candles(
    storage: &Storage,
    queries: &Queries,
    market: &Market,
    interval: Interval,
    last: Option<usize>,
) -> Result<CandleSeries, CandlesError> {
    // Before gold: what closes in between is in its answer.
    let live = Monitor::new(storage.clone()).refresh(&Meters::default()).await?.unwrap_or_default();
    let open = live.into_iter().find(|live| *live.market == *market).map_or_else(Vec::new, |live| live.open);
    let filter = MarketFilter {
        coin_id: Arc::clone(&market.coin_id),
        source: Some(Arc::clone(&market.source)),
        quote: Arc::clone(&market.quote),
    };
    let mut series = queries.candles(CandleQuery { market: filter, interval, last, before: None }).await?;
    series.candles = candle::with_open(&series.candles, series.newest, &open, interval);
    if let Some(last) = last {
        series.candles.drain(..series.candles.len().saturating_sub(last));
    }
    Ok(series)
}

/// Why there are no candles.
#[derive(Debug, thiserror::Error)]
pub enum CandlesError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Query(#[from] QueryError),
}
