//! Direct transport: records go to bronze in memory, in batches.
//!
//! A batch is closed when its first record has waited for the latency, when the batch is full, or when the
//! source ends. It holds records of one stream, at most the limit of them, and at most
//! [`Records::MAX_BYTES`] unless a single record is larger. The first batch waits for 50 ms at most.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::market::Records;
use crate::market::records::Delivery;

/// The first batch is closed this soon, so that the first price is on the screen at once.
const FIRST_LATENCY: Duration = Duration::from_millis(50);

/// When a batch is closed, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// This long after its first record.
    pub latency: Duration,
    /// With this many records.
    pub records: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { latency: Duration::from_secs(1), records: 50_000 }
    }
}

#[derive(Debug)]
pub struct Batch {
    pub delivery: Delivery,
    /// When its first record was received.
    pub received: Instant,
}

/// Joins and splits deliveries into batches.
#[derive(Debug)]
pub struct Batches {
    deliveries: mpsc::Receiver<Delivery>,
    limits: BatchLimits,
    max_bytes: usize,
    /// A delivery of which only a part, or nothing, is in a batch: (delivery, index of the first record that is
    /// in none, time of reception).
    rest: Option<(Delivery, usize, Instant)>,
    /// Empty, with the capacity of the last batch.
    room: Records,
    /// Whether no batch was returned yet: [`FIRST_LATENCY`] applies.
    first: bool,
}

impl Batches {
    pub fn new(deliveries: mpsc::Receiver<Delivery>, limits: BatchLimits) -> Self {
        Self {
            deliveries,
            limits,
            max_bytes: Records::MAX_BYTES,
            rest: None,
            room: Records::new(),
            first: true,
        }
    }

    /// The next batch; none when the source has ended and every record was in a batch.
    pub async fn next(&mut self) -> Option<Batch> {
        let (first, from, received) = match self.rest.take() {
            Some(rest) => rest,
            None => (self.deliveries.recv().await?, 0, Instant::now()),
        };
        let mut batch = Batch {
            delivery: Delivery { stream: first.stream.clone(), records: std::mem::take(&mut self.room) },
            received,
        };
        self.add(&mut batch, first, from, received);
        let wait = if std::mem::take(&mut self.first) {
            self.limits.latency.min(FIRST_LATENCY)
        } else {
            self.limits.latency
        };
        let deadline = received + wait;
        while self.rest.is_none() && !self.is_full(&batch) {
            match tokio::time::timeout_at(deadline, self.deliveries.recv()).await {
                Ok(Some(more)) if more.stream == batch.delivery.stream => {
                    self.add(&mut batch, more, 0, Instant::now());
                }
                Ok(Some(other)) => self.rest = Some((other, 0, Instant::now())),
                Ok(None) | Err(_) => break,
            }
        }
        self.room = Records::sized_like(&batch.delivery.records);
        Some(batch)
    }

    fn is_full(&self, batch: &Batch) -> bool {
        batch.delivery.records.len() >= self.limits.records
            || batch.delivery.records.bytes() >= self.max_bytes
    }

    fn add(&mut self, batch: &mut Batch, more: Delivery, from: usize, received: Instant) {
        for index in from..more.records.len() {
            let Some(record) = more.records.get(index) else { break };
            let records = &mut batch.delivery.records;
            let too_large = !records.is_empty() && records.bytes() + record.bytes() > self.max_bytes;
            if too_large || records.len() >= self.limits.records {
                self.rest = Some((more, index, received));
                return;
            }
            records.push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{RecordRef, Stream};
    use proptest::prelude::*;

    fn delivery(stream: &str, values: impl IntoIterator<Item = i64>) -> Delivery {
        let mut records = Records::new();
        for offset in values {
            let value = &b"xxxx"[..usize::try_from(offset % 5).unwrap()];
            records.push(RecordRef { offset, key: None, value, source: "s", headers: None, produced_at: 0 });
        }
        Delivery { stream: Some(Stream::new(stream, 0)), records }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_reordered_or_mixed(
            sizes in prop::collection::vec((0usize..30, 0usize..2), 1..20), limit in 1usize..20, max_bytes in 1usize..20,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (tx, rx) = mpsc::channel(100);
                let mut sent: [Vec<i64>; 2] = [vec![], vec![]];
                let mut next = 0;
                for (size, stream) in sizes {
                    let values: Vec<i64> = (next..next + size as i64).collect();
                    next += size as i64;
                    sent[stream].extend(&values);
                    tx.send(delivery(["a", "b"][stream], values)).await.unwrap();
                }
                drop(tx);
                let mut got: [Vec<i64>; 2] = [vec![], vec![]];
                let mut batches = Batches::new(rx, BatchLimits { latency: Duration::from_secs(1), records: limit });
                batches.max_bytes = max_bytes;
                while let Some(batch) = batches.next().await {
                    let records = &batch.delivery.records;
                    assert!(records.len() <= limit && (records.bytes() <= max_bytes || records.len() == 1));
                    let stream = usize::from(&*batch.delivery.stream.unwrap().topic == "b");
                    got[stream].extend(batch.delivery.records.iter().map(|r| r.offset));
                }
                assert_eq!(sent, got);
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_its_latency_and_no_longer() {
        let (tx, rx) = mpsc::channel(4);
        let mut batches = Batches::new(rx, BatchLimits { latency: Duration::from_secs(1), records: 100 });
        tx.send(delivery("a", [0])).await.unwrap();
        let start = Instant::now();
        assert_eq!(batches.next().await.unwrap().delivery.records.len(), 1);
        assert_eq!(start.elapsed(), FIRST_LATENCY);
        tx.send(delivery("a", [1])).await.unwrap();
        let start = Instant::now();
        assert_eq!(batches.next().await.unwrap().delivery.records.len(), 1);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        tx.send(delivery("a", [2])).await.unwrap();
        drop(tx);
        assert_eq!(batches.next().await.unwrap().delivery.records.len(), 1);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert!(batches.next().await.is_none());
    }
}
