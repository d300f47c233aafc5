//! The chart pane: candles, volume, axes, crosshair.
//!
//! ```text
//! ╭ Bitcoin BTC/USD · 5m ─────────────────── SMA 20 ╮
//! │ 14:05  O …  H …  L …  C …  ▲ 0.03 %  closes 0:28 │   header: the candle under the crosshair, else the newest
//! │                     ┃╻╿                ┤ 104,400 │
//! │  ╷┃╹╿┃╻╷     ╷┃┃╿┃╻┃╹              ┈┈┈┈◂ 104,180 │   plot and price axis
//! │ ▂▁▃▅▂▁▁▂▃▁▂▃▅▂▁▃▂▁▁▂▁▃                   │ 1,551 │   volume, on its own scale
//! │ ───────┴───────────────┴───────────────┘         │
//! │      12:45           13:00                       │   time axis
//! │ 1m 5m 15m 1h 4h 1d   live             88 candles │
//! ╰──────────────────────────────────────────────────╯
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Part, fit_parts, labelled, message, pane, put, put_right};
use crate::market::{Candle, Interval, Micros};
use crate::pipeline::status::SourceState;
use crate::text::printable;
use crate::tui::app::App;
use crate::tui::app::chart::{EMA, SMA};
use crate::tui::format::{self, Direction};
use crate::tui::layout::Pane;
use crate::tui::plot::Plot;
use crate::tui::theme::Theme;
use crate::tui::widget::axis::{time_label, time_step, time_tick};
use crate::tui::widget::bars::bar;
use crate::tui::widget::candlestick::{Shape, curve};

/// Least columns between time ticks.
const COLUMNS_PER_TICK: u16 = 14;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let inside = pane(buffer, area, app, Pane::Chart, title(app), indicators(app));
    if inside.height < 4 || inside.width < 20 {
        return;
    }
    let plot = &app.plot;
    if !plot.has_candles() {
        footer(buffer, plot, app);
        return message(buffer, inside, &empty_message(app), app.theme.muted);
    }
    header(buffer, plot, app);
    grid(buffer, plot, app);
    curves(buffer, plot, app);
    candles(buffer, plot, app);
    volume(buffer, plot, app);
    time_axis(buffer, plot, app);
    last_price(buffer, plot, app);
    crosshair(buffer, plot, app);
    footer(buffer, plot, app);
}

fn title(app: &App) -> Line<'static> {
    let theme = &app.theme;
    let Some(row) = app.markets.selected() else { return super::name(app, "Chart") };
    let quote = printable(&row.market.quote).to_uppercase();
    Line::from(vec![
        Span::styled(format!(" {}", row.name), theme.title),
        Span::styled(format!(" {}/{quote} · ", row.symbol), theme.muted),
        Span::styled(format!("{} ", app.chart.interval()), theme.accent),
    ])
}

fn indicators(app: &App) -> Line<'static> {
    let theme = &app.theme;
    let mut line = Line::default();
    if app.chart.indicators.sma() {
        line.push_span(Span::styled(format!(" ⠒ SMA {SMA} "), theme.sma));
    }
    if app.chart.indicators.ema() {
        line.push_span(Span::styled(format!(" ⠒ EMA {EMA} "), theme.ema));
    }
    line
}

/// The message in place of an empty chart.
fn empty_message(app: &App) -> String {
    if app.markets.selected().is_none() {
        return if app.markets.filter.is_empty() {
            "no coin yet: waiting for prices"
        } else {
            "no coin matches"
        }
        .to_owned();
    }
    if let Some(why) = app.chart.ask.failure() {
        return format!("the candles could not be read: {why}");
    }
    match app.chart.total() {
        None => "reading candles…".to_owned(),
        Some(_) if app.chart.last().is_some() => {
            "no ticks in this period · End goes to the newest candle".to_owned()
        }
        Some(_) => "waiting for the first closed minute…".to_owned(),
    }
}

/// The style of a candle; one that did not fall counts as rising.
fn style_of(theme: &Theme, candle: &Candle) -> Style {
    if candle.close < candle.open { theme.down } else { theme.up }
}

