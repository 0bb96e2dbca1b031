//! Tokens of one line.

use crate::attrs::AttrValue;

use super::LineError;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Value(String),
    Symbol(String),
    Number(String),
    Text(String),
    Punct(char),
    Arrow,
}

/// The tokens of a line, each with its column; a comment ends it.
pub(super) fn lex_line(line: &str) -> Result<Vec<(usize, Token)>, LineError> {
    let chars: Vec<char> = line.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    let name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    while i < chars.len() {
        let (start, c) = (i, chars[i]);
        let take = |from: usize, ok: &dyn Fn(char) -> bool| {
            let end = chars[from..].iter().position(|&c| !ok(c)).map_or(chars.len(), |n| from + n);
            (chars[from..end].iter().collect::<String>(), end)
        };
        let token = match c {
            _ if c.is_whitespace() => {
                i += 1;
                continue;
            }
            '/' if chars.get(i + 1) == Some(&'/') => break,
            '-' if chars.get(i + 1) == Some(&'>') => {
                i += 2;
                Token::Arrow
            }
            '%' | '@' => {
                let (name, end) = take(i + 1, &name_char);
                if name.is_empty() {
                    return Err((start + 1, format!("expected a name after {c}")));
                }
                i = end;
                if c == '%' { Token::Value(name) } else { Token::Symbol(name) }
            }
            '"' => {
                let (text, end) = quoted(&chars, i)?;
                i = end;
                Token::Text(text)
            }
            _ if c.is_ascii_digit() || c == '-' => {
                let (s, end) = take(i, &|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
                i = end;
                Token::Number(s)
            }
            _ if c.is_ascii_alphabetic() || c == '_' => {
                let (s, end) = take(i, &|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
                i = end;
                Token::Word(s)
            }
            '(' | ')' | '{' | '}' | '[' | ']' | ',' | ':' | '=' => {
                i += 1;
                Token::Punct(c)
            }
            _ => return Err((start + 1, format!("unexpected character `{}`", c.escape_default()))),
        };
        out.push((start + 1, token));
    }
    Ok(out)
}

/// A quoted string with Rust's escapes for quote, backslash, newline, tab, return, NUL and `\u{..}`.
fn quoted(chars: &[char], open: usize) -> Result<(String, usize), LineError> {
    let bad = |i: usize| (i + 1, "unknown escape in a quoted string".to_string());
    let mut s = String::new();
    let mut i = open + 1;
    loop {
        match chars.get(i) {
            None => return Err((open + 1, "unclosed quote".into())),
            Some('"') => return Ok((s, i + 1)),
            Some('\\') => {
                i += 1;
                match chars.get(i) {
                    Some('n') => s.push('\n'),
                    Some('t') => s.push('\t'),
                    Some('r') => s.push('\r'),
                    Some('0') => s.push('\0'),
                    Some(c @ ('"' | '\\' | '\'')) => s.push(*c),
                    Some('u') => {
                        let end = chars[i..].iter().position(|&c| c == '}').ok_or_else(|| bad(i))? + i;
                        let hex: String = chars.get(i + 2..end).ok_or_else(|| bad(i))?.iter().collect();
                        s.push(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32).ok_or_else(|| bad(i))?);
                        i = end;
                    }
                    _ => return Err(bad(i)),
                }
                i += 1;
            }
            Some(c) => {
                s.push(*c);
                i += 1;
            }
        }
    }
}

/// A reading position in a line's tokens.
pub(super) struct Cursor<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [(usize, Token)], end: usize) -> Self {
        Self { tokens, at: 0, end }
    }
    pub(super) fn done(&self) -> bool {
        self.at == self.tokens.len()
    }
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, t)| t)
    }
    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let t = self.tokens.get(self.at).map(|(_, t)| t);
        self.at += 1;
        t
    }
    pub(super) fn col(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(c, _)| *c)
    }
    fn expect<T>(&mut self, what: &str, pick: impl FnOnce(&Token) -> Option<T>) -> Result<T, LineError> {
        match self.peek().and_then(pick) {
            Some(t) => {
                self.at += 1;
                Ok(t)
            }
            None => Err((self.col(), format!("expected {what}"))),
        }
    }
    pub(super) fn punct(&mut self, c: char) -> Result<(), LineError> {
        self.expect(&c.to_string(), |t| (*t == Token::Punct(c)).then_some(()))
    }
    pub(super) fn eat(&mut self, c: char) -> bool {
        self.punct(c).is_ok()
    }
    pub(super) fn word(&mut self, w: &str) -> Result<(), LineError> {
        self.expect(w, |t| matches!(t, Token::Word(x) if x == w).then_some(()))
    }
    pub(super) fn any_word(&mut self) -> Result<String, LineError> {
        self.expect("a word", |t| if let Token::Word(s) = t { Some(s.clone()) } else { None })
    }
    pub(super) fn value(&mut self) -> Result<String, LineError> {
        self.expect("a value such as %3", |t| if let Token::Value(s) = t { Some(s.clone()) } else { None })
    }
    pub(super) fn symbol(&mut self) -> Result<String, LineError> {
        self.expect("a name such as @block", |t| if let Token::Symbol(s) = t { Some(s.clone()) } else { None })
    }
    pub(super) fn number(&mut self) -> Result<String, LineError> {
        self.expect("a number", |t| if let Token::Number(s) = t { Some(s.clone()) } else { None })
    }
    pub(super) fn text(&mut self) -> Result<String, LineError> {
        self.expect("a quoted string", |t| if let Token::Text(s) = t { Some(s.clone()) } else { None })
    }
    pub(super) fn arrow(&mut self) -> Result<(), LineError> {
        self.expect("->", |t| (*t == Token::Arrow).then_some(()))
    }
    pub(super) fn attr(&mut self) -> Result<AttrValue, LineError> {
        self.expect("a number, a word or a quoted string", |t| match t {
            Token::Number(s) => Some(AttrValue::Number(s.clone())),
            Token::Word(s) => Some(AttrValue::Word(s.clone())),
            Token::Text(s) => Some(AttrValue::Text(s.clone())),
            Token::Value(_) | Token::Symbol(_) | Token::Punct(_) | Token::Arrow => None,
        })
    }
    pub(super) fn end(&self) -> Result<(), LineError> {
        if self.done() { Ok(()) } else { Err((self.col(), "unexpected text at the end of the line".into())) }
    }
}
