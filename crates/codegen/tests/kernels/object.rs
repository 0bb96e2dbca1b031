//! The shared object itself: the same input gives the same bytes, whatever the threads; stages are shown in order.

use mnx_codegen::{CodegenError, Options, Stage, compile_with};
use mnx_plan::Kernel;
use mnx_plan::host::MergeStats;
use mnx_plan::target::TARGETS;
use mnx_plan::vocabulary::Bits;
use mnx_plan::work::Moments;

fn kernels() -> Vec<(String, Kernel)> {
    (1..6)
        .map(|channels| {
            let kernel = MergeStats { moments: Moments { batch: 1, channels, count: 10, eps: Bits::of(1e-5) }, parts: 3 };
            (format!("k{channels}"), kernel.into())
        })
        .collect()
}

#[test]
fn bytes_do_not_depend_on_threads() {
    for target in TARGETS {
        let library = |threads| {
            let options = Options { threads, stages: vec![] };
            compile_with(&kernels(), target, &options, &mut |_, _, _| {}).unwrap().library
        };
        let one = library(1);
        assert_eq!(one, library(1), "{}", target.name);
        assert_eq!(one, library(3), "{}", target.name);
    }
}

#[test]
fn stages_are_shown_on_request() {
    let options = Options { threads: 2, stages: vec![Stage::Mlir, Stage::Llvm, Stage::Asm, Stage::Object] };
    let mut seen = Vec::new();
    compile_with(&kernels(), &TARGETS[0], &options, &mut |stage, name, text| {
        let text = String::from_utf8_lossy(text);
        let mark = match stage {
            Stage::Mlir => "func.func @",
            Stage::Llvm => "define",
            Stage::Asm => ".globl",
            Stage::Object => "ELF",
        };
        assert!(text.contains(mark), "{stage:?} of {name}");
        seen.push((name.to_owned(), stage));
    })
    .unwrap();
    let want: Vec<_> =
        kernels().into_iter().flat_map(|(name, _)| options.stages.iter().map(move |&s| (name.clone(), s)).collect::<Vec<_>>()).collect();
    assert_eq!(seen, want);
}

#[test]
fn a_symbol_given_twice_is_refused() {
    let mut list = kernels();
    list.push(list[0].clone());
    let options = Options::default();
    let error = compile_with(&list, &TARGETS[0], &options, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, CodegenError::Illegal { ref symbol, .. } if symbol == "k1"));
}