fn header(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let theme = &app.theme;
    let under = app.chart.cursor.and_then(|time| plot.view.candle(time));
    let newest = plot.view.candles.iter().flatten().next_back();
    let Some(candle) = under.or(newest) else { return };
    let decimals = plot.decimals();
    let of_day = app.chart.interval() >= Interval::Day1;
    let time = app.zone.write(candle.window_start, if of_day { "%a %-d %b" } else { "%-d %b %H:%M" });
    let value = |label: &str, value: f64| labelled(theme, label, format::price_with(value, decimals));
    let change = candle.change_pct();
    let direction = Direction::of(change);
    let style = if direction == Direction::Flat { theme.muted } else { style_of(theme, candle) };
    let mut parts = vec![
        Part::new(3, vec![Span::styled(time, if under.is_some() { theme.cursor } else { theme.muted })]),
        Part::new(4, value("O", candle.open)),
        Part::new(5, value("H", candle.high)),
        Part::new(6, value("L", candle.low)),
        Part::new(0, value("C", candle.close)),
        Part::new(
            1,
            vec![Span::styled(format!("{} {} %", direction.glyph(), format::percent(change.abs())), style)],
        ),
    ];
    if let Some(volume) = candle.volume {
        parts.push(Part::new(7, labelled(theme, "V", format::amount(volume))));
    }
    parts.push(Part::new(8, vec![Span::styled(format!("{} ticks", candle.ticks), theme.muted)]));
    if let Some(left) = closes_in(app, candle) {
        parts.push(Part::new(
            2,
            vec![
                Span::styled("closes in ", theme.muted),
                Span::styled(format::countdown(left), theme.accent),
            ],
        ));
    }
    let area = Rect { x: plot.header.x + 1, width: plot.header.width.saturating_sub(2), ..plot.header };
    put(buffer, area, &fit_parts(parts, 2, usize::from(area.width)));
}

/// Time until a candle closes; none where its window is not the present one of the clock.
fn closes_in(app: &App, candle: &Candle) -> Option<Micros> {
    let live = app.snapshot.as_ref().and_then(|s| s.source.as_ref()).is_none_or(|s| {
        matches!(s.state, SourceState::Live | SourceState::Simulating | SourceState::Reconnecting { .. })
    });
    let left = candle.window_end - app.now();
    (live && left > 0 && left <= candle.window_end - candle.window_start).then_some(left)
}

fn grid(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let theme = &app.theme;
    for y in plot.candles.top()..plot.volume.bottom() {
        buffer.set_stringn(plot.candles.right(), y, "│", 1, theme.faint);
    }
    for value in &plot.ticks.values {
        let y = plot.candles.y + plot.scale.row(*value);
        for x in (plot.candles.x + 1..plot.candles.right()).step_by(4) {
            buffer.set_stringn(x, y, "·", 1, theme.faint);
        }
        buffer.set_stringn(plot.candles.right(), y, "┤", 1, theme.faint);
        put_right(
            buffer,
            plot.label_area(y),
            &Line::from(Span::styled(format::price_with(*value, plot.ticks.decimals), theme.muted)),
        );
    }
}

/// Writes a glyph into a cell that is empty or holds only the grid or the line of the last price.
fn set_if_free(buffer: &mut Buffer, x: u16, y: u16, glyph: char, style: Style) {
    if let Some(cell) = buffer.cell_mut((x, y)).filter(|c| matches!(c.symbol(), " " | "·" | "┈")) {
        cell.set_char(glyph).set_style(style);
    }
}

fn curves(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let theme = &app.theme;
    for (values, style) in [(&plot.view.ema, theme.ema), (&plot.view.sma, theme.sma)] {
        let points: Vec<(u16, f64)> =
            values.iter().enumerate().filter_map(|(slot, v)| v.map(|v| (plot.column(slot), v))).collect();
        for pair in points.windows(2) {
            let [(x0, v0), (x1, v1)] = [pair[0], pair[1]];
            // Curves bridge gaps of at most twelve slots.
            if x1 - x0 > 12 * plot.view.columns {
                continue;
            }
            for x in x0 + 1..=x1 {
                let at = |x: f64| v0 + (v1 - v0) * (x - f64::from(x0)) / f64::from(x1 - x0);
                let (left, right) = (at(f64::from(x) - 0.5), at(f64::from(x)));
                curve_cell(buffer, plot, x, left, right, style);
            }
        }
    }
}

