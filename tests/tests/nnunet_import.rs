//! nnU-Net result folders, v1 and v2, rebuilt from the formula: import exact to the bit, then one bundle of all folds.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;

use mnx_artifact::{Average, Gaussian, Normalization, ProbabilityFile, Sequence};
use mnx_import::{Import, Options};
use mnx_model::Config;
use mnx_tests::nnunet::{CASES, Case};
use mnx_tests::pytorch::{Py, pickle};
use mnx_weights::Checkpoint;

fn mnxc(args: &[&str]) -> u8 {
    mnxc::cli::run(std::iter::once("mnxc").chain(args.iter().copied()).map(OsString::from))
}

/// Size and CRC-32 of the files that PyTorch wrote.
const ORIGINALS: [(&str, &str, usize, u32); 4] = [
    ("v1_ct", "0", 22_295_586, 0x998f_6f13),
    ("v2_ct_iso", "0", 1_070_136, 0x1e01_598b),
    ("v2_ct_aniso_tta", "0", 1_354_488, 0x3992_9c6a),
    ("v2_ct_aniso_tta", "1", 1_354_488, 0x3ec9_183f),
];

#[test]
fn rebuilt_checkpoints_are_the_files_that_pytorch_wrote() {
    for (name, fold, size, crc) in ORIGINALS {
        let bytes = Case::named(name).checkpoint(fold);
        assert_eq!((bytes.len(), crc32fast::hash(&bytes)), (size, crc), "{name}, fold {fold}");
    }
}

/// Every tensor of the formula, in order, bit for bit.
fn assert_exact(got: &Checkpoint, want: &Checkpoint, what: &str) {
    assert_eq!(got.names().collect::<Vec<_>>(), want.names().collect::<Vec<_>>(), "{what}");
    for ((name, g), (_, w)) in got.iter().zip(want.iter()) {
        assert_eq!(g.shape, w.shape, "{what}: {name}");
        assert!(g.data.iter().zip(&w.data).all(|(a, b)| a.to_bits() == b.to_bits()), "{what}: {name}");
    }
}

#[test]
fn every_case_imports_exactly() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        let root = case.rebuild(dir.path());
        let out = dir.path().join("imported");
        assert_eq!(mnxc(&["-q", "import", root.to_str().unwrap(), "-o", out.to_str().unwrap()]), 0, "{}", case.name);

        let config = Config::load(out.join("config.toml")).unwrap();
        let want = case.config();
        assert_eq!(mnx_model::signature(&config), mnx_model::signature(&want), "{}", case.name);
        assert_eq!((config.do_res, config.norm_type, config.dim), (want.do_res, want.norm_type, want.dim), "{}", case.name);
        for (fold, _) in case.folds {
            let name = if case.folds.len() == 1 { "weights.safetensors".to_owned() } else { format!("weights_fold_{fold}.safetensors") };
            assert_exact(&Checkpoint::load(out.join(name)).unwrap(), &case.weights(fold), case.name);
        }
        let mut files: Vec<String> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files.len(), 1 + case.folds.len(), "{files:?}");
        // Nothing is left beside it, and nothing is overwritten.
        assert!(std::fs::read_dir(dir.path()).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with(".mnx")));
        assert_eq!(mnxc(&["-q", "import", root.to_str().unwrap(), "-o", out.to_str().unwrap()]), 1);
    }
}

fn open(case: &Case, dir: &Path, options: &Options) -> Import {
    Import::open(&case.rebuild(dir), options).unwrap()
}

