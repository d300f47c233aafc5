//! Text for people: what is printable, and errors with their causes. The lowest layer: everything may use it.

use std::error::Error;
use std::iter::successors;

/// Text from outside without control characters (they could steer a terminal) and without invisible format
/// characters (they could turn the order of what is around them), line breaks as spaces.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, '\n' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect()
}

/// The characters of Unicode's category Cf that nothing is seen of, and the Hangul fillers.
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

/// The causes in one line, from the outermost in; one that only repeats the end of the line so far is left
/// out.
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

/// The causes in one line, the innermost first and what failed by it in brackets: `no space left on device
/// (cannot write silver)`. Names of engine layers, error numbers and repetitions are left out.
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
        let is_said = |said: &String| *said == part || paths(&part).any(|path| said.contains(path));
        if part != cause && !context.iter().any(is_said) {
            context.push(part);
        }
    }
    if context.is_empty() { cause } else { format!("{cause} ({})", context.join(": ")) }
}

fn messages(error: &(dyn Error + 'static)) -> impl Iterator<Item = String> {
    successors(Some(error), |&error| error.source()).map(|error| printable(error.to_string().trim()))
}

/// What a message says apart from the names of engine layers. One without such names is left whole: its
/// colons are its own.
fn plain(message: &str) -> Vec<String> {
    let message = message.trim_end_matches([' ', ':']);
    let parts: Vec<&str> = message.split(": ").collect();
    let parts = if parts.iter().any(|part| is_layer(part)) { parts } else { vec![message] };
    let said = parts.into_iter().filter(|part| !part.trim().is_empty() && !is_layer(part));
    said.map(|part| uncapitalised(without_number(part.trim()))).collect()
}

/// Whether a part of a message only says which layer of an engine it passed.
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

/// The words that are paths of files.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').map(|word| word.trim_matches(['\'', '"', ',', ':'])).filter(|word| word.starts_with('/'))
}

/// With a small first letter, unless the first word is a name or an abbreviation.
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
    fn nothing_that_steers_a_terminal_survives() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}"), "a[31mb c");
    }

    #[test]
    fn nothing_invisible_survives() {
        for c in ('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain("\u{200e}\u{200f}\u{feff}\u{200b}".chars())
        {
            assert_eq!(printable(&format!("a{c}b")), "ab", "{:x}", u32::from(c));
        }
        assert_eq!(printable("比特币 e\u{301} 🚀"), "比特币 e\u{301} 🚀");
    }

    #[test]
    fn what_the_system_says_comes_first() {
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
    async fn what_the_network_says_comes_first() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(200)).build().unwrap();
        for (host, cause) in [
            (closed.to_string(), "connection refused"),
            (silent.local_addr().unwrap().to_string(), "operation timed out"),
            // No resolver is asked: a label has at most 63 bytes.
            ("x".repeat(64), "failed to lookup address information: Name or service not known"),
        ] {
            let url = format!("http://{host}/");
            let error = http.get(&url).send().await.unwrap_err();
            assert_eq!(cause_first(&error), format!("{cause} (error sending request for url ({url}))"));
        }
    }

    #[test]
    fn messages_of_our_own_keep_their_colons_and_repetitions_go() {
        let corrupt = io::Error::other("gold holds what cannot be: a file without offset");
        assert_eq!(cause_first(&corrupt), "gold holds what cannot be: a file without offset");
        assert_eq!(
            line(Outer(Box::new(Outer(Box::new(corrupt))))),
            "gold holds what cannot be: a file without offset (cannot write silver)"
        );
        assert_eq!(
            line("Kernel error: Generic LocalFileSystem error: JSON is broken"),
            "JSON is broken (cannot write silver)"
        );
    }
}
