//! Ids of trades, and the numbers in them that order trades of one instant.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

/// A source's id of a trade. Whole numbers are kept as numbers: they order trades of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TradeId {
    Number(i64),
    /// Any other id, unchanged.
    Text(Box<str>),
}

impl TradeId {
    /// Only the canonical spelling of a number becomes a [`TradeId::Number`].
    #[inline]
    pub fn parse(text: &str) -> Self {
        match text.parse::<i64>() {
            Ok(n) if !text.starts_with(['+', '0']) && text != "-0" || text == "0" => Self::Number(n),
            _ => Self::Text(text.into()),
        }
    }

    /// The number that orders trades of one instant, if the id is one (`007` is 7).
    #[inline]
    pub fn sequence(&self) -> Option<Sequence> {
        match self {
            Self::Number(n) => Some(Sequence::Number(*n)),
            Self::Text(text) => Sequence::parse(text),
        }
    }
}

impl fmt::Display for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A whole number of any length, ordered as a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequence {
    /// Less than any 64-bit number.
    Below(Reverse<Arc<Magnitude>>),
    /// A 64-bit number: costs no allocation.
    Number(i64),
    /// More than any 64-bit number.
    Above(Arc<Magnitude>),
}

/// Decimal digits without leading zeros. The longer number is the larger one, so the derived order is
/// numeric.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Magnitude {
    length: usize,
    digits: Box<str>,
}

impl Sequence {
    /// Parses decimal digits with an optional minus sign.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let digits = digits.trim_start_matches('0');
        let magnitude = Arc::new(Magnitude { length: digits.len(), digits: digits.into() });
        Some(if text.starts_with('-') { Self::Below(Reverse(magnitude)) } else { Self::Above(magnitude) })
    }

    /// The number, if it fits into 64 bits: the value of the column `sequence`.
    #[inline]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Below(_) | Self::Above(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_canonical_numbers_are_numeric_ids_and_all_ids_print_unchanged() {
        assert_eq!(TradeId::parse("10"), TradeId::Number(10));
        assert_eq!(TradeId::parse("-3"), TradeId::Number(-3));
        assert_eq!(TradeId::parse("0"), TradeId::Number(0));
        assert_eq!(TradeId::parse("007"), TradeId::Text("007".into()));
        for text in ["10", "-3", "0", "007", "-0", "+5", "x", "", "9223372036854775808", "1e20"] {
            assert_eq!(TradeId::parse(text).to_string(), text);
        }
    }

    #[test]
    fn only_whole_decimal_numbers_are_sequences() {
        assert_eq!(Sequence::parse("007"), Some(Sequence::Number(7)));
        assert_eq!(Sequence::parse("-0"), Some(Sequence::Number(0)));
        for text in ["", "-", "--1", "+5", "a7", "10.0", "1e20", " 1", "١"] {
            assert_eq!(Sequence::parse(text), None, "{text}");
        }
        for (text, number) in [
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
        ] {
            assert_eq!(Sequence::parse(text).map(|s| s.number()), Some(number), "{text}");
        }
        assert!(Sequence::parse(&"9".repeat(20_000)) < Sequence::parse(&"9".repeat(20_001)));
    }

    /// Numbers of all sizes, often near the limits of 64 bits.
    fn number() -> impl Strategy<Value = i128> {
        let near = |border: i128| (-3..3i128).prop_map(move |n| border + n);
        let wide = (any::<i128>(), 0u32..127).prop_map(|(n, shift)| n >> shift);
        prop_oneof![wide, near(i128::from(i64::MAX)), near(i128::from(i64::MIN)), -3..3i128]
    }

    proptest! {
        #[test]
        fn sequences_are_ordered_as_numbers(a in number(), b in number(), zeros in 0usize..30) {
            let spelled = |n: i128, zeros| format!("{}{:0>zeros$}{}", if n < 0 { "-" } else { "" }, "", n.unsigned_abs());
            let sequence = |n, zeros| Sequence::parse(&spelled(n, zeros)).unwrap();
            prop_assert_eq!(sequence(a, zeros).cmp(&sequence(b, 0)), a.cmp(&b));
            prop_assert_eq!(sequence(a, zeros), sequence(a, 0));
            prop_assert_eq!(TradeId::parse(&spelled(a, 0)).sequence(), Some(sequence(a, 0)));
            prop_assert_eq!(sequence(a, 0).number(), i64::try_from(a).ok());
        }
    }
}
