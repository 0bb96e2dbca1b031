//! What every test of the simulator needs: a kernel around a body, buffers, a launch.
#![allow(dead_code, clippy::unwrap_used)]

use mnx_ptx_sim::{FindingKind, Launch, Memory, Module, Options, Report, launch};

/// A kernel `k` with 64-bit parameters `a`, `b`, `c` and a 32-bit `n`, registers of every class, and this body.
pub fn entry(declarations: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n{declarations}\n\
         .visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)\n{{\n\
         .reg .pred %p<10>;\n.reg .b16 %rs<20>;\n.reg .b32 %r<60>;\n.reg .b64 %rd<30>;\n\
         ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\nld.param.u32 %r1, [n];\n\
         mov.u32 %r2, %tid.x;\nmov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmad.lo.s32 %r5, %r3, %r4, %r2;\n\
         mul.wide.u32 %rd4, %r5, 4;\nadd.s64 %rd5, %rd1, %rd4;\nadd.s64 %rd6, %rd2, %rd4;\nadd.s64 %rd7, %rd3, %rd4;\n\
         {body}\nret;\n}}\n"
    )
}

pub struct Rig {
    pub module: Module,
    pub memory: Memory,
    pub options: Options,
}

impl Rig {
    pub fn new(ptx: &str) -> Self {
        let module = Module::parse(ptx).unwrap_or_else(|e| panic!("{e}\n{}", ptx.lines().nth(e.line as usize - 1).unwrap_or("")));
        Self { module, memory: Memory::new(), options: Options::default() }
    }

    pub fn words(&mut self, data: &[u32]) -> u64 {
        let a = self.memory.alloc(4 * data.len() as u64, 256);
        let bytes: Vec<u8> = data.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.memory.write(a, &bytes).unwrap();
        a
    }

    pub fn floats(&mut self, data: &[f32]) -> u64 {
        let bits: Vec<u32> = data.iter().map(|f| f.to_bits()).collect();
        self.words(&bits)
    }

    pub fn empty(&mut self, words: usize) -> u64 {
        self.memory.alloc(4 * words as u64, 256)
    }

    pub fn read(&self, a: u64, words: usize) -> Vec<u32> {
        let mut bytes = vec![0; 4 * words];
        self.memory.read(a, &mut bytes).unwrap();
        bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
    }

    pub fn read_floats(&self, a: u64, words: usize) -> Vec<f32> {
        self.read(a, words).into_iter().map(f32::from_bits).collect()
    }

    pub fn launch(&mut self, grid: u32, block: u32, dynamic_shared: u32, params: &[u64]) -> Report {
        let what = Launch { kernel: "k", grid: [grid, 1, 1], block: [block, 1, 1], dynamic_shared, params: params.to_vec() };
        launch(&self.module, &mut self.memory, &what, &self.options).unwrap()
    }

    /// A launch that must find nothing.
    pub fn clean(&mut self, grid: u32, block: u32, dynamic_shared: u32, params: &[u64]) -> Report {
        let report = self.launch(grid, block, dynamic_shared, params);
        assert!(report.is_clean(), "{} findings, first: {}", report.total_findings, report.findings[0]);
        report
    }
}

/// The kinds found, each once, in order of first appearance.
pub fn kinds(report: &Report) -> Vec<FindingKind> {
    let mut out = Vec::new();
    for f in &report.findings {
        if !out.contains(&f.kind) {
            out.push(f.kind);
        }
    }
    out
}

/// A small seeded generator.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    pub fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1 << 24) as f32 * 2.0 - 1.0
    }
}
