//! Drawing one frame of a fully loaded dashboard at 200x60. Target: at most 3 ms.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use cryptostream::tui::{theme, view};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

#[path = "fixture/dashboard.rs"]
#[allow(dead_code, reason = "the unit tests use all of it")]
mod fixture;

fn frame(c: &mut Criterion) {
    let app = fixture::app(200, 60, theme::ThemeKind::Default);
    let area = Rect::new(0, 0, 200, 60);
    let mut buffer = Buffer::empty(area);
    c.bench_function("frame_200x60", |b| {
        b.iter(|| {
            buffer.reset();
            view::render(black_box(&mut buffer), area, black_box(&app));
        });
    });
}

criterion_group!(benches, frame);
criterion_main!(benches);
