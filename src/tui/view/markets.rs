//! The market table. Its width decides how many columns are shown, in a fixed order of importance.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Part, fit_parts, labelled, message, name, pane, put};
use crate::text::printable;
use crate::tui::app::App;
use crate::tui::app::markets::{Column, MarketEntry};
use crate::tui::format::{self, Direction};
use crate::tui::layout::{Pane, indented, row};
use crate::tui::theme::Theme;
use crate::tui::widget::bars::sparkline;

/// Rows of the selected coin's card, below the table.
const CARD: u16 = 4;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Rank,
    Coin,
    Name,
    Price,
    Minute,
    Hour,
    Day,
    Volatility,
    VolatilityHour,
    Spark,
    Volume,
    Age,
}

impl Cell {
    /// From left to right on the screen.
    const ORDER: [Self; 12] = [
        Self::Rank,
        Self::Coin,
        Self::Name,
        Self::Price,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Volatility,
        Self::VolatilityHour,
        Self::Spark,
        Self::Volume,
        Self::Age,
    ];
    /// In the order in which they get room.
    const IMPORTANCE: [Self; 12] = [
        Self::Rank,
        Self::Coin,
        Self::Price,
        Self::Minute,
        Self::Day,
        Self::Volatility,
        Self::Spark,
        Self::Hour,
        Self::Volume,
        Self::Age,
        Self::VolatilityHour,
        Self::Name,
    ];

    /// Width on the screen, with the blank before.
    const fn width(self) -> u16 {
        match self {
            Self::Rank => 3,
            Self::Coin => 6,
            Self::Name => 18,
            Self::Price => 11,
            Self::Minute | Self::Hour | Self::Day | Self::Age => 7,
            Self::Volatility | Self::VolatilityHour | Self::Volume => 8,
            Self::Spark => 9,
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Rank => "#",
            Self::Coin => "coin",
            Self::Name => "name",
            Self::Price => "price",
            Self::Minute => "1m %",
            Self::Hour => "1h %",
            Self::Day => "24h %",
            Self::Volatility => "vol %",
            Self::VolatilityHour => "vol 1h",
            Self::Spark => "last hr",
            Self::Volume => "volume",
            Self::Age => "age",
        }
    }

    const fn column(self) -> Option<Column> {
        match self {
            Self::Coin => Some(Column::Coin),
            Self::Price => Some(Column::Price),
            Self::Minute => Some(Column::Minute),
            Self::Hour => Some(Column::Hour),
            Self::Day => Some(Column::Day),
            Self::Volatility => Some(Column::Volatility),
            Self::Volume => Some(Column::Volume),
            Self::Age => Some(Column::Age),
            _ => None,
        }
    }
}

/// The cells that fit into `width` columns, in their order on the screen, with their widths. The sparkline gets
/// the columns that are left over.
fn cells(width: u16) -> Vec<(Cell, u16)> {
    let mut left = width;
    let mut chosen = Vec::new();
    for cell in Cell::IMPORTANCE {
        if cell.width() > left {
            break;
        }
        left -= cell.width();
        chosen.push(cell);
    }
    let spark = chosen.contains(&Cell::Spark);
    Cell::ORDER
        .into_iter()
        .filter(|c| chosen.contains(c))
        .map(|c| match c {
            Cell::Spark => (c, c.width() + left.saturating_sub(1).min(24)),
            Cell::Coin if !spark => (c, c.width() + left.min(2)),
            Cell::Price if !spark => (c, c.width() + left.saturating_sub(2).min(3)),
            c => (c, c.width()),
        })
        .collect()
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.theme;
    let markets = &app.markets;
    let mut title = name(app, "Markets");
    if !markets.filter.is_empty() {
        title.push_span(Span::styled(format!("/{} ", markets.filter), theme.warn));
    }
    let arrow = if markets.descending() { '▼' } else { '▲' };
    let meta = Line::from(Span::styled(format!(" {} {arrow} ", markets.column.label()), theme.muted));
    let inside = pane(buffer, area, app, Pane::Markets, title, meta);
    if markets.rows().is_empty() {
        return message(buffer, inside, &empty_message(app), theme.muted);
    }
    let cells = cells(inside.width);
    put(buffer, row(inside, 0), &headings(app, &cells));
    let selected = markets.position();
    let table = app.layout.table();
    for (line, (at, market)) in (0..table.height).zip(markets.rows().iter().enumerate().skip(markets.offset))
    {
        let area = row(table, line);
        let is_selected = selected == Some(at);
        let mut line = Line::default();
        for (cell, width) in &cells {
            let (text, style) = content(app, *cell, market, at, is_selected, usize::from(*width));
            line.push_span(Span::styled(aligned(*cell, &text, usize::from(*width)), style));
        }
        put(buffer, area, &line);
        if is_selected {
            buffer.set_style(area, theme.selected);
        }
    }
    let used = u16::try_from(markets.rows().len() + 1).unwrap_or(u16::MAX);
    if let Some(market) = markets.selected().filter(|_| used.saturating_add(CARD + 1) <= inside.height) {
        card(buffer, Rect { y: inside.bottom() - CARD, height: CARD, ..inside }, app, market);
    }
}

