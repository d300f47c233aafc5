//! Silver: decodes records, drops duplicates exactly, sends rejects to the quarantine.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::meter::{Seen, locked};
use super::stage::{Handed, Stage, StageContext, StageError};
use super::status;
use crate::lake::bronze::{Backlog, RawBatch};
use crate::lake::maintenance::{Effort, Maintenance};
use crate::lake::silver::{self, TickBatch};
use crate::lake::table::{Change, Commit};
use crate::lake::{LakeError, Table, TableKind, quarantine};
use crate::market::decode::{Decoder, Reject};
use crate::market::dedup::{Dedup, TickKey, Verdict};
use crate::market::{Market, Micros, Stream, Ticks};

/// The decoder of this process: it numbers the markets, so all records pass the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedDecoder(Arc<Mutex<Decoder>>);

impl SharedDecoder {
    fn decode(&self, raw: &RawBatch) -> (Ticks, Vec<Reject>) {
        tokio::task::block_in_place(|| {
            let records = raw.records.iter().map(|record| (record, raw.ingested_at));
            locked(&self.0).decode_all(raw.records.len(), records)
        })
    }
}

/// Records with what they decode to, until that is taken.
#[derive(Debug)]
pub(super) struct Decoded {
    raw: RawBatch,
    ticks: Option<(Ticks, Vec<Reject>)>,
}

/// Decodes what bronze hands on, while silver commits the batch before.
pub(super) async fn decode(
    decoder: SharedDecoder,
    mut inbox: mpsc::Receiver<Handed<RawBatch>>,
    out: mpsc::Sender<Handed<Decoded>>,
) -> Result<(), StageError> {
    while let Some(Handed { batch: raw, after, ingested_at, received }) = inbox.recv().await {
        let batch = Decoded { ticks: Some(decoder.decode(&raw)), raw };
        if out.send(Handed { batch, after, ingested_at, received }).await.is_err() {
            break; // silver has failed, and says why
        }
    }
    Ok(())
}

pub(super) struct State {
    bronze: Table,
    quarantine: Table,
    silver: Table,
    /// Of quarantine and silver.
    maintenance: [Maintenance; 2],
    dedup: Dedup,
    /// Bronze's positions when they were read last.
    seen: Seen<Vec<(Stream, i64)>>,
}

pub(super) struct Silver {
    context: StageContext,
    decoder: SharedDecoder,
}

impl Silver {
    pub(super) fn new(context: StageContext, decoder: SharedDecoder) -> Self {
        Self { context, decoder }
    }

    /// Processes what bronze has committed and silver has not.
    async fn catch_up(
        &self,
        state: &mut State,
        out: &mpsc::Sender<Handed<TickBatch>>,
    ) -> Result<(), StageError> {
        state.bronze.refresh().await?;
        let positions = state.bronze.positions();
        state.seen = self.context.meters.of(Self::STAGE).seen(positions.clone());
        self.catch_up_to(state, positions, out).await
    }

    /// As [`Self::catch_up`], up to some positions.
    async fn catch_up_to(
        &self,
        state: &mut State,
        positions: Vec<(Stream, i64)>,
        out: &mpsc::Sender<Handed<TickBatch>>,
    ) -> Result<(), StageError> {
        let mut backlog = Backlog::default();
        for (stream, to) in positions {
            let after = state.silver.position(&stream).unwrap_or(-1);
            if to > after {
                backlog.add(&state.bronze, stream, after, to).await?;
            }
        }
        while let Some(run) = backlog.next(&state.bronze).await? {
            let decoded = self.decoder.decode(&run);
            self.process(state, &run, decoded, None, out).await?;
        }
        Ok(())
    }

    /// Deduplicates and commits what a batch decoded to, as far as it is beyond silver's position.
    async fn process(
        &self,
        state: &mut State,
        raw: &RawBatch,
        (mut ticks, mut rejects): (Ticks, Vec<Reject>),
        received: Option<Instant>,
        out: &mpsc::Sender<Handed<TickBatch>>,
    ) -> Result<(), StageError> {
        let started = Clock::now();
        let after = state.silver.position(&raw.stream).unwrap_or(-1);
        let Some(last) = raw.records.last_offset().filter(|last| *last > after) else { return Ok(()) };
        // No record may be skipped; only Kafka's offsets have gaps.
        if let Some(first) =
            raw.records.get(0).filter(|first| raw.stream.is_dense() && first.offset > after + 1)
        {
            let what = format!(
                "records of {} from {} on, but not those from {} on",
                raw.stream,
                first.offset,
                after + 1
            );
            return Err(LakeError::Corrupt { table: TableKind::Bronze, what }.into());
        }
        ticks.ticks.retain(|tick| tick.offset > after);
        rejects.retain(|reject| reject.offset > after);
        let valid = ticks.ticks.len();
        state.drop_duplicates(&mut ticks).await?;
        let (kept, duplicates) = (ticks.ticks.len() as u64, (valid - ticks.ticks.len()) as u64);
        let rejected = state.commit_rejects(raw, &rejects, last).await?;
        state.commit_ticks(&raw.stream, &ticks, last, [duplicates, rejects.len() as u64]).await?;
        state.dedup.forget();
        let meters = &self.context.meters;
        meters.of(Self::STAGE).commit(&state.silver, kept, started.elapsed());
        meters.count(|totals| {
            totals.ticks += kept;
            totals.duplicates += duplicates;
            totals.rejected += rejected;
        });
        meters.of(status::StageKind::Gold).offered.fetch_add(kept, Ordering::Relaxed);
        let batch = TickBatch { stream: Arc::clone(&raw.stream), ticks, last };
        let handed = Handed { batch, after, ingested_at: raw.ingested_at, received };
        out.send(handed).await.map_err(|_| StageError::Closed)
    }
}

