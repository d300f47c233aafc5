//! Makes one HTTP call. Every failure (connection, status, size) becomes a [`Failure`] with a message for the
//! status line and what it means for the next attempt.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::header::{ACCEPT, AGE, DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;
use url::{Host, Url};

use super::super::SourceError;
use super::headers::{http_date, retry_after};
use super::{CoinGeckoSettings, Plan, answer};
use crate::market::time::now;
use crate::market::{Micros, SECOND, printable};
use crate::secret::Secret;

/// Most bytes of an error response that are read for its message.
const MAX_ERROR_BODY: usize = 64 << 10;

/// Kinds of failures that need different waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Too many calls.
    RateLimited,
    /// The request is wrong (path, parameters): a retry soon will fail again.
    Refused,
    /// The key, the plan or the network has no access: a retry soon will fail again.
    Denied,
    /// Temporary: a retry soon may succeed.
    Passing,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// The cause, for the status line: `429 rate limited`.
    pub why: String,
    /// The wait that the server's `Retry-After` gives.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of the kind [`FailureKind::Passing`].
    pub fn passing(why: impl Into<String>) -> Self {
        Self { kind: FailureKind::Passing, why: why.into(), retry_after: None }
    }
}

/// The result of a call.
#[derive(Debug)]
pub struct Reply {
    /// The decompressed body of a successful answer.
    pub body: Result<Vec<u8>, Failure>,
    /// The server's clock and ours at the time of the answer.
    pub clocks: Option<(Micros, Micros)>,
    /// Time from the request to the end of the body.
    pub took: Duration,
}

#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    plan: Plan,
    api_key: Option<Secret>,
    connect_timeout: Duration,
    timeout: Duration,
    max_bytes: usize,
}

impl Client {
    /// A client for `base`.
    ///
    /// # Errors
    /// When no HTTP client can be set up.
    pub fn new(settings: &CoinGeckoSettings, base: Url) -> Result<Self, SourceError> {
        let CoinGeckoSettings { plan, connect_timeout, timeout, max_bytes, .. } = *settings;
        let api_key = settings.api_key.clone();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cryptostream/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .timeout(timeout)
            // A redirect to another host would send the key there.
            .redirect(Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|e| SourceError::Setting(format!("cannot set up an HTTP client: {}", innermost(&e))))?;
        Ok(Self { http, base, plan, api_key, connect_timeout, timeout, max_bytes })
    }

    /// Requests the prices of at most 250 coins.
    pub async fn markets(&self, vs_currency: &str, ids: &[String]) -> Reply {
        let mut url = self.base.clone();
        // Commas between ids are not percent-encoded, as in the API's documentation.
        let ids: Vec<String> = ids.iter().map(|id| encoded(id)).collect();
        url.set_query(Some(&format!(
            "vs_currency={}&ids={}&per_page={}&page=1",
            encoded(vs_currency),
            ids.join(","),
            super::PAGE
        )));
        self.get(url, &["coins", "markets"]).await
    }

    /// Requests the price history of `coin_id` over the last `days`.
    pub async fn market_chart(&self, coin_id: &str, vs_currency: &str, days: u32) -> Reply {
        let mut url = self.base.clone();
        url.set_query(Some(&format!("vs_currency={}&days={days}", encoded(vs_currency))));
        self.get(url, &["coins", coin_id, "market_chart"]).await
    }

    async fn get(&self, mut url: Url, path: &[&str]) -> Reply {
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let started = Instant::now();
        let mut request = self.http.get(url).header(ACCEPT, "application/json");
        if let Some(key) = &self.api_key {
            request = request.header(key_header(self.plan), key.expose());
        }
        let mut clocks = None;
        let body = match request.send().await {
            Ok(response) => {
                clocks = server_clock(response.headers()).map(|server| (server, now()));
                self.read(response).await
            }
            Err(error) => Err(self.failure(&error)),
        };
        Reply { body, clocks, took: started.elapsed() }
    }

    async fn read(&self, response: Response) -> Result<Vec<u8>, Failure> {
        let status = response.status();
        if status.is_success() {
            return self.body(response, self.max_bytes).await.and_then(|(body, is_whole)| {
                let too_large =
                    || Failure::passing(format!("the answer is larger than {} MiB", self.max_bytes >> 20));
                if is_whole { Ok(body) } else { Err(too_large()) }
            });
        }
        let (headers, cap) = (response.headers().clone(), MAX_ERROR_BODY.min(self.max_bytes));
        // The status is reported even if the body cannot be read.
        let body = self.body(response, cap).await.map(|(body, _)| body).unwrap_or_default();
        Err(refused(status, &headers, &body, self.api_key.is_some()))
    }

