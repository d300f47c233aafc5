//! The alert log, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{Part, fit_parts, message, name, pane, put};
use crate::market::{Alert, DAY, Market, Micros};
use crate::tui::app::App;
use crate::tui::format;
use crate::tui::layout::{Pane, indented, row};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.theme;
    let held_back = app.snapshot.as_ref().map_or(0, |s| s.totals.cooled_down);
    let meta = match (app.alerts.len(), held_back) {
        (0, _) => String::new(),
        (n, 0) => format!(" last {n} "),
        (n, held) => format!(" last {n} · {held} cooled down "),
    };
    let inside = pane(
        buffer,
        area,
        app,
        Pane::Alerts,
        name(app, "Alerts"),
        Line::from(Span::styled(meta, theme.muted)),
    );
    if app.alerts.is_empty() {
        return message(buffer, inside, &empty_message(app), theme.muted);
    }
    let width = usize::from(inside.width).saturating_sub(2);
    for (at, alert) in app.alerts.iter().enumerate().skip(app.alerts_offset).take(usize::from(inside.height))
    {
        let newest = app.alerts[..at].iter().all(|newer| newer.market != alert.market);
        let line = line(app, alert, newest, width);
        let area = row(inside, u16::try_from(at - app.alerts_offset).unwrap_or(u16::MAX));
        put(buffer, indented(area), &line);
    }
}

/// The message in place of an empty log.
fn empty_message(app: &App) -> String {
    if let Some(why) = app.ask_alerts.failure() {
        return format!("the alert log could not be read: {why}");
    }
    match &app.snapshot {
        Some(s) if app.ask_alerts.has_answer() => {
            format!("no candle has been more volatile than {} % yet", s.alert_threshold)
        }
        _ => "reading the alert log…".to_owned(),
    }
}

/// `newest`: the alert is the newest of its market.
fn line(app: &App, alert: &Alert, newest: bool, width: usize) -> Line<'static> {
    let theme = &app.theme;
    let old = app.now() - alert.window_start > DAY;
    let time = app.zone.write(alert.window_start, if old { "%d %b %H:%M" } else { "%H:%M" });
    let mut parts = vec![
        Part::new(
            0,
            vec![
                Span::styled(format!("{time}  "), theme.muted),
                Span::styled(format::pad(&app.markets.symbol(&alert.market), 6), theme.title),
            ],
        ),
        Part::new(1, vec![Span::styled(format!("!{:>6.3} %", alert.volatility), theme.warn)]),
        Part::new(4, vec![Span::styled(format!("> {} %", alert.threshold), theme.muted)]),
    ];
    if let Some(until) = cooling(app, &alert.market).filter(|_| newest) {
        parts.push(Part::new(
            2,
            vec![Span::styled(format!("quiet to {}", app.zone.write(until, "%H:%M")), theme.accent)],
        ));
    } else {
        // The candle's lowest and highest price where there is room, else its mean.
        let range = format!("{}–{}", format::price(alert.min_price), format::price(alert.max_price));
        let used: usize = parts.iter().map(|part| part.width() + 2).sum();
        let mean = || format!("at {}", format::price_within(alert.avg_price, 10));
        let text = if used + range.width() <= width { range } else { mean() };
        parts.push(Part::new(3, vec![Span::styled(text, theme.muted)]));
    }
    fit_parts(parts, 2, width)
}

/// Start of the first window that may raise an alert of this market again, if that is in the future.
fn cooling(app: &App, market: &Market) -> Option<Micros> {
    let snapshot = app.snapshot.as_ref()?;
    let cooling = snapshot.cooling.iter().find(|c| *c.market == *market)?;
    let newest = snapshot.live.iter().find(|l| *l.market == *market).map(|l| l.event_time);
    (newest.unwrap_or_else(|| app.now()) < cooling.until).then_some(cooling.until)
}