#[test]
fn plans_become_the_rules_of_their_version() {
    let dir = tempfile::tempdir().unwrap();
    let ct = Normalization::Ct { low: -160.0, high: 420.0, mean: 55.0, std: 110.0, masked: false };

    let v1 = open(&Case::named("v1_ct"), dir.path(), &Options::default());
    assert_eq!(v1.config.variant, Some(mnx_model::Variant::S));
    assert_eq!(v1.config.name, "Task904_Torso MedNeXt-S k3");
    assert_eq!(v1.config.patch.as_deref(), Some(&[64, 64, 64][..]));
    let (p, i) = (v1.config.preprocess.as_ref().unwrap(), v1.config.inference.as_ref().unwrap());
    assert_eq!((p.spacing.as_deref(), p.transpose, p.sequence), (Some(&[3.0, 2.7, 2.7][..]), [0, 1, 2], Sequence::ResampleNormalize));
    assert_eq!((p.normalization.as_slice(), p.crop_to_nonzero), (&[ct][..], true));
    assert_eq!((i.gaussian, i.average, i.probabilities), (Gaussian::NnunetV1, Average::Probabilities, ProbabilityFile::NnunetV1));
    assert_eq!(i.mirror_axes.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(v1.config.labels.len(), 4);

    let iso = open(&Case::named("v2_ct_iso"), dir.path(), &Options::default());
    let (p, i) = (iso.config.preprocess.as_ref().unwrap(), iso.config.inference.as_ref().unwrap());
    assert_eq!((p.spacing.as_deref(), p.sequence), (Some(&[2.5, 2.5, 2.5][..]), Sequence::NormalizeResample));
    assert_eq!(p.normalization, [ct]);
    // The checkpoint allows no mirroring.
    assert_eq!((i.gaussian, i.average, i.mirror_axes.as_deref()), (Gaussian::NnunetV2, Average::Logits, Some(&[][..])));
    let labels: Vec<(&str, u32)> = iso.config.labels.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(labels, [("background", 0), ("liver", 1), ("spleen", 2), ("kidneys", 3)]);

    let aniso = Case::named("v2_ct_aniso_tta");
    let both = open(&aniso, dir.path(), &Options::default());
    assert_eq!(both.folds.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!(both.config.inference.as_ref().unwrap().mirror_axes.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!((both.config.enc_kernel_size, both.config.dec_kernel_size), (5, 5));
    assert_eq!(both.config.patch.as_deref(), Some(&[32, 80, 64][..]));
    let one = open(&aniso, dir.path(), &Options { folds: Some(vec!["1".into()]), ..Options::default() });
    assert_exact(&one.read(&one.folds[0]).unwrap(), &aniso.weights("1"), "fold 1 alone");
}

#[test]
fn one_checkpoint_of_a_folder_tells_as_much() {
    let dir = tempfile::tempdir().unwrap();
    for case in [Case::named("v1_ct"), Case::named("v2_ct_iso")] {
        let root = case.rebuild(dir.path());
        let file = root.join(if case.is_v1() { "fold_0/model_final_checkpoint.model" } else { "fold_0/checkpoint_final.pth" });
        let (whole, one) = (Import::open(&root, &Options::default()).unwrap(), Import::open(&file, &Options::default()).unwrap());
        assert_eq!(one.config, whole.config, "{}", case.name);
        assert_eq!(one.folds.len(), 1);
        assert_exact(&one.read(&one.folds[0]).unwrap(), &case.weights("0"), case.name);
    }
}

#[test]
fn options_that_find_nothing_say_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = Case::named("v2_ct_aniso_tta").rebuild(dir.path());
    let err = |path: &Path, options: &Options| Import::open(path, options).unwrap_err().to_string();
    let fold = err(&root, &Options { folds: Some(vec!["7".into()]), ..Options::default() });
    assert!(fold.contains("--folds 7") && fold.contains("it has 0, 1"), "{fold}");
    let best = err(&root, &Options { checkpoint: mnx_import::Which::Best, ..Options::default() });
    assert!(best.contains("checkpoint_best.pth") && best.contains("--checkpoint final"), "{best}");
    let configuration = err(&root, &Options { configuration: Some("2d".into()), ..Options::default() });
    assert!(configuration.contains("no configuration \"2d\"; the plans have 3d_fullres"), "{configuration}");
    let above = err(root.parent().unwrap(), &Options::default());
    assert!(above.contains("these in it are: nnUNetTrainerMedNeXt__nnUNetPlans__3d_fullres"), "{above}");
    let below = err(&root.join("fold_0"), &Options::default());
    assert!(below.contains("the folder above it is one"), "{below}");
    // A folder that import did not make is no input of compile.
    let net = dir.path().join("net");
    std::fs::create_dir(&net).unwrap();
    let compile = || mnxc(&["-q", "compile", net.to_str().unwrap(), "--to", "model", "-o", net.join("m.mnx").to_str().unwrap()]);
    assert_eq!(compile(), 1);
    std::fs::write(net.join("config.toml"), "variant = \"S\"\nin_channels = 1\nn_classes = 2\npatch = [16, 32, 16]\n").unwrap();
    assert_eq!(compile(), 1);
    std::fs::write(net.join("weights.safetensors"), "").unwrap();
    assert_eq!(compile(), 0);
    assert!(std::fs::read_to_string(net.join("m.mnx")).unwrap().contains("f32[1,1,16,32,16]"));
    std::fs::write(net.join("weights_fold_0.safetensors"), "").unwrap();
    assert_eq!(compile(), 1);
    std::fs::write(root.join("plans.json"), "{").unwrap();
    assert!(err(&root, &Options::default()).contains("plans.json: not valid JSON"));
}

/// Writes a JSON file with one value changed.
fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

#[test]
fn other_plans_become_other_rules() {
    use mnx_artifact::{Activation, Connectivity, Postprocess, SeparateZ};
    let dir = tempfile::tempdir().unwrap();
    let root = Case::named("v2_ct_iso").rebuild(dir.path());
    // A 4-region data set with an ignore label, z-score with a mask, a configuration that inherits.
    edit(&root.join("dataset.json"), |d| {
        d["labels"] = serde_json::json!({"background": 0, "whole": [1, 2, 3, 4], "core": [2, 3], "a b": 3, "edge": [4], "ignore": 5});
        d["regions_class_order"] = serde_json::json!([1, 2, 3, 4]);
    });
    edit(&root.join("plans.json"), |p| {
        p["transpose_forward"] = serde_json::json!([2, 0, 1]);
        p["configurations"]["fine"] = serde_json::json!({
            "inherits_from": "3d_fullres", "spacing": [1.0, 2.0, 3.0], "patch_size": [32, 48, 64],
            "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [true],
            "resampling_fn_data_kwargs": {"is_seg": false, "order": 1, "order_z": 0, "force_separate_z": true},
        });
    });
    std::fs::create_dir(root.join("fold_1")).unwrap();
    std::fs::create_dir(root.join("fold_all")).unwrap();
    std::fs::copy(root.join("fold_0/checkpoint_final.pth"), root.join("fold_all/checkpoint_final.pth")).unwrap();
    let options = Options { configuration: Some("fine".into()), ..Options::default() };
    let i = Import::open(&root, &options).unwrap();
    assert_eq!(i.folds.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["0"]);
    assert!(
        i.notes.iter().any(|n| n.contains("fold all is left out")) && i.notes.iter().any(|n| n.ends_with("are left out: 1")),
        "{:?}",
        i.notes
    );
    let (p, n) = (i.config.preprocess.as_ref().unwrap(), i.config.inference.as_ref().unwrap());
    assert_eq!((p.transpose, p.spacing.as_deref()), ([2, 0, 1], Some(&[1.0, 2.0, 3.0][..])));
    assert_eq!((p.normalization.as_slice(), i.config.patch.as_deref()), (&[Normalization::ZScoreMasked][..], Some(&[32, 48, 64][..])));
    assert_eq!((p.resampling.order, p.resampling.separate_z, n.export.separate_z), (1, SeparateZ::Always, SeparateZ::Auto));
    assert_eq!((n.activation, n.ignore), (Activation::Sigmoid, Some(5)));
    assert_eq!(
        (n.regions.as_slice(), n.class_order.as_slice()),
        (&[vec![1, 2, 3, 4], vec![2, 3], vec![3], vec![4]][..], &[1, 2, 3, 4][..])
    );
    let labels: Vec<(&str, u32)> = i.config.labels.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(labels, [("background", 0), ("whole", 1), ("core", 2), ("a b", 3), ("edge", 4)]);
    // What cannot be done is said, not guessed.
    for (key, value, reason) in [
        ("normalization_schemes", serde_json::json!(["MyNormalization"]), "MyNormalization"),
        ("resampling_fn_probabilities", serde_json::json!("resample_torch_fornnunet"), "resample_torch_fornnunet"),
        ("previous_stage", serde_json::json!("3d_lowres"), "cascade"),
        ("spacing", serde_json::json!("wide"), "configurations.fine: spacing is \"wide\", expected a list"),
    ] {
        edit(&root.join("plans.json"), |p| p["configurations"]["bad"] = serde_json::json!({"inherits_from": "fine", key: value}));
        let bad = Options { configuration: Some("bad".into()), ..Options::default() };
        let e = Import::open(&root, &bad).unwrap_err().to_string();
        assert!(e.contains(&reason.replace("fine", "bad")) && e.contains("plans.json"), "{e}");
    }

    // v1's predictor applies the postprocessing file of the folder; v2's does not unless told.
    let root = Case::named("v1_ct").rebuild(dir.path());
    let json = serde_json::json!({"for_which_classes": [[1, 2], 3], "min_valid_object_sizes": "{3: 120.5, (1, 2): 7}"});
    std::fs::write(root.join("postprocessing.json"), json.to_string()).unwrap();
    let i = Import::open(&root, &Options::default()).unwrap();
    let step = |labels: &[u32], size| Postprocess { labels: labels.to_vec(), connectivity: Connectivity::Faces, min_size: Some(size) };
    // The second size's key holds a comma of its own.
    assert_eq!(i.config.inference.unwrap().postprocess, [step(&[1, 2], 7.0), step(&[3], 120.5)]);

    let root = Case::named("v2_ct_aniso_tta").rebuild(dir.path());
    let function = Py::Global("nnunetv2.postprocessing.remove_connected_components", "remove_all_but_largest_component_from_segmentation");
    let args = Py::dict(vec![("labels_or_regions", Py::list(vec![Py::Int(2), Py::tuple(vec![Py::Int(1), Py::Int(2)])]))]);
    let file = root.join("postprocessing.pkl");
    std::fs::write(&file, pickle(&Py::tuple(vec![Py::list(vec![function]), Py::list(vec![args])]))).unwrap();
    let without = Import::open(&root, &Options::default()).unwrap();
    assert!(
        without.notes.iter().any(|n| n.starts_with("postprocessing.pkl is left out"))
            && without.config.inference.unwrap().postprocess.is_empty()
    );
    let with = Import::open(&root, &Options { postprocessing: Some(file), ..Options::default() }).unwrap();
    let largest = Postprocess { labels: vec![1, 2], connectivity: Connectivity::Corners, min_size: None };
    assert_eq!(with.config.inference.unwrap().postprocess, [largest]);
}

#[test]
fn heads_are_kept_if_every_fold_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::named("v2_ct_aniso_tta");
    let root = case.rebuild(dir.path());
    let file = |fold: &str| root.join(format!("fold_{fold}/checkpoint_final.pth"));
    let bare = |fold: &str| -> Checkpoint {
        case.weights(fold)
            .iter()
            .filter(|(k, _)| !k.starts_with("out_") || k.starts_with("out_0."))
            .map(|(k, t)| (k.to_owned(), t.clone()))
            .collect()
    };
    let both = |lacking: &str, count: usize| {
        let i = Import::open(&root, &Options::default()).unwrap();
        assert!(!i.config.deep_supervision);
        let note = format!("{count} tensors of deep-supervision heads are dropped in all folds: the set is not complete in fold {lacking}");
        assert!(i.notes.contains(&note), "{:?}", i.notes);
        for (fold, name) in i.folds.iter().zip(["0", "1"]) {
            assert_exact(&i.read(fold).unwrap(), &bare(name), name);
        }
    };
    assert!(Import::open(&root, &Options::default()).unwrap().config.deep_supervision);
    for lacking in ["0", "1"] {
        std::fs::write(file(lacking), case.checkpoint_of(lacking, &bare(lacking))).unwrap();
        both(lacking, 8);
        // A fold with the heads keeps them if it is alone, and one without has nothing to drop.
        let alone = |fold: &str| Import::open(&root, &Options { folds: Some(vec![fold.into()]), ..Options::default() }).unwrap();
        assert!(!alone(lacking).config.deep_supervision && alone(if lacking == "0" { "1" } else { "0" }).config.deep_supervision);
        assert!(alone(lacking).notes.iter().all(|n| !n.contains("heads")));
        std::fs::write(file(lacking), case.checkpoint(lacking)).unwrap();
    }
    let mut partial = case.weights("1");
    partial.remove("out_4.conv_out.bias");
    std::fs::write(file("1"), case.checkpoint_of("1", &partial)).unwrap();
    both("1", 15);
}

/// Writes a pickle of plain values with one of them changed.
fn edit_pickle(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let file = mnx_import::torch::TorchFile::open(path).unwrap();
    let mut json = mnx_import::pickle::to_json(file.heap(), file.root()).unwrap();
    change(&mut json);
    std::fs::write(path, pickle(&Py::json(&json))).unwrap();
}

#[test]
fn a_value_that_cannot_be_is_reported_where_it_stands() {
    use serde_json::json;
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| Import::open(path, &Options::default()).unwrap_err().to_string();
    let root = Case::named("v2_ct_iso").rebuild(dir.path());
    let plans = root.join("plans.json");
    let good = std::fs::read(&plans).unwrap();
    let spacing = "expected a list of three positive numbers [z, y, x] in mm";
    let patch = "expected 2 or 3 extents from 1 to 1048575";
    for (key, value, expected) in [
        ("spacing", json!([0, 1, 1]), spacing),
        ("spacing", json!([1, -1.5, 1]), spacing),
        ("spacing", json!([1.5, 1.5]), spacing),
        ("patch_size", json!([1e9, 64, 64]), patch),
        ("patch_size", json!([64, 0, 64]), patch),
        ("patch_size", json!([64]), patch),
    ] {
        edit(&plans, |p| p["configurations"]["3d_fullres"][key] = value.clone());
        let want = format!("{}: configurations.3d_fullres: {key} is {value}, {expected}", plans.display());
        assert_eq!(error(&root), want);
        std::fs::write(&plans, &good).unwrap();
    }
    edit(&plans, |p| p["foreground_intensity_properties_per_channel"]["0"]["std"] = json!(0));
    let e = error(&root);
    assert!(e.starts_with(&format!("{}: ", plans.display())) && e.ends_with("0.std is 0, expected a number above 0"), "{e}");
    std::fs::write(&plans, &good).unwrap();
    // Whatever no reader looks at is still found, with the plans' name before it and no line of a file that is not there.
    edit(&plans, |p| p["configurations"]["3d_fullres"]["normalization_schemes"] = json!(["NoNormalization", "NoNormalization"]));
    let e = error(&root);
    assert!(
        e.starts_with(&format!("{}: ", plans.display())) && e.contains("key `preprocess.normalization` is") && !e.contains("toml"),
        "{e}"
    );

    // Version 1: in a folder plans.pkl, for a single checkpoint the pickle beside it.
    let root = Case::named("v1_ct").rebuild(dir.path());
    let (plans, model) = (root.join("plans.pkl"), root.join("fold_0/model_final_checkpoint.model"));
    let beside = root.join("fold_0/model_final_checkpoint.model.pkl");
    let stage = |p: &serde_json::Value| p["plans_per_stage"].as_object().unwrap().keys().next_back().unwrap().clone();
    for (key, value, expected) in [("current_spacing", json!([0, 1, 1]), spacing), ("patch_size", json!([1_000_000_000, 64, 64]), patch)] {
        let mut chosen = String::new();
        for (path, input) in [(&plans, &root), (&beside, &model)] {
            let good = std::fs::read(path).unwrap();
            edit_pickle(path, |p| {
                let p = if input == &model { &mut p["plans"] } else { p };
                chosen = stage(p);
                p["plans_per_stage"][&chosen][key] = value.clone();
            });
            assert_eq!(error(input), format!("{}: plans_per_stage.{chosen}.{key} is {value}, {expected}", path.display()));
            std::fs::write(path, good).unwrap();
        }
    }
}

#[test]
fn names_outside_a_task_s_folder_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = Case::named("v1_ct").rebuild(dir.path());
    let elsewhere = dir.path().join("nnUNetTrainerV2_MedNeXt_S_kernel3__nnUNetPlansv2.1_trgSp_1x1x1");
    std::fs::rename(root, &elsewhere).unwrap();
    let want = "nnUNetTrainerV2_MedNeXt_S_kernel3__nnUNetPlansv2.1_trgSp_1x1x1 MedNeXt-S k3";
    let name = |path: &Path| Import::open(path, &Options::default()).unwrap().config.name;
    assert_eq!(name(&elsewhere), want);
    assert_eq!(name(&elsewhere.join("fold_0/model_final_checkpoint.model")), want);
    let other = dir.path().join("torso.v1");
    std::fs::rename(&elsewhere, &other).unwrap();
    assert_eq!(name(&other), "torso.v1 MedNeXt-S k3");

    // Without its pickle a checkpoint is a state dict, and what was looked for is said.
    let (model, beside) = (other.join("fold_0/model_final_checkpoint.model"), other.join("fold_0/model_final_checkpoint.model.pkl"));
    std::fs::remove_file(&beside).unwrap();
    let i = Import::open(&model, &Options::default()).unwrap();
    let note = format!("{}, where nnU-Net v1 keeps the plans, was looked for and is not there", beside.display());
    assert!(i.what == "a state dict" && i.notes.contains(&note), "{:?}", i.notes);
    assert!(i.notes.iter().any(|n| n.starts_with("no patch: ") && n.contains("64x64x64") && n.contains("--patch")), "{:?}", i.notes);
    let empty = Options { name: Some(" ".into()), ..Options::default() };
    assert!(Import::open(&model, &empty).unwrap_err().to_string().contains("--name is empty"));
}

