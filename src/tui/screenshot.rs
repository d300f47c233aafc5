//! The dashboard as an SVG document of the cells that a terminal of the same size would show.
//!
//! Lines, blocks, candles and curves are drawn as shapes, so that they join without gaps in every font; all
//! other text is placed on the grid of cells, run by run.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::app::App;
use super::view;

/// Font size and size of a cell, in pixels. The width of a cell is the font's advance.
const FONT: f64 = 14.0;
const WIDTH: f64 = FONT * 0.602_05;
const HEIGHT: f64 = 18.0;
/// Distance of the text's baseline from the top of a cell.
const BASELINE: f64 = 13.6;
/// Margin around the cells, and height of the window's title bar.
const MARGIN: f64 = 14.0;
const BAR: f64 = 30.0;
/// Thickness of thin and thick lines.
const THIN: f64 = 1.3;
const THICK: f64 = 4.6;

const BACKGROUND: &str = "#0d1117";
const FOREGROUND: &str = "#c9d1d9";

/// The dashboard as an SVG document; `width` and `height` are the size of the state, in cells.
pub fn svg(app: &App, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::render(&mut buffer, area, app);
    of_buffer(&buffer)
}

/// A buffer's cells as an SVG document.
pub fn of_buffer(buffer: &Buffer) -> String {
    let (columns, rows) = (f64::from(buffer.area.width), f64::from(buffer.area.height));
    let (w, h) = (columns * WIDTH + 2.0 * MARGIN, rows * HEIGHT + BAR + MARGIN);
    let mut out = String::with_capacity(1 << 18);
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0}" height="{h:.0}" viewBox="0 0 {w:.2} {h:.2}" font-family="'DejaVu Sans Mono','JetBrains Mono',Menlo,Consolas,monospace" font-size="{FONT}" xml:space="preserve">
<rect width="{w:.2}" height="{h:.2}" rx="10" fill="{BACKGROUND}"/>
<rect x=".5" y=".5" width="{:.2}" height="{:.2}" rx="9.5" fill="none" stroke="#30363d"/>
<circle cx="20" cy="16" r="5.5" fill="#ff5f57"/><circle cx="38" cy="16" r="5.5" fill="#febc2e"/><circle cx="56" cy="16" r="5.5" fill="#28c840"/>
<text x="{:.2}" y="20.5" text-anchor="middle" font-size="12" fill="#7d8590">cryptostream</text>
<g transform="translate({MARGIN},{BAR})">
"##,
        w - 1.0,
        h - 1.0,
        w / 2.0,
    );
    for y in 0..buffer.area.height {
        backgrounds(&mut out, buffer, y);
    }
    for y in 0..buffer.area.height {
        texts(&mut out, buffer, y);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// The colours and weight that a cell is painted with.
#[derive(Debug, Clone, PartialEq)]
struct Paint {
    fg: String,
    bg: Option<String>,
    bold: bool,
    underlined: bool,
}

impl Paint {
    fn of(cell: &Cell) -> Self {
        let has = |m| cell.modifier.contains(m);
        let mut fg = hex(cell.fg).unwrap_or_else(|| FOREGROUND.to_owned());
        let mut bg = hex(cell.bg);
        if has(Modifier::REVERSED) {
            let background = bg.unwrap_or_else(|| BACKGROUND.to_owned());
            bg = Some(std::mem::replace(&mut fg, background));
        }
        if has(Modifier::DIM) {
            fg = blend(&fg, bg.as_deref().unwrap_or(BACKGROUND));
        }
        Self { fg, bg, bold: has(Modifier::BOLD), underlined: has(Modifier::UNDERLINED) }
    }
}

/// A mix of 60 % of a colour and 40 % of the colour behind it.
fn blend(fg: &str, bg: &str) -> String {
    let part = |text: &str, at: usize| {
        text.get(at..at + 2).and_then(|t| u32::from_str_radix(t, 16).ok()).unwrap_or(0)
    };
    let mix = |at| (part(fg, at) * 60 + part(bg, at) * 40) / 100;
    format!("#{:02x}{:02x}{:02x}", mix(1), mix(3), mix(5))
}

/// A colour as `#rrggbb`; none for the terminal's own.
fn hex(color: Color) -> Option<String> {
    let named = |text: &str| Some(text.to_owned());
    match color {
        Color::Reset => None,
        Color::Black => named("#161b22"),
        Color::Red => named("#f06a63"),
        Color::Green => named("#4ac26b"),
        Color::Yellow => named("#d9a63a"),
        Color::Blue => named("#58a6ff"),
        Color::Magenta => named("#bc8cff"),
        Color::Cyan => named("#39c5cf"),
        Color::Gray => named("#b1bac4"),
        Color::DarkGray => named("#4b535d"),
        Color::LightRed => named("#ff7b72"),
        Color::LightGreen => named("#56d364"),
        Color::LightYellow => named("#e3b341"),
        Color::LightBlue => named("#79c0ff"),
        Color::LightMagenta => named("#d2a8ff"),
        Color::LightCyan => named("#56d4dd"),
        Color::White => named("#f0f6fc"),
        Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        Color::Indexed(i) => Some(indexed(i)),
    }
}

/// A colour of the 256-colour palette: sixteen named ones, a cube of 216, and greys.
fn indexed(i: u8) -> String {
    const NAMED: [Color; 16] = [
        Color::Black,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Blue,
        Color::Magenta,
        Color::Cyan,
        Color::Gray,
        Color::DarkGray,
        Color::LightRed,
        Color::LightGreen,
        Color::LightYellow,
        Color::LightBlue,
        Color::LightMagenta,
        Color::LightCyan,
        Color::White,
    ];
    match i {
        0..=15 => hex(NAMED[usize::from(i)]).unwrap_or_default(),
        16..=231 => {
            let level = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
            let i = i - 16;
            format!("#{:02x}{:02x}{:02x}", level(i / 36), level(i / 6 % 6), level(i % 6))
        }
        _ => {
            let grey = 8 + 10 * (i - 232);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
    }
}

fn backgrounds(out: &mut String, buffer: &Buffer, y: u16) {
    let mut x = 0;
    while x < buffer.area.width {
        let paint = Paint::of(&buffer[(x, y)]);
        let start = x;
        while x < buffer.area.width && Paint::of(&buffer[(x, y)]).bg == paint.bg {
            x += 1;
        }
        if let Some(bg) = paint.bg {
            rect(
                out,
                f64::from(start) * WIDTH,
                f64::from(y) * HEIGHT,
                f64::from(x - start) * WIDTH,
                HEIGHT,
                &bg,
            );
        }
    }
}

fn rect(out: &mut String, x: f64, y: f64, w: f64, h: f64, fill: &str) {
    let _ = writeln!(out, r#"<rect x="{x:.2}" y="{y:.2}" width="{w:.2}" height="{h:.2}" fill="{fill}"/>"#);
}

fn texts(out: &mut String, buffer: &Buffer, y: u16) {
    let mut x = 0;
    while x < buffer.area.width {
        let cell = &buffer[(x, y)];
        let symbol = cell.symbol();
        let paint = Paint::of(cell);
        let width = u16::try_from(symbol.width()).unwrap_or(1).max(1);
        let mut chars = symbol.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            if c == ' ' {
                x += 1;
                continue;
            }
            if shape(out, c, f64::from(x) * WIDTH, f64::from(y) * HEIGHT, &paint.fg) {
                x += 1;
                continue;
            }
        }
        let start = x;
        let mut text = symbol.to_owned();
        x += width;
        // ASCII of one style is one run; any other glyph may come from another font and is placed by itself.
        while symbol.is_ascii() && x < buffer.area.width {
            let next = &buffer[(x, y)];
            if !next.symbol().is_ascii() || Paint::of(next) != paint {
                break;
            }
            text.push_str(next.symbol());
            x += 1;
        }
        let text = text.trim_end();
        let columns = f64::from(u16::try_from(text.width()).unwrap_or(1));
        let _ = writeln!(
            out,
            r#"<text x="{:.2}" y="{:.2}" textLength="{:.2}" lengthAdjust="spacingAndGlyphs" fill="{}"{}{}>{}</text>"#,
            f64::from(start) * WIDTH,
            f64::from(y) * HEIGHT + BASELINE,
            columns * WIDTH,
            paint.fg,
            if paint.bold { r#" font-weight="bold""# } else { "" },
            if paint.underlined { r#" text-decoration="underline""# } else { "" },
            escape(text),
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Draws a glyph that must join its neighbours as a shape; returns whether it is such a glyph.
fn shape(out: &mut String, c: char, x: f64, y: f64, fill: &str) -> bool {
    let (cx, cy) = (x + WIDTH / 2.0, y + HEIGHT / 2.0);
    let mut vertical = |from: f64, to: f64, thickness: f64| {
        rect(out, cx - thickness / 2.0, y + from * HEIGHT, thickness, (to - from) * HEIGHT, fill);
    };
    match c {
        '│' => vertical(0.0, 1.0, THIN),
        '┃' => vertical(0.0, 1.0, THICK),
        '╷' => vertical(0.5, 1.0, THIN),
        '╵' => vertical(0.0, 0.5, THIN),
        '╻' => vertical(0.5, 1.0, THICK),
        '╹' => vertical(0.0, 0.5, THICK),
        '╽' => {
            vertical(0.0, 0.5, THIN);
            vertical(0.5, 1.0, THICK);
        }
        '╿' => {
            vertical(0.0, 0.5, THICK);
            vertical(0.5, 1.0, THIN);
        }
        '┊' => (0..3).for_each(|i| vertical(f64::from(i) / 3.0 + 0.08, f64::from(i) / 3.0 + 0.24, THIN)),
        '─' => rect(out, x, cy - THIN / 2.0, WIDTH, THIN, fill),
        '┈' => (0..3).for_each(|i| {
            rect(out, x + WIDTH * (f64::from(i) / 3.0 + 0.08), cy - THIN / 2.0, WIDTH * 0.17, THIN, fill);
        }),
        '┴' => {
            rect(out, x, cy - THIN / 2.0, WIDTH, THIN, fill);
            rect(out, cx - THIN / 2.0, y, THIN, HEIGHT / 2.0, fill);
        }
        '┤' => {
            rect(out, cx - THIN / 2.0, y, THIN, HEIGHT, fill);
            rect(out, x, cy - THIN / 2.0, WIDTH / 2.0, THIN, fill);
        }
        '┘' => {
            rect(out, x, cy - THIN / 2.0, WIDTH / 2.0 + THIN / 2.0, THIN, fill);
            rect(out, cx - THIN / 2.0, y, THIN, HEIGHT / 2.0, fill);
        }
        '╭' | '╮' | '╰' | '╯' => corner(out, c, x, y, fill),
        '▏' => rect(out, x, y, WIDTH / 8.0, HEIGHT, fill),
        '▁'..='█' => {
            let height = HEIGHT * f64::from(u32::from(c) - 0x2580) / 8.0;
            rect(out, x, y + HEIGHT - height, WIDTH, height, fill);
        }
        '\u{2801}'..='\u{28ff}' => braille(out, c, x, y, fill),
        _ => return false,
    }
    true
}

fn corner(out: &mut String, c: char, x: f64, y: f64, fill: &str) {
    let (cx, cy, r) = (x + WIDTH / 2.0, y + HEIGHT / 2.0, WIDTH / 2.0);
    let (side, end) = match c {
        '╭' => (1.0, 1.0),
        '╮' => (-1.0, 1.0),
        '╰' => (1.0, -1.0),
        _ => (-1.0, -1.0),
    };
    let _ = writeln!(
        out,
        r#"<path d="M{:.2} {cy:.2}Q{cx:.2} {cy:.2} {cx:.2} {:.2}V{:.2}" fill="none" stroke="{fill}" stroke-width="{THIN}"/>"#,
        cx + side * WIDTH / 2.0,
        cy + end * r,
        cy + end * HEIGHT / 2.0,
    );
}

fn braille(out: &mut String, c: char, x: f64, y: f64, fill: &str) {
    const DOTS: [(u32, f64, f64); 8] = [
        (0x01, 0.25, 0.125),
        (0x02, 0.25, 0.375),
        (0x04, 0.25, 0.625),
        (0x40, 0.25, 0.875),
        (0x08, 0.75, 0.125),
        (0x10, 0.75, 0.375),
        (0x20, 0.75, 0.625),
        (0x80, 0.75, 0.875),
    ];
    let bits = u32::from(c) - 0x2800;
    for (_, dx, dy) in DOTS.iter().filter(|(bit, ..)| bits & bit != 0) {
        let _ = writeln!(
            out,
            r#"<circle cx="{:.2}" cy="{:.2}" r="1.15" fill="{fill}"/>"#,
            x + dx * WIDTH,
            y + dy * HEIGHT
        );
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn text_is_escaped_placed_and_styled() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 2));
        buffer.set_string(2, 1, "a<b & ▲", Style::new().fg(Color::Rgb(1, 2, 3)).add_modifier(Modifier::BOLD));
        let svg = of_buffer(&buffer);
        assert!(svg.contains(r##"fill="#010203" font-weight="bold">a&lt;b &amp;</text>"##), "{svg}");
        assert!(svg.contains(">▲</text>"));
    }

    #[test]
    fn lines_and_blocks_are_shapes() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 60, 1));
        buffer.set_string(0, 0, "│┃╷╵╻╹╽╿┊─┈┴┤┘╭╮╰╯▏▁▂▃▄▅▆▇█⠒", Style::new());
        let svg = of_buffer(&buffer);
        assert_eq!(svg.matches("<text").count(), 1, "only the window's title");
    }

    #[test]
    fn reversed_cells_swap_their_colours_and_dim_ones_are_blended() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 1));
        buffer.set_string(0, 0, "x", Style::new().fg(Color::Red).add_modifier(Modifier::REVERSED));
        let paint = Paint::of(&buffer[(0, 0)]);
        assert_eq!((paint.fg.as_str(), paint.bg.as_deref()), (BACKGROUND, Some("#f06a63")));
        assert_eq!(blend("#ffffff", "#000000"), "#999999");
        assert_eq!(indexed(196), "#ff0000");
        assert_eq!(indexed(255), "#eeeeee");
    }
}
