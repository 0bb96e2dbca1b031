//! PTX text to tokens.

use crate::error::PtxError;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tok<'a> {
    /// Identifier, register, directive or mnemonic with its suffixes: `%rd1`, `.reg`, `ld.global.v4.b32`, `%tid.x`.
    Word(&'a str),
    /// An integer, wrapped into 64 bits.
    Int(i64),
    /// `0f` bits.
    F32(u32),
    /// `0d` bits or a decimal fraction.
    F64(u64),
    Text(&'a str),
    Punct(char),
    /// LLVM's comment `// implicit-def: %r1`: the register is read before it is written, and on purpose.
    ImplicitDef(&'a str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub tok: Tok<'a>,
    pub line: u32,
}

fn word_char(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'.' | b'%') || c >= 0x80
}

/// Splits a whole module.
pub(crate) fn lex(text: &str) -> Result<Vec<Token<'_>>, PtxError> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() / 4);
    let (mut i, mut line) = (0, 1u32);
    while i < bytes.len() {
        let c = bytes[i];
        let start = i;
        let tok = match c {
            b'\n' => {
                line += 1;
                i += 1;
                continue;
            }
            _ if c.is_ascii_whitespace() => {
                i += 1;
                continue;
            }
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                i += bytes[i..].iter().position(|&c| c == b'\n').unwrap_or(bytes.len() - i);
                match text[start + 2..i].trim().strip_prefix("implicit-def:") {
                    Some(name) => Tok::ImplicitDef(name.trim()),
                    None => continue,
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                let end = text[i + 2..].find("*/").ok_or_else(|| PtxError::new(line, "comment `/*` is never closed"))?;
                let next = i + 2 + end + 2;
                line += bytes[i..next].iter().filter(|&&c| c == b'\n').count() as u32;
                i = next;
                continue;
            }
            b'"' => {
                let end = bytes[i + 1..].iter().position(|&c| c == b'"' || c == b'\n');
                match end {
                    Some(n) if bytes[i + 1 + n] == b'"' => {
                        i += n + 2;
                        Tok::Text(&text[start + 1..i - 1])
                    }
                    _ => return Err(PtxError::new(line, "string is never closed")),
                }
            }
            b'0'..=b'9' => {
                while i < bytes.len() && (bytes[i].is_ascii_alphanumeric() || bytes[i] == b'.') {
                    i += 1;
                }
                number(&text[start..i]).ok_or_else(|| PtxError::new(line, format!("`{}` is no number", &text[start..i])))?
            }
            _ if word_char(c) => {
                while i < bytes.len() {
                    if word_char(bytes[i]) {
                        i += 1;
                    } else if bytes[i..].starts_with(b"::") && text[start..i].contains('.') {
                        i += 2;
                    } else {
                        break;
                    }
                }
                Tok::Word(&text[start..i])
            }
            _ => {
                i += 1;
                Tok::Punct(char::from(c))
            }
        };
        out.push(Token { tok, line });
    }
    Ok(out)
}

fn number(s: &str) -> Option<Tok<'static>> {
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    if let Some(d) = s.strip_prefix("0f").or_else(|| s.strip_prefix("0F")) {
        return (d.len() == 8).then(|| hex(d)).flatten().map(|v| Tok::F32(v as u32));
    }
    if let Some(d) = s.strip_prefix("0d").or_else(|| s.strip_prefix("0D")) {
        return (d.len() == 16).then(|| hex(d)).flatten().map(Tok::F64);
    }
    let int = s.trim_end_matches('U');
    let value = if let Some(d) = int.strip_prefix("0x").or_else(|| int.strip_prefix("0X")) {
        hex(d)
    } else if let Some(d) = int.strip_prefix("0b").or_else(|| int.strip_prefix("0B")) {
        u64::from_str_radix(d, 2).ok()
    } else if int.len() > 1 && int.starts_with('0') && int.bytes().all(|c| c.is_ascii_digit()) {
        u64::from_str_radix(int, 8).ok()
    } else {
        int.parse().ok()
    };
    match value {
        Some(v) => Some(Tok::Int(v as i64)),
        None if s.contains('.') => s.parse::<f64>().ok().map(|v| Tok::F64(v.to_bits())),
        None => None,
    }
}
