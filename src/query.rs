//! Queries of the lake, which DuckDB runs on a separate thread: callers wait asynchronously, and the pipeline
//! is never blocked.
//!
//! DuckDB gets only the files that may matter, chosen by partition date and by their markets and statistics.
//! The SQL is in `query/*.sql`.
//!
//! ```text
//! Queries ──job──► worker thread ─┬─ tables   read-only copies of the Delta logs, refreshed before each answer
//!    ▲                            ├─ census   which markets each gold file holds
//!    └──────oneshot answer────────┴─ DuckDB   query/*.sql over exactly the files that matter
//! sql() ──► sandbox               a separate DuckDB that can only read the live files
//! ```

mod answers;
mod census;
mod engine;
mod gaps;
pub mod output;
mod relation;
mod sandbox;
mod strict;
mod tables;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::lake::{LakeError, Storage, TableKind};
use crate::market::{Alert, Candle, Interval, Market, Micros};

use engine::SpillFolder;
pub use gaps::gaps_between;
pub use sandbox::{SqlAnswer, SqlValue};
use worker::{Job, Worker};

/// Selects the market of a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MarketFilter {
    /// As [`Market::coin_id`].
    pub coin_id: Arc<str>,
    /// Only this source; `None`: the preferred one if it has candles, else the one with the newest candle.
    pub source: Option<Arc<str>>,
    /// The quote currency, `usd` as a rule.
    pub quote: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandleQuery {
    pub market: MarketFilter,
    pub interval: Interval,
    /// At most this many, the newest ones; `None`: all.
    pub last: Option<usize>,
    /// Only candles that start before this time, to page backwards; `None`: up to the newest.
    pub before: Option<Micros>,
}

/// The answer to a [`CandleQuery`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CandleSeries {
    /// The market that was found; `None` if it has no candles.
    pub market: Option<Arc<Market>>,
    /// Closed candles, oldest first; windows without ticks have no entry.
    pub candles: Vec<Candle>,
    /// Number of candles of this width that the market has in all of gold.
    pub total: u64,
    /// Start of the market's newest minute in gold, whatever range was asked for.
    pub newest: Option<Micros>,
}

/// One line of the market table.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketRow {
    pub market: Arc<Market>,
    /// Ticker symbol as the source gives it, where known.
    pub symbol: Option<Arc<str>>,
    pub price: f64,
    /// Event time of the last tick.
    pub event_time: Micros,
    /// Change over a minute, percent.
    pub change_1m: Option<f64>,
    /// Price an hour before the newest candle.
    pub price_1h_ago: Option<f64>,
    /// Price a day before the newest candle.
    pub price_24h_ago: Option<f64>,
    /// Change over a day, percent, that the source gave with the last price.
    pub source_change_24h: Option<f64>,
    /// Volatility of the last closed minute, percent.
    pub volatility_1m: Option<f64>,
    /// Volatility of the last hour, `(max - min) / min * 100`, percent.
    pub volatility_1h: Option<f64>,
    /// Amount traded in 24 hours, in coins: of our candles where ticks are trades; else what the source
    /// reports as traded value, divided by the last price.
    pub volume_24h: Option<f64>,
    /// Closes of the last hour's minutes, oldest first.
    pub closes: Vec<f64>,
}

/// A market that has candles in gold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMarket {
    pub market: Arc<Market>,
    /// Number of its one-minute candles.
    pub candles: u64,
    /// Start of its oldest candle.
    pub oldest: Micros,
    /// Start of its newest candle.
    pub newest: Micros,
}

/// Time ranges `from..to` without candles of one coin, oldest first.
pub type CoinGaps = (Arc<str>, Vec<(Micros, Micros)>);

/// Errors of queries. `Display` leaves out the cause, which is the error's `source`.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("cannot read the tables")]
    Lake(#[from] LakeError),
    /// DuckDB, or its thread, failed.
    #[error("cannot {action}")]
    Engine {
        /// `read candles`, `start DuckDB` …
        action: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A user's SQL is not exactly one statement that only reads.
    #[error("{0}")]
    Refused(String),
    /// A user's SQL is wrong; the engine's message.
    #[error("{0}")]
    Sql(String),
    /// A user's SQL took longer than this.
    #[error("the query was stopped after {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("the query was interrupted")]
    Interrupted,
    /// A user's SQL has more than this number of rows.
    #[error("the query has more than {0} rows: add a LIMIT or count in SQL")]
    TooManyRows(usize),
    /// The answer to a user's SQL has more than this number of bytes.
    #[error("the answer is larger than {} MB: select fewer columns or rows, add a LIMIT or aggregate in SQL", .0 >> 20)]
    TooLarge(usize),
    /// A user's SQL needs more memory, or more temporary files, than allowed; what needs it.
    #[error(
        "the query needs more than {memory} of memory and about {spill} of temporary files: select fewer columns or rows, or aggregate less at once \
         ({what})",
        memory = engine::MEMORY,
        spill = engine::SPILL,
        what = .0
    )]
    OutOfMemory(String),
    /// A user's SQL does not fit in memory and temporary files cannot be written; the engine's message.
    #[error("the query needs temporary files: {0}")]
    Spill(String),
    /// The worker thread has ended.
    #[error("the query engine has stopped")]
    Stopped,
}

