//! Writes a test case's nnU-Net result folder: `nnunet_folder v2_ct_iso DIR` prints its path. For `make bench-peers`.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [case, dir] = &words[..] else {
        eprintln!("usage: nnunet_folder v1_ct|v2_ct_iso|v2_ct_aniso_tta DIR");
        std::process::exit(2);
    };
    println!("{}", mnx_tests::nnunet::Case::named(case).rebuild(std::path::Path::new(dir)).display());
}