impl State {
    async fn drop_duplicates(&mut self, ticks: &mut Ticks) -> Result<(), LakeError> {
        let markets = Arc::clone(&ticks.markets);
        self.load_keys(&markets, ticks).await?;
        // Keys older than those in memory are looked up in silver's files, all at once; the newest key is always
        // in memory.
        let old = ticks.ticks.iter().filter(|tick| self.dedup.is_beyond(tick.market, tick.event_time));
        let keyed = old.map(|tick| (tick.market, TickKey::of(tick)));
        let (newest, asked): (Vec<_>, Vec<_>) =
            keyed.partition(|(market, key)| self.dedup.is_newest(*market, key));
        let named = |keys: Vec<(u32, TickKey)>| {
            keys.into_iter()
                .map(|(market, key)| (Arc::clone(&markets[market as usize]), key))
                .collect::<HashSet<_>>()
        };
        let (mut known, asked) = (named(newest), named(asked));
        if !asked.is_empty() {
            known.extend(silver::known(&self.silver, &asked).await?);
        }
        tokio::task::block_in_place(|| {
            ticks.ticks.retain(|tick| match self.dedup.judge(tick.market, TickKey::of(tick)) {
                Verdict::New => true,
                Verdict::Duplicate => false,
                Verdict::Unknown(key) => {
                    self.dedup.note(tick.market, &key);
                    known.insert((Arc::clone(&markets[tick.market as usize]), key))
                }
            });
        });
        Ok(())
    }

    /// Reads back the keys of markets that this process has not seen before.
    async fn load_keys(&mut self, markets: &[Arc<Market>], ticks: &Ticks) -> Result<(), LakeError> {
        let mut newest: HashMap<u32, Micros> = HashMap::new();
        for tick in ticks.ticks.iter().filter(|tick| !self.dedup.knows(tick.market)) {
            let time = newest.entry(tick.market).or_insert(tick.event_time);
            *time = tick.event_time.max(*time);
        }
        if newest.is_empty() {
            return Ok(());
        }
        // Silver is empty: memory is complete from the beginning of time.
        let is_empty = self.silver.files().len() == 0;
        let from = |newest| if is_empty { Micros::MIN } else { self.dedup.wanted_from(newest) };
        let from: HashMap<Arc<Market>, Micros> = newest
            .iter()
            .map(|(market, newest)| (Arc::clone(&markets[*market as usize]), from(*newest)))
            .collect();
        let mut keys = silver::keys_since(&self.silver, &from).await?;
        for id in newest.into_keys() {
            let market = &markets[id as usize];
            self.dedup.resume(id, from[market], keys.remove(market).unwrap_or_default());
        }
        Ok(())
    }

    async fn commit_rejects(
        &mut self,
        raw: &RawBatch,
        rejects: &[Reject],
        last: i64,
    ) -> Result<u64, LakeError> {
        let after = self.quarantine.position(&raw.stream).unwrap_or(-1);
        let (adds, rows) = quarantine::write(&self.quarantine, raw, rejects, after).await?;
        if adds.is_empty() {
            return Ok(0);
        }
        let facts = [("rejected", i64::try_from(rows).unwrap_or(i64::MAX))];
        let txns = vec![(self.quarantine.app_id(&raw.stream), last)];
        self.quarantine
            .commit(Commit { change: Change::Append, adds, removes: Vec::new(), txns, facts: &facts })
            .await?;
        Ok(rows)
    }

    async fn commit_ticks(
        &mut self,
        stream: &Stream,
        ticks: &Ticks,
        last: i64,
        dropped: [u64; 2],
    ) -> Result<(), LakeError> {
        let adds = silver::write(&self.silver, stream, ticks).await?;
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let facts = [
            ("ticks", count(ticks.ticks.len() as u64)),
            ("duplicates", count(dropped[0])),
            ("rejected", count(dropped[1])),
        ];
        let txns = vec![(self.silver.app_id(stream), last)];
        self.silver
            .commit(Commit { change: Change::Append, adds, removes: Vec::new(), txns, facts: &facts })
            .await?;
        Ok(())
    }
}

