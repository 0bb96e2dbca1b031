//! Lists, extents, counts and reasons as people read them: every message of every room is written with these, never with Rust's `Debug`.
//!
//! Room: small values as English text.
//! May import: nothing.
//! Never: a stream, a file, a word about networks.
//! Start reading at: this file.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io;

/// `[1, 64, 32]`.
pub fn list<T: Display>(items: &[T]) -> String {
    format!("[{}]", commas(items))
}

/// `1, 64, 32`.
pub fn commas<T: Display>(items: &[T]) -> String {
    joined(items, ", ")
}

/// `64x64x32`.
pub fn extents<T: Display>(items: &[T]) -> String {
    joined(items, "x")
}

/// `a`, `a and b`, `a, b and c`; nothing for nothing.
pub fn both<T: Display>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => format!("{} and {last}", commas(first)),
    }
}

fn joined<T: Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// `1 channel`, `2 channels`, `3 classes`. The noun is an English one with a regular plural; of several words the last is turned.
pub fn count(n: impl Into<u128>, noun: &str) -> String {
    let n = n.into();
    let vowel = |c: Option<char>| c.is_some_and(|c| "aeiou".contains(c));
    match noun {
        _ if n == 1 => format!("1 {noun}"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => format!("{n} {noun}es"),
        _ if noun.ends_with('y') && !vowel(noun.chars().rev().nth(1)) => format!("{n} {}ies", &noun[..noun.len() - 1]),
        _ => format!("{n} {noun}s"),
    }
}

/// [`count`] of a length.
pub fn many(n: usize, noun: &str) -> String {
    count(n as u64, noun)
}

/// A text in double quotes, with Rust's escapes for what cannot be shown; `.mnx` files read it back.
pub fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A number with as many digits as tell it from its neighbours, and a point or an exponent: `1.0`, `0.1`, `1e-8`. Reads back as the same.
pub fn exact(v: f64) -> String {
    format!("{v:?}")
}

/// Measured numbers with their points, to the seven digits that a file's 32-bit numbers have: `1.0, 2.5, 3.1`.
pub fn numbers(values: &[f64]) -> String {
    let one = |v: &f64| if v.fract() == 0.0 && v.abs() < 1e15 { format!("{v:.1}") } else { (*v as f32).to_string() };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The system's reason in the style of our messages: lower case, without the number of the error.
pub fn reason(error: &io::Error) -> String {
    lower(&error.to_string())
}

/// A text that begins with a small letter and ends before ` (os error N)`. A name or an abbreviation, whose second letter is not small
/// either, stays as it is.
pub fn lower(message: &str) -> String {
    let text = message.split(" (os error").next().unwrap_or(message);
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_extents() {
        assert_eq!(list(&[1usize, 64, 32]), "[1, 64, 32]");
        assert_eq!(numbers(&[1.0, 2.5, f64::from(3.1f32)]), "1.0, 2.5, 3.1");
        assert_eq!(list::<usize>(&[]), "[]");
        assert_eq!(extents(&[64usize, 32]), "64x32");
        assert_eq!(commas(&["CT", "T1"]), "CT, T1");
        assert_eq!((both::<u8>(&[]), both(&["a"]), both(&["a", "b"])), (String::new(), "a".to_owned(), "a and b".to_owned()));
        assert_eq!(both(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn plurals() {
        assert_eq!(many(1, "channel"), "1 channel");
        assert_eq!(many(0, "channel"), "0 channels");
        assert_eq!(many(2, "class"), "2 classes");
        assert_eq!(many(3, "freshly made patch"), "3 freshly made patches");
        assert_eq!((many(2, "entry"), many(2, "array")), ("2 entries".to_owned(), "2 arrays".to_owned()));
        assert_eq!(count(7u64, "byte"), "7 bytes");
    }

    #[test]
    fn texts_and_numbers_read_back() {
        assert_eq!(quoted("a\"b\n"), "\"a\\\"b\\n\"");
        assert_eq!((exact(1.0).as_str(), exact(0.1).as_str(), exact(1e-8).as_str()), ("1.0", "0.1", "1e-8"));
    }

    #[test]
    fn reasons_are_lower_case_without_their_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(lower("Permission denied (os error 13)"), "permission denied");
        assert_eq!(lower("NIfTI-2 file"), "NIfTI-2 file");
        assert_eq!(lower(""), "");
    }
}
