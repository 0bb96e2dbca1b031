//! Every recipe node against its definition, on random tensors of odd sizes.
#![allow(clippy::unwrap_used)]

use mnx_weights::{Checkpoint, Recipe, Tensor, WeightsError, det};

fn random(name: &str, shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    Tensor::new(shape.to_vec(), det(name, n).map(|v| v as f32).collect())
}

fn source(key: &str, shape: &[usize]) -> Box<Recipe> {
    Box::new(Recipe::Source { key: key.into(), shape: shape.to_vec() })
}

fn checkpoint(entries: &[(&str, &[usize])]) -> Checkpoint {
    entries.iter().map(|(k, s)| ((*k).to_owned(), random(k, s))).collect()
}

/// Evaluates and checks that `shape()` says what `eval` gives, also after a round trip through JSON.
fn eval(recipe: &Recipe, ckpt: &Checkpoint) -> Tensor {
    let got = recipe.eval(ckpt).unwrap();
    assert_eq!(got.shape, recipe.shape().unwrap());
    let json = serde_json::to_string(recipe).unwrap();
    let back: Recipe = serde_json::from_str(&json).unwrap();
    assert_eq!(back.eval(ckpt).unwrap(), got);
    got
}

#[test]
fn source_and_zeros() {
    let ckpt = checkpoint(&[("w", &[3, 5])]);
    assert_eq!(eval(&source("w", &[3, 5]), &ckpt), *ckpt.get("w").unwrap());
    assert_eq!(eval(&Recipe::Zeros { shape: vec![7] }, &ckpt), Tensor::zeros(vec![7]));
    let missing = source("nope", &[3, 5]).eval(&ckpt).unwrap_err();
    assert!(matches!(&missing, WeightsError::Missing(k) if k == "nope"), "{missing}");
    let shape = source("w", &[5, 3]).eval(&ckpt).unwrap_err();
    assert_eq!(shape.to_string(), "tensor \"w\" has shape [3, 5], the network needs [5, 3]");
}

#[test]
fn scale_in_multiplies_each_input_channel() {
    for (co, ci, taps) in [(1, 1, 1), (5, 3, 1), (4, 7, 3)] {
        let (ws, ss): (Vec<usize>, Vec<usize>) = (vec![co, ci, taps, 1], vec![ci]);
        let ckpt = checkpoint(&[("w", &ws), ("s", &ss)]);
        let got = eval(&Recipe::ScaleIn { weight: source("w", &ws), scale: source("s", &ss) }, &ckpt);
        let (w, s) = (ckpt.get("w").unwrap(), ckpt.get("s").unwrap());
        for o in 0..co {
            for i in 0..ci {
                for t in 0..taps {
                    let at = (o * ci + i) * taps + t;
                    let want = (f64::from(w.data[at]) * f64::from(s.data[i])) as f32;
                    assert_eq!(got.data[at].to_bits(), want.to_bits());
                }
            }
        }
    }
}

#[test]
fn fold_bias_adds_the_shifted_rows_in_float64() {
    for (co, ci) in [(1, 1), (5, 3), (3, 129)] {
        let ws = [co, ci, 1, 1, 1];
        let ckpt = checkpoint(&[("w", &ws), ("t", &[ci]), ("b", &[co])]);
        let recipe = Recipe::FoldBias { weight: source("w", &ws), shift: source("t", &[ci]), bias: source("b", &[co]) };
        let got = eval(&recipe, &ckpt);
        let (w, t, b) = (ckpt.get("w").unwrap(), ckpt.get("t").unwrap(), ckpt.get("b").unwrap());
        for o in 0..co {
            let mut want = f64::from(b.data[o]);
            for i in 0..ci {
                want += f64::from(w.data[o * ci + i]) * f64::from(t.data[i]);
            }
            let err = (f64::from(got.data[o]) - want).abs();
            assert!(err <= 1e-7 * (1.0 + want.abs()), "{} vs {want}", got.data[o]);
        }
        let keys: Vec<&str> = recipe.sources().iter().map(|(k, _)| *k).collect();
        assert_eq!(keys, ["w", "t", "b"]);
    }
}

#[test]
fn add_transpose_tap_major_and_panels() {
    let ckpt = checkpoint(&[("a", &[3, 5, 2]), ("b", &[3, 5, 2]), ("d", &[5, 1, 2, 3, 2]), ("p", &[7, 4, 1, 1])]);
    let (a, b) = (ckpt.get("a").unwrap(), ckpt.get("b").unwrap());
    let sum = eval(&Recipe::Add { a: source("a", &[3, 5, 2]), b: source("b", &[3, 5, 2]) }, &ckpt);
    for ((s, a), b) in sum.data.iter().zip(&a.data).zip(&b.data) {
        assert_eq!(*s, (f64::from(*a) + f64::from(*b)) as f32);
    }

    let t = eval(&Recipe::TransposeIo { weight: source("a", &[3, 5, 2]) }, &ckpt);
    assert_eq!(t.shape, [5, 3, 2]);
    for i in 0..5 {
        for o in 0..3 {
            for k in 0..2 {
                assert_eq!(t.data[(i * 3 + o) * 2 + k], a.data[(o * 5 + i) * 2 + k]);
            }
        }
    }

    let d = ckpt.get("d").unwrap();
    let taps = eval(&Recipe::TapMajor { weight: source("d", &[5, 1, 2, 3, 2]) }, &ckpt);
    assert_eq!(taps.shape, [12, 5]);
    for tap in 0..12 {
        for c in 0..5 {
            assert_eq!(taps.data[tap * 5 + c], d.data[c * 12 + tap]);
        }
    }

    let p = ckpt.get("p").unwrap();
    for width in [1, 3, 7, 16] {
        let panels = eval(&Recipe::Panels { weight: source("p", &[7, 4, 1, 1]), width }, &ckpt);
        assert_eq!(panels.shape, [28]);
        let mut at = 0;
        for first in (0..7).step_by(width) {
            for i in 0..4 {
                for o in first..(first + width).min(7) {
                    assert_eq!(panels.data[at], p.data[o * 4 + i]);
                    at += 1;
                }
            }
        }
        assert_eq!(at, 28);
    }
}

#[test]
fn recipes_that_do_not_fit_are_errors() {
    let ckpt = checkpoint(&[("w", &[3, 5]), ("k", &[3, 5, 2]), ("s", &[3])]);
    let cases = [
        Recipe::ScaleIn { weight: source("w", &[3, 5]), scale: source("s", &[3]) },
        Recipe::ScaleIn { weight: source("s", &[3]), scale: source("s", &[3]) },
        Recipe::FoldBias { weight: source("k", &[3, 5, 2]), shift: source("s", &[3]), bias: source("s", &[3]) },
        Recipe::Add { a: source("w", &[3, 5]), b: source("s", &[3]) },
        Recipe::TransposeIo { weight: source("s", &[3]) },
        Recipe::TapMajor { weight: source("w", &[3, 5]) },
        Recipe::Panels { weight: source("k", &[3, 5, 2]), width: 2 },
        Recipe::Panels { weight: source("w", &[3, 5]), width: 0 },
        Recipe::Zeros { shape: vec![usize::MAX, 3] },
        Recipe::Zeros { shape: vec![1 << 40] },
    ];
    for recipe in cases {
        let err = recipe.eval(&ckpt).unwrap_err();
        assert!(matches!(err, WeightsError::Recipe(_)), "{recipe:?}: {err}");
    }
}
