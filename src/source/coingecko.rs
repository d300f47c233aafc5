//! Polls `CoinGecko`'s `/coins/markets` and fetches ranges of history from `/coins/{id}/market_chart`.
//!
//! Guarantees:
//! * Every element of an answer becomes one record with the element's exact bytes, valid or not; a history
//!   answer is one record whose headers name the range that it fills.
//! * Every failure of a poll becomes a [`Reconnecting`](super::SourceState::Reconnecting) with its cause and is
//!   retried with capped, jittered backoff, not before the time that a `Retry-After` header gives.
//! * On `CoinGecko`'s own hosts it stays within the plan's calls a minute. Polls have priority; history uses
//!   the calls that they leave.
//! * A gap without answers (no network, computer asleep) is filled from history.
//! * It stops at once when cancelled, also in the middle of a request.

pub mod answer;
pub mod backfill;
pub mod client;
pub mod headers;
mod notices;
pub mod quota;
mod session;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

use self::client::Client;
use self::quota::Allowance;
use self::session::Session;
use super::{End, Fill, Outlet, SourceError};
use crate::backoff::Backoff;
use crate::market::{DAY, Micros, coins};
use crate::secret::Secret;

/// Coins requested in one call: the most that an answer can hold.
const PAGE: usize = 250;

/// `CoinGecko`'s plans. Each has its own host and its own header for the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plan {
    /// Without a key, or with a free one: 30 calls a minute, 10,000 a month.
    Demo,
    Pro,
}

impl Plan {
    /// The base URL of its API.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Demo => "https://api.coingecko.com/api/v3",
            Self::Pro => "https://pro-api.coingecko.com/api/v3",
        }
    }
}

/// How far back history is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum History {
    #[value(name = "off")]
    Off,
    /// A point every 5 minutes.
    #[value(name = "1d")]
    Day,
    /// A point every hour for gaps that begin more than a day ago, else every 5 minutes.
    #[value(name = "7d")]
    Week,
}

impl History {
    /// None: no history is fetched.
    pub const fn reach(self) -> Option<Micros> {
        match self {
            Self::Off => None,
            Self::Day => Some(DAY),
            Self::Week => Some(7 * DAY),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CoinGeckoSettings {
    /// The URL before `/coins/markets`, such as [`Plan::url`].
    pub base_url: String,
    pub plan: Plan,
    pub api_key: Option<Secret>,
    /// Ids of the coins, lower case.
    pub coins: Vec<String>,
    /// Code of the prices' currency, lower case.
    pub vs_currency: String,
    /// Time between polls; a quota may make it longer.
    pub poll: Duration,
    pub connect_timeout: Duration,
    /// For a whole call: connection, headers and body.
    pub timeout: Duration,
    /// Most bytes that an answer may have, decompressed.
    pub max_bytes: usize,
    pub history: History,
    /// Time without prices after which the gap is filled from history.
    pub gap: Duration,
    pub backoff: Backoff,
}

impl Default for CoinGeckoSettings {
    fn default() -> Self {
        Self {
            base_url: Plan::Demo.url().to_owned(),
            plan: Plan::Demo,
            api_key: None,
            coins: coins::default_ids().map(str::to_owned).collect(),
            vs_currency: "usd".into(),
            poll: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            max_bytes: 16 << 20,
            history: History::Day,
            gap: Duration::from_mins(15),
            backoff: Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(1) },
        }
    }
}

#[derive(Debug)]
pub struct CoinGecko {
    settings: CoinGeckoSettings,
    client: Client,
    allowance: Option<Allowance>,
}

impl CoinGecko {
    /// Checks and normalizes the settings; makes no request.
    ///
    /// # Errors
    /// When the base URL is invalid, there are no coins, or the key cannot be a header's value.
    pub fn new(mut settings: CoinGeckoSettings) -> Result<Self, SourceError> {
        let text = settings.base_url.trim();
        let wrong =
            || SourceError::Setting(format!("'{text}' is not the URL of an API: use http(s)://host/path"));
        let mut base = Url::parse(text).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong());
        }
        base.set_query(None);
        base.set_fragment(None);
        let mut coins: Vec<String> = Vec::with_capacity(settings.coins.len());
        for id in settings.coins.iter().map(|id| id.trim().to_lowercase()).filter(|id| !id.is_empty()) {
            if !coins.contains(&id) {
                coins.push(id);
            }
        }
        settings.coins = coins;
        if settings.coins.is_empty() {
            return Err(SourceError::Setting(
                "no coins to ask CoinGecko for: name some by their ids, such as bitcoin,ethereum".into(),
            ));
        }
        if settings.poll.is_zero() {
            return Err(SourceError::Setting("the time between polls must be above zero".into()));
        }
        if let Some(key) = settings.api_key.as_ref().map(Secret::expose)
            && (key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(SourceError::Setting(
                "the CoinGecko API key is invalid: it is empty or has spaces or special characters".into(),
            ));
        }
        let plan = settings.api_key.as_ref().map(|_| settings.plan);
        let allowance = Allowance::of(base.host_str().unwrap_or_default(), plan);
        let client = Client::new(&settings, base)?;
        Ok(Self { settings, client, allowance })
    }

