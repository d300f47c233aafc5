//! The source `CoinGecko` against a server with all kinds of faults: what it delivers, and its status.

mod failures;
mod history;
mod notices;
mod polls;

use std::sync::Arc;
use std::time::Duration;

use cryptostream::backoff::Backoff;
use cryptostream::market::records::Delivery;
use cryptostream::market::time::now;
use cryptostream::market::{MINUTE, Micros, SECOND};
use cryptostream::secret::Secret;
use cryptostream::source::coingecko::{CoinGecko, CoinGeckoSettings, History, Plan};
use cryptostream::source::{End, Fill, Outlet, SourceError, SourceKind, SourceState, SourceStatus};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::http::{Answer, Server};

const BITCOIN: &str =
    r#"{"id":"bitcoin", "current_price":104072.7 ,"last_updated":"2025-05-12T00:00:00.000Z"}"#;
const ETHEREUM: &str =
    r#"{"id":" Ethereum","current_price":2.5e3,"last_updated":"2025-05-12T00:02:00.000Z"}"#;
const CHART: &str =
    r#"{"prices":[[1747000000000,104000.5],[1747000300000,104001]],"market_caps":[],"total_volumes":[]}"#;
/// 2025-05-12T00:00:00Z.
const T: Micros = 1_747_008_000 * SECOND;
/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(1);

fn list(elements: &[&str]) -> Answer {
    Answer::json(&format!("[\n {} ]", elements.join(",\n ")))
}

fn both() -> Answer {
    list(&[BITCOIN, ETHEREUM])
}

fn settings() -> CoinGeckoSettings {
    CoinGeckoSettings {
        coins: vec!["bitcoin".into(), "ethereum".into()],
        poll: Duration::from_millis(5),
        backoff: Backoff { first: Duration::from_millis(2), cap: Duration::from_millis(20) },
        timeout: Duration::from_millis(500),
        ..CoinGeckoSettings::default()
    }
}

fn fill(coin: &str, to: Option<Micros>) -> Fill {
    Fill { coin_id: coin.into(), from: T - 60 * MINUTE, to }
}

struct Run {
    server: Server,
    deliveries: mpsc::Receiver<Delivery>,
    status: watch::Receiver<SourceStatus>,
    preferred: watch::Sender<Option<Arc<str>>>,
    cancel: CancellationToken,
    task: JoinHandle<Result<End, SourceError>>,
}

impl Run {
    async fn start(
        markets: Vec<Answer>,
        charts: Vec<Answer>,
        fills: Vec<Fill>,
        change: impl FnOnce(&mut CoinGeckoSettings),
    ) -> Self {
        let server = Server::start(markets, charts).await;
        let mut settings = settings();
        server.url().clone_into(&mut settings.base_url);
        change(&mut settings);
        let (sender, deliveries) = mpsc::channel(1);
        let (status, seen) =
            watch::channel(SourceStatus::starting(SourceKind::Coingecko, settings.coins.len()));
        let (preferred, selected) = watch::channel(None);
        let cancel = CancellationToken::new();
        let outlet = Outlet { deliveries: sender, status, cancel: cancel.clone() };
        let task =
            tokio::spawn(CoinGecko::new(settings).expect("valid settings").run(outlet, fills, selected));
        Self { server, deliveries, status: seen, preferred, cancel, task }
    }

    async fn polls(markets: Vec<Answer>) -> Self {
        Self::start(markets, vec![], vec![], |_| ()).await
    }

    /// The next delivery: key, value, headers of each record.
    async fn next(&mut self) -> Vec<(Option<String>, String, Option<String>)> {
        let delivery =
            tokio::time::timeout(LONG, self.deliveries.recv()).await.expect("in time").expect("it runs");
        assert_eq!(delivery.stream, None);
        let record = |r: cryptostream::market::RecordRef<'_>| {
            assert_eq!(r.source, "coingecko");
            let value = String::from_utf8(r.value.to_vec()).expect("text");
            (r.key.map(str::to_owned), value, r.headers.map(str::to_owned))
        };
        delivery.records.iter().map(record).collect()
    }

    async fn values(&mut self) -> Vec<String> {
        self.next().await.into_iter().map(|r| r.1).collect()
    }

    /// The first status from now on that `condition` holds for.
    async fn until(&mut self, condition: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let found = tokio::time::timeout(LONG, self.status.wait_for(condition)).await;
        found.expect("in time").expect("it runs").clone()
    }

    /// Cancels it and waits for its end, which must not wait for requests.
    async fn stop(self) {
        self.cancel.cancel();
        let end =
            tokio::time::timeout(LONG, self.task).await.expect("in time").expect("joined").expect("no error");
        assert_eq!(end, End::Stopped);
    }
}
