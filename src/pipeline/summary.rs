//! The figures of a run, printed at its end.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::meter::{Meters, memory};
use super::status::{StageKind, Totals};
use crate::source::End;

/// Median and 99th percentile.
pub type Percentiles = (Duration, Duration);

#[derive(Debug, Clone)]
pub struct Summary {
    pub elapsed: Duration,
    pub totals: Totals,
    /// Rows that each stage's table got, with median and 99th percentile of its commits.
    pub stages: Vec<(StageKind, u64, Option<Percentiles>)>,
    /// From the reception of a record to its live candle: median and 99th percentile, batch by batch.
    pub latency: Option<Percentiles>,
    /// Peak resident memory in bytes.
    pub peak_memory: Option<u64>,
    /// Whether a finite source has delivered everything.
    pub finished: bool,
    /// A recording that was already in the storage to its end.
    pub nothing_new: bool,
}

impl Summary {
    pub(super) fn new(meters: &Meters, elapsed: Duration, end: End) -> Self {
        let stage = |stage: StageKind| {
            let meter = meters.of(stage);
            (stage, meter.committed.load(Ordering::Relaxed), meter.commits.percentiles())
        };
        let totals = meters.totals();
        Self {
            elapsed,
            totals,
            stages: StageKind::ALL.map(stage).to_vec(),
            latency: meters.latency.percentiles(),
            peak_memory: memory().map(|(_, peak)| peak),
            finished: end != End::Stopped,
            nothing_new: end == End::NothingNew && totals == Totals::default(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { records, ticks, duplicates, rejected, candles, restated, alerts, cooled_down } =
            self.totals;
        let seconds = self.elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = records as f64 / seconds.max(1e-3);
        if self.nothing_new {
            writeln!(f, "nothing new: this recording is in the storage already")?;
        }
        writeln!(f, "records     {records:>12}   {rate:.0}/s over {seconds:.1} s")?;
        writeln!(f, "ticks       {ticks:>12}")?;
        writeln!(f, "duplicates  {duplicates:>12}")?;
        writeln!(f, "rejected    {rejected:>12}")?;
        writeln!(f, "candles     {candles:>12}   {restated} restated")?;
        writeln!(f, "alerts      {alerts:>12}   {cooled_down} held back by the cool-down")?;
        for (stage, rows, timing) in &self.stages {
            if let Some((p50, p99)) = timing {
                writeln!(
                    f,
                    "{:<11} {rows:>12}   commit p50 {} p99 {}",
                    stage.label(),
                    millis(*p50),
                    millis(*p99)
                )?;
            }
        }
        if let Some((p50, p99)) = self.latency {
            writeln!(f, "received → live candle      p50 {} p99 {}", millis(p50), millis(p99))?;
        }
        if let Some(bytes) = self.peak_memory {
            writeln!(f, "peak memory {:>12} MB", bytes >> 20)?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
