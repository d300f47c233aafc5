//! Themes: a style for every role on the screen. Views use roles, never colours.
//!
//! No role is distinguished by colour alone: glyphs (`▲▼`, `●`, `▸`) and modifiers carry the same information,
//! so [`ThemeKind::Mono`], whose colours are all `Reset`, loses nothing. (With `NO_COLOR` set, crossterm writes
//! each colour as a sequence that also resets bold and reverse.)

use ratatui::style::{Color, Modifier, Style};

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum ThemeKind {
    /// The terminal's own 16 colours.
    #[default]
    Default,
    /// 24-bit colours on the terminal's background.
    Truecolor,
    /// Blue up, orange down: distinct for every kind of colour vision.
    Colorblind,
    /// No colours at all.
    Mono,
}

impl ThemeKind {
    /// All themes, in the order that `T` goes through them.
    pub const ALL: [Self; 4] = [Self::Default, Self::Truecolor, Self::Colorblind, Self::Mono];

    /// `default`, `truecolor`, `colorblind`, `mono`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Truecolor => "truecolor",
            Self::Colorblind => "colorblind",
            Self::Mono => "mono",
        }
    }

    /// The theme after this one.
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|k| *k == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// A style for every role.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Values.
    pub text: Style,
    /// Labels and units.
    pub muted: Style,
    /// Grid lines.
    pub faint: Style,
    /// The name of the program and the titles of panes.
    pub title: Style,
    /// Emphasis without a judgement.
    pub accent: Style,
    pub border: Style,
    /// The border of the focused pane.
    pub focus: Style,
    /// Rising prices.
    pub up: Style,
    /// Falling prices.
    pub down: Style,
    /// Normal states.
    pub good: Style,
    pub warn: Style,
    /// Failures.
    pub bad: Style,
    /// The selected row, on top of each cell's style.
    pub selected: Style,
    /// The chosen interval, and the highlighted target of the logs.
    pub tag: Style,
    /// The crosshair and its labels.
    pub cursor: Style,
    pub sma: Style,
    pub ema: Style,
    /// Keys in hints and help.
    pub key: Style,
    /// Whether `DIM` may be used for emphasis: in [`ThemeKind::Mono`] it means falling.
    dims: bool,
}

impl Theme {
    /// The styles of a theme; `red_up` swaps those of rising and falling prices, as is usual in East Asia.
    pub fn new(kind: ThemeKind, red_up: bool) -> Self {
        let mut theme = match kind {
            ThemeKind::Default => Self::sixteen(),
            ThemeKind::Truecolor => Self::truecolor(),
            ThemeKind::Colorblind => Self::colorblind(),
            ThemeKind::Mono => Self::mono(),
        };
        if red_up && kind != ThemeKind::Mono {
            std::mem::swap(&mut theme.up, &mut theme.down);
        }
        theme
    }

