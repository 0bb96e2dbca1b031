//! Tokens to a `Unit`. Knows statements and declarations, no instruction.

use crate::error::PtxError;
use crate::lex::{Tok, Token, lex};
use crate::syntax::{Function, Instruction, Operand, Space, Statement, Unit, Var};
use crate::ty::Ty;

type Result<T> = std::result::Result<T, PtxError>;

/// More registers, elements or nesting than any compiler writes: refuse instead of exhausting the host.
const MOST_REGISTERS: u32 = 1 << 20;
const MOST_BYTES: u64 = 1 << 30;
const MOST_SCOPES: usize = 64;

pub(crate) fn parse(text: &str) -> Result<Unit> {
    let tokens = lex(text)?;
    let mut p = Parser { tokens, at: 0 };
    let mut unit = Unit::default();
    while p.at < p.tokens.len() {
        p.top_level(&mut unit)?;
    }
    if unit.version.is_empty() {
        return Err(PtxError::new(1, "no `.version` directive: this is not PTX"));
    }
    Ok(unit)
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(PtxError::new(self.line(), message))
    }

    fn peek(&self) -> Option<Tok<'a>> {
        self.tokens.get(self.at).map(|t| t.tok)
    }

    fn next(&mut self) -> Result<Tok<'a>> {
        match self.peek() {
            Some(t) => {
                self.at += 1;
                Ok(t)
            }
            None => self.error("the text ends in the middle of a statement"),
        }
    }

    fn eat(&mut self, c: char) -> bool {
        let yes = self.peek() == Some(Tok::Punct(c));
        self.at += usize::from(yes);
        yes
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.eat(c) { Ok(()) } else { self.error(format!("expected `{c}`, found {}", describe(self.peek()))) }
    }

    fn word(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Tok::Word(w)) => {
                self.at += 1;
                Ok(w)
            }
            other => self.error(format!("expected a name, found {}", describe(other))),
        }
    }

    fn peek_word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Tok::Word(w)) => Some(w),
            _ => None,
        }
    }

    fn int(&mut self) -> Result<i64> {
        let negative = self.eat('-');
        match self.next()? {
            Tok::Int(v) => Ok(if negative { v.wrapping_neg() } else { v }),
            other => {
                self.at -= 1;
                self.error(format!("expected an integer, found {}", describe(Some(other))))
            }
        }
    }

    /// Skips to the end of the line on which the last token stood.
    fn skip_line(&mut self) {
        let line = self.tokens[self.at - 1].line;
        while self.tokens.get(self.at).is_some_and(|t| t.line == line) {
            self.at += 1;
        }
    }

    fn top_level(&mut self, unit: &mut Unit) -> Result<()> {
        if matches!(self.peek(), Some(Tok::ImplicitDef(_))) || self.eat(';') {
            self.at += usize::from(matches!(self.peek(), Some(Tok::ImplicitDef(_))));
            return Ok(());
        }
        match self.peek_word() {
            Some(".version") => {
                self.at += 1;
                unit.version = match self.next()? {
                    Tok::F64(bits) => mnx_words::exact(f64::from_bits(bits)).to_string(),
                    Tok::Int(v) => v.to_string(),
                    other => return self.error(format!("`.version` wants a number, found {}", describe(Some(other)))),
                };
            }
            Some(".target") => {
                self.at += 1;
                unit.target = self.word()?.to_string();
                while self.eat(',') {
                    self.word()?;
                }
            }
            Some(".address_size") => {
                self.at += 1;
                if self.int()? != 64 {
                    return self.error("only `.address_size 64` is known");
                }
            }
            Some(".file") => {
                self.at += 1;
                self.skip_line();
            }
            Some(".section") => {
                while self.next()? != Tok::Punct('{') {}
                let mut depth = 1;
                while depth > 0 {
                    match self.next()? {
                        Tok::Punct('{') => depth += 1,
                        Tok::Punct('}') => depth -= 1,
                        _ => {}
                    }
                }
            }
            Some(".pragma") => {
                self.at += 1;
                self.next()?;
                self.expect(';')?;
            }
            Some(w) if w.starts_with('.') => self.declaration(unit)?,
            _ => return self.error(format!("expected a directive, found {}", describe(self.peek()))),
        }
        Ok(())
    }

    fn declaration(&mut self, unit: &mut Unit) -> Result<()> {
        let mut external = false;
        loop {
            match self.peek_word() {
                Some(".visible" | ".weak" | ".internal" | ".common") => self.at += 1,
                Some(".extern") => {
                    external = true;
                    self.at += 1;
                }
                Some(".entry") | Some(".func") => {
                    let f = self.function()?;
                    unit.functions.push(f);
                    return Ok(());
                }
                Some(".global" | ".const" | ".shared") => {
                    let vars = self.variables(external)?;
                    unit.vars.extend(vars);
                    return Ok(());
                }
                _ => return self.error(format!("unknown directive {}", describe(self.peek()))),
            }
        }
    }

    fn function(&mut self) -> Result<Function> {
        let line = self.line();
        let entry = self.word()? == ".entry";
        let mut returns = Vec::new();
        if !entry && self.peek() == Some(Tok::Punct('(')) {
            returns = self.formals()?;
        }
        let name = self.word()?.to_string();
        let params = if self.peek() == Some(Tok::Punct('(')) { self.formals()? } else { Vec::new() };
        let mut f = Function { name, line, entry, returns, params, body: None, reqntid: None, maxntid: None };
        loop {
            match self.peek() {
                Some(Tok::Punct('{')) => {
                    self.at += 1;
                    f.body = Some(self.body(0)?);
                    return Ok(f);
                }
                Some(Tok::Punct(';')) => {
                    self.at += 1;
                    return Ok(f);
                }
                Some(Tok::Word(".reqntid")) => f.reqntid = Some(self.triple()?),
                Some(Tok::Word(".maxntid")) => f.maxntid = Some(self.triple()?),
                Some(Tok::Word(".minnctapersm" | ".maxnreg" | ".maxnctapersm" | ".maxclusterrank" | ".abi_preserve")) => {
                    self.at += 1;
                    self.int()?;
                }
                Some(Tok::Word(".noreturn" | ".blocksareclusters" | ".explicitcluster")) => self.at += 1,
                Some(Tok::Word(".pragma")) => {
                    self.at += 2;
                    self.expect(';')?;
                }
                Some(Tok::Word(w)) if w.starts_with(".reqnctapercluster") => {
                    if self.triple()? != [1, 1, 1] {
                        return self.error("clusters of more than one CTA are not simulated");
                    }
                }
                other => return self.error(format!("unknown function directive {}", describe(other))),
            }
        }
    }

    fn triple(&mut self) -> Result<[u32; 3]> {
        self.at += 1;
        let mut out = [1; 3];
        for (i, o) in out.iter_mut().enumerate() {
            if i > 0 && !self.eat(',') {
                break;
            }
            let v = self.int()?;
            *o = u32::try_from(v).or_else(|_| self.error(format!("{v} is no extent")))?;
        }
        Ok(out)
    }

    fn formals(&mut self) -> Result<Vec<Var>> {
        self.expect('(')?;
        let mut out = Vec::new();
        while !self.eat(')') {
            if self.word()? != ".param" {
                self.at -= 1;
                return self.error("expected `.param`");
            }
            out.push(self.variable(Space::Param, false)?);
            if !self.eat(',') && self.peek() != Some(Tok::Punct(')')) {
                return self.error("expected `,` or `)` after a parameter");
            }
        }
        Ok(out)
    }

    fn variables(&mut self, external: bool) -> Result<Vec<Var>> {
        let space = match self.word()? {
            ".global" => Space::Global,
            ".const" => Space::Const,
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            _ => Space::Param,
        };
        let mut out = vec![self.variable(space, external)?];
        while self.eat(',') {
            let like = out[0].clone();
            let name = self.word()?.to_string();
            out.push(Var { name, init: Vec::new(), line: self.line(), ..like });
        }
        self.expect(';')?;
        Ok(out)
    }

    /// After the state space: `[.align n] .ty [.ptr ...] name[n]...  [= init]`.
    fn variable(&mut self, space: Space, external: bool) -> Result<Var> {
        let (mut ty, mut align, mut vector, mut pointer) = (None, 0, 1, false);
        let name = loop {
            let w = self.word()?;
            match w {
                ".align" => {
                    let n = self.int()?;
                    if !(1..=1 << 20).contains(&n) || n & (n - 1) != 0 {
                        return self.error(format!("alignment {n} is no power of two"));
                    }
                    // After `.ptr` the alignment is that of the memory pointed to.
                    align = if pointer { align } else { n as u64 };
                }
                ".ptr" => pointer = true,
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                ".global" | ".shared" | ".const" | ".local" | ".unified" => {}
                ".attribute" => while self.next()? != Tok::Punct(')') {},
                _ if !w.starts_with('.') => break w.to_string(),
                _ => ty = Some(Ty::parse(&w[1..]).map_or_else(|| self.error(format!("unknown type `{w}`")), Ok)?),
            }
        };
        let line = self.line();
        let Some(ty) = ty else { return self.error(format!("variable `{name}` has no type")) };
        let element = u64::from(ty.bits().div_ceil(8)) * vector;
        let (mut bytes, mut dynamic) = (element, false);
        while self.eat('[') {
            if self.eat(']') {
                dynamic = true;
                continue;
            }
            let n = self.int()?;
            bytes = u64::try_from(n)
                .ok()
                .and_then(|n| bytes.checked_mul(n))
                .filter(|b| *b <= MOST_BYTES)
                .map_or_else(|| self.error(format!("array size {n} of `{name}` is not possible")), Ok)?;
            self.expect(']')?;
        }
        let mut init = Vec::new();
        if self.eat('=') {
            self.initialiser(u64::from(ty.bits() / 8) as usize, &mut init, 0)?;
            if dynamic {
                bytes = init.len() as u64;
            } else if init.len() as u64 > bytes {
                return self.error(format!("`{name}` has {bytes} bytes but its initialiser {}", init.len()));
            }
            dynamic = false;
        }
        if dynamic && !(external && space == Space::Shared) {
            return self.error(format!("`{name}[]` has no size"));
        }
        let align = if align == 0 { element.next_power_of_two() } else { align };
        Ok(Var { name, space, align, bytes: if dynamic { 0 } else { bytes }, dynamic, init, line })
    }

    fn initialiser(&mut self, width: usize, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if depth > MOST_SCOPES {
            return self.error("braces are nested too deeply");
        }
        if self.eat('{') {
            while !self.eat('}') {
                self.initialiser(width, out, depth + 1)?;
                if !self.eat(',') && self.peek() != Some(Tok::Punct('}')) {
                    return self.error("expected `,` or `}` in an initialiser");
                }
            }
            return Ok(());
        }
        let bits = match self.operand()? {
            Operand::Int(v) => v as u64,
            Operand::F32(v) => u64::from(v),
            Operand::F64(v) => v,
            other => return self.error(format!("initialiser {other}: only numbers are known")),
        };
        out.extend(&bits.to_le_bytes()[..width]);
        Ok(())
    }

    fn body(&mut self, depth: usize) -> Result<Vec<Statement>> {
        if depth > MOST_SCOPES {
            return self.error("scopes are nested too deeply");
        }
        let mut out = Vec::new();
        loop {
            let line = self.line();
            match self.next()? {
                Tok::Punct('}') => return Ok(out),
                Tok::Punct('{') => out.push(Statement::Scope(self.body(depth + 1)?)),
                Tok::Punct(';') => {}
                Tok::ImplicitDef(name) => out.push(Statement::ImplicitDef(name.to_string())),
                Tok::Punct('@') => {
                    let negated = self.eat('!');
                    let guard = self.word()?.to_string();
                    let mnemonic = self.word()?;
                    out.push(self.instruction(line, Some((guard, negated)), mnemonic)?);
                }
                Tok::Word(".loc" | ".file") => self.skip_line(),
                Tok::Word(".pragma") => {
                    self.next()?;
                    self.expect(';')?;
                }
                Tok::Word(".reg") => self.registers(&mut out)?,
                Tok::Word(".local" | ".shared" | ".param" | ".global" | ".const") => {
                    self.at -= 1;
                    out.extend(self.variables(false)?.into_iter().map(Statement::Var));
                }
                Tok::Word(".extern") => out.extend(self.variables(true)?.into_iter().map(Statement::Var)),
                Tok::Word(w) if self.peek() == Some(Tok::Punct(':')) => {
                    self.at += 1;
                    if self.peek_word() == Some(".branchtargets") {
                        self.at += 1;
                        let mut targets = vec![self.word()?.to_string()];
                        while self.eat(',') {
                            targets.push(self.word()?.to_string());
                        }
                        self.expect(';')?;
                        out.push(Statement::Targets(w.to_string(), targets));
                    } else {
                        out.push(Statement::Label(w.to_string(), line));
                    }
                }
                Tok::Word(w) if !w.starts_with('.') => out.push(self.instruction(line, None, w)?),
                other => {
                    self.at -= 1;
                    return self.error(format!("expected a statement, found {}", describe(Some(other))));
                }
            }
        }
    }

    fn registers(&mut self, out: &mut Vec<Statement>) -> Result<()> {
        let line = self.line();
        let w = self.word()?;
        let Some(ty) = w.strip_prefix('.').and_then(Ty::parse) else { return self.error(format!("unknown register type `{w}`")) };
        if ty.bits() > 64 {
            return self.error(format!("registers of type `{w}` are not simulated"));
        }
        loop {
            let name = self.word()?.to_string();
            if self.eat('<') {
                let n = self.int()?;
                self.expect('>')?;
                let count = u32::try_from(n).ok().filter(|n| *n <= MOST_REGISTERS);
                let Some(count) = count else { return self.error(format!("{n} registers `{name}`")) };
                out.push(Statement::Registers { prefix: name, count, ty, line });
            } else {
                out.push(Statement::Register { name, ty, line });
            }
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    fn instruction(&mut self, line: u32, guard: Option<(String, bool)>, mnemonic: &str) -> Result<Statement> {
        let mut operands = Vec::new();
        if !self.eat(';') {
            loop {
                operands.push(self.operand()?);
                if self.eat(';') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(Statement::Instruction(Instruction { line, guard, mnemonic: mnemonic.to_string(), operands }))
    }

    fn list(&mut self, close: char) -> Result<Operand> {
        let mut out = Vec::new();
        while !self.eat(close) {
            // An operand is never nested more than one list deep; anything else ends here.
            if matches!(self.peek(), Some(Tok::Punct('{' | '(' | '['))) {
                return self.error("a list inside a list");
            }
            out.push(self.operand()?);
            if !self.eat(',') && self.peek() != Some(Tok::Punct(close)) {
                return self.error(format!("expected `,` or `{close}`"));
            }
        }
        Ok(Operand::List(out))
    }

    fn offset(&mut self) -> Result<i64> {
        if self.eat('+') || self.peek() == Some(Tok::Punct('-')) { self.int() } else { Ok(0) }
    }

    fn operand(&mut self) -> Result<Operand> {
        let first = match self.next()? {
            Tok::Punct('{') => return self.list('}'),
            Tok::Punct('(') => return self.list(')'),
            Tok::Punct('[') => {
                let base = match self.next()? {
                    Tok::Word(w) => Operand::Name(w.to_string(), 0),
                    Tok::Int(v) => Operand::Int(v),
                    other => return self.error(format!("expected an address, found {}", describe(Some(other)))),
                };
                let offset = self.offset()?;
                if self.peek() == Some(Tok::Punct(',')) {
                    return self.error("addresses with coordinates (tensor copies) are not simulated");
                }
                self.expect(']')?;
                return Ok(Operand::Address(Box::new(base), offset));
            }
            Tok::Punct('!') => return Ok(Operand::Not(self.word()?.to_string())),
            Tok::Punct('-') => {
                return match self.next()? {
                    Tok::Int(v) => Ok(Operand::Int(v.wrapping_neg())),
                    Tok::F64(v) => Ok(Operand::F64(v ^ 1 << 63)),
                    other => self.error(format!("`-` before {}", describe(Some(other)))),
                };
            }
            Tok::Int(v) => return Ok(Operand::Int(v)),
            Tok::F32(v) => return Ok(Operand::F32(v)),
            Tok::F64(v) => return Ok(Operand::F64(v)),
            Tok::Word("_") => Operand::Sink,
            Tok::Word(w) => Operand::Name(w.to_string(), self.offset()?),
            other => {
                self.at -= 1;
                return self.error(format!("expected an operand, found {}", describe(Some(other))));
            }
        };
        if self.eat('|') {
            let second = match self.word()? {
                "_" => Operand::Sink,
                w => Operand::Name(w.to_string(), 0),
            };
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }
}

fn describe(tok: Option<Tok<'_>>) -> String {
    match tok {
        None => "the end of the text".into(),
        Some(Tok::Word(w)) => format!("`{w}`"),
        Some(Tok::Int(v)) => format!("`{v}`"),
        Some(Tok::F32(v)) => format!("`0f{v:08X}`"),
        Some(Tok::F64(v)) => format!("`{}`", f64::from_bits(v)),
        Some(Tok::Text(t)) => format!("\"{t}\""),
        Some(Tok::Punct(c)) => format!("`{c}`"),
        Some(Tok::ImplicitDef(n)) => format!("the comment `implicit-def: {n}`"),
    }
}
