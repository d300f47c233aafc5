//! Frames as text at several sizes, styles apart, and a draw at every size there is.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Modifier};

use super::*;
use crate::market::SECOND;
use crate::pipeline::status::{Role, SourceState, StageState};
use crate::tui::app::Message;
use crate::tui::theme::Kind;
use crate::tui::{Settings, fixture, screenshot};

fn buffer(app: &App) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(app.size.width, app.size.height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    (0..buffer.area.height)
        .map(|y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned())
        .collect()
}

fn text(app: &App) -> String {
    lines(&buffer(app)).join("\n")
}

#[test]
#[ignore = "writes pictures to look at"]
fn pictures() {
    let Ok(dir) = std::env::var("PICTURES") else { return };
    for (w, h) in [(160, 48), (100, 30), (80, 24), (60, 16), (250, 70), (120, 40), (80, 50), (150, 40)] {
        for kind in [Kind::Default, Kind::Truecolor, Kind::Colorblind, Kind::Mono] {
            if kind != Kind::Default && w != 160 {
                continue;
            }
            let app = fixture::app(w, h, kind);
            std::fs::write(format!("{dir}/{w}x{h}-{}.svg", kind.label()), screenshot::svg(&app, w, h)).unwrap();
        }
    }
}