fn curve_cell(buffer: &mut Buffer, plot: &Plot, x: u16, left: f64, right: f64, style: Style) {
    let steps = plot.scale.rows() * 4;
    let quarter = |v: f64| plot.scale.contains(v).then(|| plot.scale.step(v, steps));
    let (left, right) = (quarter(left), quarter(right));
    for at in [left, right].into_iter().flatten() {
        let within = |q: Option<u16>| q.filter(|q| q / 4 == at / 4).map(|q| q % 4);
        let y = plot.candles.bottom() - 1 - at / 4;
        set_if_free(buffer, x, y, curve(within(left), within(right)), style);
    }
}

fn candles(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let rows = plot.scale.rows();
    for (slot, candle) in plot.view.candles.iter().enumerate() {
        let Some(candle) = candle else { continue };
        let shape = Shape::new(candle, &plot.scale);
        let style = style_of(&app.theme, candle);
        let x = plot.column(slot);
        let top = rows - 1 - shape.wick.end() / 2;
        let bottom = rows - 1 - shape.wick.start() / 2;
        for row in top..=bottom {
            if let Some(cell) = buffer.cell_mut((x, plot.candles.y + row)) {
                cell.set_char(shape.glyph(row, rows)).set_style(style);
            }
        }
    }
}

fn volume(buffer: &mut Buffer, plot: &Plot, app: &App) {
    if plot.volume.is_empty() {
        return;
    }
    let theme = &app.theme;
    let label = Line::from(Span::styled(format::amount(plot.most_volume), theme.muted));
    put_right(buffer, plot.label_area(plot.volume.y), &label);
    buffer.set_stringn(plot.candles.right(), plot.volume.y, "┤", 1, theme.faint);
    for (slot, candle) in plot.view.candles.iter().enumerate() {
        let Some((candle, traded)) = candle.as_ref().and_then(|c| c.volume.map(|v| (c, v))) else { continue };
        let style = theme.quiet(style_of(theme, candle));
        for row in 0..plot.volume.height {
            let glyph = bar(traded, plot.most_volume, row, plot.volume.height);
            if let Some(cell) =
                buffer.cell_mut((plot.column(slot), plot.volume.y + row)).filter(|_| glyph != ' ')
            {
                cell.set_char(glyph).set_style(style);
            }
        }
    }
}

fn time_axis(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let theme = &app.theme;
    let labels = plot.time.bottom() - 1;
    if plot.time.height > 1 {
        let line = "─".repeat(usize::from(plot.time.width));
        buffer.set_stringn(plot.time.x, plot.time.y, line, usize::from(plot.time.width), theme.faint);
        buffer.set_stringn(plot.time.right(), plot.time.y, "┘", 1, theme.faint);
    }
    let slots = i64::from(COLUMNS_PER_TICK / plot.view.columns).max(1);
    let step = time_step(slots.saturating_mul(plot.view.width));
    let mut free = plot.time.x;
    for slot in 0..plot.view.candles.len() {
        let Some(tick) = time_tick(plot.view.time(slot), plot.view.width, step, app.zone) else { continue };
        let x = plot.column(slot);
        let text = time_label(tick, step, app.zone);
        let width = u16::try_from(text.chars().count()).unwrap_or(0);
        let start = x.saturating_sub(width / 2);
        if start < free || start + width > plot.time.right() + plot.axis {
            continue;
        }
        if plot.time.height > 1 {
            buffer.set_stringn(x, plot.time.y, "┴", 1, theme.faint);
        }
        buffer.set_stringn(start, labels, text, usize::from(width), theme.muted);
        free = start + width + 1;
    }
}

/// Writes a label over the content of an area.
fn tag(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    super::clear(buffer, area);
    buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
}

