//! `CoinGecko` against a server that does everything wrong that servers do: what is delivered, what the
//! screen is told.

use std::sync::Arc;
use std::time::Duration;

use cryptostream::backoff::Backoff;
use cryptostream::market::records::Delivery;
use cryptostream::market::{MINUTE, Micros, SECOND};
use cryptostream::source::coingecko::{ApiKey, CoinGecko, CoinGeckoSettings, History, KeyKind};
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
        settings.base_url = Some(server.url().to_owned());
        change(&mut settings);
        let (sender, deliveries) = mpsc::channel(1);
        let (status, seen) =
            watch::channel(SourceStatus::starting(SourceKind::Coingecko, settings.coins.len()));
        let (preferred, selected) = watch::channel(None);
        let cancel = CancellationToken::new();
        let outlet = Outlet { deliveries: sender, status, cancel: cancel.clone() };
        let task =
            tokio::spawn(CoinGecko::new(settings).expect("sound settings").run(outlet, fills, selected));
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

    /// Stops it, which must not take a request's time.
    async fn stop(self) {
        self.cancel.cancel();
        let end =
            tokio::time::timeout(LONG, self.task).await.expect("in time").expect("joined").expect("no error");
        assert_eq!(end, End::Stopped);
    }
}

/// One bad answer, then good ones: the words of the bad one, and that the next good one is delivered.
async fn survives(fault: Answer, change: impl FnOnce(&mut CoinGeckoSettings)) -> String {
    let mut run = Run::start(vec![fault, both()], vec![], vec![], change).await;
    let failed = run.until(|s| matches!(s.state, SourceState::Reconnecting { .. })).await;
    let SourceState::Reconnecting { attempt, why, .. } = failed.state else { unreachable!() };
    assert_eq!(attempt, 1);
    assert_eq!(failed.last_error.as_ref(), Some(&why));
    assert_eq!(run.values().await, [BITCOIN, ETHEREUM], "{why}");
    let live = run.until(|s| s.state == SourceState::Live).await;
    assert!(
        live.records >= 2
            && live.last_delivery.is_some()
            && live.round_trip.is_some()
            && live.next_poll.is_some()
    );
    run.stop().await;
    why
}

