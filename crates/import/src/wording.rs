//! How numbers, names and lists are written in messages.

use std::fmt::Display;

/// Extents as `32x96x80`; a tensor without axes is a scalar.
pub(crate) fn extents<T: Display>(shape: &[T]) -> String {
    if shape.is_empty() { "scalar".to_owned() } else { shape.iter().map(T::to_string).collect::<Vec<_>>().join("x") }
}

/// Numbers or words with commas between them.
pub(crate) fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Text of a file in quotation marks, cut to a line's length; control characters are escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short += "...";
    }
    format!("\"{}\"", short.escape_debug())
}

/// The first names of many, in quotation marks, and how many more there are.
pub(crate) fn few<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|n| quoted(n.as_ref())).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

/// `1 tensor`, `3 tensors`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_english() {
        assert_eq!((extents(&[32, 96]), extents::<u8>(&[])), ("32x96".to_owned(), "scalar".to_owned()));
        assert_eq!((count(1, "tensor"), count(2, "tensor")), ("1 tensor".to_owned(), "2 tensors".to_owned()));
        assert_eq!(quoted("a\n\"b\""), "\"a\\n\\\"b\\\"\"");
        assert_eq!(few(&["1", "2", "3", "4", "5", "6", "7", "8"]), "\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", and 2 more");
    }
}
