//! Finds the time of a payload by a text search, without parsing its JSON. Fast but not exact: for pacing and
//! for ranges of history only.

use crate::market::{Micros, time};

/// The value of the first key of `event_time`, `last_updated` and `timestamp` that occurs in the text and holds
/// a time.
pub(super) fn event_time(line: &[u8]) -> Option<Micros> {
    ["\"event_time\"", "\"last_updated\"", "\"timestamp\""].into_iter().find_map(|name| {
        let at = memchr::memmem::find(line, name.as_bytes())?;
        let rest = line[at + name.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let text = match rest.strip_prefix(b"\"") {
            Some(rest) => &rest[..memchr::memchr(b'"', rest)?],
            None => &rest[..rest.iter().position(|b| b",} \t\r]".contains(b)).unwrap_or(rest.len())],
        };
        time::parse(std::str::from_utf8(text).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: Micros = 1_747_008_000_000_000;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>(), tail in "\\PC{0,20}") {
            let _ = event_time(&bytes);
            let _ = event_time(format!("{{\"event_time\":{tail}").as_bytes());
        }
    }

    #[test]
    fn times_are_found_in_all_formats() {
        for line in [
            r#"{"event_time":"2025-05-12T00:00:00.000Z"}"#,
            r#"{"x":1,"last_updated" : "2025-05-12T02:00:00+02:00"}"#,
            r#"{"timestamp":1747008000}"#,
            r#"{"timestamp":1747008000.0,"x":1}"#,
            r#"{"event_time":1747008000000}"#,
            r#"{"event_time":"1747008000000"}"#,
            r#"{"event_time":1747008000000000 }"#,
            r#"{"timestamp":1,"event_time":1747008000}"#,
        ] {
            assert_eq!(event_time(line.as_bytes()), Some(T), "{line}");
        }
        for line in [
            "",
            "{}",
            r#"{"event_time":null}"#,
            r#"{"event_time":"#,
            r#"{"event_time":"x"}"#,
            r#"{"event_time":{}}"#,
        ] {
            assert_eq!(event_time(line.as_bytes()), None, "{line}");
        }
    }
}
