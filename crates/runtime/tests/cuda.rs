//! The CUDA device over a driver without a GPU: binding, graph, order of copies and launches, choice of code, errors. On a machine with a GPU the last test also
//! uses the real driver.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod fake_cuda;
mod sample;

use fake_cuda::{affine, calls, log, within};
use mnx_artifact::{Bundle, Command};
use mnx_runtime::device::cuda;
use mnx_runtime::{CodeForm, DeviceChoice, Patches, PortData, RuntimeError, Session};
use sample::{expected, input};

const W: [f32; 2] = [1.5, -0.75];
const B: [f32; 2] = [0.125, 0.25];

fn open(bundle: &Bundle, choice: &str) -> Result<Session, RuntimeError> {
    Session::open(bundle, choice.parse().unwrap(), Some(1), None)
}

fn right(x: &[f32]) -> Vec<PortData> {
    let (y, counts) = expected(x, W, B);
    vec![PortData::F32(y), PortData::I32(counts)]
}

#[test]
fn runs_replay_one_graph_and_allocate_nothing() {
    if !within("runs_replay_one_graph_and_allocate_nothing", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    {
        let mut session = open(&bundle, "cuda").unwrap();
        assert_eq!((session.device_name(), session.device().as_str(), session.form()), ("cuda", "cuda:0 Fake GPU 0", CodeForm::Cubin));
        assert_eq!(session.notes(), ["picked sm_90a cubin on Fake GPU 0 (cuda:0, compute capability 9.0)"]);
        let opened = log();
        // Each launch was tried once and captured once, with its geometry, in the order of the list.
        let launches: Vec<&String> = opened.iter().filter(|l| l.starts_with("cuLaunchKernel")).collect();
        let affine = "cuLaunchKernel affine grid 15 2 1 block 32 4 1 shared 100000";
        let count = "cuLaunchKernel count grid 15 1 1 block 32 4 1 shared 0";
        assert_eq!(launches, [affine, count, &format!("{affine} captured"), &format!("{count} captured")]);
        assert_eq!((calls(&opened, "cuGraphInstantiate"), calls(&opened, "cuFuncSetAttribute"), calls(&opened, "cuModuleLoad")), (1, 1, 1));

        let mut outputs = session.new_outputs();
        for round in 0..6 {
            let x = input(&format!("cuda/{round}"));
            session.run_into(&[&x], &mut outputs).unwrap();
            assert_eq!(outputs, right(&x));
        }
        let ran = &log()[opened.len()..];
        assert_eq!((calls(ran, "cuGraphLaunch"), calls(ran, "cuLaunchKernel"), calls(ran, "cuMemset")), (6, 0, 0));
        for never in ["cuMemAlloc", "cuMemFree", "cuEventCreate", "cuStreamCreate", "cuStreamSynchronize"] {
            assert_eq!(calls(ran, never), 0, "{never}");
        }
    }
    let all = log();
    for (made, gone) in [
        ("cuMemAllocHost", "cuMemFreeHost"),
        ("cuStreamCreate", "cuStreamDestroy"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuModuleLoadDataEx", "cuModuleUnload"),
        ("cuGraphInstantiate", "cuGraphExecDestroy"),
        ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"),
    ] {
        assert_eq!(calls(&all, made), calls(&all, gone), "{made}");
    }
    assert_eq!(all.iter().filter(|l| *l == "cuMemAlloc").count(), all.iter().filter(|l| *l == "cuMemFree").count());
}

#[test]
fn runs_in_flight_keep_their_data_apart_in_any_order_of_the_streams() {
    let name = "runs_in_flight_keep_their_data_apart_in_any_order_of_the_streams";
    if std::env::var_os("FAKE_CUDA_CHILD").is_none() {
        for seed in ["1", "2", "3", "4", "5", "6"] {
            within(name, &[("FAKE_CUDA_SEED", seed)]);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    let mut session = open(&bundle, "cuda:0").unwrap();
    assert_eq!(session.depth(), 2);
    let (mut sent, mut got) = (0, 0);
    session
        .run_many::<RuntimeError>(
            |inputs| {
                if sent == 13 {
                    return Ok(false);
                }
                inputs[0] = input(&format!("many/{sent}"));
                sent += 1;
                Ok(true)
            },
            |outputs| {
                assert_eq!(outputs, right(&input(&format!("many/{got}"))));
                got += 1;
                Ok(())
            },
        )
        .unwrap();
    assert_eq!((sent, got), (13, 13));

    // The same by hand: full, empty, and single runs refused in between.
    let mut outputs = session.new_outputs();
    let (a, b) = (input("a"), input("b"));
    assert!(session.collect(&mut outputs).unwrap_err().to_string().contains("no run is in flight"));
    session.enqueue(&[&a]).unwrap();
    session.enqueue(&[&b]).unwrap();
    assert!(session.enqueue(&[&a]).unwrap_err().to_string().contains("2 runs are in flight"));
    assert!(session.run_into(&[&a], &mut outputs).unwrap_err().to_string().contains("collect them first"));
    session.collect(&mut outputs).unwrap();
    assert_eq!(outputs, right(&a));
    session.enqueue(&[&a]).unwrap();
    session.collect(&mut outputs).unwrap();
    assert_eq!(outputs, right(&b));
    session.collect(&mut outputs).unwrap();
    assert_eq!(outputs, right(&a));
    // A session may go with runs in flight.
    session.enqueue(&[&b]).unwrap();
}

#[test]
fn commands_are_timed_by_events_and_the_results_are_right() {
    if !within("commands_are_timed_by_events_and_the_results_are_right", &[("FAKE_CUDA_SEED", "9")]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    let mut session = open(&bundle, "auto").unwrap();
    assert_eq!(session.device_name(), "cuda");
    let (mut outputs, mut trace) = (session.new_outputs(), session.new_trace());
    for round in 0..3 {
        let x = input(&format!("timed/{round}"));
        session.run_timed(&[&x], &mut outputs, &mut trace).unwrap();
        assert_eq!(outputs, right(&x));
        assert!(trace.seconds.iter().all(|s| *s >= 0.0 && s.is_finite()) && trace.total_s > 0.0, "{trace:?}");
        assert!(trace.seconds.iter().sum::<f64>() > 0.0);
    }
    assert_eq!(trace.seconds.len(), 5);
    let x = input("replayed");
    assert_eq!(session.run(&[&x]).unwrap(), right(&x));
    assert!(session.replay().unwrap().unwrap() > 0.0);
    // A replay leaves the next run's numbers alone.
    assert_eq!(session.run(&[&x]).unwrap(), right(&x));
    let roofline = session.roofline().unwrap().unwrap();
    assert!(roofline.bytes_per_s > 1e6 && (roofline.flops_per_s - 4.0 * 1e9 * 256.0).abs() < 1.0, "{roofline:?}");
    assert!(roofline.about.contains("measured now") && roofline.about.contains("float32 FMA"), "{}", roofline.about);
}

#[test]
fn checks_name_the_first_bad_dispatch_on_host_and_gpu() {
    if !within("checks_name_the_first_bad_dispatch_on_host_and_gpu", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Sound weights first: checked outputs are the run's.
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    let mut session = open(&bundle, "cuda").unwrap();
    let mut outputs = session.new_outputs();
    let x = input("checked");
    assert_eq!(session.run_checked(&[&x], &mut outputs).unwrap(), None);
    assert_eq!(outputs, right(&x));
    let mut bad = x.clone();
    bad[17] = f32::INFINITY;
    let found = session.run_checked(&[&bad], &mut outputs).unwrap().unwrap();
    assert_eq!(found.to_string(), "input \"input\" is not finite: 0 NaN and 1 infinite of 105 values, the first at 17");
    drop(session);

    let manifest = sample::manifest(vec![fake_cuda::program("sm_90a", [9, 0], true, [8, 0]), {
        let mut p = sample::program("x86-64-v3", &[]);
        for (command, gpu) in p.commands.iter_mut().zip(fake_cuda::program("", [9, 0], true, [8, 0]).commands) {
            if let (Command::Launch { writes, .. }, Command::Launch { writes: known, .. }) = (command, gpu) {
                *writes = known;
            }
        }
        p
    }]);
    // The second channel overflows.
    let codes = [(fake_cuda::ptx(dir.path(), "8.0", "sm_90a"), None), (sample::host_code(dir.path()), None)];
    let bundle = Bundle::open(fake_cuda::bundle(dir.path(), &manifest, &codes, [1.0, f32::MAX], [0.0, f32::MAX])).unwrap();
    let x = vec![3.0; 105];
    for device in ["cuda", "host"] {
        let mut session = open(&bundle, device).unwrap();
        let mut outputs = session.new_outputs();
        let found = session.run_checked(&[&x], &mut outputs).unwrap().unwrap();
        let want = "the first results that are not finite come from dispatch block (kernel affine, argument 3): 0 NaN and 105 infinite of 210 values, the first at 105";
        assert_eq!(found.to_string(), want, "{device}");
        // The same through a queue of patches.
        let mut patches = Patches::new(vec![session], true).unwrap();
        let error = patches.push(&x).unwrap_err();
        assert!(matches!(&error, RuntimeError::NotFinite(found) if found.place == "block"), "{error}");
    }
}

#[test]
fn several_gpus_share_the_patches_and_keep_their_order() {
    let name = "several_gpus_share_the_patches_and_keep_their_order";
    if std::env::var_os("FAKE_CUDA_CHILD").is_none() {
        for (seed, devices) in [("1", "3"), ("7", "2"), ("8", "1")] {
            within(name, &[("FAKE_CUDA_SEED", seed), ("FAKE_CUDA_DEVICES", devices)]);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    let devices: usize = std::env::var("FAKE_CUDA_DEVICES").unwrap().parse().unwrap();
    let sessions = Session::open_all(&bundle, DeviceChoice::CudaAll, None, None).unwrap();
    assert_eq!(sessions.len(), devices);
    if devices > 1 {
        let error = open(&bundle, "cuda:all").unwrap_err().to_string();
        assert!(error.contains(&format!("cuda:all means {devices} devices")), "{error}");
    }
    let mut patches = Patches::new(sessions, false).unwrap();
    assert_eq!(patches.depth(), 4 * devices);
    let (mut sent, mut result) = (0, vec![0.0; 210]);
    for got in 0..40 {
        while sent < 40 && patches.waiting() < patches.depth() {
            patches.push(&input(&format!("shared/{sent}"))).unwrap();
            sent += 1;
        }
        patches.pop(&mut result).unwrap();
        assert_eq!(result, expected(&input(&format!("shared/{got}")), W, B).0, "{got}");
    }
    assert_eq!(patches.waiting(), 0);
    assert!(patches.pop(&mut result).unwrap_err().to_string().contains("no patch"));
    assert!(patches.push(&[0.0; 3]).is_err() && patches.pop(&mut [0.0; 3]).is_err());
    // It may go with patches inside.
    patches.push(&input("left")).unwrap();
}

#[test]
fn folds_share_the_arena_and_are_in_flight_together() {
    let name = "folds_share_the_arena_and_are_in_flight_together";
    if std::env::var_os("FAKE_CUDA_CHILD").is_none() {
        for (seed, devices) in [("1", "1"), ("2", "1"), ("3", "2")] {
            within(name, &[("FAKE_CUDA_SEED", seed), ("FAKE_CUDA_DEVICES", devices)]);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = sample::manifest(vec![fake_cuda::program("sm_90a", [9, 0], true, [8, 0]), sample::program("x86-64-v3", &[])]);
    manifest.folds = ["0", "1", "4"].map(|name| mnx_artifact::Fold { name: name.into() }).to_vec();
    let weights = [(W, B), ([0.5, 2.0], [0.0, -1.0]), ([-1.0, 1.0], [1.0, 0.25])];
    let codes = [(fake_cuda::ptx(dir.path(), "8.0", "sm_90a"), None), (sample::host_code(dir.path()), None)];
    let bundle = Bundle::open(fake_cuda::folded(dir.path(), &manifest, &codes, &weights)).unwrap();
    for device in [DeviceChoice::CudaAll, DeviceChoice::Host] {
        let sessions = Session::open_all(&bundle, device, Some(1), None).unwrap();
        let mut patches = Patches::new(sessions, false).unwrap();
        assert_eq!((patches.folds(), patches.result_len()), (3, 630));
        let before = if device == DeviceChoice::Host { 0 } else { calls(&log(), "cuMemAlloc") };
        let (mut sent, mut result) = (0, vec![0.0; 630]);
        for got in 0..15 {
            while sent < 15 && patches.waiting() < patches.depth() {
                patches.push(&input(&format!("folds/{sent}"))).unwrap();
                sent += 1;
            }
            patches.pop(&mut result).unwrap();
            for ((w, b), values) in weights.into_iter().zip(result.chunks(210)) {
                assert_eq!(values, expected(&input(&format!("folds/{got}")), w, b).0, "{device} patch {got}");
            }
        }
        assert!(device == DeviceChoice::Host || calls(&log(), "cuMemAlloc") == before);
        // Thrown away, and used again.
        (0..3).for_each(|i| patches.push(&input(&format!("lost/{i}"))).unwrap());
        patches.pop(&mut result).unwrap();
        patches.clear().unwrap();
        assert_eq!(patches.waiting(), 0);
        patches.push(&input("again")).unwrap();
        patches.pop(&mut result).unwrap();
        assert_eq!(result[..210], expected(&input("again"), W, B).0);
    }
}

#[test]
fn the_code_is_chosen_by_what_gpu_and_driver_are() {
    let name = "the_code_is_chosen_by_what_gpu_and_driver_are";
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("sm_90a cubin", &[]),
        ("sm_90a PTX", &[("FAKE_CUDA_BADCUBIN", "1")]),
        ("sm_80 PTX", &[("FAKE_CUDA_CC", "89")]),
        ("sm_80 PTX on a new driver", &[("FAKE_CUDA_CC", "103"), ("FAKE_CUDA_VERSION", "13040"), ("FAKE_CUDA_PTX", "94")]),
        ("too old a driver", &[("FAKE_CUDA_CC", "89"), ("FAKE_CUDA_VERSION", "10020")]),
        ("too little memory", &[("FAKE_CUDA_FREE", "0")]),
    ];
    if std::env::var_os("FAKE_CUDA_CHILD").is_none() {
        for (case, settings) in cases {
            let mut settings = settings.to_vec();
            settings.push(("FAKE_CUDA_CASE", case));
            within(name, &settings);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let manifest = sample::manifest(vec![
        fake_cuda::program("sm_80", [8, 0], false, [7, 0]),
        fake_cuda::program("sm_90a", [9, 0], true, [8, 0]),
        sample::program("x86-64-v3", &[]),
    ]);
    let codes = [
        (fake_cuda::ptx(dir.path(), "7.0", "sm_80"), None),
        (fake_cuda::ptx(dir.path(), "8.0", "sm_90a"), Some(fake_cuda::cubin(dir.path(), 90))),
        (sample::host_code(dir.path()), None),
    ];
    let bundle = Bundle::open(fake_cuda::bundle(dir.path(), &manifest, &codes, W, B)).unwrap();
    let case = std::env::var("FAKE_CUDA_CASE").unwrap();
    let x = input("chosen");
    let session = open(&bundle, "cuda");
    let auto = open(&bundle, "auto").unwrap();
    match case.as_str() {
        "too old a driver" | "too little memory" => {
            let error = session.unwrap_err().to_string();
            let want = if case == "too old a driver" {
                "is PTX 7.0, which the driver (CUDA 10.2) does not compile; a driver for CUDA 11.0 or newer does"
            } else {
                "needs 1 MiB of GPU memory, 0 MiB of 0 MiB are free"
            };
            assert!(error.contains(want) && error.contains("sm_80"), "{error}");
            assert_eq!(auto.device_name(), "host");
            assert!(auto.notes()[0].starts_with("running on the host: nothing of the bundle runs on Fake GPU 0"), "{:?}", auto.notes());
            let asked = Session::open(&bundle, DeviceChoice::Auto, Some(1), Some("sm_80")).unwrap_err().to_string();
            assert!(asked.contains("sm_80 was asked for (--isa), which needs a GPU: ") && !asked.contains("GPUs alone"), "{asked}");
        }
        _ => {
            let mut session = session.unwrap();
            let (target, form) = if case.starts_with("sm_80") { ("sm_80", "PTX") } else { ("sm_90a", "cubin") };
            assert_eq!((session.program().target.as_str(), auto.program().target.as_str()), (target, target));
            assert!(session.notes()[0].starts_with(&format!("picked {target} {form} on Fake GPU 0")), "{:?}", session.notes());
            assert_eq!(session.notes().len(), 1 + usize::from(case == "sm_90a PTX"));
            if case == "sm_90a PTX" {
                let note = &session.notes()[1];
                assert!(note.contains("CUDA_ERROR_NO_BINARY_FOR_GPU") && note.contains("compiles the PTX instead"), "{note}");
            }
            assert_eq!(session.run(&[&x]).unwrap(), right(&x));
        }
    }
    let host = Session::open(&bundle, DeviceChoice::Auto, Some(1), Some("x86-64-v3")).unwrap();
    assert_eq!((host.device_name(), host.notes().len()), ("host", 0));
}

#[test]
fn what_the_driver_refuses_is_told_with_function_code_and_meaning() {
    let name = "what_the_driver_refuses_is_told_with_function_code_and_meaning";
    if !within(name, &[("FAKE_CUDA_PTX", "78"), ("FAKE_CUDA_FREE", "2")]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |programs: Vec<mnx_artifact::Program>, code: Vec<u8>| {
        let manifest = sample::manifest(programs);
        Bundle::open(fake_cuda::bundle(dir.path(), &manifest, &[(code, None)], W, B)).unwrap()
    };
    let p = || fake_cuda::program("sm_90a", [9, 0], true, [8, 0]);
    let error = |bundle: &Bundle| open(bundle, "cuda").unwrap_err().to_string();
    let said = error(&write(vec![p()], fake_cuda::ptx(dir.path(), "8.0", "sm_90a")));
    for words in ["PTX for sm_90a: cuModuleLoadDataEx failed with code 222, CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "Unsupported .version 8.0"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(error(&write(vec![p()], b"\x7fELF\0\0\0".to_vec())).contains("not PTX text"));
    assert!(error(&write(vec![p()], b"hello".to_vec())).contains("Missing .version"));
    let mut other = p();
    if let Command::Launch { kernel, .. } = &mut other.commands[4] {
        *kernel = "tally".into();
    }
    let said = error(&write(vec![other], fake_cuda::ptx(dir.path(), "7.8", "sm_90a")));
    assert!(said.contains("kernel tally: cuModuleGetFunction failed with code 500, CUDA_ERROR_NOT_FOUND"), "{said}");
    let mut large = p();
    large.arena_bytes = 2 << 20;
    let said = error(&write(vec![large], fake_cuda::ptx(dir.path(), "7.8", "sm_90a")));
    assert!(said.contains("needs 3 MiB of GPU memory, 2 MiB of 4 MiB are free"), "{said}");
    let said = open(&write(vec![p()], fake_cuda::ptx(dir.path(), "7.8", "sm_90a")), "cuda:4").unwrap_err().to_string();
    assert!(said.contains("there is no GPU 4: the driver shows 1"), "{said}");
    assert!(open(&write(vec![p()], fake_cuda::ptx(dir.path(), "7.8", "sm_90a")), "cuda").is_ok());
    let facts = &cuda::survey().unwrap()[0];
    assert_eq!((facts.compute, facts.driver, facts.ptx, facts.multiprocessors), ([9, 0], [12, 8], [8, 7], 4));
}

#[test]
fn a_kernel_that_fails_is_reported_when_awaited_and_found_by_a_check() {
    let name = "a_kernel_that_fails_is_reported_when_awaited_and_found_by_a_check";
    if std::env::var_os("FAKE_CUDA_CHILD").is_none() {
        within(name, &[]);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    let mut session = open(&bundle, "cuda").unwrap();
    let mut patches = Patches::new(vec![open(&bundle, "cuda").unwrap()], false).unwrap();
    set_fault("count");
    let x = input("fault");
    let error = session.run_checked(&[&x], &mut session.new_outputs()).unwrap_err().to_string();
    assert!(error.contains("dispatch head, kernel count") && error.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{error}");
    let error = session.run(&[&x]).unwrap_err().to_string();
    assert!(error.contains("code 700, CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"), "{error}");
    let outcome = patches.push(&x).and_then(|()| patches.pop(&mut [0.0; 210]));
    assert!(outcome.unwrap_err().to_string().contains("ILLEGAL_ADDRESS"));
    assert!(open(&bundle, "cuda").is_err());
}

/// Puts a word where the fake driver looks for the kernel that fails.
fn set_fault(kernel: &str) {
    let path = std::env::var_os("FAKE_CUDA_LOG").unwrap();
    std::fs::write(std::path::Path::new(&path).with_extension("fault"), kernel).unwrap();
}

#[test]
fn drivers_that_do_not_start_are_no_panic() {
    let name = "drivers_that_do_not_start_are_no_panic";
    if std::env::var_os("FAKE_CUDA_CHILD").is_none() {
        within(name, &[("FAKE_CUDA_INIT", "100"), ("WANT", "finds no GPU")]);
        within(name, &[("FAKE_CUDA_INIT", "803"), ("WANT", "code 803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")]);
        within(name, &[("FAKE_CUDA_INIT", "12345"), ("WANT", "code 12345, which the driver does not explain")]);
        within(name, &[("FAKE_CUDA_DEVICES", "0"), ("WANT", "finds no GPU")]);
        return;
    }
    let want = std::env::var("WANT").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(affine(dir.path(), W, B)).unwrap();
    for error in [open(&bundle, "cuda").unwrap_err(), open(&bundle, "auto").unwrap_err(), open(&bundle, "cuda:all").unwrap_err()] {
        assert!(error.to_string().contains(&want), "{error}");
    }
    assert!(cuda::survey().unwrap_err().to_string().contains(&want));
}

/// The sample's kernels as PTX: one thread per voxel of a row.
const PTX: &str = "
.version 7.0
.target sm_80
.address_size 64

.visible .entry affine(.param .u64 affine_0, .param .u64 affine_1, .param .u64 affine_2, .param .u64 affine_3)
{
	.reg .pred %p<3>;
	.reg .b32 %r<16>;
	.reg .b64 %rd<16>;
	mov.u32 %r1, %tid.x;
	mov.u32 %r2, %tid.y;
	setp.gt.u32 %p1, %r1, 6;
	@%p1 bra $done;
	setp.ne.u32 %p2, %r2, 0;
	@%p2 bra $done;
	ld.param.b64 %rd1, [affine_0];
	ld.param.b64 %rd2, [affine_1];
	ld.param.b64 %rd3, [affine_2];
	ld.param.b64 %rd4, [affine_3];
	mov.u32 %r3, %ctaid.x;
	mov.u32 %r4, %ctaid.y;
	mad.lo.s32 %r5, %r3, 7, %r1;
	mul.wide.u32 %rd5, %r5, 4;
	add.s64 %rd6, %rd1, %rd5;
	ld.global.b32 %r6, [%rd6];
	mul.wide.u32 %rd7, %r4, 4;
	add.s64 %rd8, %rd2, %rd7;
	ld.global.b32 %r7, [%rd8];
	add.s64 %rd9, %rd3, %rd7;
	ld.global.b32 %r8, [%rd9];
	mul.rn.f32 %r9, %r7, %r6;
	add.rn.f32 %r10, %r9, %r8;
	max.f32 %r11, %r10, 0f00000000;
	mad.lo.s32 %r12, %r4, 105, %r5;
	mul.wide.u32 %rd10, %r12, 4;
	add.s64 %rd11, %rd4, %rd10;
	st.global.b32 [%rd11], %r11;
$done:
	ret;
}

.visible .entry count(.param .u64 count_0, .param .u64 count_1)
{
	.reg .pred %p<5>;
	.reg .b32 %r<16>;
	.reg .b64 %rd<16>;
	mov.u32 %r1, %tid.x;
	mov.u32 %r2, %tid.y;
	setp.gt.u32 %p1, %r1, 6;
	@%p1 bra $done2;
	setp.ne.u32 %p2, %r2, 0;
	@%p2 bra $done2;
	ld.param.b64 %rd1, [count_0];
	ld.param.b64 %rd2, [count_1];
	mov.u32 %r3, %ctaid.x;
	mad.lo.s32 %r4, %r3, 7, %r1;
	mul.wide.u32 %rd3, %r4, 4;
	add.s64 %rd4, %rd1, %rd3;
	ld.global.b32 %r5, [%rd4];
	ld.global.b32 %r6, [%rd4+420];
	setp.gt.f32 %p3, %r5, 0f3F000000;
	setp.gt.f32 %p4, %r6, 0f3F000000;
	selp.b32 %r7, 1, 0, %p3;
	selp.b32 %r8, 1, 0, %p4;
	add.s32 %r9, %r7, %r8;
	add.s64 %rd5, %rd2, %rd3;
	ld.global.b32 %r10, [%rd5];
	add.s32 %r11, %r10, %r9;
	st.global.b32 [%rd5], %r11;
$done2:
	ret;
}
";

/// The real driver, where there is one: real PTX through it, compared with the formula. The interpreter runs the same bundle everywhere.
#[test]
fn real_ptx_runs_in_the_interpreter_and_on_a_real_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = fake_cuda::program("sm_80", [8, 0], false, [7, 0]);
    for command in &mut program.commands {
        if let Command::Launch { geometry: Some(geometry), .. } = command {
            geometry.shared_bytes = 0;
        }
    }
    let manifest = sample::manifest(vec![program]);
    let bundle = Bundle::open(fake_cuda::bundle(dir.path(), &manifest, &[(PTX.as_bytes().to_vec(), None)], W, B)).unwrap();
    let x = input("real");
    assert_eq!(open(&bundle, "ptx-sim").unwrap().run(&[&x]).unwrap(), right(&x));

    let must = std::env::var_os("MNX_REQUIRE_GPU").is_some_and(|v| v == "1");
    let gpus = match cuda::survey() {
        Ok(gpus) => gpus,
        Err(error) => {
            assert!(!must, "MNX_REQUIRE_GPU=1: {error}");
            eprintln!("SKIP no CUDA device: {error}");
            assert!(error.to_string().starts_with("cuda: "), "{error}");
            return;
        }
    };
    for gpu in gpus {
        assert!(gpu.total_bytes >= gpu.free_bytes && gpu.compute[0] >= 3 && gpu.multiprocessors > 0, "{gpu:?}");
        let mut session = open(&bundle, &format!("cuda:{}", gpu.index)).unwrap();
        let mut outputs = session.new_outputs();
        for round in 0..4 {
            let x = input(&format!("real/{round}"));
            session.run_into(&[&x], &mut outputs).unwrap();
            assert_eq!(outputs, right(&x));
            assert_eq!(session.run_checked(&[&x], &mut outputs).unwrap(), None);
            assert_eq!(outputs, right(&x));
        }
        let mut trace = session.new_trace();
        session.run_timed(&[&x], &mut outputs, &mut trace).unwrap();
        assert_eq!(outputs, right(&x));
        assert!(trace.seconds.iter().all(|s| *s >= 0.0) && session.replay().unwrap().unwrap() > 0.0);
        assert!(session.roofline().unwrap().unwrap().bytes_per_s > 1e10);
        let mut patches = Patches::new(vec![session], false).unwrap();
        let mut result = vec![0.0; 210];
        for i in 0..8 {
            patches.push(&input(&format!("real/{i}"))).unwrap();
        }
        for i in 0..8 {
            patches.pop(&mut result).unwrap();
            assert_eq!(result, expected(&input(&format!("real/{i}")), W, B).0);
        }
    }
}
