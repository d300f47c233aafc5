//! The fields of a payload as raw JSON text, and the parsing of single fields.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{GENESIS, Point, Reason};
use crate::market::Micros;

/// The known fields of an object as raw JSON text; of equal keys the last one counts.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) coin_id: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) price: Option<&'a str>,
    pub(super) current_price: Option<&'a str>,
    pub(super) event_time: Option<&'a str>,
    pub(super) last_updated: Option<&'a str>,
    pub(super) timestamp: Option<&'a str>,
    pub(super) size: Option<&'a str>,
    pub(super) trade_id: Option<&'a str>,
    pub(super) source: Option<&'a str>,
    pub(super) quote: Option<&'a str>,
    pub(super) symbol: Option<&'a str>,
    pub(super) volume_24h: Option<&'a str>,
    pub(super) total_volume: Option<&'a str>,
    pub(super) market_cap: Option<&'a str>,
    pub(super) price_change_24h: Option<&'a str>,
    pub(super) price_change_pct_24h: Option<&'a str>,
    pub(super) high_24h: Option<&'a str>,
    pub(super) low_24h: Option<&'a str>,
    pub(super) prices: Option<&'a str>,
    pub(super) market_caps: Option<&'a str>,
    pub(super) total_volumes: Option<&'a str>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            #[inline]
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(FieldName(key)) = map.next_key()? {
                    let slot = match &*key {
                        "coin_id" => &mut fields.coin_id,
                        "id" => &mut fields.id,
                        "price" => &mut fields.price,
                        "current_price" => &mut fields.current_price,
                        "event_time" => &mut fields.event_time,
                        "last_updated" => &mut fields.last_updated,
                        "timestamp" => &mut fields.timestamp,
                        "size" => &mut fields.size,
                        "trade_id" => &mut fields.trade_id,
                        "source" => &mut fields.source,
                        "quote" => &mut fields.quote,
                        "symbol" => &mut fields.symbol,
                        "volume_24h" => &mut fields.volume_24h,
                        "total_volume" => &mut fields.total_volume,
                        "market_cap" => &mut fields.market_cap,
                        "price_change_24h" => &mut fields.price_change_24h,
                        "price_change_pct_24h" | "price_change_percentage_24h" => {
                            &mut fields.price_change_pct_24h
                        }
                        "high_24h" => &mut fields.high_24h,
                        "low_24h" => &mut fields.low_24h,
                        "prices" => &mut fields.prices,
                        "market_caps" => &mut fields.market_caps,
                        "total_volumes" => &mut fields.total_volumes,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value::<&RawValue>()?.get());
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// An object's key, borrowed unless it holds escapes.
struct FieldName<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for FieldName<'de> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = FieldName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            #[inline]
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(FieldName(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(FieldName(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The first of some aliases that is present and not null.
#[inline]
pub(super) fn first<const N: usize>(aliases: [Option<&str>; N]) -> Option<&str> {
    aliases.into_iter().flatten().find(|raw| *raw != "null")
}

/// The text of a raw JSON string; `None` for any other value.
#[inline]
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Why a field is no number.
pub(super) enum NotANumber {
    Missing,
    Unparsable,
    Infinite,
}

/// A raw JSON number or numeric string.
#[inline]
pub(super) fn number(raw: Option<&str>) -> Result<f64, NotANumber> {
    let raw = raw.filter(|raw| !matches!(*raw, "null" | "true" | "false")).ok_or(NotANumber::Missing)?;
    let parsed = match string(raw) {
        Some(text) => text.trim().parse::<f64>(),
        None => raw.parse::<f64>(),
    };
    match parsed {
        Ok(x) if x.is_finite() => Ok(x),
        Ok(_) => Err(NotANumber::Infinite),
        Err(_) => Err(NotANumber::Unparsable),
    }
}

/// A time of at most `latest`.
#[inline]
pub(super) fn time(raw: Option<&str>, latest: Micros) -> Result<Micros, Reason> {
    let raw = raw.filter(|raw| !matches!(*raw, "true" | "false")).ok_or(Reason::TimeMissing)?;
    let text = string(raw).unwrap_or(Cow::Borrowed(raw));
    let micros = crate::market::time::parse(&text).ok_or(Reason::TimeUnparsable)?;
    if (GENESIS..=latest).contains(&micros) { Ok(micros) } else { Err(Reason::TimeOutOfRange) }
}

/// A price: finite and above zero.
#[inline]
pub(super) fn price(raw: Option<&str>) -> Result<f64, Reason> {
    let price = number(raw).map_err(|error| match error {
        NotANumber::Missing => Reason::PriceMissing,
        NotANumber::Unparsable => Reason::PriceNotNumber,
        NotANumber::Infinite => Reason::PriceNotFinite,
    })?;
    if price > 0.0 { Ok(price) } else { Err(Reason::PriceNotPositive) }
}

/// The fields of a record's value.
#[inline]
pub(super) fn parse(value: &[u8]) -> Result<Fields<'_>, Reason> {
    let text = std::str::from_utf8(value).map_err(|_| Reason::NotUtf8)?;
    match text.trim_start().bytes().next() {
        Some(b'{') => serde_json::from_str(text).map_err(|_| Reason::NotJson),
        Some(_) => {
            Err(serde_json::from_str::<&RawValue>(text).map_or(Reason::NotJson, |_| Reason::NotAnObject))
        }
        None => Err(Reason::Blank),
    }
}

/// Passes the elements of an array to `take` one by one, so that a long history is never held as a whole.
pub(super) fn each_point<'a>(raw: Option<&'a str>, take: impl FnMut(&'a RawValue)) {
    struct Points<F>(F);
    impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Points<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut points: A) -> Result<(), A::Error> {
            while let Some(point) = points.next_element()? {
                (self.0)(point);
            }
            Ok(())
        }
    }
    if let Some(raw) = raw {
        // A value that is no array has no elements.
        let _ = serde_json::Deserializer::from_str(raw).deserialize_seq(Points(take));
    }
}

/// The values of a history's points; `None` for a point without a number.
pub(super) fn values(raw: Option<&str>) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    each_point(raw, |point| {
        let value = serde_json::from_str::<Point<'_>>(point.get()).ok();
        values.push(value.and_then(|(_, value)| number(Some(value.get())).ok()));
    });
    values
}
