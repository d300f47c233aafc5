//! What keys, messages and mouse events change in the state.

use crossterm::event::KeyCode::{self, Backspace, Char, Down, End, Enter, Esc, Home, Left, Right, Tab, Up};
use crossterm::event::{KeyModifiers, MouseButton, MouseEventKind};
use ratatui::layout::Rect;

use super::*;
use crate::market::{MINUTE, SECOND};
use crate::tui::fixture;
use crate::tui::input::{Action, ChartAction, KEYS};

fn app() -> App {
    fixture::app(160, 48, ThemeKind::Default)
}

fn press(app: &mut App, code: KeyCode) -> Vec<Effect> {
    fixture::send(app, Message::Key(code.into()))
}

fn ctrl(app: &mut App, c: char) -> Vec<Effect> {
    fixture::send(app, Message::Key(KeyEvent::new(Char(c), KeyModifiers::CONTROL)))
}

fn write(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, Char(c));
    }
}

/// Answers the questions among these effects; returns the effects of the answers.
fn answer(app: &mut App, effects: &[Effect]) -> Vec<Effect> {
    let questions = effects.iter().filter_map(|effect| match effect {
        Effect::Ask(question) => Some(question),
        Effect::Selected(_) | Effect::Suspend | Effect::Quit => None,
    });
    questions.flat_map(|question| app.update(fixture::reply(question))).collect()
}

fn selected(app: &App) -> String {
    app.markets.selected().map(|r| r.symbol.clone()).unwrap_or_default()
}

fn mouse(app: &mut App, kind: MouseEventKind, column: u16, row: u16) {
    fixture::send(app, Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }));
}

/// The frame with its styles, as text.
fn frame(app: &App) -> String {
    let area = Rect::new(0, 0, app.size.width, app.size.height);
    let mut buffer = ratatui::buffer::Buffer::empty(area);
    crate::tui::view::render(&mut buffer, area, app);
    format!("{buffer:?}")
}

#[test]
fn keys_choose_coins() {
    let mut app = app();
    assert_eq!(selected(&app), "BTC");
    assert_eq!(press(&mut app, Char('j')), [Effect::Selected("ethereum".into())]);
    press(&mut app, Down);
    assert_eq!(selected(&app), "SOL");
    press(&mut app, Char('k'));
    press(&mut app, Up);
    press(&mut app, Up);
    assert_eq!(selected(&app), "BTC");
    press(&mut app, Char('0'));
    assert_eq!(selected(&app), "SHIB");
    press(&mut app, Char('4'));
    assert_eq!(selected(&app), "XRP");
    let last = app.chart.last().map_or(0.0, |c| c.close);
    assert!((last - 2.6126).abs() < 0.01, "the chart shows XRP: {last}");
}

#[test]
fn keys_change_the_interval_and_ask_for_it() {
    let mut app = app();
    let effects = app.update(Message::Key(Char(']').into()));
    assert!(
        matches!(&effects[..], [Effect::Ask(Question::Candles(q))] if q.interval == Interval::Minute5),
        "{effects:?}"
    );
    answer(&mut app, &effects);
    press(&mut app, Char('['));
    press(&mut app, Char('['));
    assert_eq!(app.chart.interval(), Interval::Minute1);
    for _ in 0..9 {
        press(&mut app, Char(']'));
    }
    assert_eq!(app.chart.interval(), Interval::Day1);
}

#[test]
fn keys_move_the_crosshair_and_the_view() {
    let mut app = app();
    press(&mut app, Char('h'));
    let newest = app.chart.cursor.unwrap();
    press(&mut app, Left);
    press(&mut app, Left);
    press(&mut app, Char('l'));
    press(&mut app, Right);
    assert_eq!(app.chart.cursor, Some(newest));
    press(&mut app, Char('H'));
    assert!(!app.chart.follows());
    press(&mut app, Char('L'));
    assert!(app.chart.follows());
    press(&mut app, Char('H'));
    press(&mut app, End);
    assert!(app.chart.follows() && app.chart.cursor.is_none());
    press(&mut app, Char('+'));
    assert_eq!(app.chart.zoom.columns(), 2);
    press(&mut app, Char('-'));
    press(&mut app, Char('-'));
    assert_eq!(app.chart.zoom.candles(), 2);
    press(&mut app, Home);
    assert_eq!((app.chart.zoom.columns(), app.chart.zoom.candles()), (1, 1));
}

