//! Counting vector instructions in the loops of a kernel's assembly (AT&T syntax, as `mnxc compile --dump-dir` writes it).

use std::collections::HashMap;

/// Instructions of one loop, those of the loops within it left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Fused multiply-adds of vectors.
    pub fma: usize,
    /// Vector reads from memory, broadcasts and operands of arithmetic included.
    pub loads: usize,
    /// Loads that are an operand of a multiply-add, and so no instruction of their own.
    pub folded: usize,
    /// Vector writes to memory.
    pub stores: usize,
    /// Other vector arithmetic.
    pub arithmetic: usize,
    /// Moves between vector registers.
    pub moves: usize,
    /// Vector reads and writes of the stack, also counted as loads and stores.
    pub spills: usize,
    /// Everything that is no vector instruction.
    pub scalar: usize,
}

impl Counts {
    /// Vector instructions.
    pub fn vector(&self) -> usize {
        self.fma + (self.loads - self.folded) + self.stores + self.arithmetic + self.moves
    }
}

/// A loop: from a label to the last jump back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// Loops around it.
    pub depth: usize,
    /// Whether no loop is within it.
    pub innermost: bool,
    /// What it executes itself.
    pub counts: Counts,
}

/// The assembly of one kernel in a file of several; they begin with `# ----- SYMBOL`.
pub fn section<'a>(text: &'a str, symbol: &str) -> Option<&'a str> {
    let mark = format!("# ----- {symbol}\n");
    let start = text.find(&mark)? + mark.len();
    let end = text[start..].find("# ----- ").map_or(text.len(), |n| start + n);
    Some(&text[start..end])
}

/// Every loop of a kernel, in the order of its first instruction.
pub fn loops(text: &str) -> Vec<Loop> {
    let lines: Vec<&str> = text.lines().map(|l| l.split('#').next().unwrap_or("").trim()).collect();
    // Labels of all functions of a file differ: `.LBB<function>_<block>`.
    let labels: HashMap<&str, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(i, l)| l.strip_suffix(':').map(|name| (name, i)))
        .filter(|(n, _)| n.starts_with(".LBB"))
        .collect();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((op, target)) = line.split_once(char::is_whitespace) else { continue };
        let Some(&at) = labels.get(target.trim()) else { continue };
        if !op.starts_with('j') || at > i {
            continue;
        }
        match spans.iter_mut().find(|(start, _)| *start == at) {
            Some((_, end)) => *end = (*end).max(i),
            None => spans.push((at, i)),
        }
    }
    spans.sort_by_key(|&(start, end)| (start, std::cmp::Reverse(end)));
    let within = |inner: (usize, usize), outer: (usize, usize)| inner != outer && outer.0 <= inner.0 && inner.1 <= outer.1;
    spans
        .iter()
        .map(|&span| {
            let inner: Vec<(usize, usize)> = spans.iter().copied().filter(|s| within(*s, span)).collect();
            let mut counts = Counts::default();
            for (i, line) in lines.iter().enumerate().take(span.1 + 1).skip(span.0) {
                if !inner.iter().any(|s| (s.0..=s.1).contains(&i)) {
                    count(line, &mut counts);
                }
            }
            Loop { depth: spans.iter().filter(|s| within(span, **s)).count(), innermost: inner.is_empty(), counts }
        })
        .collect()
}

fn count(line: &str, c: &mut Counts) {
    if line.is_empty() || line.ends_with(':') || line.starts_with('.') {
        return;
    }
    let (op, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let vector = op.starts_with('v') && ["%xmm", "%ymm", "%zmm"].iter().any(|r| operands.contains(r));
    if !vector {
        c.scalar += 1;
        return;
    }
    let memory = operands.contains('(');
    let writes = last_operand(operands).contains('(');
    if memory && operands.contains("%rsp") {
        c.spills += 1;
    }
    let fma = ["vfmadd", "vfmsub", "vfnmadd", "vfnmsub"].iter().any(|p| op.starts_with(p));
    let moves = op.starts_with("vmov") || op.starts_with("vbroadcast");
    if writes {
        c.stores += 1;
    } else if fma {
        c.fma += 1;
        c.loads += usize::from(memory);
        c.folded += usize::from(memory);
    } else if moves && memory {
        c.loads += 1;
    } else if moves {
        c.moves += 1;
    } else {
        // An operand of other arithmetic read from memory, a constant mostly, is no instruction of its own either.
        c.arithmetic += 1;
        c.loads += usize::from(memory);
        c.folded += usize::from(memory);
    }
}

/// The destination: what follows the last comma outside brackets.
fn last_operand(operands: &str) -> &str {
    let mut depth = 0;
    let mut start = 0;
    for (i, c) in operands.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => start = i + 1,
            _ => {}
        }
    }
    &operands[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ----- a_1
\tvmovups\t(%rax), %zmm0
# ----- b_12
\tmovq\t%rax, %rbx
.LBB0_1:
\tvmovaps\t%zmm1, %zmm2
\tvmovups\t%zmm2, -64(%rsp)               # 64-byte Spill
\t.p2align\t4
.LBB0_2:
\tvmovups\t-128(%r8,%rdi,4), %zmm24
\tvbroadcastss\t-44(%rax), %zmm0
\tvfmadd231ps\t(%r9), %zmm25, %zmm7
\tvfmadd213ps\t%zmm26, %zmm24, %zmm0
\tvfmadd231ps\t(%rdx){1to16}, %zmm25, %zmm7
\tvmaxps\t%zmm1, %zmm2, %zmm3
\tvmulps\t.LCPI0_1(%rip){1to16}, %zmm2, %zmm3
\tvmovups\t%zmm0, 64(%rsi)
\tvmovups\t%zmm0, 64(%rsi) {%k1}
\tprefetcht1\t(%r10,%r8)
\tdecq\t%rdx
\tjne\t.LBB0_2
\tvaddps\t%zmm1, %zmm2, %zmm3
\tje\t.LBB0_3
\tjmp\t.LBB0_1
.LBB0_3:
\tretq
";

    #[test]
    fn loops_are_found_and_their_instructions_told_apart() {
        let found = loops(section(TEXT, "b_12").unwrap_or_default());
        assert_eq!(found.len(), 2);
        let outer = Counts { moves: 1, stores: 1, spills: 1, arithmetic: 1, scalar: 2, ..Counts::default() };
        assert_eq!(found[0], Loop { depth: 0, innermost: false, counts: outer });
        let inner = Counts { fma: 3, loads: 5, folded: 3, stores: 2, arithmetic: 2, moves: 0, spills: 0, scalar: 3 };
        assert_eq!(found[1], Loop { depth: 1, innermost: true, counts: inner });
        assert_eq!(found[1].counts.vector(), 9);
    }

    #[test]
    fn symbols_are_whole_words() {
        assert!(section(TEXT, "b_1").is_none());
        assert_eq!(section(TEXT, "a_1"), Some("\tvmovups\t(%rax), %zmm0\n"));
    }
}
