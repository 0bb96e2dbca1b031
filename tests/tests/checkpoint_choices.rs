//! Files in which several things could be the network: what there is is named, and an option chooses.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mnx_import::{Import, ImportError, Options};
use mnx_model::{Config, signature};
use mnx_tests::nnunet::{Case, fixtures, state_dict};
use mnx_tests::pytorch::{Py, Saved};
use mnx_weights::{Checkpoint, Tensor, golden_weight};

const ID: &str = "1234567890123456789012345678901234567890";

fn net(text: &str) -> Config {
    let text = format!(
        "in_channels = 1\nn_channels = 4\nn_classes = 2\nexp_r = 2\nkernel_size = 3\nblock_counts = [1, 1, 1, 1, 1, 1, 1, 1, 1]\n{text}"
    );
    Config::from_toml(&text, "net").unwrap()
}

fn weights(case: &str) -> Checkpoint {
    signature(&net("")).tensors.into_iter().map(|t| (t.key.clone(), golden_weight(case, &t.key, &t.shape))).collect()
}

fn prefixed(prefix: &str, w: &Checkpoint) -> Checkpoint {
    w.iter().map(|(k, t)| (format!("{prefix}{k}"), t.clone())).collect()
}

/// A dictionary of several state dicts, by dotted paths; their tensors share one file.
fn holding(parts: &[(&str, &Checkpoint)]) -> Saved {
    let (mut storages, mut entries) = (Vec::new(), Vec::new());
    for (i, (path, w)) in parts.iter().enumerate() {
        let mut tensors = Vec::new();
        for (n, (name, t)) in w.iter().enumerate() {
            let key = format!("{}", i * 10_000 + n);
            tensors.push((name.to_owned(), Py::Tensor(Rc::new(mnx_tests::pytorch::TensorOf::dense("FloatStorage", &key, &t.shape)))));
            storages.push((key, t.data.iter().flat_map(|v| v.to_le_bytes()).collect()));
        }
        let mut value = Py::ordered(tensors);
        let mut keys: Vec<&str> = path.split('/').collect();
        let first = keys.remove(0);
        for key in keys.into_iter().rev() {
            value = Py::dict(vec![(key, value)]);
        }
        entries.push((first, value));
    }
    entries.push(("epoch", Py::Int(3)));
    Saved { root: Py::dict(entries), storages }
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn dict(&self, w: &Checkpoint) -> PathBuf {
        let (tensors, storages) = state_dict(w);
        self.file("d.pth", &Saved { root: Py::ordered(tensors), storages }.zip("d", ID))
    }
}

fn import(path: &Path, options: &Options) -> Result<(Import, Checkpoint), String> {
    let import = Import::open(path, options).map_err(|e| e.to_string())?;
    let weights = import.read(&import.folds[0]).map_err(|e| e.to_string())?;
    Ok((import, weights))
}

fn options(key: Option<&str>, prefix: Option<&str>, ignore: &[&str]) -> Options {
    let owned = |s: &str| s.to_owned();
    Options { key: key.map(owned), prefix: prefix.map(owned), ignore: ignore.iter().map(|s| owned(s)).collect(), ..Options::default() }
}

fn assert_same(got: &Checkpoint, want: &Checkpoint, what: &str) {
    assert_eq!(got.names().collect::<Vec<_>>(), want.names().collect::<Vec<_>>(), "{what}");
    assert!(got.iter().zip(want.iter()).all(|((_, g), (_, w))| g == w), "{what}");
}

