//! A mnemonic taken apart at its dots.

use super::Result;
use crate::numeric::Rounding;
use crate::ty::Ty;

#[derive(Debug)]
pub(super) struct Mnemonic<'u> {
    pub base: &'u str,
    /// Suffixes after the base, types included.
    pub parts: Vec<&'u str>,
    types: Vec<Ty>,
}

impl<'u> Mnemonic<'u> {
    pub(super) fn new(text: &'u str) -> Self {
        let mut split = text.split('.');
        let base = split.next().unwrap_or("");
        let parts: Vec<&str> = split.collect();
        let types = parts.iter().filter_map(|p| Ty::parse(p)).collect();
        Self { base, parts, types }
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.parts.contains(&part)
    }

    /// The only or the first type.
    pub(super) fn ty(&self) -> Result<Ty> {
        self.types.first().copied().ok_or_else(|| "no type suffix that the simulator knows".into())
    }

    /// All types in order.
    pub(super) fn types(&self) -> &[Ty] {
        &self.types
    }

    /// Fails on a suffix that is neither a type nor listed.
    pub(super) fn allow(&self, parts: &[&str]) -> Result<()> {
        match self.parts.iter().find(|p| Ty::parse(p).is_none() && !parts.contains(p)) {
            Some(p) => Err(format!("suffix `.{p}` is not simulated")),
            None => Ok(()),
        }
    }

    pub(super) fn rounding(&self) -> Option<Rounding> {
        self.parts.iter().find_map(|p| match *p {
            "rn" | "rni" => Some(Rounding::Rn),
            "rz" | "rzi" => Some(Rounding::Rz),
            "rm" | "rmi" => Some(Rounding::Rm),
            "rp" | "rpi" => Some(Rounding::Rp),
            "rna" => Some(Rounding::Rna),
            _ => None,
        })
    }
}
