//! Text as protocol 0 spells it: lines of bytes with backslashes.

use std::iter::Peekable;

/// A line of `UNICODE` as Python's `raw-unicode-escape` has it: bytes are Latin-1, `\u` with four hexadecimal digits and `\U` with eight are
/// characters, and any other backslash stands for itself together with what follows. Lone surrogates, which Python's text may hold, become U+FFFD as in protocol 1.
///
/// # Errors
/// An escape that is cut short or names nothing that Unicode has.
pub(super) fn raw_unicode_escape(line: &[u8]) -> Result<String, String> {
    let mut out = String::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(char::from(b));
            continue;
        }
        let digits = match bytes.peek() {
            Some(b'u') => 4,
            Some(b'U') => 8,
            // The second of two backslashes begins no escape.
            next => {
                out.push('\\');
                out.extend(next.copied().map(char::from));
                bytes.next();
                continue;
            }
        };
        bytes.next();
        let point = hex(&mut bytes, digits)?;
        let surrogate = (0xd800..0xe000).contains(&point).then_some(char::REPLACEMENT_CHARACTER);
        out.push(surrogate.or_else(|| char::from_u32(point)).ok_or_else(|| format!("the escape {point:x} in a text is no character"))?);
    }
    Ok(out)
}

/// What stands between the quotes of a line of `STRING`: bytes, with the escapes that Python 2's `repr` writes.
///
/// # Errors
/// Any other escape, or one that is cut short.
pub(super) fn string_escape(line: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(q @ (b'\\' | b'\'' | b'"')) => q,
            // Two digits fit a byte.
            Some(b'x') => hex(&mut bytes, 2)? as u8,
            _ => return Err("an unknown escape in a string".to_owned()),
        });
    }
    Ok(out)
}

/// Exactly so many hexadecimal digits.
fn hex(bytes: &mut Peekable<impl Iterator<Item = u8>>, digits: u32) -> Result<u32, String> {
    (0..digits).try_fold(0, |n, _| {
        let digit = bytes.next_if(u8::is_ascii_hexdigit).and_then(|b| char::from(b).to_digit(16));
        digit.map(|d| n << 4 | d).ok_or_else(|| format!("an escape in a text that is cut short, {digits} hexadecimal digits expected"))
    })
}
