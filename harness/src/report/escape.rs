//! Text as text, whatever it holds.

use std::fmt;

/// Prints with the five characters escaped that HTML and SVG could take for markup, in text and in attributes, and
/// control characters as a box, since XML has no place for them.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() && c != '\n' => f.write_str("\u{25a1}")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// The end of a text of at most so many characters: what grows, differs at its end.
pub(super) fn tail(text: &str, chars_max: usize) -> String {
    let surplus = text.chars().count().saturating_sub(chars_max);
    match surplus {
        0 => text.to_owned(),
        _ => std::iter::once('…').chain(text.chars().skip(surplus + 1)).collect(),
    }
}

/// The beginning of a text of at most so many characters: what explains something, begins with the reason.
pub(super) fn head(text: &str, chars_max: usize) -> String {
    let surplus = text.chars().count().saturating_sub(chars_max);
    match surplus {
        0 => text.to_owned(),
        _ => text.chars().take(chars_max.saturating_sub(1)).chain(std::iter::once('…')).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        let text = Escaped("<script>alert(\"x\" & 'y')</script>\u{7}").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;\u{25a1}");
    }

    #[test]
    fn long_texts_show_their_end() {
        assert_eq!(tail("abc", 3), "abc");
        assert_eq!(tail("abcdef", 3), "…ef");
        assert_eq!(tail("äöü", 2), "…ü");
        assert_eq!((head("abc", 3), head("äöüx", 3)), ("abc".to_owned(), "äö…".to_owned()));
    }
}
