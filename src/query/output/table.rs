//! Tables of aligned columns that fit the terminal where they can.

use std::io::{self, Write};

/// The alignment of a column's cells, and whether they may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// Aligned left; cut where there is no room.
    Text,
    /// Aligned left; never cut.
    Time,
    /// Aligned right; never cut.
    Number,
}

pub(super) struct Column<'a> {
    pub(super) head: String,
    kind: ColumnKind,
    /// Makes the cell of a row.
    cell: Box<dyn Fn(usize) -> String + 'a>,
}

impl<'a> Column<'a> {
    pub(super) fn new(head: &str, kind: ColumnKind, cell: impl Fn(usize) -> String + 'a) -> Self {
        Self { head: head.to_owned(), kind, cell: Box::new(cell) }
    }

    /// A column of numbers with prepared cells.
    pub(super) fn numbers(head: &str, cells: Vec<String>) -> Self {
        Self::new(head, ColumnKind::Number, move |row| cells[row].clone())
    }

    /// The width of its widest cell, in characters. Cells are made again when written: an answer may be too
    /// large to keep them all.
    pub(super) fn width(&self, rows: usize) -> usize {
        (0..rows).map(|row| length(&(self.cell)(row))).max().unwrap_or(0).max(length(&self.head))
    }
}

/// No column is cut to less than this width.
const NARROWEST: usize = 6;
const GAP: &str = "  ";

pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

pub(super) fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Column widths that together fit into `width` if possible: the widest text columns are cut first, numbers
/// and times never.
fn fit(columns: &[Column<'_>], mut widths: Vec<usize>, width: Option<usize>) -> Vec<usize> {
    let Some(width) = width else { return widths };
    while total(&widths) > width {
        let texts = columns.iter().zip(&mut widths).filter(|(column, _)| column.kind == ColumnKind::Text);
        match texts.map(|(_, width)| width).max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

pub(super) fn write_table(
    out: &mut impl Write,
    columns: &[Column<'_>],
    rows: usize,
    width: Option<usize>,
) -> io::Result<()> {
    let widths = fit(columns, columns.iter().map(|column| column.width(rows)).collect(), width);
    let line = |out: &mut dyn Write, cell: &dyn Fn(&Column<'_>) -> String| {
        let mut text = String::new();
        for (index, (column, width)) in columns.iter().zip(&widths).enumerate() {
            let mut cell = cell(column);
            if length(&cell) > *width {
                cell = cell.chars().take(width - 1).chain(['…']).collect();
            }
            let gap = if index == 0 { "" } else { GAP };
            text += gap;
            let room = " ".repeat(width.saturating_sub(length(&cell)));
            text.extend(match column.kind {
                ColumnKind::Text | ColumnKind::Time => [cell, room],
                ColumnKind::Number => [room, cell],
            });
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(out, &|column| column.head.clone())?;
    for (index, width) in widths.iter().enumerate() {
        out.write_all(if index == 0 { "" } else { GAP }.as_bytes())?;
        (0..*width).try_for_each(|_| out.write_all("─".as_bytes()))?;
    }
    writeln!(out)?;
    (0..rows).try_for_each(|row| line(out, &|column| (column.cell)(row)))
}
