//! Text for people: what is printable, and errors with their causes. The lowest layer: everything may use it.

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
}
