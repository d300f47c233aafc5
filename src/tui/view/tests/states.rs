//! The texts of the frame by state: source, failures, notices, and panes without data.

use super::*;

#[test]
fn the_status_line_shows_the_state_of_the_source() {
    let source = |state| move |s: &mut Snapshot| s.source.as_mut().unwrap().state = state;
    let monitor = |s: &mut Snapshot| {
        s.source = None;
        s.role = Role::Monitor { why: "process 4711 feeds ./storage".to_owned(), takes_over: true };
    };
    let first = |app: &App| lines(&buffer(app)).swap_remove(0);
    for (app, words) in [
        (empty(160, 48), "○ STARTING"),
        (with(160, 48, source(SourceState::Starting)), "○ STARTING  coingecko"),
        (with(160, 48, source(SourceState::Live)), "● LIVE  coingecko"),
        (with(160, 48, |s| s.live = Arc::new(vec![])), "○ CONNECTING  coingecko: no price yet"),
        (
            with(160, 48, |s| s.source.as_mut().unwrap().last_delivery = None),
            "○ CONNECTING  coingecko: no price yet",
        ),
        (
            with(
                160,
                48,
                source(SourceState::Reconnecting {
                    at: fixture::NOW + 8 * SECOND,
                    attempt: 2,
                    why: "429 rate limited".to_owned(),
                }),
            ),
            "↻ RECONNECTING in 8 s  coingecko",
        ),
        (with(160, 48, source(SourceState::Replaying { done: Some(0.43) })), "▶ REPLAY 43 %"),
        (with(160, 48, source(SourceState::Simulating)), "◆ SIMULATED"),
        (with(160, 48, source(SourceState::Finished)), "■ FINISHED"),
        (with(160, 48, monitor), "◉ MONITOR  process 4711 feeds ./storage"),
    ] {
        assert!(first(&app).contains(words), "{words:?} is not in {:?}", first(&app));
    }
    let mut app = with(160, 48, |_| ());
    app.update(Message::Tick(fixture::NOW + 100 * SECOND));
    assert!(first(&app).contains("◐ STALE 101 s"), "{}", first(&app));
}

#[test]
fn failures_and_notices_are_shown() {
    let app = with(160, 48, |s| {
        s.last_error = Some(failed(Component::Stage(StageKind::Gold), "disk full\u{1b}[2J"));
        s.stages[2].state =
            StageState::Restarting { at: fixture::NOW + 3 * SECOND, why: "disk full".to_owned() };
        s.source.as_mut().unwrap().notices.push("no such coin: bitcorn".to_owned());
    });
    let text = text(&app);
    assert!(
        text.contains("! gold: disk full · again in 3 s")
            && text.contains("↻ in 3 s")
            && text.contains("bitcorn"),
        "{text}"
    );
}

#[test]
fn no_figure_of_the_pipeline_pane_is_cut() {
    let minute = 60 * SECOND;
    for (rate, lag, poll) in [
        (0.4, 7, 15 * SECOND),
        (987.0, 987, 119 * SECOND),
        (3_031.0, 3_031, 10 * minute),
        (99_940.0, 99_940, 119 * minute),
        (873_000.0, 1_234_567, 24 * 60 * minute),
    ] {
        for (width, height) in [(160, 48), (100, 30), (80, 24)] {
            let mut app = with(width, height, |s| {
                s.last_error = None;
                s.source.as_mut().unwrap().next_poll = Some(fixture::NOW + poll);
                for stage in &mut s.stages {
                    (stage.in_per_second, stage.out_per_second, stage.lag) = (rate, rate, lag);
                }
            });
            while app.layout.area(Pane::Pipeline).is_none() {
                app.update(Message::Key(KeyCode::Tab.into())); // a small screen shows the focused pane
            }
            let pane = app.layout.area(Pane::Pipeline).unwrap();
            let buffer = buffer(&app);
            let row = |y| (pane.left()..pane.right()).map(|x| buffer[(x, y)].symbol()).collect::<String>();
            let rows: Vec<_> = (pane.top()..pane.bottom()).map(row).collect();
            assert!(!rows.iter().any(|row| row.contains('…')), "{width}x{height} {rate}: {rows:#?}");
        }
    }
}

#[test]
fn a_stopped_stage_has_no_rate() {
    let with_state = |state: StageState| {
        with(160, 48, move |s| {
            for stage in &mut s.stages {
                (stage.state, stage.in_per_second) = (state.clone(), 3_031.0);
            }
        })
    };
    assert!(text(&with_state(StageState::Ok)).contains("3.03k"));
    assert!(!text(&with_state(StageState::Stopped)).contains("3.03k"));
}

