//! The text form, read. Every problem is reported with file, line and column.

use std::collections::HashMap;

use crate::attrs::AttrValue;
use crate::diag::{Diagnostic, Loc};
use crate::entity::{DispatchId, OpId, ValueId};
use crate::graph::Graph;
use crate::infer::infer;
use crate::module::Module;
use crate::ops::{Op, OpCode};
use crate::stage::Stage;
use crate::types::{DType, Layout, Shape, TensorType};

mod boxes;
mod lex;
use lex::{Cursor, Token, lex_line};

/// Largest extent or integer attribute that is read: products of two stay within 64 bits.
const MAX_NUMBER: usize = 1 << 31;

/// Most errors that are collected before reading stops.
const MAX_ERRORS: usize = 100;

/// Reads a text that holds one graph. `file` names the text in diagnostics.
///
/// # Errors
/// Every problem found: syntax, unknown ops, undefined values, types that do not follow from the operands; a second graph.
pub fn parse(text: &str, file: &str) -> Result<Graph, Vec<Diagnostic>> {
    let mut module = parse_module(text, file)?;
    match (module.graphs.pop(), module.graphs.is_empty()) {
        (Some(graph), true) => Ok(graph),
        (None, _) => Err(vec![no_graph(file)]),
        (Some(last), false) => {
            module.graphs.push(last);
            let names: Vec<String> = module.graphs.iter().map(|g| format!("@{}", g.name)).collect();
            let message = format!("the text holds {} graphs ({}), expected one", names.len(), names.join(", "));
            Err(vec![Diagnostic::new("ir-0106", file, message)])
        }
    }
}

/// Reads a text that holds one graph or several, one behind the other. `file` names the text in diagnostics.
///
/// # Errors
/// Every problem found, as of [`parse`]. Whether the graphs agree is [`Module::verify`]'s to say.
pub fn parse_module(text: &str, file: &str) -> Result<Module, Vec<Diagnostic>> {
    let (mut graphs, mut errors) = (Vec::new(), Vec::new());
    let mut p = Parser::new(file);
    for (i, line) in text.lines().enumerate() {
        let read = lex_line(line).and_then(|tokens| {
            if p.started && matches!(tokens.first(), Some((_, Token::Word(w))) if w == "graph") {
                let (graph, found) = std::mem::replace(&mut p, Parser::new(file)).finish();
                graphs.push(graph);
                errors.extend(found);
            }
            p.line(i + 1, line, &tokens)
        });
        if let Err((col, message)) = read {
            p.error(i + 1, col, message, line);
        }
        if errors.len() + p.errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if !p.started {
        p.errors.push(no_graph(file));
        errors.extend(p.errors);
        return Err(errors);
    }
    let (graph, found) = p.finish();
    graphs.push(graph);
    errors.extend(found);
    if errors.is_empty() { Ok(Module { graphs }) } else { Err(errors) }
}

fn no_graph(file: &str) -> Diagnostic {
    Diagnostic::new("ir-0102", file, "no graph: expected `graph @name(...) -> (...) stage=... {`")
}

/// The line at fault as a note, cut where it grows long.
fn quote(line: &str) -> String {
    const LONGEST: usize = 160;
    let line = line.trim();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("in `{}...`", &line[..end]),
        None => format!("in `{line}`"),
    }
}

type LineError = (usize, String);

