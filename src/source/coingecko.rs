//! Polls `CoinGecko`'s `/coins/markets` and fetches stretches of history from `/coins/{id}/market_chart`.
//!
//! What it promises:
//! * Every element that is served becomes one record with the element's exact bytes, however odd; a history
//!   answer is one record whose headers name the range that it fills.
//! * Whatever goes wrong is a [`SourceState::Reconnecting`] in words, and is tried again: with capped,
//!   jittered backoff, never before the time a server asks for.
//! * On `CoinGecko`'s own hosts it stays within the plan's calls a minute. Polls come first; history takes
//!   what they leave.
//! * After a gap without answers (the network was away, the computer slept) it fills that gap by itself.
//! * It stops at once when told to, in the middle of a request too.

pub mod answer;
pub mod backfill;
pub mod client;
pub mod headers;
pub mod quota;
mod session;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

use self::client::Client;
use self::quota::Plan;
use self::session::Session;
use super::{End, Fill, Outlet, SourceError};
use crate::backoff::Backoff;

/// `CoinGecko`'s API without a key, or with a demo key.
pub const PUBLIC_URL: &str = "https://api.coingecko.com/api/v3";
/// `CoinGecko`'s API with a paid key.
pub const PRO_URL: &str = "https://pro-api.coingecko.com/api/v3";
/// Coins asked for at once: the most that an answer holds.
const PAGE: usize = 250;

/// Which kind of key: they go into different headers, to different hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Free: 30 calls a minute, 10,000 a month.
    Demo,
    /// Paid.
    Pro,
}

/// A key; its text is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Demo or pro.
    pub kind: KeyKind,
    /// The key itself.
    pub secret: String,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// How far back history is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Not at all.
    Off,
    /// A day, in points of 5 minutes.
    Day,
    /// A week where a stretch reaches that far back, in points of an hour.
    Week,
}

/// What to poll, and how.
#[derive(Debug, Clone)]
pub struct CoinGeckoSettings {
    /// Where the API is; none: `CoinGecko`'s own, by the kind of key.
    pub base_url: Option<String>,
    /// The key, if any.
    pub key: Option<ApiKey>,
    /// Ids of the coins.
    pub coins: Vec<String>,
    /// The currency of prices.
    pub vs_currency: String,
    /// Time between polls; longer where a quota binds.
    pub poll: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a whole answer may take.
    pub timeout: Duration,
    /// Most bytes that an answer may have, decompressed.
    pub max_bytes: usize,
    /// How far back history is fetched.
    pub history: History,
    /// Time without prices after which history fills the gap.
    pub gap: Duration,
    /// Waits after failures.
    pub backoff: Backoff,
}

impl Default for CoinGeckoSettings {
    fn default() -> Self {
        Self {
            base_url: None,
            key: None,
            coins: super::simulator::coins(10),
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

/// The polling source.
#[derive(Debug)]
pub struct CoinGecko {
    settings: CoinGeckoSettings,
    client: Client,
    plan: Option<Plan>,
}

impl CoinGecko {
    /// A source that has asked for nothing yet.
    ///
    /// # Errors
    /// When the base URL is none, there are no coins, or the key cannot be sent.
    pub fn new(mut settings: CoinGeckoSettings) -> Result<Self, SourceError> {
        let default = match &settings.key {
            Some(ApiKey { kind: KeyKind::Pro, .. }) => PRO_URL,
            _ => PUBLIC_URL,
        };
        let text = settings.base_url.as_deref().unwrap_or(default).trim();
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
        if let Some(key) = &settings.key
            && (key.secret.is_empty() || !key.secret.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(SourceError::Setting(
                "the CoinGecko API key is not one: it is empty or holds blanks or odd characters".into(),
            ));
        }
        let plan = Plan::of(base.host_str().unwrap_or_default(), settings.key.as_ref().map(|key| key.kind));
        let client = Client::new(&settings, base)?;
        Ok(Self { settings, client, plan })
    }

    /// Calls that one poll takes.
    fn pages(&self) -> u32 {
        u32::try_from(self.settings.coins.len().div_ceil(PAGE)).unwrap_or(u32::MAX)
    }

    /// Polls until told to stop, and meanwhile fetches `fills`, the preferred coin's first.
    ///
    /// # Errors
    /// None so far: whatever fails is tried again.
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

/// What the future in `slot` gives, which empties the slot; never, while it is empty.
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
    fn settings_that_cannot_work_are_refused_in_words() {
        let refused = |change: fn(&mut CoinGeckoSettings)| {
            let mut settings = CoinGeckoSettings::default();
            change(&mut settings);
            CoinGecko::new(settings).expect_err("refused").to_string()
        };
        assert!(
            refused(|s| s.base_url = Some("api.coingecko.com".into()))
                .contains("'api.coingecko.com' is not the URL")
        );
        assert!(refused(|s| s.base_url = Some("ftp://x/".into())).contains("http(s)"));
        assert!(refused(|s| s.coins = vec![" ".into()]).contains("no coins"));
        let key = refused(|s| s.key = Some(ApiKey { kind: KeyKind::Demo, secret: "CG 1".into() }));
        assert!(key.contains("key") && !key.contains("CG 1"));
    }

    #[test]
    fn coins_are_tidied_and_hosts_follow_the_key() {
        let coins = [" Bitcoin", "bitcoin", "", "ethereum "].map(str::to_owned).to_vec();
        let key = Some(ApiKey { kind: KeyKind::Pro, secret: "CG-1".into() });
        let source =
            CoinGecko::new(CoinGeckoSettings { key, coins, ..CoinGeckoSettings::default() }).expect("sound");
        assert_eq!(source.settings.coins, ["bitcoin", "ethereum"]);
        assert_eq!(source.plan.map(|p| p.per_minute), Some(500));
        assert!(!format!("{source:?}").contains("CG-1"));
    }
}