#[test]
fn of_several_state_dicts_a_key_chooses() {
    let s = Scratch::new();
    let (raw, ema) = (weights("raw"), weights("ema"));
    let path = s.file("two.ckpt", &holding(&[("state_dict", &raw), ("state_dict_ema", &ema)]).zip("two", ID));
    let error = Import::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, ImportError::Ambiguous { .. }));
    assert!(
        error.to_string().ends_with("holds 2 networks: state_dict, state_dict_ema; choose one with --key, such as --key state_dict"),
        "{error}"
    );
    for (key, want) in [("state_dict", &raw), ("state_dict_ema", &ema)] {
        assert_same(&import(&path, &options(Some(key), None, &[])).unwrap().1, want, key);
    }
    let e = import(&path, &options(Some("ema"), None, &[])).unwrap_err();
    assert!(e.contains("--key ema: ") && e.contains("has no such key; tensors lie under state_dict, state_dict_ema"), "{e}");
    let e = import(&path, &options(Some("epoch"), None, &[])).unwrap_err();
    assert!(e.contains("holds an integer there"), "{e}");
    // Dotted paths, with keys that have dots of their own.
    let path = s.file("deep.ckpt", &holding(&[("state_dict", &raw), ("callbacks/EMA{decay=0.9}/weights", &ema)]).zip("deep", ID));
    let e = import(&path, &Options::default()).unwrap_err();
    assert!(e.contains("callbacks.EMA{decay=0.9}.weights"), "{e}");
    assert_same(&import(&path, &options(Some("callbacks.EMA{decay=0.9}.weights"), None, &[])).unwrap().1, &ema, "deep");
    // What holds tensors and no network is no choice: a loss, an optimiser.
    let loss: Checkpoint = [("weight".to_owned(), Tensor::zeros(vec![2]))].into_iter().collect();
    let path = s.file("loss.ckpt", &holding(&[("criterion", &loss), ("my_net", &raw)]).zip("loss", ID));
    assert_same(&import(&path, &Options::default()).unwrap().1, &raw, "loss");
    // A safetensors file has no keys to choose from.
    let flat = s.0.path().join("w.safetensors");
    raw.save(&flat).unwrap();
    assert!(import(&flat, &options(Some("x"), None, &[])).unwrap_err().contains("--key x chooses within a PyTorch file"));
}

#[test]
fn prefixes_and_patterns_leave_out_what_is_not_the_network() {
    let s = Scratch::new();
    let want = weights("w");
    let with = |prefix: &str, more: &[&str]| {
        let mut w = prefixed(prefix, &want);
        more.iter().for_each(|name| {
            w.insert(*name, Tensor::zeros(vec![3]));
        });
        s.dict(&w)
    };
    // Lightning with a loss: the error says the option that goes on.
    let path = with("net.", &["criterion.weight", "criterion.bias"]);
    let e = import(&path, &Options::default()).unwrap_err();
    assert!(
        e.contains("2 tensors lie beside the network, whose names begin with \"net.\": \"criterion.weight\", \"criterion.bias\""),
        "{e}"
    );
    assert!(e.contains("--prefix net. ") && e.contains("--ignore 'criterion.*'"), "{e}");
    for o in [
        options(None, Some("net."), &[]),
        options(None, None, &["criterion.*"]),
        options(None, None, &["*.weight_", "criterion.weight", "criterion.bias"]),
    ] {
        let (i, got) = import(&path, &o).unwrap();
        assert_same(&got, &want, "net.");
        assert!(i.notes.iter().any(|n| n.contains("2 tensors are left out") && n.contains("criterion.bias")), "{:?}", i.notes);
    }
    let (i, _) = import(&path, &options(None, None, &["criterion.*", "loss.*"])).unwrap();
    assert!(i.notes.iter().any(|n| n.starts_with("warning: --ignore loss.* matches no tensor")), "{:?}", i.notes);
    // The same without a prefix, and within it.
    for (prefix, name, option) in [("", "loss.weight", "--ignore 'loss.*'"), ("net.", "net.loss.weight", "--ignore 'net.loss.*'")] {
        let path = with(prefix, &[name]);
        let e = import(&path, &Options::default()).unwrap_err();
        assert!(e.contains(option) && e.contains("(3) does not belong to the network"), "{e}");
        let pattern = option.trim_start_matches("--ignore '").trim_end_matches('\'');
        assert_same(&import(&path, &options(None, None, &[pattern])).unwrap().1, &want, name);
    }
    // AveragedModel's counter goes by itself where its wrapper is; elsewhere the option is said.
    let (i, got) = import(&with("module.", &["n_averaged"]), &Options::default()).unwrap();
    assert_same(&got, &want, "averaged");
    assert!(i.notes.iter().any(|n| n.starts_with("an AveragedModel: ")), "{:?}", i.notes);
    let path = with("", &["n_averaged"]);
    assert!(import(&path, &Options::default()).unwrap_err().contains("--ignore 'n_averaged'"));
    assert_same(&import(&path, &options(None, None, &["n_averaged"])).unwrap().1, &want, "n_averaged");
    // Two networks in one dictionary.
    let mut both = prefixed("net.", &want);
    let teacher = weights("teacher");
    prefixed("teacher.", &teacher).iter().for_each(|(k, t)| {
        both.insert(k, t.clone());
    });
    let path = s.dict(&both);
    let e = import(&path, &Options::default()).unwrap_err();
    assert!(e.contains("holds 2 networks, whose names begin with \"net.\", \"teacher.\"; choose one with --prefix"), "{e}");
    assert_same(&import(&path, &options(None, Some("teacher."), &[])).unwrap().1, &teacher, "teacher");
    // Options that find nothing or are none.
    assert!(import(&path, &options(None, Some("student."), &[])).unwrap_err().contains("--prefix student.: no tensor"));
    assert!(import(&path, &options(None, None, &["[a"])).unwrap_err().contains("--ignore [a: not a pattern"));
    assert!(import(&path, &options(None, Some(""), &[])).unwrap_err().contains("--prefix is empty"));
    // Values that are no tensors can be left out, too.
    let (tensors, storages) = state_dict(&want);
    let mut entries = tensors;
    entries.push(("version".into(), Py::Int(2)));
    let path = s.file("v.pth", &Saved { root: Py::ordered(entries), storages }.zip("v", ID));
    assert!(import(&path, &Options::default()).unwrap_err().contains("\"version\" is an integer"));
    assert_same(&import(&path, &options(None, None, &["version"])).unwrap().1, &want, "version");
}