struct Parser<'a> {
    file: &'a str,
    graph: Graph,
    names: HashMap<String, ValueId>,
    open: Option<DispatchId>,
    yields: Vec<(DispatchId, Vec<ValueId>, usize)>,
    returns: Option<(Vec<ValueId>, usize)>,
    output_header: Vec<(String, TensorType)>,
    started: bool,
    ended: bool,
    errors: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            graph: Graph::new("", Stage::Model),
            names: HashMap::new(),
            open: None,
            yields: Vec::new(),
            returns: None,
            output_header: Vec::new(),
            started: false,
            ended: false,
            errors: Vec::new(),
        }
    }

    fn error(&mut self, line: usize, col: usize, message: String, source: &str) {
        self.errors.push(Diagnostic::new("ir-0101", format!("{}:{line}:{col}", self.file), message).note(quote(source)));
    }

    fn line(&mut self, number: usize, line: &str, tokens: &[(usize, Token)]) -> Result<(), LineError> {
        let mut c = Cursor::new(tokens, line.len() + 1);
        if c.done() {
            return Ok(());
        }
        if self.ended {
            return Err((1, "text after the end of the graph".into()));
        }
        if !self.started {
            self.started = true;
            return self.header(&mut c);
        }
        match c.peek() {
            Some(Token::Value(_)) => self.op(&mut c, number, line),
            Some(Token::Word(w)) if w == "dispatch" => {
                c.next();
                if self.open.is_some() {
                    return Err((c.col(), "a dispatch cannot stand inside another".into()));
                }
                let name = c.symbol()?;
                if self.graph.dispatches().iter().any(|d| d.name == name) {
                    return Err((c.col(), format!("dispatch @{name} is drawn twice")));
                }
                let pattern = boxes::pattern(&mut c, &name)?;
                c.punct('{')?;
                self.open = Some(self.graph.add_dispatch(&name, pattern));
                c.end()
            }
            Some(Token::Word(w)) if w == "update" => self.update(&mut c),
            Some(Token::Word(w)) if w == "return" => {
                c.next();
                if self.open.is_some() {
                    return Err((c.col(), "return inside a dispatch".into()));
                }
                let values = self.values(&mut c)?;
                self.returns = Some((values, number));
                c.end()
            }
            Some(Token::Punct('}')) => {
                c.next();
                if let Some(d) = self.open.take() {
                    c.word("yield")?;
                    let values = self.values(&mut c)?;
                    self.yields.push((d, values, number));
                } else {
                    self.ended = true;
                }
                c.end()
            }
            _ => Err((c.col(), "expected an op, dispatch, update, return or }".into())),
        }
    }

    fn header(&mut self, c: &mut Cursor<'_>) -> Result<(), LineError> {
        c.word("graph")?;
        self.graph.name = c.symbol()?;
        c.punct('(')?;
        while !c.eat(')') {
            let col = c.col();
            let name = c.value()?;
            if !name.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_') {
                return Err((col, format!("input %{name}: names of inputs start with a letter")));
            }
            c.punct(':')?;
            let ty = self.ty(c)?;
            let v = self.graph.input(&name, ty);
            if self.names.insert(name.clone(), v).is_some() {
                return Err((col, format!("%{name} is defined twice")));
            }
            if !c.eat(',') && c.peek() != Some(&Token::Punct(')')) {
                return Err((c.col(), "expected , or )".into()));
            }
        }
        c.arrow()?;
        c.punct('(')?;
        while !c.eat(')') {
            let col = c.col();
            let name = c.any_word()?;
            c.punct(':')?;
            let ty = self.ty(c)?;
            if self.output_header.iter().any(|(n, _)| *n == name) {
                return Err((col, format!("output {name} is declared twice")));
            }
            self.output_header.push((name, ty));
            if !c.eat(',') && c.peek() != Some(&Token::Punct(')')) {
                return Err((c.col(), "expected , or )".into()));
            }
        }
        c.word("stage")?;
        c.punct('=')?;
        let col = c.col();
        self.graph.stage = c.any_word()?.parse().map_err(|e| (col, e))?;
        c.punct('{')?;
        c.end()
    }

    /// `update "key" = %v`.
    fn update(&mut self, c: &mut Cursor<'_>) -> Result<(), LineError> {
        c.next();
        if self.open.is_some() {
            return Err((c.col(), "update inside a dispatch".into()));
        }
        let key = c.text()?;
        c.punct('=')?;
        let v = self.known(c)?;
        self.graph.update(&key, v);
        c.end()
    }

    fn op(&mut self, c: &mut Cursor<'_>, line: usize, source: &str) -> Result<(), LineError> {
        let start = c.col();
        let name = c.value()?;
        c.punct('=')?;
        let col = c.col();
        let mnemonic = c.any_word()?;
        let code = OpCode::from_mnemonic(&mnemonic).ok_or_else(|| (col, format!("unknown op `{mnemonic}`{}", nearest(&mnemonic))))?;
        let mut given = Vec::new();
        let mut operands = Vec::new();
        let leaf = matches!(code, OpCode::Param | OpCode::State);
        if leaf {
            given.push(("key".to_string(), AttrValue::Text(c.text()?)));
        } else {
            operands = self.values(c)?;
            if c.eat('{') {
                while !c.eat('}') {
                    let field = c.any_word()?;
                    c.punct('=')?;
                    let at = c.col();
                    let value = c.attr()?;
                    if let AttrValue::Number(n) = &value
                        && n.parse::<u64>().is_ok_and(|n| n > MAX_NUMBER as u64)
                    {
                        return Err((at, format!("{n} is too large")));
                    }
                    given.push((field, value));
                    if !c.eat(',') && c.peek() != Some(&Token::Punct('}')) {
                        return Err((c.col(), "expected , or }".into()));
                    }
                }
            }
        }
        let op = Op::from_fields(code, &given).map_err(|e| (col, format!("{mnemonic}: {e}")))?;
        c.punct(':')?;
        let ty = self.ty(c)?;
        let part = self.part(c, line)?;
        let mut loc = op.key().map_or_else(Loc::default, Loc::layer);
        if !c.done() {
            c.word("loc")?;
            c.punct('(')?;
            loc = Loc::layer(&c.text()?);
            c.punct(')')?;
        }
        c.end()?;
        // A wrong type is reported and the declared one believed, so that one mistake makes one error.
        if !leaf {
            let types: Vec<&TensorType> = operands.iter().map(|&v| self.graph.ty(v)).collect();
            let problem = match infer(&op, &types) {
                Err(why) => Some(format!("{mnemonic}: {why}")),
                Ok(t) if t.shape != ty.shape || t.dtype != ty.dtype => {
                    Some(format!("{mnemonic}: result is declared {ty}, the operands give {t}"))
                }
                Ok(_) => None,
            };
            if let Some(message) = problem {
                let mut d = Diagnostic::new("ir-0107", format!("{}:{line}:{start}", self.file), message).note(quote(source));
                for (v, t) in operands.iter().zip(&types) {
                    let name = self.names.iter().find(|(_, known)| *known == v).map_or("?", |(name, _)| name);
                    d = d.note(format!("%{name} : {t}"));
                }
                self.errors.push(d);
            }
        }
        let v = self.graph.push_typed(op, &operands, ty, loc);
        let id = OpId::from_index(self.graph.op_count() - 1);
        self.graph.set_dispatch(id, self.open.zip(part));
        if self.names.insert(name.clone(), v).is_some() {
            return Err((start, format!("%{name} is defined twice")));
        }
        Ok(())
    }

    fn values(&self, c: &mut Cursor<'_>) -> Result<Vec<ValueId>, LineError> {
        let mut out = Vec::new();
        if !matches!(c.peek(), Some(Token::Value(_))) {
            return Ok(out);
        }
        loop {
            out.push(self.known(c)?);
            if !c.eat(',') {
                return Ok(out);
            }
        }
    }

    fn known(&self, c: &mut Cursor<'_>) -> Result<ValueId, LineError> {
        let col = c.col();
        let name = c.value()?;
        self.names.get(&name).copied().ok_or_else(|| (col, format!("%{name} is not defined above")))
    }

    fn ty(&self, c: &mut Cursor<'_>) -> Result<TensorType, LineError> {
        let col = c.col();
        let dtype: DType = c.any_word()?.parse().map_err(|e| (col, e))?;
        c.punct('[')?;
        let mut shape = Shape::new();
        let mut elements = 1usize;
        while !c.eat(']') {
            let at = c.col();
            let n = c.number()?;
            let n: usize = n.parse().ok().filter(|&n| n <= MAX_NUMBER).ok_or_else(|| (at, format!("`{n}` is not an extent below 2^31")))?;
            elements =
                elements.checked_mul(n.max(1)).filter(|&e| e <= 1 << 44).ok_or_else(|| (at, "the tensor is absurdly large".to_string()))?;
            shape.push(n);
            if !c.eat(',') && c.peek() != Some(&Token::Punct(']')) {
                return Err((c.col(), "expected , or ]".into()));
            }
        }
        let mut layout = Layout::ChannelsFirst;
        if c.eat(':') {
            let at = c.col();
            match c.any_word()?.as_str() {
                "channels_last" => layout = Layout::ChannelsLast,
                other => return Err((at, format!("unknown layout `{other}`, expected channels_last or none"))),
            }
        }
        Ok(TensorType { dtype, shape, layout })
    }

    /// The graph, which is whole if there are no errors.
    fn finish(mut self) -> (Graph, Vec<Diagnostic>) {
        let file = self.file;
        if !self.ended && self.errors.is_empty() {
            self.errors.push(Diagnostic::new("ir-0102", file, "the graph is not closed by }"));
        }
        match self.returns.take() {
            None if self.errors.is_empty() => {
                self.errors.push(Diagnostic::new("ir-0102", file, "the graph has no return"));
            }
            None => {}
            Some((values, line)) => {
                if values.len() != self.output_header.len() {
                    self.errors.push(Diagnostic::new(
                        "ir-0104",
                        format!("{file}:{line}"),
                        format!("returns {}, the header declares {}", mnx_words::many(values.len(), "value"), self.output_header.len()),
                    ));
                }
                for ((name, ty), v) in self.output_header.iter().zip(values) {
                    if self.graph.ty(v) != ty {
                        self.errors.push(Diagnostic::new(
                            "ir-0104",
                            format!("{file}:{line}"),
                            format!("output {name} is declared {ty}, the value is {}", self.graph.ty(v)),
                        ));
                    }
                    self.graph.output(name, v);
                }
            }
        }
        for (d, values, line) in &self.yields {
            let want = crate::print::yields(&self.graph, *d);
            if *values != want {
                self.errors.push(Diagnostic::new(
                    "ir-0105",
                    format!("{file}:{line}"),
                    format!(
                        "dispatch @{} yields {}, of its values {} are read outside",
                        self.graph.dispatch(*d).name,
                        mnx_words::many(values.len(), "value"),
                        want.len()
                    ),
                ));
            }
        }
        (self.graph, self.errors)
    }
}

fn nearest(word: &str) -> String {
    crate::ops::OPS
        .iter()
        .map(|o| (strsim::damerau_levenshtein(word, o.mnemonic), o.mnemonic))
        .min()
        .filter(|(d, _)| *d <= 3)
        .map_or_else(String::new, |(_, m)| format!(", did you mean `{m}`?"))
}
