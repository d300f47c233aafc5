//! Text for people: what is printable, and errors with their causes. The lowest layer: everything may use it.

/// Text from outside without control characters (they could steer a terminal), line breaks as spaces.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// The causes in one line, from the outermost in; one that only repeats the end of what is told already is
/// left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = printable(error.to_string().trim());
        if told.is_empty() {
            told = words;
        } else if !words.is_empty() && !told.ends_with(&words) {
            told = format!("{told}: {words}");
        }
        next = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_survives() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}"), "a[31mb c");
    }
}