    /// Number of calls of one poll.
    fn pages(&self) -> u32 {
        u32::try_from(self.settings.coins.len().div_ceil(PAGE)).unwrap_or(u32::MAX)
    }

    /// Polls until it is cancelled, and meanwhile fetches `fills`, those of the `preferred` coin first.
    ///
    /// # Errors
    /// None at present: all failures are retried.
    pub async fn run(
        self,
        outlet: Outlet,
        fills: Vec<Fill>,
        mut preferred: watch::Receiver<Option<Arc<str>>>,
    ) -> Result<End, SourceError> {
        let mut session = Session::new(&self, &outlet, fills);
        let (mut polling, mut filling) = (None, None);
        let mut preferring = true;
        loop {
            if polling.is_none() && session.start_poll() {
                polling = Some(boxed(session::poll(&self)));
            }
            if filling.is_none() {
                let coin = preferred.borrow_and_update().clone();
                filling = session.start_fill(coin.as_deref()).map(|range| boxed(session::fill(&self, range)));
            }
            let wake = session.wake(polling.is_some(), filling.is_some());
            let more = tokio::select! {
                biased;
                () = outlet.cancel.cancelled() => false,
                () = outlet.deliveries.closed() => false,
                polled = ready(&mut polling) => session.polled(polled).await,
                filled = ready(&mut filling) => session.filled(filled).await,
                changed = preferred.changed(), if preferring => { preferring = changed.is_ok(); true }
                () = tokio::time::sleep_until(wake) => true,
            };
            if !more {
                return Ok(End::Stopped);
            }
        }
    }
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Pending<'a, T> {
    Box::pin(future)
}

/// Waits for the future in `slot`, takes it out and returns its output. Never returns while the slot is empty.
async fn ready<T>(slot: &mut Option<Pending<'_, T>>) -> T {
    match slot {
        Some(future) => {
            let output = future.await;
            *slot = None;
            output
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_errors_that_name_the_setting() {
        let refused = |change: fn(&mut CoinGeckoSettings)| {
            let mut settings = CoinGeckoSettings::default();
            change(&mut settings);
            CoinGecko::new(settings).expect_err("refused").to_string()
        };
        assert!(
            refused(|s| s.base_url = "api.coingecko.com".into())
                .contains("'api.coingecko.com' is not the URL")
        );
        assert!(refused(|s| s.base_url = "ftp://x/".into()).contains("http(s)"));
        assert!(refused(|s| s.coins = vec![" ".into()]).contains("no coins"));
        let key = refused(|s| s.api_key = Some(Secret::new("CG 1")));
        assert!(key.contains("key") && !key.contains("CG 1"));
    }

    #[test]
    fn coins_are_normalized_and_the_allowance_depends_on_the_key() {
        let coins = [" Bitcoin", "bitcoin", "", "ethereum "].map(str::to_owned).to_vec();
        let source = CoinGecko::new(CoinGeckoSettings {
            base_url: Plan::Pro.url().to_owned(),
            plan: Plan::Pro,
            api_key: Some(Secret::new("CG-1")),
            coins,
            ..CoinGeckoSettings::default()
        })
        .expect("sound");
        assert_eq!(source.settings.coins, ["bitcoin", "ethereum"]);
        assert_eq!(source.allowance.map(|allowance| allowance.per_minute), Some(500));
        assert!(!format!("{source:?}").contains("CG-1"));
    }
}