#[test]
fn panning_beyond_what_is_loaded_asks_for_more() {
    let mut app = app();
    let mut asked = Vec::new();
    for _ in 0..100 {
        let effects = app.update(Message::Key(Char('H').into()));
        asked.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Ask(Question::Candles(query)) => Some(query.clone()),
            _ => None,
        }));
        answer(&mut app, &effects);
    }
    assert!(asked.iter().any(|q| q.before.is_some()), "{asked:?}");
    assert!(asked.len() < 20, "three screens are loaded at a time: {}", asked.len());
    let oldest = app.chart.view(10).time(9);
    press(&mut app, Char('H'));
    assert_eq!(app.chart.view(10).time(9), oldest, "there is nothing older");
    press(&mut app, End);
    assert_eq!(app.chart.view(10).time(9), Interval::Minute1.bucket(fixture::NOW));
}

#[test]
fn finding_filters_selects_and_can_be_left() {
    let mut app = app();
    press(&mut app, Char('/'));
    write(&mut app, "chx");
    press(&mut app, Backspace);
    assert_eq!((app.markets.rows().len(), selected(&app).as_str()), (2, "LINK"));
    press(&mut app, Enter);
    assert_eq!((app.context(), app.markets.filter.as_str()), (KeyContext::Main, "ch"));
    press(&mut app, Esc);
    assert_eq!((app.markets.rows().len(), selected(&app).as_str()), (10, "LINK"));
    press(&mut app, Char('/'));
    fixture::send(&mut app, Message::Paste("e\n".to_owned()));
    press(&mut app, Tab);
    press(&mut app, Down);
    press(&mut app, Up);
    ctrl(&mut app, 'u');
    assert_eq!(app.markets.filter, "");
    write(&mut app, &"q".repeat(100));
    assert_eq!(app.markets.filter.len(), MOST_FIND);
    press(&mut app, Esc);
    assert_eq!(app.markets.rows().len(), 10);
}

#[test]
fn sorting_keeps_the_selection() {
    let mut app = app();
    press(&mut app, Char('3'));
    for _ in 0..markets::Column::ALL.len() {
        press(&mut app, Char('s'));
        press(&mut app, Char('S'));
        assert_eq!(selected(&app), "SOL");
    }
}

#[test]
fn tab_moves_the_focus_through_all_panes_and_z_expands_one() {
    let mut app = app();
    for pane in [Pane::Pipeline, Pane::Alerts, Pane::Logs, Pane::Markets, Pane::Chart] {
        press(&mut app, Tab);
        assert_eq!(app.focus, pane);
    }
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.focus, Pane::Markets);
    press(&mut app, Char('z'));
    assert!(app.expanded);
    press(&mut app, Esc);
    assert!(!app.expanded);
}

#[test]
fn the_alert_pane_scrolls_when_it_has_the_focus() {
    let mut app = app();
    press(&mut app, Tab);
    press(&mut app, Tab);
    press(&mut app, Char('j'));
    assert_eq!((app.alerts_offset, selected(&app).as_str()), (1, "BTC"));
    for _ in 0..100 {
        press(&mut app, Down);
    }
    assert_eq!(app.alerts_offset, app.alerts.len() - 1);
    press(&mut app, Char('k'));
    assert_eq!(app.alerts_offset, app.alerts.len() - 2);
}

