//! Bronze: commits records unchanged with their positions, and numbers those that have none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant as Clock;

use tokio::sync::mpsc;

use super::stage::{Handed, Stage, StageContext, StageError};
use super::status;
use crate::lake::bronze::{self, RawBatch};
use crate::lake::maintenance::{Effort, Maintenance};
use crate::lake::table::{Change, Commit, Tried};
use crate::lake::{LakeError, Table, TableKind};
use crate::market::time::now;
use crate::market::{Records, Stream};
use crate::transport::direct::Batch;

pub(super) struct State {
    table: Table,
    maintenance: Maintenance,
}

pub(super) struct Bronze {
    context: StageContext,
    /// The failed commit of the current batch, which may have landed all the same. In direct transport the
    /// table's position cannot show that: the batch would be numbered again from there.
    tried: Option<Tried>,
}

impl Bronze {
    pub(super) fn new(context: StageContext) -> Self {
        Self { context, tried: None }
    }
}

async fn commit(table: &mut Table, batch: &RawBatch, last: i64) -> Result<(), LakeError> {
    let add = bronze::write(table, batch).await?;
    let facts = [("records", i64::try_from(batch.records.len()).unwrap_or(i64::MAX))];
    let txns = vec![(table.app_id(&batch.stream), last)];
    table
        .commit(Commit { change: Change::Append, adds: vec![add], removes: Vec::new(), txns, facts: &facts })
        .await?;
    Ok(())
}

impl Stage for Bronze {
    type Input = Batch;
    type Output = Handed<RawBatch>;
    type State = State;

    const STAGE: status::StageKind = status::StageKind::Bronze;

    fn context(&self) -> &StageContext {
        &self.context
    }

    fn rows(input: &Batch) -> u64 {
        input.delivery.records.len() as u64
    }

    async fn recover(&mut self, _: &mpsc::Sender<Handed<RawBatch>>) -> Result<State, StageError> {
        let table = self.context.open(TableKind::Bronze).await?;
        self.context.meters.of(Self::STAGE).table(&table);
        Ok(State { table, maintenance: Maintenance::new() })
    }

    async fn take(
        &mut self,
        State { table, .. }: &mut State,
        input: &mut Batch,
        out: &mpsc::Sender<Handed<RawBatch>>,
    ) -> Result<(), StageError> {
        let stream = Arc::new(input.delivery.stream.clone().unwrap_or_else(Stream::direct));
        let after = table.position(&stream).unwrap_or(-1);
        if let Some(tried) = self.tried {
            let landed = table.holds(tried).await?;
            self.tried = None;
            if landed {
                self.context.meters.count(|totals| totals.records += input.delivery.records.len() as u64);
                return Ok(()); // silver reads it from the table
            }
        }
        if input.delivery.stream.is_none() {
            input.delivery.records.number_from(after + 1);
        } else if input.delivery.records.get(0).is_some_and(|first| first.offset <= after) {
            let mut fresh = Records::new();
            input
                .delivery
                .records
                .iter()
                .filter(|record| record.offset > after)
                .for_each(|record| fresh.push(record));
            input.delivery.records = fresh;
        }
        let Some(last) = input.delivery.records.last_offset() else { return Ok(()) };
        let batch =
            RawBatch { stream, records: std::mem::take(&mut input.delivery.records), ingested_at: now() };
        let (started, rows) = (Clock::now(), batch.records.len() as u64);
        if let Err(error) = commit(table, &batch, last).await {
            input.delivery.records = batch.records;
            self.tried = table.tried();
            return Err(error.into());
        }
        let meters = &self.context.meters;
        meters.of(Self::STAGE).commit(table, rows, started.elapsed());
        meters.count(|totals| totals.records += rows);
        meters.of(status::StageKind::Silver).offered.fetch_add(rows, Ordering::Relaxed);
        let (ingested_at, received) = (batch.ingested_at, Some(input.received));
        out.send(Handed { batch, after, ingested_at, received }).await.map_err(|_| StageError::Closed)
    }

    async fn maintain(&mut self, state: &mut State, effort: Effort) -> Result<(), StageError> {
        Ok(self.context.maintain(Self::STAGE, &mut state.table, &mut state.maintenance, effort).await?)
    }

    async fn every_second(
        &mut self,
        _: &mut State,
        _: &mpsc::Sender<Handed<RawBatch>>,
    ) -> Result<(), StageError> {
        Ok(())
    }

    async fn tidy(&mut self, state: &mut State) -> Result<(), StageError> {
        Ok(self.context.tidy(Self::STAGE, &mut state.table, &mut state.maintenance).await?)
    }

    async fn finish(&mut self, _: &mut State, _: &mpsc::Sender<Handed<RawBatch>>) -> Result<(), StageError> {
        Ok(())
    }
}
