//! The alert log: a Delta table, one row per (rule, market, window).

use std::collections::HashMap;
use std::sync::Arc;

use crate::lake::alerts;
use crate::lake::table::{Change, Commit};
use crate::lake::{LakeError, Storage, Table, TableKind};
use crate::market::{Alert, Market, Micros};

/// App id of the position in gold up to which rows were judged: the last `closed_in`.
const JUDGED: &str = "alerts/gold/0";

/// The alert log, and the position in gold up to which it is complete.
#[derive(Debug)]
pub struct Store {
    table: Table,
}

impl Store {
    /// Opens the log; creates it if it does not exist.
    ///
    /// # Errors
    /// As [`Table::open_or_create`].
    pub async fn open(storage: &Storage) -> Result<Self, LakeError> {
        Ok(Self { table: Table::open_or_create(storage, TableKind::Alerts).await? })
    }

    /// The last `closed_in` whose rows were judged.
    pub fn judged(&self) -> i64 {
        self.table.txn(JUDGED).unwrap_or(0)
    }

    /// The start of the newest alerted window of each market.
    pub async fn last_windows(&self) -> Result<HashMap<Arc<Market>, Micros>, LakeError> {
        alerts::last_windows(&self.table).await
    }

    /// Appends alerts and records that gold was judged up to `judged`, in one commit.
    ///
    /// # Errors
    /// As [`Table::commit`]: [`LakeError::Conflict`] where another writer has committed.
    pub async fn append(&mut self, alerts: &[Alert], judged: i64) -> Result<(), LakeError> {
        let adds =
            if alerts.is_empty() { Vec::new() } else { vec![alerts::write(&self.table, alerts).await?] };
        let facts = [("alerts", i64::try_from(alerts.len()).unwrap_or(i64::MAX))];
        let txns = vec![(JUDGED.to_owned(), judged)];
        self.table
            .commit(Commit { change: Change::Append, adds, removes: Vec::new(), txns, facts: &facts })
            .await?;
        Ok(())
    }

    pub fn table(&mut self) -> &mut Table {
        &mut self.table
    }
}
