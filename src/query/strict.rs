//! Converts the engine's JSON text to strict JSON: it may contain NaN, infinities and trailing commas.

use serde_json::value::RawValue;

/// Returns strict JSON unchanged. Otherwise numbers that JSON does not have become the strings `"NaN"`,
/// `"Infinity"` and `"-Infinity"`, and commas before a closing bracket are dropped; if the result is still
/// not JSON, the whole text becomes a string.
pub(super) fn json(text: &str) -> String {
    if is_strict(text) {
        return text.to_owned();
    }
    let repaired = repaired(text);
    if is_strict(&repaired) { repaired } else { serde_json::Value::from(text).to_string() }
}

fn is_strict(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The string for a float that JSON has no number for.
pub(super) fn not_finite(value: f64) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// The text with strings for non-finite numbers and without trailing commas.
fn repaired(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => quoted(rest),
            c if is_word(c) => rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let number = if is_word(first) && !token.contains(|c: char| c.is_ascii_digit()) {
            token.parse::<f64>().ok()
        } else {
            None
        };
        match number {
            Some(number) => out.extend(["\"", not_finite(number), "\""]),
            None if token == "," && after.trim_start().starts_with([']', '}']) => {}
            None => out.push_str(token),
        }
        rest = after;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Length of the string that `text` begins with, quotes included.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_json_is_unchanged_and_other_text_loses_nothing() {
        for (text, expected) in [
            (
                r#"{"a": 1.50, "b": [1e300, 123456789012345678901234567890]}"#,
                r#"{"a": 1.50, "b": [1e300, 123456789012345678901234567890]}"#,
            ),
            (
                r#"[1.0,NaN,Infinity,-Infinity,"NaN, \"nan",null]"#,
                r#"[1.0,"NaN","Infinity","-Infinity","NaN, \"nan",null]"#,
            ),
            (r#"{"NaN":nan,"a":[-inf,],}"#, r#"{"NaN":"NaN","a":["-Infinity"]}"#),
            ("inf", "\"Infinity\""),
            ("[1, maybe]", "\"[1, maybe]\""),
            ("\"open", "\"\\\"open\""),
            ("", "\"\""),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_strict(text in "[\\[\\]{}\",:\\\\aNinf.0-9 é-]{0,30}") {
            prop_assert!(is_strict(&json(&text)), "{}", json(&text));
        }
    }
}
