//! The executor on the host and null devices, with a hand-written bundle.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod sample;

use mnx_artifact::{Bundle, BundleWriter};
use mnx_runtime::{DeviceChoice, DispatchTime, PortData, RuntimeError, Session};
use sample::{VOXELS, expected, input, manifest, program};

const W: [f32; 2] = [1.5, -0.75];
const B: [f32; 2] = [0.125, 0.25];

#[test]
fn one_two_and_four_threads_compute_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(vec![program("x86-64-v3", &["sse2"])]);
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    for threads in [1, 2, 4] {
        let mut session = Session::open(&bundle, DeviceChoice::Host, Some(threads), None).unwrap();
        assert_eq!((session.threads(), session.device_name()), (threads, "host"));
        let mut outputs = session.new_outputs();
        for round in 0..20 {
            let x = input(&format!("host/{threads}/{round}"));
            let (y, counts) = expected(&x, W, B);
            session.run_into(&[&x], &mut outputs).unwrap();
            assert_eq!(outputs, [PortData::F32(y), PortData::I32(counts)]);
        }
    }
}

#[test]
fn traces_cover_every_command_and_group_by_dispatch() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(vec![program("x86-64-v3", &[])]);
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let mut session = Session::open(&bundle, DeviceChoice::Auto, Some(2), None).unwrap();
    let (mut outputs, mut trace) = (session.new_outputs(), session.new_trace());
    let x = input("trace");
    session.run_timed(&[&x], &mut outputs, &mut trace).unwrap();
    assert_eq!(outputs[0], PortData::F32(expected(&x, W, B).0));
    assert_eq!(trace.seconds.len(), 5);
    assert!(trace.seconds.iter().all(|&s| s > 0.0));
    let groups = DispatchTime::group(&session.program().commands);
    let names: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["(fill)", "block", "(copy)", "head"]);
    assert_eq!(groups[0].commands, [0, 3]);
    let sum: f64 = groups.iter().map(|g| g.seconds(&trace)).sum();
    assert!(sum <= trace.total_s && (sum - trace.seconds.iter().sum::<f64>()).abs() < 1e-12);
}

#[test]
fn folds_run_with_their_own_weights_over_one_code_and_arena() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = manifest(vec![program("x86-64-v3", &[])]);
    m.folds = ["0", "1", "2"].iter().map(|n| mnx_artifact::Fold { name: (*n).into() }).collect();
    let code = sample::compile(dir.path(), sample::SOURCE);
    let sets = [(W, B), ([-2.0, 0.5], [1.0, 0.0]), ([0.25, 4.0], [-0.5, 0.75])];
    let sections = sets.map(|(w, b)| sample::weight_bytes(w, b));
    let path = dir.path().join("folds.mnxa");
    sections.iter().fold(BundleWriter::new(&m).code(&code), |w, s| w.weights(s)).write(&path).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let mut session = Session::open(&bundle, DeviceChoice::Host, Some(2), None).unwrap();
    assert_eq!((session.folds(), session.fold(), session.weights_bytes()), (3, 0, 72));
    for fold in [0, 2, 1, 2, 0] {
        session.select_fold(fold).unwrap();
        let x = input(&format!("folds/{fold}"));
        let (w, b) = sets[fold];
        assert_eq!(session.run(&[&x]).unwrap()[0], PortData::F32(expected(&x, w, b).0), "fold {fold}");
    }
    // A fold that is not there leaves the session as it was.
    assert!(matches!(session.select_fold(3), Err(RuntimeError::Bundle(_))));
    let x = input("folds/again");
    assert_eq!((session.fold(), session.run(&[&x]).unwrap()[0].clone()), (0, PortData::F32(expected(&x, W, B).0)));
    // Damage in a later fold is found when that fold is selected, not before.
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut session = Session::open(&Bundle::open(&path).unwrap(), DeviceChoice::Host, Some(1), None).unwrap();
    session.select_fold(1).unwrap();
    assert!(session.select_fold(2).unwrap_err().to_string().contains("weights 2"));
    let mut null = Session::open(&bundle, DeviceChoice::Null, None, None).unwrap();
    null.select_fold(1).unwrap();
    assert_eq!(null.run(&[&x]).unwrap()[0], PortData::F32(vec![0.0; 2 * VOXELS]));
}

#[test]
fn two_sessions_of_different_bundles_live_side_by_side() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let m = manifest(vec![program("x86-64-v3", &[])]);
    let a = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    // The same kernels' names with other code: a loader that mixed them up would give zeros.
    let code = sample::compile(other.path(), "void affine(){} void count(){}");
    let weights = sample::weight_bytes(W, B);
    let path = other.path().join("empty.mnxa");
    BundleWriter::new(&m).code(&code).weights(&weights).write(&path).unwrap();
    let b = Bundle::open(&path).unwrap();
    let mut first = Session::open(&b, DeviceChoice::Host, Some(1), None).unwrap();
    let mut second = Session::open(&a, DeviceChoice::Host, Some(2), None).unwrap();
    let x = input("side by side");
    assert_eq!(second.run(&[&x]).unwrap()[0], PortData::F32(expected(&x, W, B).0));
    // Filled with 0xff and copied, never computed: NaNs.
    assert!(matches!(&first.run(&[&x]).unwrap()[0], PortData::F32(v) if v.iter().all(|f| f.is_nan())));
    drop(first);
    assert_eq!(second.run(&[&x]).unwrap()[0], PortData::F32(expected(&x, W, B).0));
}