#[test]
fn other_networks_and_whole_models_are_refused_in_a_sentence() {
    let s = Scratch::new();
    // MONAI's port has as many stages as it is told.
    let monai: Checkpoint = signature(&net("flavour = \"monai\"\n"))
        .tensors
        .into_iter()
        .map(|t| (t.key.clone(), golden_weight("m", &t.key, &t.shape)))
        .collect();
    for stages in [3usize, 5] {
        let mut w: Checkpoint =
            monai.iter().filter(|(k, _)| stages > 3 || !k.contains("s.3.")).map(|(k, t)| (k.to_owned(), t.clone())).collect();
        if stages > 4 {
            monai.iter().filter(|(k, _)| k.contains("s.3.")).for_each(|(k, t)| {
                w.insert(k.replace("s.3.", "s.4."), t.clone());
            });
        }
        let e = import(&s.dict(&w), &Options::default()).unwrap_err();
        assert!(
            e.ends_with(&format!("a MedNeXt of {stages} stages (entries of blocks_down); mnx knows those of 4")) && !e.contains('\n'),
            "{e}"
        );
    }
    let unet: Checkpoint = ["encoder.stages.0.0.convs.0.conv.weight", "encoder.stages.0.0.convs.0.norm.weight"]
        .map(|k| (k.to_owned(), Tensor::zeros(vec![3])))
        .into_iter()
        .collect();
    let e = import(&s.dict(&unet), &Options::default()).unwrap_err();
    assert!(e.contains("not a MedNeXt: no tensor is called \"stem.weight\"") && e.ends_with("mnx compiles MedNeXts only"), "{e}");
    // torch.save(model): the class is a name that is not on the list.
    let class = Py::Global("monai.networks.nets.mednext", "MedNeXt");
    let model = Saved { root: Py::Call(Rc::new((class, Py::tuple(vec![]), None))), storages: vec![] };
    let e = import(&s.file("model.pth", &model.zip("model", ID)), &Options::default()).unwrap_err();
    assert!(
        e.contains("monai.networks.nets.mednext.MedNeXt is not on the list")
            && e.contains("torch.save(model.state_dict(), \"weights.pth\")"),
        "{e}"
    );
}