fn last_price(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let (Some(price), Some(last)) = (plot.last_price, app.chart.last()) else { return };
    if !plot.scale.contains(price) {
        return;
    }
    let theme = &app.theme;
    let y = plot.candles.y + plot.scale.row(price);
    let style = style_of(theme, last);
    for x in plot.candles.x..plot.candles.right() {
        set_if_free(buffer, x, y, '┈', theme.faint);
    }
    let label = format!(
        "◂{:>1$} ",
        format::price_with(price, plot.decimals()),
        usize::from(plot.axis).saturating_sub(2)
    );
    tag(buffer, plot.axis_area(y), &label, style.add_modifier(Modifier::REVERSED | Modifier::BOLD));
}

fn crosshair(buffer: &mut Buffer, plot: &Plot, app: &App) {
    let Some((slot, time)) = app.chart.cursor.and_then(|t| plot.view.slot(t).map(|slot| (slot, t))) else {
        return;
    };
    let style = app.theme.cursor;
    let label = style.add_modifier(Modifier::REVERSED);
    let x = plot.column(slot);
    for y in plot.candles.top()..plot.volume.bottom() {
        set_if_free(buffer, x, y, '┊', style);
    }
    let text = format!(
        " {} ",
        app.zone.write(time, if app.chart.interval() >= Interval::Day1 { "%-d %b" } else { "%H:%M" })
    );
    let width = u16::try_from(text.chars().count()).unwrap_or(0);
    let left = x
        .saturating_sub(width / 2)
        .clamp(plot.time.x, (plot.time.right() + plot.axis).saturating_sub(width).max(plot.time.x));
    tag(buffer, Rect { x: left, y: plot.time.bottom() - 1, width, height: 1 }, &text, label);
    let Some(row) =
        app.chart.hover.and_then(|y| y.checked_sub(plot.candles.y)).filter(|row| *row < plot.candles.height)
    else {
        return;
    };
    let y = plot.candles.y + row;
    for x in plot.candles.x..plot.candles.right() {
        set_if_free(buffer, x, y, '┈', style);
    }
    let price = format::price_with(plot.scale.price_at(row), plot.decimals());
    tag(
        buffer,
        plot.axis_area(y),
        &format!("{price:>width$} ", width = usize::from(plot.axis).saturating_sub(1)),
        label,
    );
}

fn footer(buffer: &mut Buffer, plot: &Plot, app: &App) {
    if plot.footer.is_empty() {
        return;
    }
    let theme = &app.theme;
    let mut spans = vec![Span::raw(" ")];
    for interval in Interval::ALL {
        let chosen = interval == app.chart.interval();
        spans.push(Span::styled(format!(" {interval} "), if chosen { theme.tag } else { theme.muted }));
    }
    let place = if app.chart.follows() {
        Span::styled("live", theme.good)
    } else {
        Span::styled("panned · End for live", theme.warn)
    };
    let mut parts = vec![Part::new(0, spans), Part::new(1, vec![place])];
    if app.chart.zoom.candles() > 1 {
        parts.push(Part::new(
            3,
            vec![Span::styled(format!("{} candles a column", app.chart.zoom.candles()), theme.muted)],
        ));
    }
    let area = Rect { width: plot.footer.width.saturating_sub(1), ..plot.footer };
    let left = fit_parts(parts, 3, usize::from(area.width));
    put(buffer, area, &left);
    let shown = plot.view.candles.iter().flatten().count();
    let mut right = Vec::new();
    if let Some(why) = app.chart.ask.failure() {
        let room = usize::from(area.width).saturating_sub(left.width() + 5);
        right.push(Part::new(0, vec![Span::styled(format!("! {}", format::fit(why, room)), theme.bad)]));
    } else if let Some(note) = app.chart.note {
        right.push(Part::new(1, vec![Span::styled(note, theme.muted)]));
    }
    if let Some(total) = app.chart.total().filter(|_| shown > 0) {
        let text = format!("{shown} of {}", format::count(total.max(shown as u64)));
        right.push(Part::new(2, vec![Span::styled(text, theme.muted)]));
    }
    let room = usize::from(area.width).saturating_sub(left.width() + 3);
    let right = fit_parts(right, 3, room);
    if right.width() <= room {
        put_right(buffer, area, &right);
    }
}
