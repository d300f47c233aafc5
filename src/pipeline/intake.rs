//! The way into the pipeline: runs the source from where the storage ends, and gathers what it delivers into
//! batches for bronze.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::PipelineError;
use super::meter::Meters;
use super::stage::StageError;
use super::status::{Component, StageKind};
use crate::lake::{Storage, Table, TableKind};
use crate::market::{Micros, Stream};
use crate::query::Queries;
use crate::source::{End, Outlet, Ranges, Source, SourceError, SourceKind, Stored};
use crate::text::cause_first;
use crate::transport::direct::{Batch, Batches};

/// Runs the source until it ends or is told to. Sets `finished` when a finite source has delivered
/// everything, before its outlet is dropped and the stages see the end of their input.
pub(super) async fn run(
    source: Source,
    storage: Storage,
    outlet: Outlet,
    selected: watch::Receiver<Option<Arc<str>>>,
    finished: Arc<AtomicBool>,
    meters: Arc<Meters>,
) -> Result<End, PipelineError> {
    let deliveries = outlet.deliveries.clone();
    let end = source.run(outlet, storage, selected).await;
    let is_finished = match &end {
        Ok(End::Finished | End::NothingNew) => true,
        Ok(End::Stopped) => false,
        Err(error) => {
            meters.failed(Component::Source, cause_first(error));
            // All of a damaged recording that can be read has been delivered: that is its end.
            matches!(error, SourceError::Damaged { .. })
        }
    };
    if is_finished {
        finished.store(true, Ordering::Release);
    }
    drop(deliveries);
    Ok(end?)
}

/// Hands the batches to bronze until the source has ended.
pub(super) async fn transport(
    mut batches: Batches,
    to_bronze: mpsc::Sender<Batch>,
    meters: Arc<Meters>,
) -> Result<(), StageError> {
    while let Some(batch) = batches.next().await {
        let records = batch.delivery.records.len() as u64;
        meters.of(StageKind::Bronze).offered.fetch_add(records, Ordering::Relaxed);
        if to_bronze.send(batch).await.is_err() {
            break; // bronze has failed, and says why
        }
    }
    Ok(())
}

impl Stored for Storage {
    async fn position(&self, stream: &Stream) -> Result<Option<i64>, Box<dyn Error + Send + Sync>> {
        Ok(Table::open_or_create(self, TableKind::Bronze).await?.position(stream))
    }

    async fn gaps(
        &self,
        source: SourceKind,
        quote: &str,
        coins: &[String],
        (from, to): (Micros, Micros),
        longest: Micros,
    ) -> Result<Vec<(Arc<str>, Ranges)>, Box<dyn Error + Send + Sync>> {
        let coins = coins.iter().map(|coin| coin.as_str().into()).collect();
        let queries = Queries::open(self.clone(), None)?;
        Ok(queries.gaps(source.label().into(), quote.into(), coins, from, to, longest).await?)
    }
}
