//! Frames as text at several sizes, styles apart, and a draw at every size there is.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::market::{Interval, SECOND};
use crate::pipeline::status::{Role, Snapshot, SourceState, StageState};
use crate::tui::app::Message;
use crate::tui::format::Zone;
use crate::tui::theme::ThemeKind;
use crate::tui::{DashboardSettings, fixture, screenshot};

fn buffer(app: &App) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(app.size.width, app.size.height)).unwrap();
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
fn panes_drop_in_a_fixed_order() {
    use Pane::{Alerts, Chart, Logs, Markets, Pipeline};
    let panes = |w, h| layout(&empty(w, h)).panes.into_iter().map(|(p, _)| p).collect::<Vec<_>>();
    assert_eq!(panes(160, 48), [Markets, Chart, Pipeline, Alerts, Logs]);
    assert_eq!(panes(160, 32), [Markets, Chart, Pipeline]);
    assert_eq!(panes(160, 24), [Markets, Chart]);
    assert_eq!(panes(120, 40), [Markets, Chart, Pipeline, Alerts]);
    assert_eq!(panes(80, 40), [Markets, Chart, Alerts]);
    assert_eq!(panes(80, 24), [Markets, Chart]);
    assert_eq!(panes(60, 16), [Markets, Chart]);
    assert_eq!(panes(59, 16), []);
}

