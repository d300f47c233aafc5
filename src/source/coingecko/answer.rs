//! Parses answers: the elements of a list byte for byte, a price history, or the message of an error response.
//! Pure functions; errors are messages for a status line.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::peek;
use crate::market::{Micros, printable};

/// Most characters taken over from a server's message.
const MAX_MESSAGE: usize = 160;

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// The element's exact JSON text.
    pub text: &'a str,
    /// Its id, trimmed and lower-cased; none where it has none, or one that is blank or not a string.
    pub id: Option<String>,
    /// The time of its price; none where it lacks either.
    pub tick: Option<Micros>,
}

/// The elements of a JSON list, of any type.
///
/// # Errors
/// A message where the body is not a JSON list.
pub fn elements(body: &[u8]) -> Result<Vec<Element<'_>>, String> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
        #[serde(borrow, default)]
        current_price: Option<&'a RawValue>,
    }
    let list: Vec<&RawValue> = match serde_json::from_slice(body) {
        Ok(list) => list,
        Err(error) => return Err(no_list(body, &error)),
    };
    let element = |text| {
        let head = serde_json::from_str(text).unwrap_or(Head { id: None, current_price: None });
        let id: Option<String> = head.id.and_then(|id| serde_json::from_str(id.get()).ok());
        let price: Option<f64> = head.current_price.and_then(|price| serde_json::from_str(price.get()).ok());
        Element {
            text,
            id: id.map(|id| id.trim().to_lowercase()).filter(|id| !id.is_empty()),
            tick: price.and_then(|_| peek::event_time(text.as_bytes())),
        }
    };
    Ok(list.into_iter().map(|raw| element(raw.get())).collect())
}

/// Checks that an answer is a price history.
///
/// # Errors
/// A message where it is not.
pub fn history(body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct History<'a> {
        #[serde(borrow, rename = "prices")]
        _prices: Vec<&'a RawValue>,
    }
    serde_json::from_slice::<History<'_>>(body).map(|_| ()).map_err(|error| no_list(body, &error))
}

fn no_list(body: &[u8], error: &serde_json::Error) -> String {
    match error_message(body) {
        Some(message) if is_page(body) => format!("a web page instead of prices: {message}"),
        Some(message) => format!("no prices: {message}"),
        None if is_page(body) => "a web page instead of prices".into(),
        None if body.trim_ascii().is_empty() => "an empty answer".into(),
        None if error.is_eof() || is_half(body) => "the answer is cut off in the middle".into(),
        None => format!("the answer is not what was asked for: {}", short(&error.to_string())),
    }
}

/// Whether the body starts as a list or object and does not end as one.
fn is_half(body: &[u8]) -> bool {
    let end = body.trim_ascii_end().last();
    match body.trim_ascii_start().first() {
        Some(b'[') => end != Some(&b']'),
        Some(b'{') => end != Some(&b'}'),
        _ => false,
    }
}

fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// The message in an error response: that of any of the JSON shapes in use, a web page's title or a short text.
pub fn error_message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('{') {
        let value: Value = serde_json::from_str(text).ok()?;
        return [
            "/status/error_message",
            "/error/status/error_message",
            "/error/message",
            "/error",
            "/message",
        ]
        .into_iter()
        .find_map(|pointer| value.pointer(pointer)?.as_str())
        .map(short)
        .filter(|message| !message.is_empty());
    }
    if is_page(body) {
        return title(text).map(|title| short(&title)).filter(|title| !title.is_empty());
    }
    // A line of plain text, such as `error code: 1015`, but not a part of a JSON document.
    (!text.is_empty()
        && !text.starts_with(['[', '"'])
        && text.chars().count() <= MAX_MESSAGE
        && !text.contains(['{', '\u{fffd}']))
    .then(|| short(text))
}

