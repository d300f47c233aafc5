//! The areas of the screen: pure functions of its size, the focused pane and the number of notice lines. State
//! and drawing read the same [`Layout`].
//!
//! ```text
//!  status line                                                     at 150 columns x 40 rows and more
//! ╭ Markets ───────╮╭ Chart ──────────────────────────────────╮
//! │                ││                                         │   lower:    without alerts and logs
//! │                ││                                         │   narrower: alerts below the markets, pipeline below the
//! ╰────────────────╯│                                         │             chart; then without both
//! ╭ Pipeline ──────╮╰─────────────────────────────────────────╯
//! │                │╭ Alerts ────────────╮╭ Logs ─────────────╮   A focused pane that has no area is shown in place of
//! ╰────────────────╯╰────────────────────╯╰───────────────────╯   the chart.
//!  failures and notices, only while there are any
//!  hints
//! ```

use ratatui::layout::{Position, Rect, Size};

use super::input::{KEYS, KeyContext};

/// The smallest terminal that the dashboard is drawn in.
pub const LEAST: Size = Size::new(60, 16);
/// Columns from which on every pane has an area, given enough rows.
const WIDE: u16 = 150;
/// Columns from which on alerts and pipeline have an area, given enough rows.
const MEDIUM: u16 = 100;
/// Width of a column of the help.
pub(super) const HELP_COLUMN: u16 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pane {
    Markets,
    Chart,
    Pipeline,
    Alerts,
    Logs,
}

impl Pane {
    /// In the order that `Tab` goes through them.
    pub const ALL: [Self; 5] = [Self::Markets, Self::Chart, Self::Pipeline, Self::Alerts, Self::Logs];
}

/// Whether the log pane is shown where there is room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogPane {
    Shown,
    Hidden,
}

/// What the layout depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrangement {
    pub(super) size: Size,
    pub(super) focus: Pane,
    /// Whether only the focused pane is shown.
    pub(super) expanded: bool,
    pub(super) logs: LogPane,
    /// Number of lines of failures and notices.
    pub(super) notices: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub(super) status: Rect,
    /// Failures and notices; empty while there are none.
    pub(super) notices: Rect,
    pub(super) footer: Rect,
    /// The visible panes with their areas, borders included; empty in a terminal that is too small.
    pub(super) panes: Vec<(Pane, Rect)>,
}

impl Layout {
    pub(super) fn new(wanted: Arrangement) -> Self {
        let area = Rect::from((Position::ORIGIN, wanted.size));
        if !is_large_enough(wanted.size) {
            return Self::default();
        }
        let notices = u16::try_from(wanted.notices).unwrap_or(u16::MAX).min(area.height / 4);
        let status = Rect { height: 1, ..area };
        let footer = Rect { y: area.bottom() - 1, height: 1, ..area };
        let notices = Rect { y: footer.y - notices, height: notices, ..area };
        let body = Rect { y: area.y + 1, height: notices.y - 1, ..area };
        let mut panes = if wanted.expanded { vec![(wanted.focus, body)] } else { arrange(body, wanted.logs) };
        if !panes.iter().any(|(pane, _)| *pane == wanted.focus) {
            for (pane, _) in &mut panes {
                if *pane == Pane::Chart {
                    *pane = wanted.focus;
                }
            }
        }
        Self { status, notices, footer, panes }
    }

    /// Area of a pane with its border; none where it is not visible.
    pub(super) fn area(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(p, _)| *p == pane).map(|(_, area)| *area)
    }

    /// The area inside the border of the chart, or of the pane that is shown in place of the chart.
    pub(super) fn chart(&self) -> Rect {
        let last = || self.panes.last().map(|(_, area)| *area);
        inner(self.area(Pane::Chart).or_else(last).unwrap_or_default())
    }

    /// The rows of the market table below its headings.
    pub(super) fn table(&self) -> Rect {
        let inside = inner(self.area(Pane::Markets).unwrap_or_default());
        Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside }
    }
}

pub(super) const fn is_large_enough(size: Size) -> bool {
    size.width >= LEAST.width && size.height >= LEAST.height
}