#[test]
fn panes_tile_the_screen_without_overlap() {
    for (w, h) in [(160, 48), (250, 70), (150, 40), (100, 30), (120, 40), (80, 50), (80, 24), (60, 16)] {
        let layout = layout(&empty(w, h));
        let area: u32 = layout.panes.iter().map(|(_, a)| a.area()).sum();
        assert_eq!(area, u32::from(w) * u32::from(h - 2), "{w}x{h}");
        for (at, (_, a)) in layout.panes.iter().enumerate() {
            assert!(layout.panes[at + 1..].iter().all(|(_, b)| !a.intersects(*b)), "{w}x{h}");
        }
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
            "↻ RECONNECTING in 8 s  (429 rate limited, try 2)",
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
        s.last_error = Some((fixture::NOW - SECOND, "gold: disk full\u{1b}[2J".to_owned()));
        s.stages[2].state =
            StageState::Restarting { at: fixture::NOW + 3 * SECOND, why: "disk full".to_owned() };
        s.source.as_mut().unwrap().notices.push("no such coin: bitcorn".to_owned());
    });
    let text = text(&app);
    assert!(
        text.contains("! gold restarts: disk full") && text.contains("↻ in 3 s") && text.contains("bitcorn"),
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
    snapshot.live = Arc::new(
        snapshot.live.iter().cloned().map(|l| crate::pipeline::status::Live { open: vec![], ..l }).collect(),
    );
    let mut effects = app.update(Message::Snapshot(Arc::new(snapshot)));
    assert!(text(&app).contains("reading candles…"), "{}", text(&app));
    while let Some(effect) = effects.pop() {
        let answer = match effect {
            crate::tui::app::Effect::AskCandles(query) => Message::Candles(
                query,
                Ok(crate::query::CandleSeries { market: None, candles: vec![], total: 0 }),
            ),
            crate::tui::app::Effect::AskAlerts(_) => Message::Alerts(Ok(vec![])),
            crate::tui::app::Effect::AskMarkets => Message::Markets(Err("no such file".to_owned())),
            _ => continue,
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
fn wide_symbols_do_not_shift_the_table() {
    let mut snapshot = fixture::snapshot();
    let mut live = (*snapshot.live).clone();
    live[0].symbol = Some("価格\u{7}".into());
    snapshot.live = Arc::new(live);
    let mut app = empty(80, 24);
    fixture::send(&mut app, Message::Snapshot(Arc::new(snapshot)));
    let buffer = buffer(&app);
    let column =
        |y: u16| (0..buffer.area.width).rev().find(|x| buffer[(*x, y)].symbol() == "│" && *x < 40 && *x > 20);
    assert_eq!(column(3), column(4));
}

#[test]
fn drawing_never_panics_whatever_the_size() {
    let mut app = fixture::app(160, 48, ThemeKind::Default);
    for code in ['h', 'i'] {
        app.update(Message::Key(crossterm::event::KeyCode::Char(code).into()));
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
            app.update(Message::Key(crossterm::event::KeyCode::Tab.into()));
            assert!(
                layout(&app).panes.iter().any(|(p, _)| *p == app.focus),
                "{:?} is not visible at {w}x{h}",
                app.focus
            );
            let _ = text(&app);
            app.update(Message::Key(crossterm::event::KeyCode::Char('z').into()));
            assert_eq!(layout(&app).panes.len(), 1);
            let _ = text(&app);
            app.update(Message::Key(crossterm::event::KeyCode::Char('z').into()));
        }
    }
}

#[test]
fn the_help_tells_every_key() {
    let mut app = fixture::app(160, 48, ThemeKind::Default);
    app.update(Message::Key(crossterm::event::KeyCode::Char('?').into()));
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

#[test]
#[ignore = "writes pictures to look at into $PICTURES"]
fn pictures() {
    use tracing_subscriber::layer::SubscriberExt;
    let Ok(dir) = std::env::var("PICTURES") else { return };
    let _ = tui_logger::init_logger(tui_logger::LevelFilter::Info);
    let subscriber = tracing_subscriber::registry().with(tui_logger::TuiTracingSubscriberLayer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(coins = 10, ms = 212, "poll answered");
        tracing::info!(candles = 10, "gold closed 14:06");
        tracing::warn!(wait = "2 s", "rate limited");
        tracing::error!("gold failed: disk full");
    });
    tui_logger::move_events();
    let write = |app: &App, name: &str| {
        std::fs::write(format!("{dir}/{name}.svg"), screenshot::svg(app, app.size.width, app.size.height))
            .unwrap();
    };
    let press = |app: &mut App, keys: &str| {
        for key in keys.chars() {
            let code = if key == '\t' {
                crossterm::event::KeyCode::Tab
            } else {
                crossterm::event::KeyCode::Char(key)
            };
            fixture::send(app, Message::Key(code.into()));
        }
    };
    for (w, h) in [(160, 48), (100, 30), (80, 24), (60, 16), (250, 70), (120, 40), (80, 50), (150, 40)] {
        write(&fixture::app(w, h, ThemeKind::Default), &format!("{w}x{h}"));
    }
    for kind in ThemeKind::ALL {
        write(&fixture::app(160, 48, kind), &format!("theme-{}", kind.label()));
    }
    for (name, w, h, keys) in [
        ("help", 160, 48, "?"),
        ("help-small", 80, 24, "?"),
        ("crosshair", 160, 48, "hhhhhhhhhhhhhhhhhhhhhi"),
        ("find", 100, 30, "/ch"),
        ("zoomed", 160, 48, "+++"),
        ("far", 160, 48, "--ii"),
        ("panned", 100, 30, "HHp]"),
        ("shib", 100, 30, "0z"),
        ("table", 160, 48, "\t\t\t\tz"),
        ("pipeline-small", 80, 24, "\t"),
        ("logs", 160, 48, "\t\t\tz"),
    ] {
        let mut app = fixture::app(w, h, ThemeKind::Default);
        press(&mut app, keys);
        write(&app, name);
    }
    write(&empty(100, 30), "empty");
    let hovered = crossterm::event::MouseEvent {
        kind: crossterm::event::MouseEventKind::Moved,
        column: 100,
        row: 12,
        modifiers: crossterm::event::KeyModifiers::NONE,
    };
    let mut app = fixture::app(160, 48, ThemeKind::Truecolor);
    app.update(Message::Mouse(hovered));
    write(&app, "hover");
    write(
        &with(100, 30, |s| {
            s.source.as_mut().unwrap().state = SourceState::Reconnecting {
                at: fixture::NOW + 8 * SECOND,
                attempt: 2,
                why: "429 rate limited".to_owned(),
            };
            s.last_error = Some((fixture::NOW - SECOND, "coingecko: 429 rate limited".to_owned()));
            s.stages[2].state =
                StageState::Restarting { at: fixture::NOW + 3 * SECOND, why: "disk full".to_owned() };
        }),
        "trouble",
    );
}
