//! Live prices and open candles from the tables alone, for those who look at a storage that another process feeds.

use std::collections::HashSet;
use std::sync::Arc;

use super::meter::{Meters, now};
use super::status::{Live, Stage, StageState};
use crate::lake::{LakeError, Storage, Table, TableKind, gold, silver};
use crate::market::Market;
use crate::market::window::Windows;

/// Follows silver beyond what gold has.
pub struct Monitor {
    storage: Storage,
    tables: Option<(Table, Table)>,
    /// Only to say how they are: bronze and the alert log.
    others: [(Stage, Option<Table>); 2],
    windows: Windows,
}

impl Monitor {
    /// A monitor that has not looked yet.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { storage, tables: None, others: [(Stage::Bronze, None), (Stage::Alerts, None)], windows: Windows::default() }
    }

    /// Takes in what was committed since the last look; none where nothing was, or nothing is there yet. After an error it
    /// starts afresh.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn look(&mut self, meters: &Meters) -> Result<Option<Vec<Live>>, LakeError> {
        let looked = self.try_look(meters).await;
        if looked.is_err() {
            (self.tables, self.windows) = (None, Windows::default());
        }
        looked
    }

    async fn try_look(&mut self, meters: &Meters) -> Result<Option<Vec<Live>>, LakeError> {
        let first = self.tables.is_none();
        if first {
            let (silver, gold) = (Table::open(&self.storage, TableKind::Silver).await?, Table::open(&self.storage, TableKind::Gold).await?);
            self.tables = silver.zip(gold);
        }
        let Some((silver, gold)) = &mut self.tables else { return Ok(None) };
        let mut changed = gold.refresh().await? | silver.refresh().await?;
        for (stage, table) in &mut self.others {
            let kind = if *stage == Stage::Bronze { TableKind::Bronze } else { TableKind::Alerts };
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
        for (stage, table) in [(Stage::Silver, &*silver), (Stage::Gold, &*gold)] {
            meters.of(stage).table(table);
            meters.of(stage).state(StageState::Ok);
        }
        for (stream, to) in silver.positions() {
            let stream = Arc::new(stream);
            let after = self.windows.read_to(&stream).or_else(|| gold.position(&stream)).unwrap_or(-1);
            if to <= after {
                continue;
            }
            for batch in silver::read_beyond(silver, &stream, after, to).await? {
                let unmet: HashSet<Arc<Market>> = batch.ticks.markets.iter().filter(|m| !self.windows.knows(m)).cloned().collect();
                let mut ends = gold::newest_ends(gold, &unmet).await?;
                for market in unmet {
                    let end = ends.remove(&market);
                    self.windows.resume(market, end);
                }
                self.windows.add(&stream, &batch.ticks, batch.last, now());
            }
        }
        Ok(Some(live(&self.windows)))
    }
}

/// What the screen is shown of the open windows.
pub(super) fn live(windows: &Windows) -> Vec<Live> {
    let live = windows.live().into_iter().map(|(market, latest, open)| Live {
        market,
        symbol: latest.symbol.clone(),
        price: latest.price,
        event_time: latest.event_time(),
        volume_24h: latest.volume_24h,
        open,
    });
    live.collect()
}

/// The open candles of a market, oldest first: its ticks in silver that are in no candle of gold.
///
/// # Errors
/// What the storage says.
pub async fn open_candles(storage: &Storage, market: &Market) -> Result<Vec<crate::market::Candle>, LakeError> {
    let live = Monitor::new(storage.clone()).look(&Meters::default()).await?.unwrap_or_default();
    Ok(live.into_iter().find(|live| *live.market == *market).map(|live| live.open).unwrap_or_default())
}