fn title(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(page[start..end].split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text for a status line: printable, of at most [`MAX_MESSAGE`] characters and an ellipsis.
fn short(text: &str) -> String {
    let text = printable(text);
    let text = text.trim();
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_the_exact_bytes_of_the_answer() {
        let body = br#" [ {"id" : " Bitcoin ","last_updated":"2025-05-12T00:00:00.000Z", "current_price":1.0e2} ,null, 7,{"id":7},"x",{},{"id":" "},{"id":"a","id":"b"}] "#;
        let elements = elements(body).expect("a list");
        let texts: Vec<&str> = elements.iter().map(|e| e.text).collect();
        assert_eq!(
            texts[0],
            r#"{"id" : " Bitcoin ","last_updated":"2025-05-12T00:00:00.000Z", "current_price":1.0e2}"#
        );
        assert_eq!(
            texts[1..],
            ["null", "7", r#"{"id":7}"#, r#""x""#, "{}", r#"{"id":" "}"#, r#"{"id":"a","id":"b"}"#]
        );
        assert_eq!(
            (elements[0].id.as_deref(), elements[0].tick),
            (Some("bitcoin"), Some(1_747_008_000_000_000))
        );
        assert!(elements[1..].iter().all(|e| e.id.is_none() && e.tick.is_none()));
    }

    #[test]
    fn answers_of_another_form_give_a_message() {
        let page = b"<!DOCTYPE html><html><TITLE lang=en>\n Access \n denied</TITLE><body>error code: 1015</body></html>";
        let cases: &[(&[u8], &str)] = &[
            (page, "a web page instead of prices: Access denied"),
            (b"<html></html>", "a web page instead of prices"),
            (b"", "an empty answer"),
            (b"error code: 1015", "no prices: error code: 1015"),
            (b"{\"error\":\"coin not found\"}", "no prices: coin not found"),
        ];
        for (body, message) in cases {
            assert_eq!(elements(body).expect_err(message), *message);
            assert_eq!(history(body).expect_err(message), *message);
        }
        let cut_off = "the answer is cut off in the middle";
        assert_eq!(elements(b"[{\"id\":\"bitcoin\",\"curr").expect_err(cut_off), cut_off);
        assert_eq!(history(b"{\"prices\":[[1,2],[3").expect_err(cut_off), cut_off);
        assert!(elements(b"{}").expect_err("no list").starts_with("the answer is not what was asked for: "));
        assert_eq!(history(br#"{"prices":[],"market_caps":[]}"#), Ok(()));
    }

    #[test]
    fn error_messages_are_found_in_every_shape() {
        for body in [
            r#"{"error":"You've exceeded"}"#,
            r#"{"status":500,"error":"You've exceeded"}"#,
            r#"{"status":{"error_code":429,"error_message":"You've exceeded"}}"#,
            r#"{"error":{"status":{"error_code":429,"error_message":"You've exceeded"}}}"#,
            "<html><head><title>You've exceeded</title></head>",
            " You've exceeded\n",
            r#"{"error":"You've\u001b exceeded"}"#,
        ] {
            assert_eq!(error_message(body.as_bytes()).as_deref(), Some("You've exceeded"), "{body}");
        }
        assert_eq!(error_message(b"{}"), None);
        assert_eq!(error_message(b"{\"error\":"), None);
        assert_eq!(error_message(b"\xff\xfe"), None);
        let long = error_message(format!("{{\"error\":\"{}\"}}", "é".repeat(500)).as_bytes());
        assert_eq!(long.expect("a message").chars().count(), MAX_MESSAGE + 1);
    }

    proptest! {
        #[test]
        fn any_body_is_parsed_without_panic(body in any::<Vec<u8>>(), page in "<?(title>?|TİTLE|\\PC){0,20}") {
            for body in [body.as_slice(), page.as_bytes()] {
                let _ = (elements(body), history(body), error_message(body));
            }
        }

        #[test]
        fn every_element_is_returned_once_and_whole(texts in proptest::collection::vec("\\PC{0,12}", 0..12), gap in "[ \n\t]{0,3}") {
            let texts: Vec<String> = texts.iter().map(|t| serde_json::to_string(t).expect("text")).collect();
            let body = format!("{gap}[{gap}{}{gap}]{gap}", texts.join(&format!("{gap},{gap}")));
            let elements = elements(body.as_bytes()).expect("a list");
            prop_assert_eq!(elements.iter().map(|e| e.text).collect::<Vec<_>>(), texts);
        }
    }
}