impl Stage for Silver {
    type Input = Handed<Decoded>;
    type Output = Handed<TickBatch>;
    type State = State;

    const STAGE: status::StageKind = status::StageKind::Silver;

    fn context(&self) -> &StageContext {
        &self.context
    }

    fn rows(input: &Handed<Decoded>) -> u64 {
        input.batch.raw.records.len() as u64
    }

    async fn recover(&mut self, out: &mpsc::Sender<Handed<TickBatch>>) -> Result<State, StageError> {
        let bronze = Table::open_or_create(&self.context.storage, TableKind::Bronze).await?;
        let quarantine = self.context.open(TableKind::Quarantine).await?;
        let silver = self.context.open(TableKind::Silver).await?;
        let meter = self.context.meters.of(Self::STAGE);
        meter.table(&silver);
        let seen = meter.seen(Vec::new());
        let mut state = State {
            bronze,
            quarantine,
            silver,
            maintenance: Default::default(),
            dedup: Dedup::default(),
            seen,
        };
        self.catch_up(&mut state, out).await?;
        Ok(state)
    }

    async fn take(
        &mut self,
        state: &mut State,
        input: &mut Handed<Decoded>,
        out: &mpsc::Sender<Handed<TickBatch>>,
    ) -> Result<(), StageError> {
        let Decoded { raw, ticks } = &mut input.batch;
        if input.after > state.silver.position(&raw.stream).unwrap_or(-1) {
            self.catch_up(state, out).await?;
        }
        let decoded = ticks.take().unwrap_or_else(|| self.decoder.decode(raw));
        self.process(state, raw, decoded, input.received, out).await
    }

    async fn maintain(&mut self, state: &mut State, effort: Effort) -> Result<(), StageError> {
        self.context.maintain(Self::STAGE, &mut state.quarantine, &mut state.maintenance[0], effort).await?;
        Ok(self.context.maintain(Self::STAGE, &mut state.silver, &mut state.maintenance[1], effort).await?)
    }

    async fn tidy(&mut self, state: &mut State) -> Result<(), StageError> {
        self.context.tidy(Self::STAGE, &mut state.quarantine, &mut state.maintenance[0]).await?;
        Ok(self.context.tidy(Self::STAGE, &mut state.silver, &mut state.maintenance[1]).await?)
    }

    async fn every_second(
        &mut self,
        state: &mut State,
        out: &mpsc::Sender<Handed<TickBatch>>,
    ) -> Result<(), StageError> {
        let meter = self.context.meters.of(Self::STAGE);
        if meter.has_taken(&state.seen) {
            state.bronze.refresh().await?;
            let seen = std::mem::replace(&mut state.seen, meter.seen(state.bronze.positions()));
            self.catch_up_to(state, seen.upto, out).await?;
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        state: &mut State,
        out: &mpsc::Sender<Handed<TickBatch>>,
    ) -> Result<(), StageError> {
        self.catch_up(state, out).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::bronze;
    use crate::market::{RecordRef, Records};

    #[tokio::test(flavor = "multi_thread")]
    async fn batches_in_the_channel_are_not_read_from_the_table_but_missing_ones_are() {
        let folder = tempfile::tempdir().unwrap();
        let (out, _gold) = mpsc::channel(100);
        let mut stage = Silver::new(StageContext::alone(folder.path()), SharedDecoder::default());
        let mut state = stage.recover(&out).await.unwrap();
        let meters = Arc::clone(&stage.context.meters);
        let meter = meters.of(Silver::STAGE);
        let mut bronze = Table::open_or_create(&stage.context.storage, TableKind::Bronze).await.unwrap();
        let mut records = Records::new();
        records.push(RecordRef {
            offset: 0,
            key: None,
            value: b"no tick",
            source: "s",
            headers: None,
            produced_at: 0,
        });
        let batch = RawBatch { stream: Arc::new(Stream::direct()), records, ingested_at: 0 };
        let adds = vec![bronze::write(&bronze, &batch).await.unwrap()];
        let txns = vec![(bronze.app_id(&batch.stream), 0)];
        bronze
            .commit(Commit { change: Change::Append, adds, removes: vec![], txns, facts: &[] })
            .await
            .unwrap();
        let position = |state: &State| state.silver.position(&batch.stream);
        meter.offered.store(1, Ordering::Relaxed);
        for _ in 0..3 {
            stage.every_second(&mut state, &out).await.unwrap();
            assert_eq!(position(&state), None);
        }
        meter.taken.store(1, Ordering::Relaxed);
        meter.offered.store(2, Ordering::Relaxed); // more waits, but not what was offered before the last look
        stage.every_second(&mut state, &out).await.unwrap();
        assert_eq!(position(&state), Some(0));
    }
}
