//! Seeded mutations of sound pickles: whatever comes out, it is a value or an error, and it stays within the limits.
#![allow(clippy::unwrap_used)]

use mnx_import::limits;
use mnx_import::pickle::{Source, load, to_json};
use mnx_import::torch::TorchFile;

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Instructions and operands worth putting in.
const PIECES: &[&[u8]] = &[
    b"(",
    b".",
    b"0",
    b"1",
    b"2",
    b"N",
    b"t",
    b"]",
    b"}",
    b")",
    b"a",
    b"e",
    b"s",
    b"u",
    b"R",
    b"b",
    b"Q",
    b"q\0",
    b"h\0",
    b"\x94",
    b"\x93",
    b"K\xff",
    b"X\xff\xff\xff\xff",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
];

fn mutate(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len());
        match rng.below(6) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next() as u8,
            2 => bytes.truncate(at.max(1)),
            3 => {
                let piece = PIECES[rng.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => {
                let end = (at + rng.below(32)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = rng.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let end = (at + rng.below(16)).min(bytes.len());
                if end - at < bytes.len() {
                    bytes.drain(at..end);
                }
            }
        }
    }
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/nnunet/v1_ct/");
    let mut out: Vec<Vec<u8>> =
        ["plans.pkl", "model_final_checkpoint.model.pkl"].iter().map(|f| std::fs::read(format!("{folder}{f}")).unwrap()).collect();
    let mut tensor = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    tensor.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x06tQK\0K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtRs.");
    out.push(tensor);
    out.push(b"(lp0\nNaI01\naI-5\naF1.5\naVa\\u00e9\np1\na(dp2\nVk\np3\n(I1\nI2\ntp4\nsa.".to_vec());
    out
}

#[test]
fn mutated_pickles_are_values_or_errors() {
    let mut rng = Rng(5);
    let (mut sound, mut refused) = (0, 0);
    for seed in seeds() {
        assert!(load(&mut Source::new(seed.as_slice())).is_ok());
        for _ in 0..10_000 {
            let bytes = mutate(&seed, &mut rng);
            match load(&mut Source::new(bytes.as_slice())) {
                Ok(loaded) => {
                    sound += 1;
                    assert!(loaded.heap.len() <= limits::PICKLE_OBJECTS && loaded.heap.len() <= bytes.len());
                    let _ = to_json(&loaded.heap, loaded.root);
                }
                Err(e) => {
                    refused += 1;
                    assert!(e.offset <= bytes.len() as u64 && !e.reason.is_empty());
                }
            }
        }
    }
    // The mutations are neither all harmless nor all fatal.
    assert!(sound > 1_000 && refused > 10_000, "{sound} sound, {refused} refused");
}

#[test]
fn mutated_files_are_opened_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let mut rng = Rng(6);
    for seed in seeds() {
        for _ in 0..150 {
            std::fs::write(&path, mutate(&seed, &mut rng)).unwrap();
            if let Err(e) = TorchFile::open(&path) {
                assert!(e.to_string().contains("x.pth"), "{e}");
            }
        }
    }
}
