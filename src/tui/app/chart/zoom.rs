//! Zoom levels: a slot of the chart is several columns wide and holds one candle, or is one column wide and
//! holds several candles.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tui) enum Direction {
    In,
    Out,
}

/// The columns of a slot less one; below zero the place in [`Zoom::CANDLES`], counted from -1 down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tui) struct Zoom(i8);

impl Zoom {
    /// Candles in a slot of one column, by level.
    const CANDLES: [u16; 6] = [2, 3, 5, 10, 20, 30];
    const FARTHEST: i8 = -6;
    const CLOSEST: i8 = 4;

    /// Columns of a slot.
    pub(in crate::tui) fn columns(self) -> u16 {
        u16::try_from(self.0.max(0)).unwrap_or(0) + 1
    }

    /// Candles of the interval in a slot.
    pub(in crate::tui) fn candles(self) -> u16 {
        usize::try_from(-self.0 - 1).map_or(1, |at| Self::CANDLES[at.min(Self::CANDLES.len() - 1)])
    }

    /// The next level in this direction; the same at the last one.
    pub(super) fn stepped(self, direction: Direction) -> Self {
        match direction {
            Direction::In => Self((self.0 + 1).min(Self::CLOSEST)),
            Direction::Out => Self((self.0 - 1).max(Self::FARTHEST)),
        }
    }
}
