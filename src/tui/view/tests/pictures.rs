//! Writes pictures of the dashboard for a visual check; not run by default.

use super::*;

#[test]
#[ignore = "writes pictures into the folder $PICTURES"]
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
        std::fs::write(
            format!("{dir}/{name}.svg"),
            screenshot::svg(app, app.size().width, app.size().height),
        )
        .unwrap();
    };
    let press = |app: &mut App, keys: &str| {
        for key in keys.chars() {
            let code = if key == '\t' { KeyCode::Tab } else { KeyCode::Char(key) };
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
            s.last_error = Some(failed(Component::Source, "429 rate limited"));
            s.stages[2].state =
                StageState::Restarting { at: fixture::NOW + 3 * SECOND, why: "disk full".to_owned() };
        }),
        "trouble",
    );
}
