//! Polls that fail: the cause in the status, and the time of the next poll.

use super::*;

/// Serves a fault, then good answers; checks that the next good one is delivered and returns the cause in the
/// status.
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
async fn error_responses_of_any_shape_give_their_message() {
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
    assert_eq!(survives(Answer::status(401, ""), |_| ()).await, "401 access denied: an API key is needed");
    let redirect = Answer::status(301, "").header("Location", "https://example.org/v4?x=1");
    assert_eq!(
        survives(redirect, |_| ()).await,
        "301 redirected: to https://example.org/v4: is the base URL right?"
    );
}

#[tokio::test]
async fn answers_without_a_list_of_prices_give_a_message() {
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
    assert_eq!(survives(Answer::json(r#"{"error":"no"}"#), |_| ()).await, "no prices: no");
    let large = format!("[{}]", vec![BITCOIN; 40_000].join(","));
    for answer in [Answer::json(&large), Answer::json(&large).gzip()] {
        assert_eq!(survives(answer, |s| s.max_bytes = 1 << 20).await, "the answer is larger than 1 MiB");
    }
    let broken = Answer::json("[]").header("Content-Encoding", "gzip");
    assert!(survives(broken, |_| ()).await.starts_with("the answer broke off: "));
}

#[tokio::test]
async fn failed_connections_give_a_message() {
    assert_eq!(
        survives(Answer::Silence(LONG), |s| s.timeout = Duration::from_millis(100)).await,
        "no answer within 100ms"
    );
    assert!(
        survives(Answer::HangUp, |_| ())
            .await
            .starts_with("the server closed the connection without an answer")
    );
    assert!(
        survives(Answer::CutOff(b"[{\"id\":".to_vec()), |_| ()).await.starts_with("the answer broke off: ")
    );
    // A port that was free a moment ago.
    let closed =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    for (url, cause) in [
        (format!("http://{closed}/api/v3"), format!("connection refused by {closed}")),
        ("http://no-such-host.invalid/api/v3".into(), "no-such-host.invalid".into()),
    ] {
        let mut run = Run::start(vec![], vec![], vec![], |s| s.base_url = url).await;
        let status = run.until(|s| matches!(s.state, SourceState::Reconnecting { attempt: 2.., .. })).await;
        assert!(
            status.last_error.as_ref().is_some_and(|why| why.contains(&cause)),
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
async fn polls_wait_as_long_as_the_server_asks() {
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
    let wait = at - now();
    assert!((2_900 * SECOND..=3_000 * SECOND).contains(&wait), "{wait}");
    run.stop().await;
}