#[test]
fn plans_of_another_network_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = Case::named("v2_ct_iso").rebuild(dir.path());
    std::fs::copy(mnx_tests::nnunet::fixtures(&Case::named("v2_ct_aniso_tta")).join("dataset.json"), root.join("dataset.json")).unwrap();
    let error = Import::open(&root, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("gives 4 classes, plans and data set have 3") && error.contains("plans.json"), "{error}");
}

/// Import, compile, inspect; then every fold of the bundle runs with its own weights over one set of code.
#[cfg(feature = "llvm")]
#[test]
fn folds_become_one_bundle() {
    use mnx_artifact::Bundle;
    use mnx_runtime::{DeviceChoice, Session};
    use mnx_weights::det_input;

    let dir = tempfile::tempdir().unwrap();
    let case = Case::named("v2_ct_aniso_tta");
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let root = case.rebuild(dir.path());
    assert_eq!(mnxc(&["-q", "import", root.to_str().unwrap(), "-o", &path("net")]), 0);
    // A small patch, as an option over the folder's.
    let small = ["--patch", "32,16,32", "--target", "host", "--vectors", "always"];
    let compile = |more: &[&str]| mnxc(&[&["-q", "compile"], more, &small[..]].concat());
    assert_eq!(compile(&[&path("net"), "-o", &path("both.mnxa")]), 0);
    let both = Bundle::open(path("both.mnxa")).unwrap();
    let m = both.manifest();
    assert_eq!(m.folds.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!((m.patch.as_slice(), m.outputs.len(), m.labels.len()), (&[32, 16, 32][..], 1, 3));
    assert_eq!(m.preprocess.as_ref().unwrap().spacing.as_deref(), Some(&[10.0, 2.6, 2.6][..]));
    assert_eq!(m.inference.as_ref().unwrap().gaussian, Gaussian::NnunetV2);

    let input = det_input("fold", &m.inputs[0].shape);
    let mut session = Session::open(&both, DeviceChoice::Host, Some(2), None).unwrap();
    assert_eq!((session.folds(), session.fold()), (2, 0));
    let mut results = Vec::new();
    for fold in ["0", "1"] {
        let weights = path(&format!("net/weights_fold_{fold}.safetensors"));
        assert_eq!(compile(&[&path("net"), "--weights", &weights, "-o", &path("one.mnxa")]), 0);
        let one = Bundle::open(path("one.mnxa")).unwrap();
        assert!(one.code(0) == both.code(0), "the code depends on the weights");
        let want = Session::open(&one, DeviceChoice::Host, Some(2), None).unwrap().run(&[&input.data]).unwrap();
        session.select_fold(fold.parse().unwrap()).unwrap();
        let got = session.run(&[&input.data]).unwrap();
        assert!(got[0].bytes() == want[0].bytes(), "fold {fold}");
        results.push(got);
    }
    assert!(results[0][0].bytes() != results[1][0].bytes());
    // Back again, and a fold that does not exist leaves the session as it is.
    assert!(session.select_fold(2).is_err());
    session.select_fold(0).unwrap();
    assert!(session.run(&[&input.data]).unwrap()[0].bytes() == results[0][0].bytes());

    let mnx = mnx_tests::binaries::folder().join("mnx");
    let run = |args: &[&str]| std::process::Command::new(&mnx).args(args).output().unwrap();
    let text = |o: &std::process::Output| String::from_utf8_lossy(&[o.stdout.as_slice(), &o.stderr].concat()).into_owned();
    let inspected = run(&["inspect", &path("both.mnxa")]);
    assert!(
        inspected.status.success() && text(&inspected).contains("folds       2: 0, 1") && text(&inspected).contains("weights 1"),
        "{}",
        text(&inspected)
    );
    assert!(run(&["verify", &path("both.mnxa")]).status.success());
    // New weights for one fold leave the other, and the code, alone.
    let w0 = path("net/weights_fold_0.safetensors");
    let unnamed = run(&["refit", &path("both.mnxa"), "--weights", &w0, "-o", &path("n.mnxa")]);
    assert!(!unnamed.status.success() && text(&unnamed).contains("choose one with --fold"), "{}", text(&unnamed));
    let refit = run(&["refit", &path("both.mnxa"), "--weights", &w0, "--fold", "1", "-o", &path("n.mnxa")]);
    assert!(refit.status.success(), "{}", text(&refit));
    let refitted = Bundle::open(path("n.mnxa")).unwrap();
    assert_eq!(refitted.read_weights(1).unwrap(), both.read_weights(0).unwrap());
    assert_eq!(refitted.read_weights(0).unwrap(), both.read_weights(0).unwrap());
    assert_eq!(refitted.manifest().vectors, m.vectors);
}
