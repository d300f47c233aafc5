//! Frames as text at several sizes, styles apart, and a draw at every size there is.

mod pictures;

use std::sync::Arc;

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::market::{Alert, Interval, SECOND};
use crate::pipeline::status::{Component, Failure, Live, Role, Snapshot, SourceState, StageKind, StageState};
use crate::query::CandleSeries;
use crate::tui::app::{Effect, Message, Question};
use crate::tui::format::Zone;
use crate::tui::theme::ThemeKind;
use crate::tui::{DashboardSettings, fixture, screenshot};

fn buffer(app: &App) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(app.size().width, app.size().height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    (0..buffer.area.height)
        .map(|y| {
            (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned()
        })
        .collect()
}

fn text(app: &App) -> String {
    lines(&buffer(app)).join("\n")
}

fn empty(width: u16, height: u16) -> App {
    App::new(
        &DashboardSettings { zone: Zone::Utc, ..DashboardSettings::default() },
        Size::new(width, height),
        fixture::NOW,
    )
}

fn with(width: u16, height: u16, change: impl FnOnce(&mut Snapshot)) -> App {
    let mut app = empty(width, height);
    let mut snapshot = fixture::snapshot();
    change(&mut snapshot);
    fixture::send(&mut app, Message::Snapshot(Arc::new(snapshot)));
    app
}

fn failed(component: Component, why: &str) -> Failure {
    Failure { component, why: why.to_owned(), at: fixture::NOW - SECOND, ended: None }
}

/// The text of a style's cells.
fn styled(buffer: &Buffer, wanted: impl Fn(&ratatui::buffer::Cell) -> bool) -> String {
    buffer.content().iter().filter(|c| wanted(c)).map(ratatui::buffer::Cell::symbol).collect()
}

#[test]
fn all_panes_are_there_when_there_is_room() {
    let text = text(&fixture::app(160, 48, ThemeKind::Default));
    for words in [
        "● LIVE  coingecko",
        "Markets",
        "Bitcoin BTC/USD · 1m",
        "SMA 20",
        "Pipeline",
        "Alerts",
        "Logs",
        "Data by CoinGecko",
        "closes in 0:28",
        "▸1 BTC",
        "0.00001234",
        "◂  104,180.0",
        "quiet to 14:10",
        "memory 92.0 MB",
        "? help",
        "14:07:32 UTC",
    ] {
        assert!(text.contains(words), "{words:?} is missing in\n{text}");
    }
}

#[test]
fn a_small_terminal_is_told_the_size_it_needs() {
    let text = text(&empty(40, 10));
    assert!(text.contains("60x16") && text.contains("q quits"), "{text}");
}

#[test]
fn small_frames_look_like_this() {
    insta::assert_snapshot!("60x16", text(&fixture::app(60, 16, ThemeKind::Default)));
    insta::assert_snapshot!("80x24", text(&fixture::app(80, 24, ThemeKind::Default)));
    insta::assert_snapshot!("100x30", text(&fixture::app(100, 30, ThemeKind::Default)));
}

#[test]
fn the_state_is_told_in_words() {
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
fn failures_are_told_in_words() {
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
fn there_are_words_where_there_is_nothing_yet() {
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
fn rising_and_falling_differ_by_colour_and_by_glyph() {
    let buffer = buffer(&fixture::app(160, 48, ThemeKind::Default));
    let (green, red) = (styled(&buffer, |c| c.fg == Color::Green), styled(&buffer, |c| c.fg == Color::Red));
    assert!(green.contains('▲') && !green.contains('▼') && green.contains('┃'));
    assert!(red.contains('▼') && !red.contains('▲') && red.contains('┃'));
}

#[test]
fn without_colours_modifiers_carry_it() {
    let settings = DashboardSettings {
        no_color: true,
        theme: ThemeKind::Truecolor,
        interval: Some(Interval::Minute1),
        ..DashboardSettings::default()
    };
    let mut app = App::new(&settings, Size::new(160, 48), fixture::NOW);
    fixture::send(&mut app, Message::Snapshot(Arc::new(fixture::snapshot())));
    let buffer = buffer(&app);
    assert!(buffer.content().iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset));
    assert!(styled(&buffer, |c| c.modifier.contains(Modifier::REVERSED)).contains("BTC"), "the selected row");
    assert!(styled(&buffer, |c| c.modifier.contains(Modifier::DIM)).contains('▼'));
    assert!(styled(&buffer, |c| c.modifier.contains(Modifier::BOLD)).contains('▲'));
}

#[test]
fn a_quiet_source_starts_at_five_minutes_and_says_why() {
    let app = with(160, 48, |_| ());
    let text = text(&app);
    assert!(text.contains("BTC/USD · 5m") && text.contains("prices move about once a minute"), "{text}");
    let app =
        with(160, 48, |s| s.source.as_mut().unwrap().kind = crate::pipeline::status::SourceKind::Simulator);
    assert!(lines(&buffer(&app))[1].contains("BTC/USD · 1m"));
}

#[test]
fn wide_and_combining_symbols_do_not_shift_the_table() {
    for symbol in
        ["比特币", "価格\u{7}", "🚀🌙", "é\u{301}\u{308}", "\u{202e}abc\u{2066}", "ab\u{fe0f}☀\u{fe0f}"]
    {
        for (w, h) in SIZES {
            let app = with(w, h, |s| {
                let mut live = (*s.live).clone();
                live[0].symbol = Some(symbol.into());
                s.live = Arc::new(live);
            });
            let buffer = buffer(&app);
            let border = app.layout.area(Pane::Markets).unwrap().right() - 1;
            for y in [3, 4] {
                assert_eq!(buffer[(border, y)].symbol(), "│", "{symbol} at {w}x{h}:\n{}", text(&app));
            }
            let price = |y| (0..border).rev().find(|x| buffer[(*x, y)].symbol() == ".");
            assert_eq!(price(3).map(|_| ()), Some(()), "{symbol} at {w}x{h}");
        }
    }
}

#[test]
fn drawing_never_panics_whatever_the_size() {
    let mut app = fixture::app(160, 48, ThemeKind::Default);
    for code in ['h', 'i'] {
        app.update(Message::Key(KeyCode::Char(code).into()));
    }
    let mut bare = empty(160, 48);
    for width in 1..=120 {
        for height in 1..=40 {
            for app in [&mut app, &mut bare] {
                app.update(Message::Resize(Size::new(width, height)));
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                render(&mut buffer, Rect::new(0, 0, width, height), app);
            }
        }
    }
}

#[test]
fn every_pane_can_be_drawn_alone_and_at_the_charts_place() {
    for (w, h) in [(60, 16), (80, 24), (160, 48)] {
        let mut app = fixture::app(w, h, ThemeKind::Default);
        for _ in 0..Pane::ALL.len() {
            app.update(Message::Key(KeyCode::Tab.into()));
            assert!(
                app.layout.panes.iter().any(|(p, _)| *p == app.focus),
                "{:?} is not visible at {w}x{h}",
                app.focus
            );
            let _ = text(&app);
            app.update(Message::Key(KeyCode::Char('z').into()));
            assert_eq!(app.layout.panes.len(), 1);
            let _ = text(&app);
            app.update(Message::Key(KeyCode::Char('z').into()));
        }
    }
}

#[test]
fn the_help_tells_every_key() {
    let mut app = fixture::app(160, 48, ThemeKind::Default);
    app.update(Message::Key(KeyCode::Char('?').into()));
    let text = text(&app);
    for binding in crate::tui::input::KEYS {
        assert!(text.contains(binding.help), "{:?} is missing in\n{text}", binding.help);
    }
}

#[test]
fn a_picture_has_every_text_of_the_frame() {
    let app = fixture::app(100, 30, ThemeKind::Truecolor);
    let svg = screenshot::svg(&app, 100, 30);
    for words in ["Bitcoin", "104,180.0", "Pipeline", "Alerts"] {
        assert!(svg.contains(words), "{words}");
    }
}

/// What real stages say when the disk is full, when a file is in the way, and when the network is gone.
const CAUSES: [&str; 3] = [
    "No space left on device (os error 28): cannot write silver: Generic LocalFileSystem error: Unable to copy \
     data to file /var/lib/cryptostream/storage/silver/crypto_transformed/date=2026-11-25/part-00000-0199a-c000.zstd.parquet",
    "Permission denied (os error 13): cannot commit to silver: Failed to write a version to the log store",
    "connection refused (os error 111): cannot reach https://api.coingecko.com/api/v3/coins/markets",
];
const SIZES: [(u16, u16); 6] = [(60, 16), (72, 20), (80, 24), (100, 30), (120, 40), (160, 48)];

/// The frame's text with its line breaks as blanks.
fn flowing(app: &App) -> String {
    let rows = lines(&buffer(app));
    rows.iter().map(|row| row.trim()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_cause_of_a_failure_comes_first_and_is_whole_at_every_size() {
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

/// A dashboard all of whose prices are near `price`.
fn priced(width: u16, height: u16, price: f64) -> App {
    let mut app = empty(width, height);
    let mut snapshot = fixture::snapshot();
    let live = snapshot.live.iter().cloned().map(|l| Live { price, open: vec![], ..l });
    snapshot.live = Arc::new(live.collect());
    let mut messages = vec![Message::Snapshot(Arc::new(snapshot))];
    while let Some(message) = messages.pop() {
        for effect in app.update(message) {
            messages.extend(match effect {
                Effect::Ask(Question::Candles(query)) => {
                    let candles = fixture::candles(price, query.interval, 300, fixture::NOW, true);
                    Some(Message::Candles(
                        query,
                        Ok(CandleSeries { candles, total: 300, ..CandleSeries::default() }),
                    ))
                }
                Effect::Ask(Question::Alerts(_)) => {
                    let range = |a| Alert { avg_price: price, min_price: price, max_price: price, ..a };
                    Some(Message::Alerts(Ok(fixture::alerts().into_iter().map(range).collect())))
                }
                Effect::Ask(question) => Some(fixture::reply(&question)),
                Effect::Selected(_) | Effect::Suspend | Effect::Quit => None,
            });
        }
    }
    app
}

#[test]
fn tiny_prices_are_written_with_four_digits_and_never_cut() {
    for price in [3.217e-13, 4.285e-11, 9.876e-9, 1.2341e-7, 1.0172e-5, 1.234e14] {
        let digits: String = format!("{price:.3e}").chars().filter(char::is_ascii_digit).take(4).collect();
        for (w, h) in SIZES {
            for keys in ["", "hhh", "z", "\t\tz", "\t\t\t\tz"] {
                let mut app = priced(w, h, price);
                for key in keys.chars() {
                    let code = if key == '\t' { KeyCode::Tab } else { KeyCode::Char(key) };
                    app.update(Message::Key(code.into()));
                }
                let text = text(&app);
                assert!(!text.contains('…'), "{price} at {w}x{h} after {keys:?}:\n{text}");
                let written: String = text.chars().filter(|c| !matches!(c, '.' | ',')).collect();
                assert!(written.contains(&digits), "{price} at {w}x{h} after {keys:?}:\n{text}");
            }
        }
    }
}

#[test]
fn the_tenth_coin_has_its_rank_and_its_mark() {
    for (w, h) in SIZES {
        let mut app = fixture::app(w, h, ThemeKind::Default);
        app.update(Message::Key(KeyCode::Char('0').into()));
        assert!(text(&app).contains("▸10 SHIB"), "{w}x{h}:\n{}", text(&app));
    }
}
