//! `--verbose` and `--log`: what happens, where it was asked for and nowhere else.
#![allow(clippy::unwrap_used)]

mod scratch;

use scratch::{FLAT, Scratch};

#[test]
fn what_happens_is_said_where_it_was_asked_for() {
    let s = Scratch::new();
    s.file("flat.toml", FLAT);
    let line = "compile flat.toml --patch 32,32 --target x86-64-v3 --to plan";
    let told =
        ["graph read file=flat.toml", "form-dispatches seconds=", "planned target=x86-64-v3", "kernels=", "compile has ended code=0"];
    let plain = s.good(line);
    assert!(told.iter().all(|t| !plain.err.contains(t)), "{}", plain.err);
    let loud = s.good(&format!("{line} -v"));
    told.iter().for_each(|t| assert!(loud.err.contains(t), "no {t} in\n{}", loud.err));
    assert!(!loud.err.contains("DEBUG"), "{}", loud.err);
    assert_eq!(loud.out, plain.out);
    let details = s.good(&format!("-vv {line}"));
    assert!(details.err.contains("DEBUG") && details.err.contains("changed=true"), "{}", details.err);

    let quiet = s.good(&format!("{line} -q --log a.log -o p.plan"));
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let log = s.text("a.log");
    told.iter().for_each(|t| assert!(log.contains(t), "no {t} in\n{log}"));
    assert!(log.lines().all(|l| l.as_bytes()[10] == b'T' && l.contains("Z ")) && log.contains("changed=true"), "{log}");
    let failed = s.mnxc("model none.toml --log a.log");
    let longer = s.text("a.log");
    assert!(failed.code == 1 && longer.starts_with(&log) && longer.contains(failed.err.lines().next().unwrap()), "{longer}");

    s.bad(&format!("{line} --log none/a.log"), 1, &["none/a.log", "cannot write the log", "no such file"]);
    s.bad(&format!("{line} --log flat.toml"), 1, &["flat.toml", "is no log"]);
    assert_eq!(s.text("flat.toml"), FLAT);
    s.bad("-q list ops -v", 2, &["cannot be used"]);
}

#[cfg(feature = "llvm")]
#[test]
fn compiling_tells_of_code_generation_and_the_bundle() {
    let s = Scratch::new();
    s.file("flat.toml", FLAT);
    let said = s.good("compile flat.toml --seed 1 --patch 32,32 --target x86-64-v3 --vectors none -o m.mnxa -v");
    for text in
        ["load weights seconds=", "derive weights seconds=", "codegen x86-64-v3 seconds=", "link", "bundle written path=m.mnxa bytes="]
    {
        assert!(said.err.contains(text), "no {text} in\n{}", said.err);
    }
}
