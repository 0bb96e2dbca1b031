//! Patterns of dispatches and parts of their ops.

use crate::diag::Diagnostic;
use crate::pattern::{Part, Pattern};

use super::lex::{Cursor, Token};
use super::{LineError, Parser};

/// The pattern behind a dispatch's name.
pub(super) fn pattern(c: &mut Cursor<'_>, name: &str) -> Result<Pattern, LineError> {
    if !c.eat(':') {
        return Err((c.col(), format!("dispatch @{name} has no pattern, expected `dispatch @{name} : PATTERN {{`")));
    }
    let col = c.col();
    c.any_word()?.parse().map_err(|e| (col, e))
}

impl Parser<'_> {
    /// The part behind an op's type. One that is missing or too many is reported, and reading goes on.
    pub(super) fn part(&mut self, c: &mut Cursor<'_>, line: usize) -> Result<Option<Part>, LineError> {
        let start = c.col();
        let mut part = None;
        if matches!(c.peek(), Some(Token::Word(w)) if w == "as") {
            c.next();
            let col = c.col();
            part = Some(c.any_word()?.parse::<Part>().map_err(|e| (col, e))?);
        }
        let problem = match (self.open, part) {
            (Some(d), None) => {
                format!("an op of dispatch @{} has no part, expected `as PART` behind its type", self.graph.dispatch(d).name)
            }
            (None, Some(part)) => format!("an op outside every dispatch has the part `{part}`, expected none"),
            (Some(_), Some(_)) | (None, None) => return Ok(part),
        };
        self.errors.push(Diagnostic::new("ir-0131", format!("{}:{line}:{start}", self.file), problem));
        // The op stands in its box all the same, so that one mistake makes one error.
        Ok(Some(Part::Alone))
    }
}