fn arrange(body: Rect, logs: LogPane) -> Vec<(Pane, Rect)> {
    let column = match body.width {
        w if w >= 200 => 70,
        w if w >= WIDE => 56,
        w if w >= MEDIUM => 44,
        w if w >= 76 => 30,
        _ => 22,
    };
    let (left, right) = split_left(body, column);
    if body.width >= WIDE {
        let mut panes = Vec::with_capacity(5);
        let (markets, pipeline) = if body.height >= 26 { split_bottom(left, 13) } else { (left, None) };
        panes.push((Pane::Markets, markets));
        let strip = (body.height / 4).clamp(9, 16);
        let (chart, below) = if body.height >= 34 { split_bottom(right, strip) } else { (right, None) };
        panes.push((Pane::Chart, chart));
        panes.extend(pipeline.map(|area| (Pane::Pipeline, area)));
        if let Some(below) = below {
            let (alerts, log) = match logs {
                LogPane::Shown => split_left(below, (below.width / 2).min(58)),
                LogPane::Hidden => (below, Rect::ZERO),
            };
            panes.push((Pane::Alerts, alerts));
            if !log.is_empty() {
                panes.push((Pane::Logs, log));
            }
        }
        return panes;
    }
    if body.width >= MEDIUM && body.height >= 26 {
        let (markets, alerts) = split_bottom(left, 12);
        let (chart, pipeline) = split_bottom(right, 12);
        let mut panes = vec![(Pane::Markets, markets), (Pane::Chart, chart)];
        panes.extend(pipeline.map(|area| (Pane::Pipeline, area)));
        panes.extend(alerts.map(|area| (Pane::Alerts, area)));
        return panes;
    }
    if body.height >= 30 {
        let (above, alerts) = split_bottom(body, 8);
        let (left, right) = split_left(above, column);
        let mut panes = vec![(Pane::Markets, left), (Pane::Chart, right)];
        panes.extend(alerts.map(|area| (Pane::Alerts, area)));
        return panes;
    }
    vec![(Pane::Markets, left), (Pane::Chart, right)]
}

fn split_left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

fn split_bottom(area: Rect, height: u16) -> (Rect, Option<Rect>) {
    let height = height.min(area.height);
    (Rect { height: area.height - height, ..area }, Some(Rect { y: area.bottom() - height, height, ..area }))
}

/// Whether the log pane has an area in a terminal of this size.
pub(super) const fn has_room_for_logs(size: Size) -> bool {
    size.width >= WIDE && size.height >= 36
}

/// A pane without its border.
pub(super) const fn inner(area: Rect) -> Rect {
    Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    }
}

/// An area without its first column.
pub(super) const fn indented(area: Rect) -> Rect {
    Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area }
}

/// The row `at` of an area, counted from 0; empty below the area.
pub(super) const fn row(area: Rect, at: u16) -> Rect {
    if at >= area.height {
        return Rect::ZERO;
    }
    Rect { x: area.x, y: area.y + at, width: area.width, height: 1 }
}

/// The help, in the middle of the screen.
#[derive(Debug, Clone, Copy)]
pub(super) struct HelpLayout {
    pub(super) popup: Rect,
    /// Lines of a column, visible or not.
    pub(super) lines: u16,
}

impl HelpLayout {
    pub(super) fn new(size: Size) -> Self {
        let area = Rect::from((Position::ORIGIN, size));
        let columns = ((area.width.saturating_sub(4)) / HELP_COLUMN).clamp(1, 3);
        let width = if columns > 1 { columns * HELP_COLUMN + 3 } else { area.width.min(HELP_COLUMN + 14) };
        // A heading and a blank line for every context; none before the first.
        let lines = KEYS.len() + 2 * KeyContext::ALL.len() - 1;
        let lines = u16::try_from(lines).unwrap_or(u16::MAX).div_ceil(columns);
        let height = (lines + 2).min(area.height);
        let popup = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
        Self { popup, lines }
    }

    /// Most lines to scroll down by.
    pub(super) const fn most_scroll(&self) -> u16 {
        self.lines.saturating_sub(self.popup.height.saturating_sub(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(width: u16, height: u16, notices: usize) -> Layout {
        let size = Size::new(width, height);
        Layout::new(Arrangement { size, focus: Pane::Chart, expanded: false, logs: LogPane::Shown, notices })
    }

    #[test]
    fn smaller_terminals_have_fewer_panes() {
        use Pane::{Alerts, Chart, Logs, Markets, Pipeline};
        let panes = |w, h| layout(w, h, 0).panes.into_iter().map(|(p, _)| p).collect::<Vec<_>>();
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
    fn panes_cover_all_rows_without_status_notices_and_hints_and_do_not_overlap() {
        for (w, h) in [(160, 48), (250, 70), (150, 40), (100, 30), (120, 40), (80, 50), (80, 24), (60, 16)] {
            for notices in [0, 1, 3] {
                let layout = layout(w, h, notices);
                let area: u32 = layout.panes.iter().map(|(_, a)| a.area()).sum();
                let rows = u32::from(h) - 2 - u32::try_from(notices).unwrap();
                assert_eq!(area, u32::from(w) * rows, "{w}x{h}");
                assert!(layout.panes.iter().all(|(_, a)| !a.intersects(layout.notices)), "{w}x{h}");
                for (at, (_, a)) in layout.panes.iter().enumerate() {
                    assert!(layout.panes[at + 1..].iter().all(|(_, b)| !a.intersects(*b)), "{w}x{h}");
                }
            }
        }
    }
}