    fn sixteen() -> Self {
        let plain = Style::new().fg(Color::Reset);
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            text: plain,
            muted: plain.fg(Color::Gray).add_modifier(Modifier::DIM),
            faint: plain.fg(Color::DarkGray),
            title: bold,
            accent: plain.fg(Color::Cyan),
            border: plain.fg(Color::DarkGray),
            focus: plain.fg(Color::Cyan),
            up: plain.fg(Color::Green),
            down: plain.fg(Color::Red),
            good: plain.fg(Color::Green),
            warn: plain.fg(Color::Yellow),
            bad: plain.fg(Color::LightRed).add_modifier(Modifier::BOLD),
            selected: Style::new().add_modifier(Modifier::BOLD),
            tag: plain.add_modifier(Modifier::REVERSED),
            cursor: plain.fg(Color::Yellow),
            sma: plain.fg(Color::Yellow),
            ema: plain.fg(Color::Magenta),
            key: plain.fg(Color::Cyan),
            dims: true,
        }
    }

    fn truecolor() -> Self {
        let plain = Style::new();
        let rgb = |r, g, b| plain.fg(Color::Rgb(r, g, b));
        Self {
            text: rgb(0xc8, 0xd3, 0xe0),
            muted: rgb(0x7f, 0x8b, 0x9c),
            faint: rgb(0x3a, 0x44, 0x52),
            title: rgb(0xe8, 0xee, 0xf6).add_modifier(Modifier::BOLD),
            accent: rgb(0x6c, 0xb6, 0xff),
            border: rgb(0x3a, 0x44, 0x52),
            focus: rgb(0x6c, 0xb6, 0xff),
            up: rgb(0x3d, 0xd6, 0x8c),
            down: rgb(0xff, 0x6b, 0x6b),
            good: rgb(0x3d, 0xd6, 0x8c),
            warn: rgb(0xf2, 0xc0, 0x55),
            bad: rgb(0xff, 0x6b, 0x6b).add_modifier(Modifier::BOLD),
            selected: plain.bg(Color::Rgb(0x1d, 0x2a, 0x3a)).add_modifier(Modifier::BOLD),
            tag: plain
                .fg(Color::Rgb(0x0d, 0x11, 0x17))
                .bg(Color::Rgb(0x6c, 0xb6, 0xff))
                .add_modifier(Modifier::BOLD),
            cursor: rgb(0xf2, 0xc0, 0x55),
            sma: rgb(0xf2, 0xc0, 0x55),
            ema: rgb(0xc4, 0x9b, 0xff),
            key: rgb(0x6c, 0xb6, 0xff),
            dims: true,
        }
    }

    fn colorblind() -> Self {
        let (blue, orange) = (Color::Rgb(0x56, 0xb4, 0xe9), Color::Rgb(0xe6, 0x9f, 0x00));
        let plain = Style::new();
        Self {
            up: plain.fg(blue),
            down: plain.fg(orange),
            good: plain.fg(blue),
            warn: plain.fg(Color::Rgb(0xf0, 0xe4, 0x42)),
            bad: plain.fg(orange).add_modifier(Modifier::BOLD),
            accent: plain.fg(Color::Rgb(0xcc, 0x79, 0xa7)),
            focus: plain.fg(Color::Rgb(0xcc, 0x79, 0xa7)),
            key: plain.fg(Color::Rgb(0xcc, 0x79, 0xa7)),
            cursor: plain.fg(Color::Rgb(0xf0, 0xe4, 0x42)),
            sma: plain.fg(Color::Rgb(0xf0, 0xe4, 0x42)),
            ema: plain.fg(Color::Rgb(0xcc, 0x79, 0xa7)),
            tag: plain
                .fg(Color::Rgb(0x0d, 0x11, 0x17))
                .bg(Color::Rgb(0xd8, 0xde, 0xe9))
                .add_modifier(Modifier::BOLD),
            ..Self::truecolor()
        }
    }

    fn mono() -> Self {
        let plain = Style::new().fg(Color::Reset);
        let (bold, dim) = (plain.add_modifier(Modifier::BOLD), plain.add_modifier(Modifier::DIM));
        Self {
            text: plain,
            muted: dim,
            faint: dim,
            title: bold,
            accent: bold,
            border: dim,
            focus: bold,
            up: bold,
            down: dim,
            good: plain,
            warn: bold,
            bad: bold.add_modifier(Modifier::REVERSED),
            selected: Style::new().add_modifier(Modifier::REVERSED),
            tag: plain.add_modifier(Modifier::REVERSED),
            cursor: bold,
            sma: plain,
            ema: dim,
            key: bold,
            dims: false,
        }
    }

    /// The style dimmed, where that does not change its meaning.
    pub(super) fn quiet(&self, style: Style) -> Style {
        if self.dims { style.add_modifier(Modifier::DIM) } else { style }
    }

    #[cfg(test)]
    fn all(&self) -> [Style; 18] {
        [
            self.text,
            self.muted,
            self.faint,
            self.title,
            self.accent,
            self.border,
            self.focus,
            self.up,
            self.down,
            self.good,
            self.warn,
            self.bad,
            self.selected,
            self.tag,
            self.cursor,
            self.sma,
            self.ema,
            self.key,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_has_no_colours() {
        for red_up in [false, true] {
            for style in Theme::new(ThemeKind::Mono, red_up).all() {
                assert!(
                    style.fg.is_none_or(|c| c == Color::Reset) && style.bg.is_none_or(|c| c == Color::Reset)
                );
            }
        }
    }

    #[test]
    fn the_default_theme_keeps_to_sixteen_colours() {
        for style in Theme::new(ThemeKind::Default, false).all() {
            for colour in [style.fg, style.bg].into_iter().flatten() {
                assert!(!matches!(colour, Color::Rgb(..) | Color::Indexed(_)), "{colour:?}");
            }
        }
    }

    #[test]
    fn up_and_down_differ_in_every_theme_and_are_swapped_by_red_up() {
        for kind in ThemeKind::ALL {
            let theme = Theme::new(kind, false);
            assert_ne!(theme.up, theme.down, "{kind:?}");
        }
        let (usual, swapped) = (Theme::new(ThemeKind::Default, false), Theme::new(ThemeKind::Default, true));
        assert_eq!((usual.up, usual.down), (swapped.down, swapped.up));
    }

    #[test]
    fn next_cycles_through_all_themes() {
        let mut kind = ThemeKind::Default;
        for _ in 0..ThemeKind::ALL.len() {
            kind = kind.next();
        }
        assert_eq!(kind, ThemeKind::Default);
    }
}
