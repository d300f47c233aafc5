//! Text for users: untrusted text made printable, and errors with their causes in one line.

use std::error::Error;
use std::iter::successors;

/// Untrusted text without control characters (a terminal would obey them) and without invisible format
/// characters (some reverse the direction of the text around them). Line breaks and tabs become spaces.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, '\n' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect()
}

/// The format characters (Unicode category Cf) without a visible form, and the Hangul fillers.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'..='\u{e007f}'
    )
}

/// The error and its causes in one line, the outermost first. A cause that repeats the end of the line so far
/// is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for message in messages(error) {
        if line.is_empty() {
            line = message;
        } else if !message.is_empty() && !line.ends_with(&message) {
            line = format!("{line}: {message}");
        }
    }
    line
}

/// The error in one line, its innermost cause first and what failed because of it in brackets: `no space left
/// on device (cannot write silver)`. Names of engine layers, error numbers and repetitions are left out.
pub fn cause_first(error: &(dyn Error + 'static)) -> String {
    let messages: Vec<String> = messages(error).collect();
    let mut parts = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        // Most engines append the message of an error's source to its own.
        let source = messages.get(at + 1).filter(|source| !source.is_empty());
        let own = source.and_then(|source| message.strip_suffix(source.as_str())).unwrap_or(message);
        parts.extend(plain(own));
    }
    let Some(cause) = parts.pop() else { return printable(&error.to_string()) };
    let mut context: Vec<String> = Vec::new();
    for part in parts {
        let covers = |other: &String| *other == part || paths(&part).any(|path| other.contains(path));
        if part != cause && !context.iter().any(covers) {
            context.push(part);
        }
    }
    if context.is_empty() { cause } else { format!("{cause} ({})", context.join(": ")) }
}

fn messages(error: &(dyn Error + 'static)) -> impl Iterator<Item = String> {
    successors(Some(error), |&error| error.source()).map(|error| printable(error.to_string().trim()))
}

/// The parts of a message that are not names of engine layers. A message without such names is one part:
/// its colons do not separate layers.
fn plain(message: &str) -> Vec<String> {
    let message = message.trim_end_matches([' ', ':']);
    let parts: Vec<&str> = message.split(": ").collect();
    let parts = if parts.iter().any(|part| is_layer(part)) { parts } else { vec![message] };
    let kept = parts.into_iter().filter(|part| !part.trim().is_empty() && !is_layer(part));
    kept.map(|part| uncapitalised(without_number(part.trim()))).collect()
}

/// Whether a part of a message is only the name of an engine layer that the error passed through.
fn is_layer(part: &str) -> bool {
    const LAYERS: [&str; 25] = [
        "arrow",
        "arrow error",
        "client error (connect)",
        "client error (sendrequest)",
        "dns error",
        "eof",
        "error resolving dns",
        "error interacting with object store",
        "external",
        "external error",
        "failed to parse parquet",
        "failed to read delta log object",
        "io error",
        "kernel",
        "kernel error",
        "log storage error",
        "objectstore interaction failed",
        "parquet error",
        "parquet write failed",
        "parquet argument error",
        "std::io::error",
        "tcp connect error",
        "transaction failed",
        "unable to copy data to file",
        "unable to rename file",
    ];
    let part = part.trim().to_lowercase();
    LAYERS.contains(&part.as_str()) || (part.starts_with("generic ") && part.ends_with(" error"))
}

/// `No space left on device (os error 28)` without the number.
fn without_number(text: &str) -> &str {
    text.split_once(" (os error ").map_or(text, |(words, _)| words)
}

/// The words that are absolute paths.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').map(|word| word.trim_matches(['\'', '"', ',', ':'])).filter(|word| word.starts_with('/'))
}

/// The text with a lower-case first letter, unless the first word is an abbreviation or has more capitals.
fn uncapitalised(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if word.chars().skip(1).all(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// `max` (none), or a number that is finite and above zero.
///
/// # Errors
/// What the text is not.
pub fn max_or_positive(text: &str) -> Result<Option<f64>, String> {
    if text == "max" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 => Ok(Some(n)),
        _ => Err(format!("'{text}' is neither a number above 0 nor 'max'")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write silver")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    fn line(error: impl Into<Box<dyn Error + Send + Sync>>) -> String {
        cause_first(&Outer(error.into()))
    }

    #[test]
    fn control_characters_are_removed() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}"), "a[31mb c");
    }

    #[test]
    fn invisible_characters_are_removed() {
        for c in ('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain("\u{200e}\u{200f}\u{feff}\u{200b}".chars())
        {
            assert_eq!(printable(&format!("a{c}b")), "ab", "{:x}", u32::from(c));
        }
        assert_eq!(printable("比特币 e\u{301} 🚀"), "比特币 e\u{301} 🚀");
    }

    #[test]
    fn the_error_of_the_system_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let full = fs::File::options().write(true).open("/dev/full").unwrap().write(b"x").unwrap_err();
        assert_eq!(line(full), "no space left on device (cannot write silver)");
        assert_eq!(line(fs::read(&file).unwrap_err()), "no such file or directory (cannot write silver)");
        fs::write(&file, "").unwrap();
        assert_eq!(
            line(fs::create_dir_all(file.join("x")).unwrap_err()),
            "not a directory (cannot write silver)"
        );
        assert_eq!(line(io::Error::other("odd")), "odd (cannot write silver)");
        let alone = fs::read(folder.path()).unwrap_err();
        assert_eq!(cause_first(&alone), "is a directory");
    }

    #[tokio::test]
    async fn the_error_of_the_network_comes_first() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(200)).build().unwrap();
        for (host, cause) in [
            (closed.to_string(), "connection refused"),
            (silent.local_addr().unwrap().to_string(), "operation timed out"),
            // Fails without a DNS query: a label has at most 63 bytes.
            ("x".repeat(64), "failed to lookup address information: Name or service not known"),
        ] {
            let url = format!("http://{host}/");
            let error = http.get(&url).send().await.unwrap_err();
            assert_eq!(cause_first(&error), format!("{cause} (error sending request for url ({url}))"));
        }
    }

    #[test]
    fn messages_of_this_program_keep_their_colons_and_repetitions_are_left_out() {
        let corrupt = io::Error::other("gold is corrupt: a file without offset");
        assert_eq!(cause_first(&corrupt), "gold is corrupt: a file without offset");
        assert_eq!(
            line(Outer(Box::new(Outer(Box::new(corrupt))))),
            "gold is corrupt: a file without offset (cannot write silver)"
        );
        assert_eq!(
            line("Kernel error: Generic LocalFileSystem error: JSON is broken"),
            "JSON is broken (cannot write silver)"
        );
    }
}