/// A zip archive as `nnUNetv2_export_model_to_zip` lays it out: deflated, paths from the results' folder on.
fn exported(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let deflated = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in files {
        writer.start_file(name.as_str(), deflated).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn files_of(case: &Case, configuration: &str) -> Vec<(String, Vec<u8>)> {
    let folder = case.folder.replace("3d_fullres", configuration);
    let mut out = Vec::new();
    for (fold, _) in case.folds {
        out.push((format!("{folder}/fold_{fold}/checkpoint_final.pth"), case.checkpoint(fold)));
        out.push((format!("{folder}/fold_{fold}/progress.png"), vec![0; 100]));
        out.push((format!("{folder}/fold_{fold}/validation/summary.json"), b"{}".to_vec()));
    }
    for name in ["plans.json", "dataset.json"] {
        let text = std::fs::read_to_string(fixtures(case).join(name)).unwrap();
        out.push((format!("{folder}/{name}"), text.replace("3d_fullres", configuration).into_bytes()));
    }
    // The plans of predictions that were exported along are not another model.
    out.push((format!("{folder}/crossval_results_folds_0_1/plans.json"), b"{}".to_vec()));
    out
}

#[test]
fn exported_models_are_read_from_their_archive() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::named("v2_ct_aniso_tta");
    let path = dir.path().join("model.zip");
    exported(&path, &files_of(&case, "3d_fullres"));
    let zipped = Import::open(&path, &Options::default()).unwrap();
    let folder = Import::open(&case.rebuild(dir.path()), &Options::default()).unwrap();
    assert_eq!((&zipped.config, zipped.what), (&folder.config, "an nnU-Net v2 result folder"));
    for (z, f) in zipped.folds.iter().zip(&folder.folds) {
        assert_eq!(zipped.read(z).unwrap(), folder.read(f).unwrap(), "fold {}", z.name);
    }
    assert_eq!(zipped.folds.len(), 2);
    // The archive is what is named, not where it was unpacked, and the temporary folder goes with the import.
    let mut said = Vec::new();
    zipped.write(&dir.path().join("net"), &mut |l| said.push(l.to_owned())).unwrap();
    assert!(said[0].contains("model.zip/Dataset902_Torso/") && !said[0].contains(".mnx-"), "{said:?}");
    let unpacked = zipped.folds[0].path.clone();
    assert!(unpacked.is_file());
    drop(zipped);
    assert!(!unpacked.exists());

    // Version 1.
    let v1 = Case::named("v1_ct");
    let mut files: Vec<(String, Vec<u8>)> = vec![(format!("{}/fold_0/model_final_checkpoint.model", v1.folder), v1.checkpoint("0"))];
    files.push((
        format!("{}/fold_0/model_final_checkpoint.model.pkl", v1.folder),
        std::fs::read(fixtures(&v1).join("model_final_checkpoint.model.pkl")).unwrap(),
    ));
    files.push((format!("{}/plans.pkl", v1.folder), std::fs::read(fixtures(&v1).join("plans.pkl")).unwrap()));
    exported(&path, &files);
    assert_eq!(Import::open(&path, &Options::default()).unwrap().config.name, "Task904_Torso MedNeXt-S k3");

    // Several configurations.
    let mut both = files_of(&case, "3d_fullres");
    both.extend(files_of(&case, "3d_lowres"));
    exported(&path, &both);
    let e = Import::open(&path, &Options::default()).unwrap_err().to_string();
    assert!(e.contains("2 models") && e.contains("choose one with --configuration, such as --configuration 3d_fullres"), "{e}");
    // The checkpoint inside names the configuration that it was trained as, the folder's plans have the other.
    let low = Options { configuration: Some("3d_lowres".into()), ..Options::default() };
    assert_eq!(Import::open(&path, &low).unwrap().folds.len(), 2);
    let none = Options { configuration: Some("2d".into()), ..Options::default() };
    assert!(Import::open(&path, &none).unwrap_err().to_string().contains("without a model of the configuration 2d"));
}

#[test]
fn hostile_archives_write_nothing_outside_and_end_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.zip");
    let refused = |files: &[(String, Vec<u8>)]| {
        exported(&path, files);
        Import::open(&path, &Options::default()).unwrap_err().to_string()
    };
    for name in ["../plans.json", "/plans.json", "a/../../plans.json", "a\\..\\..\\plans.json", "./plans.json/../../plans.json"] {
        let e = refused(&[(name.to_owned(), b"{}".to_vec())]);
        assert!(e.contains("a path within the archive expected"), "{name}: {e}");
    }
    assert!(!dir.path().parent().unwrap().join("plans.json").exists() && !Path::new("/plans.json").exists());
    // Two hundred megabytes of zeros.
    let e = refused(&[("m/fold_0/checkpoint_final.pth".to_owned(), vec![0; 200 << 20])]);
    assert!(e.contains("far larger than the archive"), "{e}");
    let many: Vec<(String, Vec<u8>)> = (0..1001).map(|i| (format!("m{i}/plans.json"), b"{}".to_vec())).collect();
    assert!(refused(&many).contains("1001 files of models"));
    let deep = "d/".repeat(40);
    assert!(refused(&[(format!("{deep}plans.json"), b"{}".to_vec())]).contains("a path within the archive expected"));
    assert!(refused(&[("m/plans.json".to_owned(), b"{}".to_vec())]).contains("a zip archive without a model"));
    assert!(refused(&[("readme.txt".to_owned(), b"{}".to_vec())]).contains("a model that nnU-Net exported or a MONAI bundle expected"));
    // A file in the place of a folder.
    assert!(
        refused(&[("m/plans.json".to_owned(), b"{}".to_vec()), ("m/plans.json/dataset.json".to_owned(), b"{}".to_vec())])
            .contains("zip entry")
    );
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "something was written beside the archive");
}

