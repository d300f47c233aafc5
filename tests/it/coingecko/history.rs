//! History: when it is requested, and what happens when a request fails.

use super::*;

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
async fn the_selected_coins_history_comes_first_and_a_week_is_requested_where_needed() {
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
async fn failed_history_is_retried_unless_the_coin_is_unknown() {
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
        assert_eq!(records.len(), 2, "polls continue meanwhile");
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
    let unavailable = Answer::status(503, "").header("Retry-After", "0.3");
    let mut run = Run::start(
        vec![list(&[BITCOIN]), unavailable, list(&[&later])],
        vec![Answer::json(CHART)],
        vec![],
        |s| {
            s.gap = Duration::from_millis(200);
        },
    )
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
async fn no_history_is_requested_when_it_is_off() {
    let mut run = Run::start(vec![both()], vec![Answer::json(CHART)], vec![fill("bitcoin", None)], |s| {
        s.history = History::Off;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    }
    run.stop().await;
}

/// Number of history requests.
fn history_requests(run: &Run) -> usize {
    run.server.requests().iter().filter(|request| request.path.contains("market_chart")).count()
}

/// Waits for the first poll after which there are notices, and returns them.
async fn notices(run: &mut Run) -> Vec<String> {
    loop {
        assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
        let notices = run.status.borrow().notices.clone();
        if !notices.is_empty() {
            return notices;
        }
    }
}

#[tokio::test]
async fn the_poll_interval_stays_while_history_is_rate_limited() {
    let page = || Answer::status(429, "<html><head><title>429 Too Many Requests</title></head></html>");
    // Each of the two makes history wait for longer than this test takes.
    for (refusal, backoff) in [(page().header("Retry-After", "100"), settings().backoff.cap), (page(), LONG)]
    {
        let fills = vec![fill("bitcoin", None), fill("ethereum", None)];
        let mut run = Run::start(vec![both()], vec![refusal], fills, |s| {
            s.backoff = Backoff { first: backoff, cap: backoff };
        })
        .await;
        assert_eq!(notices(&mut run).await, ["history waits: 429 rate limited"]);
        for _ in 0..20 {
            assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
        }
        let status = run.status.borrow().clone();
        assert_eq!((status.state, status.poll), (SourceState::Live, Some(Duration::from_millis(5))));
        assert!(status.next_poll < Some(now() + SECOND));
        assert_eq!(history_requests(&run), 1, "the limit applies to the other coin's history, too");
        run.stop().await;
    }
}

#[tokio::test]
async fn the_notice_is_removed_when_history_succeeds() {
    let charts = vec![Answer::status(429, ""), Answer::json(CHART)];
    let mut run = Run::start(vec![both()], charts, vec![fill("bitcoin", None)], |_| ()).await;
    while run.next().await[0].1 != CHART {}
    run.until(|s| s.notices.is_empty()).await;
    run.stop().await;
}

#[tokio::test]
async fn denied_history_waits_for_an_hour_and_gives_one_notice() {
    let denied =
        r#"{"status":{"error_code":10012,"error_message":"Your request exceeds the allowed time range."}}"#;
    let fills = vec![fill("bitcoin", None), fill("ethereum", None)];
    let mut run = Run::start(vec![both()], vec![Answer::status(401, denied)], fills, |_| ()).await;
    let shown = notices(&mut run).await;
    let [notice] = &shown[..] else { panic!("{shown:?}") };
    let (until, why) = notice.split_once(" UTC: ").expect("a time and a cause");
    assert!(until.starts_with("history waits until "), "{notice}");
    assert_eq!(why, "401 access denied: an API key is needed: Your request exceeds the allowed time range.");
    for _ in 0..5 {
        assert_eq!(run.values().await, [BITCOIN, ETHEREUM]);
    }
    assert_eq!(run.status.borrow().notices, shown, "the text stays the same");
    assert_eq!(history_requests(&run), 1);
    run.stop().await;
}
