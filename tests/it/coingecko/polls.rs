//! Polls that succeed: records, notices, API keys, cancellation.

use super::*;

#[tokio::test]
async fn every_element_is_delivered_byte_for_byte_whatever_its_type() {
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
async fn compressed_answers_are_delivered_in_every_poll() {
    let mut run = Run::polls(vec![both().gzip()]).await;
    for _ in 0..3 {
        assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    }
    run.stop().await;
}

#[tokio::test]
async fn coins_missing_in_the_answer_give_a_notice_until_they_appear() {
    let mut run = Run::polls(vec![list(&[ETHEREUM]), both()]).await;
    assert_eq!(run.values().await, [ETHEREUM]);
    let status = run.until(|s| s.state == SourceState::Live && !s.notices.is_empty()).await;
    assert_eq!(status.notices, ["not in the answer: bitcoin (is the id right?)"]);
    run.values().await;
    run.until(|s| s.notices.is_empty()).await;
    run.stop().await;
}

#[tokio::test]
async fn a_wrong_clock_gives_a_notice() {
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
async fn many_coins_are_requested_in_pages_and_those_before_a_failure_are_delivered() {
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
async fn api_keys_are_sent_in_their_header_only() {
    for (plan, header) in [(Plan::Demo, "x-cg-demo-api-key"), (Plan::Pro, "x-cg-pro-api-key")] {
        let markets =
            vec![Answer::status(401, r#"{"status":{"error_code":10002,"error_message":"Missing"}}"#), both()];
        let mut run = Run::start(markets, vec![], vec![], |s| {
            (s.plan, s.api_key) = (plan, Some(Secret::new("CG-secret")));
        })
        .await;
        let status = run.until(|s| s.last_error.is_some()).await;
        let error = status.last_error.clone().unwrap_or_default();
        assert_eq!(error, "401 access denied: is the API key right, and of the right kind? Missing");
        run.values().await;
        let request = &run.server.requests()[0];
        assert_eq!(request.header(header), Some("CG-secret"));
        assert!(!request.path.contains("secret"));
        assert!(status.quota_left.is_none(), "quotas apply to CoinGecko's own hosts only");
        run.stop().await;
    }
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
    .expect("requested");
    let started = tokio::time::Instant::now();
    run.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn another_currency_is_requested_and_is_in_each_records_headers() {
    let mut run = Run::start(vec![both()], vec![], vec![], |s| s.vs_currency = "eur".into()).await;
    for (_, _, headers) in run.next().await {
        assert_eq!(headers.as_deref(), Some(r#"{"quote":"eur"}"#));
    }
    assert!(run.server.requests()[0].path.contains("?vs_currency=eur&"));
    run.stop().await;
}