/// Draws details of the selected coin that the table may have no columns for.
fn card(buffer: &mut Buffer, area: Rect, app: &App, market: &MarketEntry) {
    let theme = &app.theme;
    let rule = "─".repeat(usize::from(area.width).saturating_sub(2));
    buffer.set_stringn(area.x + 1, area.y, rule, usize::from(area.width), theme.faint);
    let change = |label: &str, value: Option<f64>| {
        vec![
            Span::styled(format!("{label} "), theme.muted),
            Span::styled(format!("{} %", format::change(value)), style_of(theme, value)),
        ]
    };
    let volatility = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3} %"));
    let age = format!("{} ago", format::age(app.now().saturating_sub(market.event_time)));
    let quote = printable(&market.market.quote).to_uppercase();
    let lines = [
        vec![
            Part::new(0, vec![Span::styled(market.name.clone(), theme.title)]),
            Part::new(1, vec![Span::styled(format!("{} {quote}", format::price(market.price)), theme.text)]),
            Part::new(2, vec![Span::styled(age, theme.muted)]),
        ],
        vec![
            Part::new(1, change("1m", market.change_1m)),
            Part::new(0, change("1h", market.change_1h)),
            Part::new(2, change("24h", market.change_24h)),
        ],
        vec![
            Part::new(0, labelled(theme, "volatility 1m", volatility(market.volatility_1m))),
            Part::new(1, labelled(theme, "1h", volatility(market.volatility_1h))),
            Part::new(2, labelled(theme, "volume", volume(market))),
        ],
    ];
    for (at, parts) in (1u16..).zip(lines) {
        let line = fit_parts(parts, 3, usize::from(area.width).saturating_sub(2));
        put(buffer, indented(row(area, at)), &line);
    }
}

/// The style of a change, by the direction that its rounded text shows.
fn style_of(theme: &Theme, change: Option<f64>) -> Style {
    match change.map(Direction::of) {
        Some(Direction::Up) => theme.up,
        Some(Direction::Down) => theme.down,
        Some(Direction::Flat) | None => theme.muted,
    }
}

fn volume(market: &MarketEntry) -> String {
    market.volume.map_or_else(|| "–".to_owned(), format::compact)
}

/// The message in place of an empty table.
fn empty_message(app: &App) -> String {
    if !app.markets.filter.is_empty() {
        format!("no coin matches “{}”", app.markets.filter)
    } else if let Some(why) = app.ask_markets.failure() {
        format!("the market table could not be read: {why}")
    } else {
        "waiting for the first prices…".to_owned()
    }
}

fn headings(app: &App, cells: &[(Cell, u16)]) -> Line<'static> {
    let theme = &app.theme;
    let mut line = Line::default();
    for (cell, width) in cells {
        let style = if cell.column() == Some(app.markets.column) { theme.accent } else { theme.muted };
        line.push_span(Span::styled(aligned(*cell, cell.heading(), usize::from(*width)), style));
    }
    line
}

/// Text in a cell, after a blank; the rank, which needs all of its cell, without one.
fn aligned(cell: Cell, text: &str, width: usize) -> String {
    match cell {
        Cell::Rank => format::pad_left(text, width),
        Cell::Coin | Cell::Name => format!(" {}", format::pad(text, width - 1)),
        _ => format!(" {}", format::pad_left(text, width - 1)),
    }
}

fn content(
    app: &App,
    cell: Cell,
    market: &MarketEntry,
    at: usize,
    selected: bool,
    width: usize,
) -> (String, Style) {
    let theme = &app.theme;
    let changed = |change: Option<f64>| (format::change(change), style_of(theme, change));
    let volatility = |value: Option<f64>, hot: bool| {
        let mark = if hot { '!' } else { ' ' };
        let text = value.map_or_else(
            || "– ".to_owned(),
            |v| format!("{}{mark}", if v < 9.9995 { format!("{v:.3}") } else { format!("{v:.1}") }),
        );
        (text, if hot { theme.warn } else { theme.muted })
    };
    match cell {
        Cell::Rank => {
            // There is no room for the mark and three digits: the mark replaces the rank.
            let text = match (selected, at + 1) {
                (false, rank) => rank.to_string(),
                (true, rank @ ..=99) => format!("▸{rank}"),
                (true, _) => "▸".to_owned(),
            };
            (text, if selected { theme.accent } else { theme.muted })
        }
        Cell::Coin => (market.symbol.clone(), theme.text.patch(theme.title)),
        Cell::Name => (market.name.clone(), theme.muted),
        Cell::Price => (format::price_within(market.price, width.saturating_sub(1)), theme.text),
        Cell::Minute => changed(market.change_1m),
        Cell::Hour => changed(market.change_1h),
        Cell::Day => changed(market.change_24h),
        Cell::Volatility => volatility(market.volatility_1m, app.is_hot(market)),
        Cell::VolatilityHour => volatility(market.volatility_1h, false),
        Cell::Spark => {
            let rose = market.closes.first().zip(market.closes.last()).map(|(first, last)| last >= first);
            let style = match rose {
                Some(true) => theme.up,
                Some(false) => theme.down,
                None => theme.muted,
            };
            let style = theme.quiet(style);
            (sparkline(&market.closes, width.saturating_sub(1)), style)
        }
        Cell::Volume => (volume(market), theme.muted),
        Cell::Age => (format::age(app.now().saturating_sub(market.event_time)), theme.muted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_into_every_width() {
        for width in 0..200 {
            assert!(cells(width).iter().map(|(_, w)| w).sum::<u16>() <= width);
        }
        assert_eq!(cells(200).len(), Cell::ORDER.len());
        let narrow: Vec<Cell> = cells(20).into_iter().map(|(c, _)| c).collect();
        assert_eq!(narrow, [Cell::Rank, Cell::Coin, Cell::Price]);
    }

    #[test]
    fn texts_are_aligned_to_their_side() {
        assert_eq!(aligned(Cell::Coin, "BTC", 6), " BTC  ");
        assert_eq!(aligned(Cell::Coin, "比特币", 6), " 比特…");
        assert_eq!(aligned(Cell::Price, "1.5", 6), "   1.5");
        assert_eq!(aligned(Cell::Price, "toolong", 6), " tool…");
        assert_eq!(aligned(Cell::Rank, "▸10", Cell::Rank.width().into()), "▸10");
    }
}
