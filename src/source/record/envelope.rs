//! One record as one line of JSON:
//! `{"cryptostream_record":1,"key":…,"source":…,"produced_at":…,"headers":{…},"value":"text"}`, with
//! `"value_base64"` instead of `"value"` where the bytes are not UTF-8. What [`write()`] wrote, [`parse`]
//! reads back exactly.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::market::{Micros, RecordRef};

/// The content of an envelope, as in [`RecordRef`]; fields that the line lacks are none.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub key: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    pub produced_at: Option<Micros>,
    pub headers: Option<Cow<'a, str>>,
    pub value: Cow<'a, [u8]>,
}

/// The first key of every envelope.
const MARK: &[u8] = b"\"cryptostream_record\"";

/// Appends the envelope of `record`, without a line break.
pub fn write(line: &mut String, record: RecordRef<'_>) {
    line.push_str("{\"cryptostream_record\":1,\"key\":");
    match record.key {
        Some(key) => push_text(line, key),
        None => line.push_str("null"),
    }
    line.push_str(",\"source\":");
    push_text(line, record.source);
    let _ = write!(line, ",\"produced_at\":{}", record.produced_at);
    if let Some(headers) = record.headers {
        line.push_str(",\"headers\":");
        if is_object_line(headers) { line.push_str(headers) } else { push_text(line, headers) }
    }
    if let Ok(text) = std::str::from_utf8(record.value) {
        line.push_str(",\"value\":");
        push_text(line, text);
    } else {
        line.push_str(",\"value_base64\":\"");
        STANDARD.encode_string(record.value, line);
        line.push('"');
    }
    line.push('}');
}

fn push_text(line: &mut String, text: &str) {
    line.push_str(&serde_json::to_string(text).expect("text is always JSON"));
}

/// Whether `text` is a JSON object in one line, which is written unquoted; other text is written as a string.
fn is_object_line(text: &str) -> bool {
    text.starts_with('{')
        && text.ends_with('}')
        && !text.contains(['\n', '\r'])
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Whether `line` begins as a JSON object whose first key is `cryptostream_record`. Does not parse the line, so
/// it is fast enough for every line of a recording.
pub fn is_envelope(line: &[u8]) -> bool {
    let Some(rest) = line.trim_ascii_start().strip_prefix(b"{") else { return false };
    rest.first().is_some_and(|b| *b == b'"' || b.is_ascii_whitespace())
        && rest.trim_ascii_start().starts_with(MARK)
}

/// Parses an envelope. None where the line is not a valid one, or of another version: then the line itself is
/// the record's value.
pub fn parse(line: &[u8]) -> Option<Envelope<'_>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        cryptostream_record: u32,
        #[serde(borrow)]
        key: Option<Text<'a>>,
        #[serde(borrow)]
        source: Option<Text<'a>>,
        produced_at: Option<Micros>,
        #[serde(borrow)]
        headers: Option<&'a RawValue>,
        #[serde(borrow)]
        value: Option<Text<'a>>,
        #[serde(borrow)]
        value_base64: Option<Text<'a>>,
    }
    if !is_envelope(line) {
        return None;
    }
    let parsed: Line<'_> = serde_json::from_slice(line).ok()?;
    if parsed.cryptostream_record != 1 {
        return None;
    }
    let value = match (parsed.value, parsed.value_base64) {
        (Some(Text(Cow::Borrowed(text))), None) => Cow::Borrowed(text.as_bytes()),
        (Some(Text(Cow::Owned(text))), None) => Cow::Owned(text.into_bytes()),
        (None, Some(Text(packed))) => Cow::Owned(STANDARD.decode(packed.as_bytes()).ok()?),
        _ => return None,
    };
    let headers = match parsed.headers.map(RawValue::get) {
        None | Some("null") => None,
        Some(text) if text.starts_with('{') => Some(Cow::Borrowed(text)),
        Some(text) => Some(Cow::Owned(serde_json::from_str::<String>(text).ok()?)),
    };
    let (key, source) = (parsed.key.map(|t| t.0), parsed.source.map(|t| t.0));
    Some(Envelope { key, source, produced_at: parsed.produced_at, headers, value })
}

/// Text that is borrowed from the line where it has no escapes (serde does not borrow a `Cow` within an
/// `Option`).
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(record: RecordRef<'_>) -> String {
        let mut line = String::new();
        write(&mut line, record);
        line
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[\\PC\n\r\t\"\\\\]{0,12}",
            Just("{\"a\": 1 }".to_owned()),
            Just("{\"a\":\n1}".to_owned())
        ]
    }

    proptest! {
        #[test]
        fn written_envelopes_are_read_back_exactly(
            key in proptest::option::of(text()), source in text(), produced_at in any::<i64>(),
            headers in proptest::option::of(text()),
            value in prop_oneof![any::<Vec<u8>>(), text().prop_map(String::into_bytes)],
        ) {
            let record = RecordRef {
                offset: 0, key: key.as_deref(), value: &value, source: &source, headers: headers.as_deref(), produced_at,
            };
            let line = envelope(record);
            prop_assert!(!line.contains('\n'));
            let back = parse(line.as_bytes()).expect("an envelope");
            prop_assert_eq!(back.key.as_deref(), record.key);
            prop_assert_eq!(back.source.as_deref(), Some(record.source));
            prop_assert_eq!(back.produced_at, Some(produced_at));
            prop_assert_eq!(back.headers.as_deref(), record.headers);
            prop_assert_eq!(&*back.value, record.value);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>(), cut in 0usize..80) {
            let _ = parse(&bytes);
            let record = RecordRef { offset: 0, key: Some("k"), value: &bytes, source: "s", headers: None, produced_at: 0 };
            let line = envelope(record);
            prop_assert!(parse(&line.as_bytes()[..cut.min(line.len() - 1)]).is_none());
        }
    }

    #[test]
    fn invalid_envelopes_are_not_parsed() {
        let valid: &[&str] = &[
            r#"{"cryptostream_record":1,"value":"x"}"#,
            r#" { "cryptostream_record" : 1 , "value" : "x", "other": [1] } "#,
            r#"{"cryptostream_record":1,"value_base64":"eA=="}"#,
        ];
        for line in valid {
            assert_eq!(parse(line.as_bytes()).expect(line).value, b"x".as_slice(), "{line}");
        }
        let invalid: &[&str] = &[
            "",
            "{}",
            "[]",
            r#"{"cryptostream_record":2,"value":"x"}"#,
            r#"{"cryptostream_record":1}"#,
            r#"{"cryptostream_record":1,"value":7}"#,
            r#"{"cryptostream_record":1,"value":"x","value_base64":"eA=="}"#,
            r#"{"cryptostream_record":1,"value_base64":"?"}"#,
            r#"{"cryptostream_record":1,"value":"x"} tail"#,
            r#"{"value":"x","cryptostream_record":1}"#,
            r#"{"cryptostream_record":1,"headers":[1],"value":"x"}"#,
        ];
        for line in invalid {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