#[test]
fn the_program_is_picked_by_what_the_cpu_has() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(vec![program("x86-64-v9", &["avx9000"]), program("x86-64-v3", &["sse2"])]);
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let session = Session::open(&bundle, DeviceChoice::Host, Some(1), None).unwrap();
    assert_eq!(session.program().target, "x86-64-v3");
    let err = Session::open(&bundle, DeviceChoice::Host, Some(1), Some("x86-64-v9")).unwrap_err();
    assert_eq!(err.to_string(), "code for x86-64-v9 needs avx9000, which this CPU lacks");
    let m = manifest(vec![program("sm_90a", &[])]);
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let err = Session::open(&bundle, DeviceChoice::Host, Some(1), None).unwrap_err();
    assert!(matches!(&err, RuntimeError::NoProgram(t) if t.contains("another kind of device")), "{err}");
}

#[test]
fn the_null_device_accepts_everything_and_computes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(vec![program("sm_90a", &["anything"])]);
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let mut session = Session::open(&bundle, DeviceChoice::Null, None, None).unwrap();
    assert_eq!(session.device_name(), "null");
    let outputs = session.run(&[&input("null")]).unwrap();
    assert_eq!(outputs, [PortData::F32(vec![0.0; 2 * VOXELS]), PortData::I32(vec![0; VOXELS])]);
}

#[test]
fn wrong_tensors_threads_and_code_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(vec![program("x86-64-v3", &[])]);
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let mut session = Session::open(&bundle, DeviceChoice::Host, Some(2), None).unwrap();
    let err = session.run(&[&[0.0; 7]]).unwrap_err().to_string();
    assert!(err.contains("\"input\" has 7 values") && err.contains("105"), "{err}");
    assert!(session.run(&[]).is_err());
    let x = input("wrong");
    let mut outputs = session.new_outputs();
    outputs.swap(0, 1);
    assert!(session.run_into(&[&x], &mut outputs).is_err());
    let mut trace = session.new_trace();
    trace.seconds.pop();
    assert!(session.run_timed(&[&x], &mut session.new_outputs(), &mut trace).is_err());

    for threads in [0, 1 << 20] {
        let err = Session::open(&bundle, DeviceChoice::Host, Some(threads), None).unwrap_err();
        assert!(err.to_string().contains("threads"), "{err}");
    }

    let weights = sample::weight_bytes(W, B);
    let path = dir.path().join("other.mnxa");
    let code = sample::compile(dir.path(), "void affine(){}");
    BundleWriter::new(&m).code(&code).weights(&weights).write(&path).unwrap();
    let err = Session::open(&Bundle::open(&path).unwrap(), DeviceChoice::Host, Some(1), None).unwrap_err();
    assert!(err.to_string().contains("kernel count"), "{err}");
    BundleWriter::new(&m).code(b"not code").weights(&weights).write(&path).unwrap();
    let err = Session::open(&Bundle::open(&path).unwrap(), DeviceChoice::Host, Some(1), None).unwrap_err();
    assert!(err.to_string().contains("not a shared object"), "{err}");
}

#[test]
fn absurd_memory_and_damaged_weights_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = manifest(vec![program("x86-64-v3", &[])]);
    m.programs[0].arena_bytes = 1 << 60;
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let err = Session::open(&bundle, DeviceChoice::Host, Some(1), None).unwrap_err();
    assert!(err.to_string().contains("1.00 EiB of memory needed, "), "{err}");
    m.programs[0].arena_bytes = 4096;
    m.programs[0].scratch_bytes = u64::MAX - 5;
    let bundle = Bundle::open(sample::bundle(dir.path(), &m, W, B)).unwrap();
    let err = Session::open(&bundle, DeviceChoice::Host, Some(3), None).unwrap_err();
    assert!(err.to_string().contains("scratch"), "{err}");

    let m = manifest(vec![program("x86-64-v3", &[])]);
    let path = sample::bundle(dir.path(), &m, W, B);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let err = Session::open(&bundle, DeviceChoice::Host, Some(1), None).unwrap_err();
    assert!(err.to_string().contains("\"weights\": digest mismatch"), "{err}");
}

#[test]
fn absurd_numbers_of_threads_are_refused_before_any_starts() {
    use mnx_runtime::session::{default_threads, most_threads};
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(sample::bundle(dir.path(), &manifest(vec![program("x86-64-v3", &[])]), W, B)).unwrap();
    assert_eq!(most_threads(), 4 * default_threads());
    for threads in [0, most_threads() + 1, 99_999, usize::MAX] {
        let err = Session::open(&bundle, DeviceChoice::Host, Some(threads), None).unwrap_err().to_string();
        assert!(err.contains(&format!("{threads} threads asked for, 1 to {} expected", most_threads())), "{err}");
    }
    assert_eq!(Session::open(&bundle, DeviceChoice::Host, Some(most_threads()), None).unwrap().threads(), most_threads());
}