#[test]
fn the_log_pane_is_hidden_where_there_is_room_and_replaces_the_chart_elsewhere() {
    let mut app = app();
    press(&mut app, Char('`'));
    assert_eq!(app.log_pane, LogPane::Hidden);
    press(&mut app, Char('`'));
    assert_eq!(app.log_pane, LogPane::Shown);
    fixture::send(&mut app, Message::Resize(Size::new(80, 24)));
    press(&mut app, Char('`'));
    assert_eq!(app.focus, Pane::Logs);
    press(&mut app, Char('`'));
    assert_eq!(app.focus, Pane::Chart);
}

#[test]
fn keys_quit_and_suspend() {
    assert_eq!(press(&mut app(), Char('q')), [Effect::Quit]);
    assert_eq!(ctrl(&mut app(), 'c'), [Effect::Quit]);
    assert_eq!(ctrl(&mut app(), 'z'), [Effect::Suspend]);
    let mut app = app();
    press(&mut app, Char('?'));
    assert_eq!(press(&mut app, Char('q')), [], "it closes the help first");
    assert_eq!(app.overlay, Overlay::None);
}

#[test]
fn while_paused_only_the_user_changes_what_is_shown() {
    let mut app = app();
    press(&mut app, Char('p'));
    let mut newer = fixture::snapshot();
    newer.revision = 2;
    let mut live = (*newer.live).clone();
    live[0].price = 99_999.0;
    live[0].event_time += MINUTE;
    newer.live = Arc::new(live);
    assert_eq!(app.update(Message::Snapshot(Arc::new(newer))), []);
    assert!((app.markets.selected().unwrap().price - 104_180.0).abs() < 1.0);
    press(&mut app, Char('j'));
    assert_eq!(selected(&app), "ETH", "keys still work");
    press(&mut app, Char('k'));
    app.update(Message::Tick(fixture::NOW + MINUTE));
    let effects = app.update(Message::Key(Char('p').into()));
    assert!((app.markets.selected().unwrap().price - 99_999.0).abs() < 1.0);
    assert!(
        [Question::Markets, Question::Alerts(ALERTS)].map(Effect::Ask).iter().all(|e| effects.contains(e)),
        "{effects:?}"
    );
}

#[test]
fn a_new_revision_repeats_every_question_one_at_a_time() {
    let mut app = app();
    app.update(Message::Tick(fixture::NOW + SECOND));
    let mut newer = fixture::snapshot();
    newer.revision = 2;
    let effects = app.update(Message::Snapshot(Arc::new(newer.clone())));
    assert_eq!(effects.len(), 3, "{effects:?}");
    newer.revision = 3;
    assert_eq!(app.update(Message::Snapshot(Arc::new(newer))), []);
    let next = answer(&mut app, &effects);
    assert_eq!(next, [], "a new revision alone waits");
    assert_eq!(app.update(Message::Tick(fixture::NOW + 2 * SECOND)).len(), 3);
}

#[test]
fn the_mouse_selects_zooms_and_moves_the_crosshair() {
    let mut app = app();
    let row = |at: u16| 3 + at;
    mouse(&mut app, MouseEventKind::Down(MouseButton::Left), 10, row(4));
    assert_eq!((selected(&app).as_str(), app.focus), ("DOGE", Pane::Markets));
    mouse(&mut app, MouseEventKind::ScrollDown, 10, row(4));
    assert_eq!(selected(&app), "ADA");
    mouse(&mut app, MouseEventKind::Moved, 100, 12);
    let pointed = app.chart.cursor;
    assert!(pointed.is_some());
    mouse(&mut app, MouseEventKind::Moved, 90, 12);
    assert!(app.chart.cursor < pointed);
    mouse(&mut app, MouseEventKind::ScrollUp, 100, 12);
    assert_eq!(app.chart.zoom.columns(), 2);
    mouse(&mut app, MouseEventKind::Moved, 10, 12);
    assert_eq!(app.chart.cursor, None, "the crosshair leaves with the mouse");
    mouse(&mut app, MouseEventKind::Down(MouseButton::Left), 80, 12);
    mouse(&mut app, MouseEventKind::Drag(MouseButton::Left), 100, 12);
    assert!(!app.chart.follows(), "dragging pans");
    mouse(&mut app, MouseEventKind::Down(MouseButton::Left), 10, 20);
    assert_eq!(selected(&app), "ADA", "there is no row at that place");
}