impl QueryError {
    fn engine(action: &'static str) -> impl FnOnce(duckdb::Error) -> Self {
        move |source| Self::Engine { action, source: Box::new(source) }
    }

    /// Whether a data file was missing: vacuum deleted it after the table had changed.
    fn is_vanished_file(&self) -> bool {
        match self {
            Self::Lake(LakeError::MissingFile { .. }) => true,
            Self::Engine { source, .. } => source.to_string().contains("IO Error"),
            Self::Sql(message) => message.contains("IO Error"),
            _ => false,
        }
    }
}

/// Handle to the query engine; clones share its thread, which ends with the last of them.
///
/// An answer shows the tables as they are when the worker starts on it.
#[derive(Debug, Clone)]
pub struct Queries {
    jobs: mpsc::Sender<Job>,
    /// Deleted with the last handle, even if the thread has not ended by then.
    _spill: Arc<SpillFolder>,
}

/// Queries that may be queued; beyond that, callers wait to queue theirs.
const WAITING: usize = 32;

impl Queries {
    /// Starts the engine over a storage, whose tables need not exist yet.
    ///
    /// # Errors
    /// When DuckDB or its thread cannot start.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(storage: Storage, preferred_source: Option<Arc<str>>) -> Result<Self, QueryError> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        let spill = SpillFolder::new();
        let mut worker =
            Worker::new(storage, preferred_source, tokio::runtime::Handle::current(), spill.path())?;
        std::thread::Builder::new()
            .name("duckdb".into())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut worker);
                }
            })
            .map_err(|source| QueryError::Engine {
                action: "start the query thread",
                source: Box::new(source),
            })?;
        Ok(Self { jobs, _spill: Arc::new(spill) })
    }

    async fn ask<T: Send + 'static>(
        &self,
        mut question: impl FnMut(&mut Worker) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            if !answer.is_closed() {
                answer.send(worker.answer(&mut question)).ok(); // the caller may be gone
            }
        });
        self.jobs.send(job).await.map_err(|_| QueryError::Stopped)?;
        answered.await.map_err(|_| QueryError::Stopped)?
    }

    /// Candles of one market, one for every window that has ticks.
    pub async fn candles(&self, query: CandleQuery) -> Result<CandleSeries, QueryError> {
        self.ask(move |worker| worker.candles(&query)).await
    }

    /// The market table of one source, ordered by (`coin_id`, quote). Without a source: the preferred one if
    /// it has candles, else the one with the newest candle. A market whose newest candle is more than 25
    /// hours older than the source's is left out.
    pub async fn markets(&self, source: Option<Arc<str>>) -> Result<Vec<MarketRow>, QueryError> {
        self.ask(move |worker| worker.markets(source.as_ref())).await
    }

    /// The newest alerts, newest first.
    pub async fn alerts(&self, limit: usize) -> Result<Vec<Alert>, QueryError> {
        self.ask(move |worker| worker.alerts(limit)).await
    }

    /// For each coin, the ranges in `from..to` longer than `longest` without a candle from `source`.
    pub async fn gaps(
        &self,
        source: Arc<str>,
        quote: Arc<str>,
        coins: Vec<Arc<str>>,
        from: Micros,
        to: Micros,
        longest: Micros,
    ) -> Result<Vec<CoinGaps>, QueryError> {
        self.ask(move |worker| worker.gaps(&source, &quote, &coins, from, to, longest)).await
    }

    /// The market that [`Self::candles`] would choose, with the number and range of its candles; `None`
    /// without candles.
    pub async fn newest(&self, market: MarketFilter) -> Result<Option<KnownMarket>, QueryError> {
        self.ask(move |worker| worker.newest(&market)).await
    }

    /// Every market that has candles, ordered by (source, `coin_id`, quote).
    pub async fn known(&self) -> Result<Vec<KnownMarket>, QueryError> {
        self.ask(Worker::known).await
    }

    /// Runs a user's SQL over the views `bronze`, `silver`, `gold`, `quarantine` and `alerts`, in a separate
    /// DuckDB that can read only the tables' live files. One statement that only reads: SELECT, WITH, FROM,
    /// VALUES, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN.
    ///
    /// Times are TIMESTAMP, UTC; so are `now()` and `today()`. A table that does not exist is an empty view.
    ///
    /// # Errors
    /// [`QueryError::Interrupted`] soon after `cancel` is raised, [`QueryError::Timeout`];
    /// [`QueryError::Refused`], [`QueryError::Sql`]; [`QueryError::TooManyRows`], [`QueryError::TooLarge`],
    /// [`QueryError::OutOfMemory`], [`QueryError::Spill`].
    pub async fn sql(
        &self,
        text: String,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<SqlAnswer, QueryError> {
        let limits = sandbox::QueryLimits {
            deadline: tokio::time::Instant::now() + timeout,
            timeout,
            spill: engine::SPILL_BYTES,
            cancel,
        };
        let mut retried = false;
        loop {
            let views = tokio::select! {
                () = cancel.cancelled() => return Err(QueryError::Interrupted),
                views = self.ask(move |worker| worker.views(retried)) => views?,
            };
            match sandbox::run(views, text.clone(), limits).await {
                Err(error) if error.is_vanished_file() && !retried => retried = true,
                answer => return answer,
            }
        }
    }
}

const _: () = {
    const fn shared<T: Send + Sync + Clone>() {}
    shared::<Queries>();
};