#[test]
fn panes_without_data_have_a_message() {
    let text_of = text(&empty(160, 48));
    for words in ["waiting for the first prices…", "no coin yet", "the pipeline is starting…"] {
        assert!(text_of.contains(words), "{words:?} is missing in\n{text_of}");
    }
    let mut app = empty(160, 48);
    let mut snapshot = fixture::snapshot();
    snapshot.live = Arc::new(snapshot.live.iter().cloned().map(|l| Live { open: vec![], ..l }).collect());
    let mut effects = app.update(Message::Snapshot(Arc::new(snapshot)));
    assert!(text(&app).contains("reading candles…"), "{}", text(&app));
    while let Some(effect) = effects.pop() {
        let answer = match effect {
            Effect::Ask(Question::Candles(query)) => Message::Candles(query, Ok(CandleSeries::default())),
            Effect::Ask(Question::Alerts(_)) => Message::Alerts(Ok(vec![])),
            Effect::Ask(Question::Markets) => Message::Markets(Err("no such file".to_owned())),
            Effect::Selected(_) | Effect::Suspend | Effect::Quit => continue,
        };
        effects.extend(app.update(answer));
    }
    let text = text(&app);
    assert!(text.contains("waiting for the first closed minute…"), "{text}");
    assert!(text.contains("no candle has been more volatile than 0.2 % yet"), "{text}");
}

#[test]
fn a_failed_question_is_shown() {
    let mut app = empty(160, 48);
    let mut snapshot = fixture::snapshot();
    snapshot.live = Arc::new(Vec::new());
    app.update(Message::Snapshot(Arc::new(snapshot)));
    app.update(Message::Markets(Err("storage/gold is gone".to_owned())));
    app.update(Message::Alerts(Err("storage/alerts is gone".to_owned())));
    let text = text(&app);
    assert!(text.contains("storage/gold") && text.contains("storage/alerts"), "{text}");
}

#[test]
fn coingecko_starts_at_five_minutes_with_the_reason() {
    let app = with(160, 48, |_| ());
    let text = text(&app);
    assert!(text.contains("BTC/USD · 5m") && text.contains("prices move about once a minute"), "{text}");
    let app =
        with(160, 48, |s| s.source.as_mut().unwrap().kind = crate::pipeline::status::SourceKind::Simulator);
    assert!(lines(&buffer(&app))[1].contains("BTC/USD · 1m"));
}

/// Real errors of a full disk, a missing permission and an unreachable network, in one line.
const CAUSES: [&str; 3] = [
    "No space left on device (os error 28): cannot write silver: Generic LocalFileSystem error: Unable to copy \
     data to file /var/lib/cryptostream/storage/silver/crypto_transformed/date=2026-11-25/part-00000-0199a-c000.zstd.parquet",
    "Permission denied (os error 13): cannot commit to silver: Failed to write a version to the log store",
    "connection refused (os error 111): cannot reach https://api.coingecko.com/api/v3/coins/markets",
];

/// The text of the frame, its rows joined by blanks.
fn flowing(app: &App) -> String {
    let rows = lines(&buffer(app));
    rows.iter().map(|row| row.trim()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_cause_of_a_failure_comes_first_and_is_not_cut_at_any_size() {
    for why in CAUSES {
        let cause = why.split(": ").next().unwrap();
        for (w, h) in SIZES {
            let stage = with(w, h, |s| {
                for stage in &mut s.stages[..2] {
                    let at = fixture::NOW + 4 * SECOND;
                    stage.state = StageState::Restarting { at, why: why.to_owned() };
                }
                s.last_error = Some(failed(Component::Stage(StageKind::Silver), why));
                s.source.as_mut().unwrap().notices = vec!["history waits: rate limited".to_owned()];
            });
            let text = flowing(&stage);
            assert!(text.contains(&format!("! bronze, silver: {cause}")), "{w}x{h}: {text}");
            assert!(text.contains("again in 4 s") && text.contains("history waits"), "{w}x{h}: {text}");
            let source = with(w, h, |s| {
                let at = fixture::NOW + 8 * SECOND;
                s.source.as_mut().unwrap().state =
                    SourceState::Reconnecting { at, attempt: 3, why: why.to_owned() };
            });
            let text = flowing(&source);
            assert!(text.contains(&format!("! coingecko: {cause}")), "{w}x{h}: {text}");
            assert!(text.contains("RECONNECTING") && text.contains("again in 8 s, try 3"), "{w}x{h}: {text}");
        }
    }
}

#[test]
fn every_notice_is_shown_at_every_size() {
    let notices = [
        "the clock of this machine is 2 h behind the source's",
        "no such coin: bitcorn",
        "history waits: rate limited (429), again in 59 s",
        "no history for renamed-coin: the source does not know it under this name any more",
        "the plan's calls are nearly used up: polls every 60 s",
    ];
    for (w, h) in SIZES {
        let mut app =
            with(w, h, |s| s.source.as_mut().unwrap().notices = notices.map(str::to_owned).to_vec());
        let mut seen = std::collections::BTreeSet::new();
        for second in 0..30 {
            app.update(Message::Tick(fixture::NOW + second * SECOND));
            let text = flowing(&app);
            seen.extend(notices.into_iter().filter(|notice| text.contains(notice)));
        }
        assert_eq!(seen.len(), notices.len(), "{w}x{h}: {seen:?}");
        assert!(app.layout.area(Pane::Chart).is_some_and(|area| area.height >= 9), "{w}x{h}");
    }
}