    /// The decompressed body up to `cap` bytes, and whether that is all of it.
    async fn body(&self, mut response: Response, cap: usize) -> Result<(Vec<u8>, bool), Failure> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = cap - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        return Ok((body, false));
                    }
                }
                Ok(None) => return Ok((body, true)),
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }

    /// The failure of a call without an answer, or with an incomplete one.
    fn failure(&self, error: &reqwest::Error) -> Failure {
        let cause = innermost(error);
        let io = io_kind(error);
        Failure::passing(if error.is_timeout() && error.is_connect() {
            format!("no connection within {}", humantime::format_duration(self.connect_timeout))
        } else if error.is_timeout() {
            format!("no answer within {}", humantime::format_duration(self.timeout))
        } else if io == Some(io::ErrorKind::ConnectionRefused) {
            format!("connection refused by {}", self.host())
        } else if error.is_connect() && (cause.contains("lookup") || cause.contains("dns")) {
            format!("cannot find the host {}: is this computer online?", self.host())
        } else if error.is_connect() {
            format!("cannot connect to {}: {cause}", self.host())
        } else if error.is_body() || error.is_decode() {
            format!("the answer broke off: {cause}")
        } else if error.is_request() {
            format!("the server closed the connection without an answer: {cause}")
        } else {
            cause
        })
    }

    fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

const fn key_header(plan: Plan) -> HeaderName {
    match plan {
        Plan::Demo => HeaderName::from_static("x-cg-demo-api-key"),
        Plan::Pro => HeaderName::from_static("x-cg-pro-api-key"),
    }
}

/// The failure of an answer whose status is not a success.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], with_key: bool) -> Failure {
    let code = status.as_u16();
    let (kind, what) = match code {
        300..400 => (FailureKind::Refused, "redirected"),
        401 | 403 if with_key => {
            (FailureKind::Denied, "access denied: is the API key right, and of the right kind?")
        }
        401 => (FailureKind::Denied, "access denied: an API key is needed"),
        403 => (FailureKind::Denied, "access denied"),
        404 => (FailureKind::Refused, "not found"),
        408 => (FailureKind::Passing, "timed out"),
        429 => (FailureKind::RateLimited, "rate limited"),
        400..500 => (FailureKind::Refused, "request refused"),
        _ => (FailureKind::Passing, "server error"),
    };
    let details = match headers.get(LOCATION).and_then(|to| to.to_str().ok()) {
        Some(to) if status.is_redirection() => {
            Some(format!("to {}: is the base URL right?", printable(to.split('?').next().unwrap_or(to))))
        }
        _ => answer::error_message(body).filter(|message| !repeats(message, status)),
    };
    let why = details.map_or_else(
        || format!("{code} {what}"),
        |details| format!("{code} {what}: {details}").replace("?: ", "? "),
    );
    let wait = headers.get(RETRY_AFTER).and_then(|text| retry_after(text.to_str().ok()?, now()));
    Failure { kind, why, retry_after: wait }
}

/// Whether a server's message only repeats the status: `429 Too Many Requests`.
fn repeats(message: &str, status: StatusCode) -> bool {
    let reason = message.strip_prefix(status.as_str()).unwrap_or(message).trim_start_matches([' ', ':', '-']);
    status.canonical_reason().is_some_and(|canonical| reason.eq_ignore_ascii_case(canonical))
}

/// The server's clock: the header `Date` plus, for an answer from a cache, `Age`.
fn server_clock(headers: &HeaderMap) -> Option<Micros> {
    let date = http_date(headers.get(DATE)?.to_str().ok()?)?;
    let age: u32 = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    Some(date + Micros::from(age) * SECOND)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The message of the innermost cause, which is the most specific one.
fn innermost(error: &reqwest::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        message = inner.to_string();
        cause = inner.source();
    }
    printable(&message)
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn why(code: u16, body: &str, key: bool) -> String {
        refused(StatusCode::from_u16(code).expect("a status"), &HeaderMap::new(), body.as_bytes(), key).why
    }

    #[test]
    fn error_responses_give_a_message() {
        assert_eq!(why(429, "", false), "429 rate limited");
        assert_eq!(
            why(429, "<html><head><title>429 Too Many Requests</title></head></html>", false),
            "429 rate limited"
        );
        assert_eq!(why(500, r#"{"status":500,"error":"Internal Server Error"}"#, false), "500 server error");
        assert_eq!(
            why(401, r#"{"error":"no"}"#, true),
            "401 access denied: is the API key right, and of the right kind? no"
        );
        assert_eq!(why(401, "", false), "401 access denied: an API key is needed");
        assert_eq!(why(404, "", false), "404 not found");
        assert_eq!(
            why(422, r#"{"error":"Missing parameter"}"#, false),
            "422 request refused: Missing parameter"
        );
    }

    #[test]
    fn the_wait_and_the_new_location_are_read_from_the_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("53"));
        headers.insert(LOCATION, HeaderValue::from_static("https://example.org/x?key=1"));
        let limited = refused(StatusCode::TOO_MANY_REQUESTS, &headers, b"", false);
        assert_eq!(
            (limited.kind, limited.retry_after),
            (FailureKind::RateLimited, Some(Duration::from_secs(53)))
        );
        let moved = refused(StatusCode::MOVED_PERMANENTLY, &headers, b"", false);
        assert_eq!(moved.why, "301 redirected: to https://example.org/x: is the base URL right?");
    }

    #[test]
    fn the_age_of_a_cached_answer_is_added_to_its_date() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert(AGE, HeaderValue::from_static("30"));
        assert_eq!(server_clock(&headers), Some(784_111_807 * SECOND));
    }
}
