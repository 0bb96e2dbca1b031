//! MONAI's state dicts and bundles: axes, windows, transforms, and whatever cannot be followed by name; then against MONAI's own labels.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mnx_artifact::{Activation, Connectivity, Gaussian, Normalization, Postprocess, Reader, Sequence, Windows};
use mnx_import::{Import, Options};
use mnx_model::{Config, signature};
use mnx_tests::nnunet::state_dict;
use mnx_tests::pytorch::{Py, Saved};
use mnx_weights::{Checkpoint, golden_weight};
use serde_json::{Value as Json, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monai")
}

fn network(dim: &str) -> Config {
    let text = format!(
        "flavour = \"monai\"\nin_channels = 2\nn_channels = 4\nn_classes = 3\nexp_r = 2\nkernel_size = 3\ndo_res = true\ndim = \"{dim}\"\n\
         block_counts = [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    );
    Config::from_toml(&text, "net").unwrap()
}

fn checkpoint(case: &str, dim: &str) -> Vec<u8> {
    let signature = signature(&network(dim));
    let weights: Checkpoint = signature.tensors.into_iter().map(|t| (t.key.clone(), golden_weight(case, &t.key, &t.shape))).collect();
    let (tensors, storages) = state_dict(&weights);
    Saved { root: Py::ordered(tensors), storages }.zip("model", "1234567890123456789012345678901234567890")
}

/// The bundle of the fixtures with its weights, its configs changed.
fn bundle(dir: &Path, change: impl FnOnce(&mut Json, &mut Json)) -> PathBuf {
    let root = dir.join("blobs");
    for folder in ["configs", "models"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let read =
        |name: &str| -> Json { serde_json::from_slice(&std::fs::read(fixtures().join("bundle/configs").join(name)).unwrap()).unwrap() };
    let (mut metadata, mut inference) = (read("metadata.json"), read("inference.json"));
    change(&mut metadata, &mut inference);
    std::fs::write(root.join("configs/metadata.json"), metadata.to_string()).unwrap();
    std::fs::write(root.join("configs/inference.json"), inference.to_string()).unwrap();
    std::fs::write(root.join("models/model.pt"), checkpoint("bundle", "3d")).unwrap();
    root
}

fn open(path: &Path) -> Result<Import, String> {
    Import::open(path, &Options::default()).map_err(|e| e.to_string())
}

#[test]
fn a_state_dict_gets_monai_s_axes_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for (dim, transpose, patch) in [("3d", [2, 1, 0], "[x, y, z]"), ("2d", [0, 2, 1], "[x, y]")] {
        let path = dir.path().join("w.pth");
        std::fs::write(&path, checkpoint("volume", dim)).unwrap();
        let i = open(&path).unwrap();
        let (p, n) = (i.config.preprocess.as_ref().unwrap(), i.config.inference.as_ref().unwrap());
        assert_eq!((p.transpose, p.orientation.as_deref(), p.reader), (transpose, Some("RAS"), Some(Reader::Nibabel)), "{dim}");
        assert_eq!((p.normalization.as_slice(), p.crop_to_nonzero, &p.spacing), (&[Normalization::ZScore][..], false, &None));
        // The defaults of sliding_window_inference.
        assert_eq!((n.windows, n.gaussian, n.step), (Windows::Monai, Gaussian::None, 0.75));
        let warned = |text: &str| i.notes.iter().any(|n| n.starts_with("warning: ") && n.contains(text));
        assert!(warned("axes x, y, z") && warned("orientation RAS") && warned("overlap 0.25"), "{:?}", i.notes);
        assert!(i.notes.iter().any(|n| n.contains(&format!("patch = {patch}"))), "{:?}", i.notes);
        // What to change is beside what was assumed.
        for text in [
            "# MONAI's arrays run x, y, z",
            "scheme = \"range\"",
            "scheme = \"percentiles\"",
            "zscore-nonzero",
            "gaussian = \"monai\"",
            "# [labels]",
            "# [channels]",
        ] {
            assert!(i.toml.contains(text), "{text}: {}", i.toml);
        }
        // What stands commented at the end is what the config takes once it is not.
        let (before, names) = i.toml.split_once("# [channels]").unwrap();
        let plain = format!("{before}[channels]{}", names.replace("# ", ""));
        let filled = Config::from_toml(&plain, "filled").unwrap_or_else(|e| panic!("{e:?}\n{plain}"));
        assert_eq!((filled.channels.len(), filled.labels.len()), (2, 3));
    }
    // An official network is nnU-Net's, whose axes are the file's.
    let official = Config::from_toml("in_channels = 1\nn_channels = 4\nn_classes = 2\nkernel_size = 3\nexp_r = 2\n", "net").unwrap();
    let weights: Checkpoint =
        signature(&official).tensors.into_iter().map(|t| (t.key.clone(), golden_weight("o", &t.key, &t.shape))).collect();
    let (tensors, storages) = state_dict(&weights);
    let path = dir.path().join("o.pth");
    std::fs::write(&path, Saved { root: Py::ordered(tensors), storages }.zip("o", "1234567890123456789012345678901234567890")).unwrap();
    assert_eq!(open(&path).unwrap().config.preprocess, None);
}

#[test]
fn a_bundle_is_read_as_far_as_it_speaks() {
    let dir = tempfile::tempdir().unwrap();
    let root = bundle(dir.path(), |_, _| {});
    let i = open(&root).unwrap();
    assert_eq!(i.config.name, "Two blobs MedNeXt of 4 channels k3");
    let (p, n) = (i.config.preprocess.as_ref().unwrap(), i.config.inference.as_ref().unwrap());
    assert_eq!((p.transpose, p.orientation.as_deref(), p.reader), ([2, 1, 0], Some("RAS"), Some(Reader::Nibabel)));
    let percentiles = Normalization::Percentiles { lower: 1.0, upper: 98.5, to_low: 0.0, to_high: 1.0, clip: true };
    assert_eq!(p.normalization, [percentiles]);
    assert_eq!((n.windows, n.gaussian, n.step, n.activation), (Windows::Monai, Gaussian::Monai, 0.5, Activation::Softmax));
    assert_eq!(i.config.patch.as_deref(), Some(&[32, 32, 16][..]));
    assert_eq!(i.config.channels, ["T1", "T2"]);
    let labels: Vec<(&str, u32)> = i.config.labels.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(labels, [("background", 0), ("left blob", 1), ("right blob", 2)]);
    // Two entries of the file are variables that others refer to; none is left over.
    assert!(i.notes.iter().all(|n| !n.starts_with("warning: ")), "{:?}", i.notes);
    // The folder below, and the file within, say where the bundle is.
    assert!(open(&root.join("configs")).unwrap_err().contains("the folder above it is one"));
    let alone = open(&root.join("models/model.pt")).unwrap();
    assert!(
        alone.notes.iter().any(|n| n.starts_with("warning: the file is part of a MONAI bundle") && n.contains("blobs")),
        "{:?}",
        alone.notes
    );
}

/// Puts a transform into a list, before the last one of preprocessing or in the place of the third of postprocessing.
fn with(inference: &mut Json, list: &str, at: usize, transform: Json) {
    inference[list]["transforms"].as_array_mut().unwrap().insert(at, transform);
}

#[test]
fn transforms_become_their_equals() {
    let dir = tempfile::tempdir().unwrap();
    type Change = fn(&mut Json, &mut Json);
    let import = |change: Change| open(&bundle(dir.path(), change)).unwrap();
    let i = import(|_, c| {
        c["preprocessing"]["transforms"][3] = json!({
            "_target_": "monai.transforms.ScaleIntensityRangeD", "keys": ["image", "label"],
            "a_min": -57, "a_max": 164.5, "b_min": 0, "b_max": 1, "clip": true
        });
    });
    let range = Normalization::Range { low: -57.0, high: 164.5, to_low: 0.0, to_high: 1.0, clip: true };
    assert_eq!(i.config.preprocess.unwrap().normalization, [range]);
    // Without b_min and b_max MONAI neither scales nor clips.
    let i = import(|_, c| {
        c["preprocessing"]["transforms"][3] =
            json!({"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 1, "a_max": 3, "clip": true})
    });
    let range = Normalization::Range { low: 1.0, high: 3.0, to_low: 0.0, to_high: 1.0, clip: false };
    assert_eq!(i.config.preprocess.unwrap().normalization, [range]);
    let i = import(|_, c| {
        c["preprocessing"]["transforms"][3] =
            json!({"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": true, "channel_wise": true})
    });
    assert_eq!(i.config.preprocess.unwrap().normalization, [Normalization::ZScoreNonzero]);
    let i = import(|_, c| {
        c["preprocessing"]["transforms"][3] = json!({"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 40, "divisor": 20})
    });
    let fixed = Normalization::Range { low: 40.0, high: 60.0, to_low: 0.0, to_high: 1.0, clip: false };
    assert_eq!(i.config.preprocess.unwrap().normalization, [fixed]);
    let i =
        import(|_, c| c["preprocessing"]["transforms"][3] = json!({"_target_": "ScaleIntensityd", "keys": "image", "channel_wise": true}));
    assert_eq!(i.config.preprocess.unwrap().normalization, [Normalization::Rescale01]);
    // A relative range ends at the percentiles of the target.
    let i = import(|_, c| c["preprocessing"]["transforms"][3]["relative"] = json!(true));
    let relative = Normalization::Percentiles { lower: 1.0, upper: 98.5, to_low: 0.01, to_high: 0.985, clip: true };
    assert_eq!(i.config.preprocess.unwrap().normalization, [relative]);
    let i = import(|_, c| {
        c["preprocessing"]["transforms"].as_array_mut().unwrap().remove(3);
    });
    assert_eq!(i.config.preprocess.unwrap().normalization, [Normalization::None]);

    // Spacing in the order of the model's axes, which are MONAI's: x, y, z.
    let i = import(|_, c| {
        c["pixdim"] = json!([1.5, 2.0, 3.0]);
        with(
            c,
            "preprocessing",
            3,
            json!({"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": "@pixdim", "mode": ["bilinear", "nearest"]}),
        );
    });
    let p = i.config.preprocess.unwrap();
    assert_eq!((p.spacing.as_deref(), p.resampling.order, p.sequence), (Some(&[1.5, 2.0, 3.0][..]), 1, Sequence::ResampleNormalize));
    assert!(i.notes.iter().any(|n| n.starts_with("warning: Spacingd: ")), "{:?}", i.notes);
    let i = import(|_, c| {
        with(c, "preprocessing", 4, json!({"_target_": "Spacingd", "keys": "image", "pixdim": [1, 1, 1], "mode": 3}));
        c["preprocessing"]["transforms"][0]["reader"] = json!("ITKReader");
        with(c, "preprocessing", 2, json!({"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}));
        with(c, "preprocessing", 2, json!({"_target_": "RandFlipd", "keys": "label", "prob": 1}));
    });
    let p = i.config.preprocess.unwrap();
    assert_eq!(
        (p.resampling.order, p.sequence, p.reader, p.crop_to_nonzero),
        (3, Sequence::NormalizeResample, Some(Reader::Simpleitk), true)
    );

    // The sliding window, and slices across any axis.
    let i = import(|_, c| {
        c["inferer"] =
            json!({"_target_": "SlidingWindowInferer", "roi_size": [32, 48, 16], "overlap": [0.625, 0.625, 0.625], "sw_batch_size": 4})
    });
    let n = i.config.inference.unwrap();
    assert_eq!((n.gaussian, n.step, i.config.patch.as_deref()), (Gaussian::None, 0.375, Some(&[32, 48, 16][..])));
    assert!(i.notes.iter().any(|n| n.contains("spatial shape 32x32x16, the inferer's roi_size is 32x48x16")), "{:?}", i.notes);

    // Sigmoid, components.
    let i = import(|m, c| {
        c["postprocessing"]["transforms"] = json!([
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": true},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
        ]);
        m["network_data_format"]["outputs"]["pred"]["channel_def"] = json!({"0": "whole", "1": "core", "2": "edge"});
    });
    let n = i.config.inference.unwrap();
    assert_eq!((n.activation, n.class_order.as_slice()), (Activation::Sigmoid, &[1, 2, 3][..]));
    assert_eq!(i.config.labels.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["background", "whole", "core", "edge"]);
    let largest = |labels: &[u32], connectivity| Postprocess { labels: labels.to_vec(), connectivity, min_size: None };
    let i = import(|_, c| {
        with(c, "postprocessing", 3, json!({"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]}))
    });
    assert_eq!(i.config.inference.unwrap().postprocess, [largest(&[1], Connectivity::Corners), largest(&[2], Connectivity::Corners)]);
    let i = import(|_, c| {
        with(
            c,
            "postprocessing",
            3,
            json!({"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "independent": false, "connectivity": 1}),
        )
    });
    assert_eq!(i.config.inference.unwrap().postprocess, [largest(&[1, 2], Connectivity::Faces)]);
    // A patch that no MedNeXt takes.
    let i = import(|_, c| c["roi_size"] = json!([24, 32, 40]));
    assert_eq!(i.config.patch.as_deref(), Some(&[32, 32, 48][..]));
    assert!(
        i.notes
            .iter()
            .any(|n| n.starts_with("warning: patch 24x32x40 does not fit: every axis a multiple of 16") && n.contains("nearest 32x32x48"))
    );
}

#[test]
fn what_cannot_be_followed_is_named_and_stops_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    let cases: &[(&str, usize, Json, &str)] = &[
        (
            "preprocessing",
            3,
            json!({"_target_": "Resized", "keys": "image", "spatial_size": [64, 64, 64]}),
            "Resized: mnx has no such step",
        ),
        (
            "preprocessing",
            4,
            json!({"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": true}),
            "a second intensity transform after ScaleIntensityRangePercentilesd",
        ),
        (
            "preprocessing",
            2,
            json!({"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": "$-100 * 2", "a_max": 3}),
            "\"$-100 * 2\" is a Python expression",
        ),
        ("preprocessing", 2, json!({"_target_": "ScaleIntensityd", "keys": "image"}), "channel_wise is false"),
        ("preprocessing", 2, json!({"_target_": "Spacingd", "keys": "image", "pixdim": [1, 1, 2]}), "Orientationd: it follows Spacingd"),
        ("preprocessing", 2, json!({"_target_": "Spacingd", "keys": "image", "pixdim": [1, 1, -1]}), "pixdim is 1, 1, -1"),
        (
            "preprocessing",
            4,
            json!({"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}),
            "it crops by scaled intensities",
        ),
        (
            "preprocessing",
            2,
            json!({"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "margin": 5}),
            "margin is given",
        ),
        ("preprocessing", 2, json!({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"}), "Lambdad: mnx has no such step"),
        (
            "preprocessing",
            1,
            json!({"_target_": "LoadImaged", "keys": "image", "reader": "PILReader"}),
            "reader is \"PILReader\"; NibabelReader or ITKReader",
        ),
        ("postprocessing", 3, json!({"_target_": "FillHolesd", "keys": "pred"}), "FillHolesd: mnx has no such step"),
        ("postprocessing", 0, json!({"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}), "it does not follow AsDiscreted"),
        (
            "postprocessing",
            3,
            json!({"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "num_components": 2}),
            "num_components is not 1",
        ),
    ];
    for (list, at, transform, reason) in cases {
        let root = bundle(dir.path(), |_, c| with(c, list, *at, transform.clone()));
        let e = open(&root).unwrap_err();
        assert!(e.contains(reason) && e.contains("inference.json") && e.contains("--ignore-transforms"), "{reason}: {e}");
        // By name, as the error says it.
        let named = e.split("--ignore-transforms '").nth(1).unwrap().split('\'').next().unwrap();
        let options = Options { ignore_transforms: named.split(',').map(str::to_owned).collect(), ..Options::default() };
        let i = Import::open(&root, &options).unwrap();
        assert!(i.notes.iter().any(|n| n.starts_with(&format!("warning: {named} is left out"))), "{named}: {:?}", i.notes);
        let other = Options { ignore_transforms: vec!["Otherd".into()], ..Options::default() };
        assert!(Import::open(&root, &other).is_err());
    }
}

#[test]
fn inferers_metadata_and_files_that_cannot_be_followed_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let inferers = [
        (json!({"_target_": "SimpleInferer"}), "SimpleInferer: SlidingWindowInferer,"),
        (json!({"_target_": "SlidingWindowInferer", "roi_size": [32, 32, -1]}), "roi_size is 32, 32, -1"),
        (json!({"_target_": "SlidingWindowInferer", "roi_size": 32, "overlap": [0.5, 0.5, 0.25]}), "overlap is 0.5, 0.5, 0.25"),
        (json!({"_target_": "SlidingWindowInferer", "roi_size": 32, "mode": "gaussian", "sigma_scale": 0.25}), "sigma_scale"),
        (json!({"_target_": "SlidingWindowInferer", "roi_size": 32, "padding_mode": "reflect"}), "padding_mode"),
        (json!({"_target_": "SlidingWindowInferer", "roi_size": "$int(32)"}), "\"$int(32)\" is a Python expression"),
    ];
    for (inferer, reason) in inferers {
        let e = open(&bundle(dir.path(), |_, c| c["inferer"] = inferer)).unwrap_err();
        assert!(e.contains(reason), "{reason}: {e}");
    }
    // Keys that the metadata do not name: nothing would be followed.
    let e =
        open(&bundle(dir.path(), |_, c| *c = serde_json::from_str(&c.to_string().replace("\"image\"", "\"img\"")).unwrap())).unwrap_err();
    assert!(e.contains("LoadImaged: none loads \"image\""), "{e}");
    let e =
        open(&bundle(dir.path(), |_, c| *c = serde_json::from_str(&c.to_string().replace("\"pred\"", "\"output\"")).unwrap())).unwrap_err();
    assert!(e.contains("postprocessing: no transform concerns \"pred\""), "{e}");
    // Entries that nobody reads are told.
    let i = open(&bundle(dir.path(), |_, c| c["my_switch"] = json!(true))).unwrap();
    assert!(i.notes.iter().any(|n| n.starts_with("warning: ") && n.ends_with("not read: my_switch")), "{:?}", i.notes);
    // A CT has values below 0, by which the two ways of cropping differ.
    let root = bundle(dir.path(), |m, c| {
        m["network_data_format"]["inputs"]["image"]["modality"] = json!("CT");
        with(c, "preprocessing", 2, json!({"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}));
    });
    assert!(open(&root).unwrap_err().contains("in a CT"));
    // The metadata against the tensors.
    let e = open(&bundle(dir.path(), |m, _| m["network_data_format"]["outputs"]["pred"] = json!({"num_channels": 5}))).unwrap_err();
    assert!(e.contains("gives 3 classes, the bundle's metadata have 5"), "{e}");
    let e = open(&bundle(dir.path(), |m, _| m["network_data_format"]["outputs"]["pred"]["num_channels"] = json!(4e9))).unwrap_err();
    assert!(
        e.contains("metadata.json: network_data_format.outputs.pred.num_channels is 4000000000.0, expected a number of channels"),
        "{e}"
    );
    // YAML, several networks, no weights, TorchScript.
    let root = bundle(dir.path(), |_, c| c["evaluator"] = json!({"_target_": "EnsembleEvaluator"}));
    assert!(open(&root).unwrap_err().contains("several networks"));
    let root = bundle(dir.path(), |_, _| {});
    std::fs::rename(root.join("models/model.pt"), root.join("models/model.ts")).unwrap();
    let e = open(&root).unwrap_err();
    assert!(e.contains("model.pt: is missing") && e.contains("holds model.ts"), "{e}");
    std::fs::rename(root.join("configs/inference.json"), root.join("configs/inference.yaml")).unwrap();
    let e = open(&root).unwrap_err();
    assert!(e.contains("inference.yaml: is YAML") && e.contains("json.dump"), "{e}");
    // The option is for bundles.
    let path = dir.path().join("w.pth");
    std::fs::write(&path, checkpoint("volume", "3d")).unwrap();
    let options = Options { ignore_transforms: vec!["Resized".into()], ..Options::default() };
    assert!(Import::open(&path, &options).unwrap_err().to_string().contains("--ignore-transforms is for MONAI bundles"));
}

#[test]
fn a_zipped_bundle_is_the_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let root = bundle(dir.path(), |_, _| {});
    let path = dir.path().join("blobs.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let deflated = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for file in ["configs/metadata.json", "configs/inference.json", "models/model.pt"] {
        writer.start_file(format!("blobs/{file}"), deflated).unwrap();
        std::io::Write::write_all(&mut writer, &std::fs::read(root.join(file)).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let (zipped, folder) = (open(&path).unwrap(), open(&root).unwrap());
    assert_eq!((&zipped.config, zipped.what), (&folder.config, "a MONAI bundle"));
    assert_eq!(zipped.read(&zipped.folds[0]).unwrap(), folder.read(&folder.folds[0]).unwrap());
}

/// Import, compile, predict; then voxel by voxel against MONAI.
#[cfg(feature = "llvm")]
mod chain {
    use super::*;
    use mnx_volume::{ReadOptions, Volume, read};

    fn run(dir: &Path, program: &str, args: &[&str]) {
        let out = std::process::Command::new(mnx_tests::binaries::folder().join(program)).args(args).current_dir(dir).output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// At least 9,999 of 10,000 voxels carry MONAI's label.
    fn goes_as_in_monai(dir: &Path, input: &str, patch: Option<&str>, expected: &str) {
        run(dir, "mnxc", &["import", input, "-o", "net", "--quiet"]);
        let mut compile = vec!["compile", "net", "--target", "host", "--vectors", "none", "-o", "m.mnxa", "--quiet"];
        compile.extend(patch.iter().flat_map(|p| ["--patch", p]));
        run(dir, "mnxc", &compile);
        let image = |name: &str| fixtures().join(name).display().to_string();
        run(dir, "mnx", &["predict", "m.mnxa", "-i", &image("a.nii.gz"), "-i", &image("b.nii.gz"), "-o", "seg.nii.gz", "--quiet"]);
        let load = |path: &Path| -> Volume { read(path, &ReadOptions::default()).unwrap() };
        let (got, want) = (load(&dir.join("seg.nii.gz")), load(&fixtures().join(expected)));
        assert_eq!((got.shape, got.affine), (want.shape, want.affine));
        let equal = got.data.iter().zip(&want.data).filter(|(a, b)| a == b).count();
        let share = equal as f64 / want.data.len() as f64;
        assert!(share >= 0.9999, "{expected}: {share:.5} of {} voxels are equal", want.data.len());
        for class in 0..3 {
            assert!(got.data.iter().filter(|v| **v as usize == class).count() > 500, "class {class}");
        }
    }

    #[test]
    fn a_state_dict_with_the_defaults_of_sliding_window_inference() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.pth"), checkpoint("volume", "3d")).unwrap();
        goes_as_in_monai(dir.path(), "w.pth", Some("32,32,16"), "volume_pred.nii.gz");
    }

    #[test]
    fn a_2_d_network_slice_by_slice() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.pth"), checkpoint("slices", "2d")).unwrap();
        goes_as_in_monai(dir.path(), "w.pth", Some("32,16"), "slices_pred.nii.gz");
    }

    #[test]
    fn a_bundle_by_its_own_configs() {
        let dir = tempfile::tempdir().unwrap();
        bundle(dir.path(), |_, _| {});
        goes_as_in_monai(dir.path(), "blobs", None, "bundle_pred.nii.gz");
    }
}