/// Notes belong to a network; an error stands alone.
#[test]
fn an_import_that_fails_says_the_error_and_nothing_else() {
    let s = Scratch::new();
    let mut w = prefixed("module.", &weights("w"));
    w.remove("module.bottleneck.0.conv1.bias");
    let run = |path: &Path, more: &[&str]| {
        let mnxc = mnx_tests::binaries::folder().join("mnxc");
        let out = std::process::Command::new(mnxc)
            .arg("import")
            .arg(path)
            .args(["-o", "net"])
            .args(more)
            .current_dir(s.0.path())
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, text) = run(&s.dict(&w), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.starts_with("error[import-0102]")
            && text.contains("bottleneck.0.conv1.bias")
            && !text.contains("names lose")
            && !text.contains("no patch"),
        "{text}"
    );
    assert!(!s.0.path().join("net").exists());
    let (code, text) = run(&s.dict(&prefixed("module.", &weights("w"))), &[]);
    assert!(code == Some(0) && text.contains("names lose the prefix \"module.\"") && text.contains("no patch"), "{text}");
    // The options of the command line are the library's.
    std::fs::remove_dir_all(s.0.path().join("net")).unwrap();
    let path = s.file("two.ckpt", &holding(&[("state_dict", &weights("a")), ("ema", &prefixed("net.", &weights("b")))]).zip("two", ID));
    let (code, text) = run(&path, &[]);
    assert!(code == Some(1) && text.starts_with("error[import-0104]"), "{text}");
    let (code, text) = run(&path, &["--key", "ema", "--prefix", "net.", "--ignore", "x.*", "--ignore-preprocessor"]);
    assert!(code == Some(0) && text.contains("warning: --ignore x.* matches no tensor"), "{text}");
}
