//! What an object file calls: a kernel may rely on nothing but memcpy, memmove and memset.

use crate::CodegenError;

const ALLOWED: &[&str] = &["memcpy", "memmove", "memset"];
const SYMTAB: u32 = 2;

/// Reads the symbol table of an ELF64 little-endian object and refuses undefined symbols beyond the allowed.
pub(super) fn only_memory_calls(symbol: &str, object: &[u8]) -> Result<(), CodegenError> {
    let names = undefined(object).ok_or_else(|| CodegenError::Llvm(format!("kernel {symbol}: the object is not readable ELF64")))?;
    match names.into_iter().find(|n| !ALLOWED.contains(&n.as_str())) {
        Some(callee) => Err(CodegenError::Callee { symbol: symbol.into(), callee }),
        None => Ok(()),
    }
}

fn undefined(object: &[u8]) -> Option<Vec<String>> {
    if object.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let headers = usize::try_from(word(object, 0x28)?).ok()?;
    let size = usize::from(half(object, 0x3a)?);
    let count = usize::from(half(object, 0x3c)?);
    let section = |i: usize| object.get(headers + i * size..headers + (i + 1) * size);
    let bytes = |header: &[u8]| {
        let offset = usize::try_from(word(header, 0x18)?).ok()?;
        let len = usize::try_from(word(header, 0x20)?).ok()?;
        object.get(offset..offset + len)
    };
    let mut names = Vec::new();
    for i in 0..count {
        let header = section(i)?;
        if single(header, 4)? != SYMTAB {
            continue;
        }
        let strings = bytes(section(single(header, 0x28)? as usize)?)?;
        for entry in bytes(header)?.chunks_exact(24) {
            let name = single(entry, 0)? as usize;
            if name != 0 && half(entry, 6)? == 0 {
                let tail = strings.get(name..)?;
                let end = tail.iter().position(|&b| b == 0)?;
                names.push(String::from_utf8_lossy(&tail[..end]).into_owned());
            }
        }
    }
    Some(names)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn single(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