#[tokio::test]
async fn every_element_is_delivered_byte_for_byte_however_odd() {
    let mut run = Run::polls(vec![list(&[BITCOIN, "null", "7", ETHEREUM, "{}", r#""x""#])]).await;
    let records = run.next().await;
    let keys: Vec<Option<&str>> = records.iter().map(|r| r.0.as_deref()).collect();
    assert_eq!(keys, [Some("bitcoin"), None, None, Some("ethereum"), None, None]);
    let values: Vec<&str> = records.iter().map(|r| r.1.as_str()).collect();
    assert_eq!(values, [BITCOIN, "null", "7", ETHEREUM, "{}", r#""x""#]);
    let status = run.until(|s| s.state == SourceState::Live).await;
    assert!(status.notices.is_empty() && status.quota_left.is_none() && status.last_error.is_none());
    let request = &run.server.requests()[0];
    assert_eq!(
        request.path,
        "/api/v3/coins/markets?vs_currency=usd&ids=bitcoin,ethereum&per_page=250&page=1"
    );
    assert_eq!(request.header("accept-encoding"), Some("gzip"));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("cryptostream/")));
    run.stop().await;
}

#[tokio::test]
async fn answers_may_be_compressed_and_are_repeated_as_they_are() {
    let mut run = Run::polls(vec![both().gzip()]).await;
    for _ in 0..3 {
        assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    }
    run.stop().await;
}

#[tokio::test]
async fn refusals_are_worded_whatever_their_shape() {
    let text = "You've exceeded the Rate Limit.";
    for body in [
        format!(r#"{{"status":{{"error_code":429,"error_message":"{text}"}}}}"#),
        format!(r#"{{"status":429,"error":"{text}"}}"#),
        format!(r#"{{"error":"{text}"}}"#),
        format!("<!DOCTYPE html><html><title>{text}</title>"),
    ] {
        let why = survives(Answer::status(429, &body), |_| ()).await;
        assert_eq!(why, format!("429 rate limited: {text}"));
    }
    assert_eq!(
        survives(Answer::status(500, r#"{"status":500,"error":"Oops"}"#), |_| ()).await,
        "500 server error: Oops"
    );
    assert_eq!(survives(Answer::status(503, ""), |_| ()).await, "503 server error");
    assert_eq!(
        survives(Answer::status(404, r#"{"error":"Incorrect path"}"#), |_| ()).await,
        "404 not found: Incorrect path"
    );
    assert_eq!(survives(Answer::status(422, "{}"), |_| ()).await, "422 request refused");
    assert_eq!(survives(Answer::status(401, ""), |_| ()).await, "401 access denied: it wants an API key");
    let redirect = Answer::status(301, "").header("Location", "https://example.org/v4?x=1");
    assert_eq!(
        survives(redirect, |_| ()).await,
        "301 redirected: to https://example.org/v4: is the base URL right?"
    );
}

#[tokio::test]
async fn what_is_no_list_of_prices_is_worded() {
    let page =
        Answer::json("<!DOCTYPE html><html><title>Access denied</title><body>error code: 1015</body></html>");
    assert_eq!(survives(page, |_| ()).await, "a web page instead of prices: Access denied");
    assert_eq!(
        survives(Answer::json(&format!("[{}", &BITCOIN[..40])), |_| ()).await,
        "the answer is cut off in the middle"
    );
    assert_eq!(
        survives(Answer::json("[]"), |_| ()).await,
        "an empty list: the server knows none of the coins asked for"
    );
    assert_eq!(survives(Answer::json(""), |_| ()).await, "an empty answer");
    assert_eq!(survives(Answer::json(r#"{"error":"no"}"#), |_| ()).await, "no prices but: no");
    let large = format!("[{}]", vec![BITCOIN; 40_000].join(","));
    for answer in [Answer::json(&large), Answer::json(&large).gzip()] {
        assert_eq!(survives(answer, |s| s.max_bytes = 1 << 20).await, "the answer is larger than 1 MiB");
    }
    let broken = Answer::json("[]").header("Content-Encoding", "gzip");
    assert!(survives(broken, |_| ()).await.starts_with("the answer broke off: "));
}

#[tokio::test]
async fn connections_that_fail_are_worded() {
    assert_eq!(
        survives(Answer::Silence(LONG), |s| s.timeout = Duration::from_millis(100)).await,
        "no answer within 100ms"
    );
    assert!(survives(Answer::HangUp, |_| ()).await.starts_with("the server hung up without an answer"));
    assert!(
        survives(Answer::CutOff(b"[{\"id\":".to_vec()), |_| ()).await.starts_with("the answer broke off: ")
    );
    // A port that was free a moment ago.
    let closed =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    for (url, words) in [
        (format!("http://{closed}/api/v3"), format!("connection refused by {closed}")),
        ("http://no-such-host.invalid/api/v3".into(), "no-such-host.invalid".into()),
    ] {
        let mut run = Run::start(vec![], vec![], vec![], |s| s.base_url = Some(url)).await;
        let status = run.until(|s| matches!(s.state, SourceState::Reconnecting { attempt: 2.., .. })).await;
        assert!(
            status.last_error.as_ref().is_some_and(|why| why.contains(&words)),
            "{:?}",
            status.last_error
        );
        run.stop().await;
    }
}

#[tokio::test]
async fn attempts_are_counted_and_success_ends_the_count() {
    let bad = || Answer::status(500, "");
    let mut run = Run::polls(vec![bad(), bad(), bad(), both(), bad(), both()]).await;
    for expected in 1..=3 {
        let failed = |s: &SourceStatus| matches!(s.state, SourceState::Reconnecting { attempt, .. } if attempt >= expected);
        let SourceState::Reconnecting { attempt, at, .. } = run.until(failed).await.state else {
            unreachable!()
        };
        assert!(attempt <= 3 && at > 0);
    }
    run.values().await;
    let again = run.until(|s| matches!(s.state, SourceState::Reconnecting { .. }) && s.records >= 2).await;
    assert!(matches!(again.state, SourceState::Reconnecting { attempt: 1, .. }), "{:?}", again.state);
    run.values().await;
    run.stop().await;
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_obeyed() {
    let limited = Answer::status(429, "").header("Retry-After", "1");
    let started = tokio::time::Instant::now();
    let mut run = Run::polls(vec![limited, both()]).await;
    run.values().await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(run.server.requests().len(), 2);
    run.stop().await;
    let limited = Answer::status(429, "").header("Retry-After", "3000");
    let mut run = Run::polls(vec![limited, both()]).await;
    let status = run.until(|s| matches!(s.state, SourceState::Reconnecting { .. })).await;
    let SourceState::Reconnecting { at, .. } = status.state else { unreachable!() };
    let wait = at - chrono::Utc::now().timestamp_micros();
    assert!((2_900 * SECOND..=3_000 * SECOND).contains(&wait), "{wait}");
    run.stop().await;
}

#[tokio::test]
async fn coins_that_the_answer_leaves_out_are_named_until_they_come() {
    let mut run = Run::polls(vec![list(&[ETHEREUM]), both()]).await;
    assert_eq!(run.values().await, [ETHEREUM]);
    let status = run.until(|s| s.state == SourceState::Live && !s.notices.is_empty()).await;
    assert_eq!(status.notices, ["not in the answer: bitcoin (is the id right?)"]);
    run.values().await;
    run.until(|s| s.notices.is_empty()).await;
    run.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_said() {
    let ahead =
        (chrono::Utc::now() + chrono::Duration::hours(2)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let right = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut run = Run::polls(vec![both().header("Date", ahead), both().header("Date", right)]).await;
    let status = run.until(|s| !s.notices.is_empty()).await;
    assert!(status.notices[0].contains("behind the server's"), "{:?}", status.notices);
    run.values().await;
    run.values().await;
    run.until(|s| s.notices.is_empty()).await;
    run.stop().await;
}

#[tokio::test]
async fn many_coins_are_asked_for_page_by_page_and_what_was_served_is_kept() {
    let coins: Vec<String> = (0..600).map(|n| format!("coin-{n}")).collect();
    let mut run = Run::start(
        vec![list(&[BITCOIN]), list(&[ETHEREUM]), Answer::status(500, ""), list(&[BITCOIN])],
        vec![],
        vec![],
        |s| {
            s.coins = coins;
        },
    )
    .await;
    assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    run.until(|s| matches!(s.state, SourceState::Reconnecting { .. })).await;
    assert_eq!(run.values().await, [BITCOIN; 3]);
    let ids: Vec<usize> =
        run.server.requests().iter().take(3).map(|r| r.path.matches("coin-").count()).collect();
    assert_eq!(ids, [250, 250, 100]);
    run.stop().await;
}

#[tokio::test]
async fn keys_go_into_their_headers_and_nowhere_else() {
    for (kind, header) in [(KeyKind::Demo, "x-cg-demo-api-key"), (KeyKind::Pro, "x-cg-pro-api-key")] {
        let key = ApiKey { kind, secret: "CG-secret".into() };
        let markets =
            vec![Answer::status(401, r#"{"status":{"error_code":10002,"error_message":"Missing"}}"#), both()];
        let mut run = Run::start(markets, vec![], vec![], |s| s.key = Some(key)).await;
        let status = run.until(|s| s.last_error.is_some()).await;
        let words = status.last_error.clone().unwrap_or_default();
        assert_eq!(words, "401 access denied: is the API key right, and of the right kind? Missing");
        run.values().await;
        let request = &run.server.requests()[0];
        assert_eq!(request.header(header), Some("CG-secret"));
        assert!(!request.path.contains("secret"));
        assert!(status.quota_left.is_none(), "the quota binds CoinGecko's own hosts only");
        run.stop().await;
    }
}

fn fill(coin: &str, to: Option<Micros>) -> Fill {
    Fill { coin_id: coin.into(), from: T - 60 * MINUTE, to }
}

#[tokio::test]
async fn history_comes_after_the_first_poll_up_to_the_first_live_tick() {
    let fills = vec![fill("bitcoin", None), fill("ethereum", Some(T - MINUTE)), fill("unseen", None)];
    let mut run = Run::start(vec![both()], vec![Answer::json(CHART)], fills, |s| s.poll = LONG).await;
    assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    for (coin, to) in [("bitcoin", T), ("ethereum", T - MINUTE)] {
        let headers = format!(r#"{{"fill_from":{},"fill_to":{to},"quote":"usd"}}"#, T - 60 * MINUTE);
        assert_eq!(run.next().await, [(Some(coin.into()), CHART.to_owned(), Some(headers))]);
    }
    let paths: Vec<String> = run.server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(paths[1], "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1");
    assert_eq!(paths.len(), 3);
    run.stop().await;
}

#[tokio::test]
async fn the_selected_coins_history_comes_first_and_a_week_is_asked_for_where_needed() {
    let fills = vec![fill("bitcoin", None), fill("ethereum", None)];
    let mut run = Run::start(vec![Answer::status(500, ""), both()], vec![Answer::json(CHART)], fills, |s| {
        s.poll = LONG;
        s.history = History::Week;
    })
    .await;
    run.preferred.send_replace(Some("ethereum".into()));
    run.values().await;
    assert_eq!(
        [run.next().await[0].0.clone(), run.next().await[0].0.clone()],
        [Some("ethereum".into()), Some("bitcoin".into())]
    );
    assert!(run.server.requests()[2].path.ends_with("days=7"));
    run.stop().await;
}

#[tokio::test]
async fn history_that_fails_is_tried_again_and_given_up_where_the_coin_is_unknown() {
    let unknown = Answer::status(404, r#"{"error":"coin not found"}"#);
    let page = Answer::json("<html><title>Access denied</title>");
    let charts =
        vec![unknown, Answer::status(429, ""), page, Answer::json(r#"{"prices":[[1"#), Answer::json(CHART)];
    let fills = vec![fill("bitcoin", Some(T)), fill("ethereum", None)];
    let mut run = Run::start(vec![both()], charts, fills, |_| ()).await;
    loop {
        let records = run.next().await;
        if records[0].1 == CHART {
            assert_eq!(records[0].0.as_deref(), Some("ethereum"));
            break;
        }
        assert_eq!(records.len(), 2, "polls go on meanwhile");
    }
    let status = run.until(|s| !s.notices.is_empty()).await;
    assert_eq!(status.notices, ["no history of bitcoin: 404 not found: coin not found"]);
    assert_eq!(status.state, SourceState::Live);
    assert_eq!(run.server.requests().iter().filter(|r| r.path.contains("market_chart")).count(), 5);
    run.stop().await;
}

#[tokio::test]
async fn a_gap_is_filled_from_history() {
    let later = BITCOIN.replace("00:00:00", "01:00:00");
    let away = Answer::status(503, "").header("Retry-After", "0.3");
    let mut run =
        Run::start(vec![list(&[BITCOIN]), away, list(&[&later])], vec![Answer::json(CHART)], vec![], |s| {
            s.gap = Duration::from_millis(200);
        })
        .await;
    assert_eq!(run.values().await, [BITCOIN]);
    assert_eq!(run.values().await, [later.as_str()]);
    loop {
        let records = run.next().await;
        if records[0].1 == CHART {
            let headers = format!(r#"{{"fill_from":{},"fill_to":{},"quote":"usd"}}"#, T + 1, T + 60 * MINUTE);
            assert_eq!(records, [(Some("bitcoin".into()), CHART.to_owned(), Some(headers))]);
            break;
        }
    }
    run.stop().await;
}

#[tokio::test]
async fn no_history_is_asked_for_when_it_is_off() {
    let mut run = Run::start(vec![both()], vec![Answer::json(CHART)], vec![fill("bitcoin", None)], |s| {
        s.history = History::Off;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    }
    run.stop().await;
}

#[tokio::test]
async fn it_stops_at_once_in_the_middle_of_requests() {
    let slow = || Answer::Silence(LONG);
    let mut run =
        Run::start(vec![both(), slow()], vec![slow()], vec![fill("bitcoin", None)], |s| s.timeout = LONG)
            .await;
    run.values().await;
    // Both a poll and a history request hang.
    tokio::time::timeout(LONG, async {
        while run.server.requests().len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("asked");
    let started = tokio::time::Instant::now();
    run.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5));
}
