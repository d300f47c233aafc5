//! Frames as text and with their styles, at several sizes; drawing at every size.

mod pictures;
mod states;

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

/// The text of the cells that `wanted` selects.
fn styled(buffer: &Buffer, wanted: impl Fn(&ratatui::buffer::Cell) -> bool) -> String {
    buffer.content().iter().filter(|c| wanted(c)).map(ratatui::buffer::Cell::symbol).collect()
}

#[test]
fn a_large_terminal_shows_every_pane() {
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
fn a_terminal_that_is_too_small_shows_the_size_that_is_needed() {
    let text = text(&empty(40, 10));
    assert!(text.contains("60x16") && text.contains("q quits"), "{text}");
}

#[test]
fn small_frames_match_their_snapshots() {
    insta::assert_snapshot!("60x16", text(&fixture::app(60, 16, ThemeKind::Default)));
    insta::assert_snapshot!("80x24", text(&fixture::app(80, 24, ThemeKind::Default)));
    insta::assert_snapshot!("100x30", text(&fixture::app(100, 30, ThemeKind::Default)));
}

#[test]
fn rising_and_falling_differ_by_colour_and_by_glyph() {
    let buffer = buffer(&fixture::app(160, 48, ThemeKind::Default));
    let (green, red) = (styled(&buffer, |c| c.fg == Color::Green), styled(&buffer, |c| c.fg == Color::Red));
    assert!(green.contains('▲') && !green.contains('▼') && green.contains('┃'));
    assert!(red.contains('▼') && !red.contains('▲') && red.contains('┃'));
}

#[test]
fn without_colours_modifiers_carry_the_information() {
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
fn every_pane_can_be_drawn_expanded_and_in_place_of_the_chart() {
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
fn the_help_shows_every_key() {
    let mut app = fixture::app(160, 48, ThemeKind::Default);
    app.update(Message::Key(KeyCode::Char('?').into()));
    let text = text(&app);
    for binding in crate::tui::input::KEYS {
        assert!(text.contains(binding.help), "{:?} is missing in\n{text}", binding.help);
    }
}

#[test]
fn a_picture_has_the_texts_of_the_frame() {
    let app = fixture::app(100, 30, ThemeKind::Truecolor);
    let svg = screenshot::svg(&app, 100, 30);
    for words in ["Bitcoin", "104,180.0", "Pipeline", "Alerts"] {
        assert!(svg.contains(words), "{words}");
    }
}

const SIZES: [(u16, u16); 6] = [(60, 16), (72, 20), (80, 24), (100, 30), (120, 40), (160, 48)];

/// A dashboard on which every price is near `price`.
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
fn the_tenth_coin_shows_rank_and_mark() {
    for (w, h) in SIZES {
        let mut app = fixture::app(w, h, ThemeKind::Default);
        app.update(Message::Key(KeyCode::Char('0').into()));
        assert!(text(&app).contains("▸10 SHIB"), "{w}x{h}:\n{}", text(&app));
    }
}
