//! A PTX module, parsed and decoded.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::decode::{self, Layout};
use crate::error::PtxError;
use crate::parse::parse;
use crate::program::Program;
use crate::syntax::Space;

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Bytes.
    pub size: u64,
    /// Offset among the parameters; a multiple of the alignment.
    pub offset: u64,
}

/// A kernel of a module.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Entry name.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Virtual registers of 32 bits or less, of 64 bits, and predicates, constants included.
    pub regs: [u32; 3],
    /// Bytes of static shared memory.
    pub static_shared: u32,
    /// Whether it uses dynamic shared memory.
    pub uses_dynamic_shared: bool,
    /// Bytes of local memory per thread.
    pub local_bytes: u32,
    /// `.reqntid`: the only legal block.
    pub reqntid: Option<[u32; 3]>,
    /// `.maxntid`: the largest legal block.
    pub maxntid: Option<[u32; 3]>,
    pub(crate) program: Program,
}

/// The text, by line.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text: text.to_string(), starts }
    }

    pub(crate) fn get(&self, line: u32) -> &str {
        let i = line.saturating_sub(1) as usize;
        let Some(&start) = self.starts.get(i) else { return "" };
        let end = self.starts.get(i + 1).copied().unwrap_or(self.text.len());
        self.text[start..end].trim()
    }
}

/// A module ready to launch.
#[derive(Debug, Clone)]
pub struct Module {
    kernels: Vec<Kernel>,
    pub(crate) lines: Lines,
    /// Initial bytes of `.global` variables and the bank of `.const` ones.
    pub(crate) globals: Vec<u8>,
    pub(crate) constants: Vec<u8>,
    pub(crate) id: u64,
    /// `.version`.
    pub version: String,
    /// `.target`.
    pub target: String,
}

impl Module {
    /// Parses and decodes a whole module.
    ///
    /// # Errors
    /// Names the line of the first thing that is no PTX, or that this simulator does not know.
    pub fn parse(text: &str) -> Result<Self, PtxError> {
        let unit = parse(text)?;
        let mut layout = Layout::default();
        let (mut globals, mut constants) = (Vec::new(), Vec::new());
        for v in &unit.vars {
            let image = match v.space {
                Space::Global => &mut globals,
                Space::Const => &mut constants,
                _ => continue,
            };
            let at = image.len().next_multiple_of(v.align as usize);
            if at as u64 + v.bytes > 1 << 30 {
                return Err(PtxError::new(v.line, format!("`{}`: more than 1 GiB of module variables", v.name)));
            }
            image.resize(at, 0);
            image.extend(&v.init);
            // Variables without an initialiser start as zero.
            image.resize(at + v.bytes as usize, 0);
            if layout.offsets.insert(v.name.clone(), (v.space, at as u64)).is_some() {
                return Err(PtxError::new(v.line, format!("`{}` is declared twice", v.name)));
            }
        }
        let mut kernels = Vec::new();
        for f in unit.functions.iter().filter(|f| f.entry) {
            let program = decode::decode(&unit, &layout, f)?;
            kernels.push(Kernel {
                name: f.name.clone(),
                params: decode::parameters(f).into_iter().map(|(offset, size)| Param { size, offset }).collect(),
                regs: [program.words, program.doubles, program.predicates],
                static_shared: program.static_shared,
                uses_dynamic_shared: program.uses_dynamic_shared,
                local_bytes: program.local_bytes,
                reqntid: f.reqntid,
                maxntid: f.maxntid,
                program,
            });
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Ok(Self { kernels, lines: Lines::new(text), globals, constants, id: hasher.finish(), version: unit.version, target: unit.target })
    }

    /// The kernels in order.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter()
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }
}