#[test]
fn only_a_visible_change_asks_for_a_frame() {
    let mut app = app();
    app.take_changed();
    app.update(Message::Tick(fixture::NOW + 1));
    assert!(!app.take_changed(), "the same second");
    app.update(Message::Tick(fixture::NOW + SECOND));
    assert!(app.take_changed());
    app.update(Message::Key(Char('Q').into()));
    app.update(Message::Mouse(MouseEvent {
        kind: MouseEventKind::Moved,
        column: 5,
        row: 5,
        modifiers: KeyModifiers::NONE,
    }));
    assert!(!app.take_changed());
}

#[test]
fn every_key_of_the_table_does_something() {
    for binding in KEYS {
        for chord in binding.chords {
            let mut app = app();
            // A state that each key can change: something is selected, panned, zoomed and scrolled.
            press(&mut app, Char('5'));
            press(&mut app, Char('H'));
            for _ in 0..3 {
                press(&mut app, Char('h'));
            }
            match binding.context {
                KeyContext::Main => {
                    if binding.action == Action::Chart(ChartAction::Narrower) {
                        press(&mut app, Char(']'));
                    }
                }
                KeyContext::Alerts => {
                    press(&mut app, Tab);
                    press(&mut app, Tab);
                    press(&mut app, Char('j'));
                }
                KeyContext::Logs => (0..3).for_each(|_| drop(press(&mut app, Tab))),
                KeyContext::Find => {
                    press(&mut app, Char('/'));
                    write(&mut app, "c");
                    if binding.action == Action::FindPrevious {
                        press(&mut app, Down);
                    }
                }
                KeyContext::Help => {
                    fixture::send(&mut app, Message::Resize(Size::new(80, 24)));
                    press(&mut app, Char('?'));
                    press(&mut app, Char('j'));
                }
            }
            assert_eq!(app.context(), binding.context);
            let before = (frame(&app), app.zone);
            let modifiers = if chord.ctrl { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            app.take_changed();
            let effects = fixture::send(&mut app, Message::Key(KeyEvent::new(chord.code, modifiers)));
            assert!(app.take_changed(), "{binding:?} is not dispatched");
            let same_coin = binding.action == Action::NthCoin && chord.code == Char('5');
            if binding.context != KeyContext::Logs && !same_coin {
                assert!(
                    before != (frame(&app), app.zone) || !effects.is_empty(),
                    "{:?} by {chord:?} does nothing",
                    binding.action
                );
            }
        }
    }
}

#[test]
fn the_crosshair_stays_in_view_beside_an_axis_of_any_width() {
    let mut app = fixture::app(60, 16, ThemeKind::Default);
    press(&mut app, Char('0')); // SHIB: a wide axis
    for _ in 0..200 {
        press(&mut app, Left);
        let cursor = app.chart.cursor.unwrap();
        assert!(app.plot.view.candle(cursor).is_some(), "{} slots", app.plot.view.candles.len());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]
    #[test]
    fn after_any_keys_the_crosshair_is_on_a_candle_of_the_plot(
        coin in 0..10u32, width in 60..220u16, height in 16..60u16, keys in "[hhhlHL+\\-viz\\[\\]jk]{0,60}", later in 0..3i64,
    ) {
        let mut app = fixture::app(width, height, ThemeKind::Default);
        press(&mut app, Char(char::from_digit(coin, 10).unwrap()));
        for key in keys.chars() {
            press(&mut app, Char(key));
            app.update(Message::Tick(fixture::NOW + later * SECOND));
            let Some(cursor) = app.chart.cursor else { continue };
            let slot = app.plot.view.slot(cursor);
            proptest::prop_assert!(slot.is_some_and(|slot| app.plot.view.candles[slot].is_some()), "{}", key);
            let column = app.plot.column(slot.unwrap());
            proptest::prop_assert!(app.plot.candles.left() <= column && column < app.plot.candles.right());
        }
    }
}
