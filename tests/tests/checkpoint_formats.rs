//! Checkpoint files of every kind end in the same network and the same bits, or in an error that says why.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::rc::Rc;

use mnx_import::torch::TorchFile;
use mnx_import::{Heads, Import, Options};
use mnx_model::{Config, Flavour, map_keys, signature};
use mnx_tests::nnunet::state_dict;
use mnx_tests::pytorch::{Py, Saved, TensorOf, pickle, zip};
use mnx_weights::{Checkpoint, Tensor, golden_weight};

const ID: &str = "1234567890123456789012345678901234567890";

fn config(text: &str) -> Config {
    Config::from_toml(text, "net").unwrap()
}

/// A small network that differs from all defaults.
fn net() -> Config {
    config(
        "in_channels = 2\nn_channels = 4\nn_classes = 3\nexp_r = [2, 3, 4, 2, 3, 4, 2, 3, 2]\nblock_counts = [1, 2, 1, 0, 1, 1, 3, 1, 1]\n\
         enc_kernel_size = 3\ndec_kernel_size = 5\ndeep_supervision = true\ndo_res = true\ndo_res_up_down = true\n",
    )
}

fn weights(config: &Config) -> Checkpoint {
    signature(config).tensors.into_iter().map(|t| (t.key.clone(), golden_weight("formats", &t.key, &t.shape))).collect()
}

fn saved(root: impl FnOnce(Py) -> Py, weights: &Checkpoint) -> Saved {
    let (tensors, storages) = state_dict(weights);
    Saved { root: root(Py::ordered(tensors)), storages }
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
}

fn import(path: &Path, options: &Options) -> Result<(Import, Checkpoint), String> {
    let import = Import::open(path, options).map_err(|e| e.to_string())?;
    let weights = import.read(&import.folds[0]).map_err(|e| e.to_string())?;
    Ok((import, weights))
}

fn refused(path: &Path) -> String {
    match import(path, &Options::default()) {
        Ok((i, _)) => format!("accepted {}", i.config.name),
        Err(e) => {
            assert!(e.contains(&path.display().to_string()), "the file is not named: {e}");
            e
        }
    }
}

/// What tensors tell of a network.
fn told(c: &Config) -> impl PartialEq + std::fmt::Debug {
    let shape = (c.flavour, c.in_channels, c.n_channels, c.n_classes, c.enc_kernel_size, c.dec_kernel_size);
    (shape, c.exp_r, c.block_counts, c.deep_supervision, c.do_res_up_down, c.grn, c.dim)
}

fn assert_same(got: &Checkpoint, want: &Checkpoint, what: &str) {
    assert_eq!(got.names().collect::<Vec<_>>(), want.names().collect::<Vec<_>>(), "{what}");
    assert!(got.iter().zip(want.iter()).all(|((_, g), (_, w))| g == w), "{what}");
}

#[test]
fn containers_and_prefixes() {
    let s = Scratch::new();
    let (net, want) = (net(), weights(&net()));
    let prefixed = |p: &str| -> Checkpoint { want.iter().map(|(k, t)| (format!("{p}{k}"), t.clone())).collect() };
    let bare = |w: &Checkpoint| saved(|d| d, w);
    let held = |key: &'static str| saved(|d| Py::dict(vec![("epoch", Py::Int(3)), (key, d)]), &want);
    let widths = vec![4; want.len()];
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("zip.pth".into(), bare(&want).zip("zip", ID)),
        ("archive.pt".into(), bare(&want).zip("archive", ID)),
        ("legacy.pth".into(), bare(&want).legacy(&widths)),
        ("held_legacy.ckpt".into(), held("state_dict").legacy(&widths)),
    ];
    for key in ["state_dict", "network_weights", "model_state_dict", "model"] {
        files.push((format!("{key}.pth"), held(key).zip(key, ID)));
    }
    for prefix in ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net.", "module.model.net."] {
        files.push((format!("p_{}pth", prefix.replace('.', "_") + "."), bare(&prefixed(prefix)).zip("x", ID)));
    }
    for (name, bytes) in &files {
        let (i, got) = import(&s.file(name, bytes), &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_same(&got, &want, name);
        assert_eq!(told(&i.config), told(&net), "{name}");
        // What the tensors cannot tell is announced.
        let announced = |text: &str| i.notes.iter().any(|n| n.contains(text));
        assert!(
            i.notes.iter().any(|n| n.contains("norm") && n.contains("group"))
                && announced("--do-res")
                && announced("compiled for 64x64x64"),
            "{:?}",
            i.notes
        );
    }
    let path = s.0.path().join("w.safetensors");
    prefixed("module.").save(&path).unwrap();
    assert_same(&import(&path, &Options::default()).unwrap().1, &want, "safetensors");
}

#[test]
fn networks_of_every_kind_are_told_apart() {
    let s = Scratch::new();
    let small = "n_channels = 4\nin_channels = 1\nn_classes = 2\nblock_counts = [1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
    let cases = [
        format!("{small}kernel_size = 3\nexp_r = 2\n"),
        format!("{small}kernel_size = 5\nexp_r = 3\ndo_res_up_down = true\ndo_res = true\ngrn = true\n"),
        format!("{small}kernel_size = 3\nexp_r = 2\ndim = \"2d\"\ndo_res_up_down = true\ndo_res = true\ndeep_supervision = true\n"),
        format!("flavour = \"v2\"\n{small}exp_r = 2\n"),
        format!("flavour = \"monai\"\n{small}kernel_size = 3\nexp_r = [2, 3, 4, 5, 6, 5, 4, 3, 2]\ndo_res = true\n"),
        format!("flavour = \"monai\"\n{small}kernel_size = 5\nexp_r = 2\ngrn = true\ndeep_supervision = true\n"),
        "variant = \"B\"\nin_channels = 4\nn_classes = 4\nkernel_size = 5\n".to_owned(),
        "flavour = \"monai\"\nvariant = \"M\"\nin_channels = 1\nn_classes = 2\n".to_owned(),
        // Stages without blocks take their ratio from the resampling block that leads into them.
        "in_channels = 1\nn_channels = 4\nn_classes = 2\nkernel_size = 3\nexp_r = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nblock_counts = [0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
            .to_owned(),
    ];
    for text in &cases {
        let net = config(text);
        let want = weights(&net);
        let path = s.file("n.pth", &saved(|d| d, &want).zip("n", ID));
        let (i, got) = import(&path, &Options::default()).unwrap_or_else(|e| panic!("{text}{e}"));
        assert_same(&got, &want, text);
        assert_eq!(told(&i.config), told(&net), "{text}");
        assert_eq!(i.config.variant, net.variant, "{text}");
    }
    let layer =
        Options { norm: Some(mnx_model::NormType::Layer), do_res: Some(false), name: Some("mine \"x\"\n".into()), ..Options::default() };
    let path = s.file("n.pth", &saved(|d| d, &weights(&net())).zip("n", ID));
    let (i, _) = import(&path, &layer).unwrap();
    assert_eq!((i.config.norm_type, i.config.do_res, i.config.name.as_str()), (mnx_model::NormType::Layer, false, "mine \"x\"\n"));
}

#[test]
fn heads_are_kept_or_dropped_and_never_an_error() {
    let s = Scratch::new();
    let want = weights(&net());
    let main = Options { heads: Heads::Main, ..Options::default() };
    let file = |w: &Checkpoint| s.file("h.pth", &saved(|d| d, w).zip("h", ID));
    let (i, got) = import(&file(&want), &main).unwrap();
    assert!(!i.config.deep_supervision && got.len() == want.len() - 8 && i.notes.iter().any(|n| n.starts_with("8 tensors of deep")));
    let mut partial = want.clone();
    partial.remove("out_3.conv_out.bias");
    partial.insert("out_2.conv_out.weight", Tensor::zeros(vec![1, 1]));
    partial.remove("dummy_tensor");
    let (i, got) = import(&file(&partial), &Options::default()).unwrap();
    assert!(!i.config.deep_supervision && i.notes.iter().any(|n| n.contains("not complete")), "{:?}", i.notes);
    assert_eq!(got.get("dummy_tensor").unwrap().data, [1.0]);
    // MONAI's heads stand in a list, deepest first.
    let monai = config("flavour = \"monai\"\nin_channels = 1\nn_channels = 4\nn_classes = 2\nkernel_size = 3\ndeep_supervision = true\n");
    let official = config("in_channels = 1\nn_channels = 4\nn_classes = 2\nkernel_size = 3\nexp_r = 2\ndeep_supervision = true\n");
    let (_, got) = import(&file(&weights(&monai)), &Options::default()).unwrap();
    let renamed = map_keys(&got, Flavour::Official).unwrap();
    assert!(signature(&official).tensors.iter().all(|t| renamed.get(&t.key).is_some_and(|g| g.shape == t.shape)));
}

#[test]
fn every_misfit_is_listed_by_name() {
    let s = Scratch::new();
    let mut w = weights(&net());
    w.remove("enc_block_1.1.conv3.bias");
    w.insert("dec_block_2.0.conv2.weight", Tensor::zeros(vec![7, 16, 1, 1, 1]));
    w.insert("criterion.weight", Tensor::zeros(vec![3]));
    w.insert("enc_block_7.0.conv1.bias", Tensor::zeros(vec![3]));
    let e = refused(&s.file("m.pth", &saved(|d| d, &w).zip("m", ID)));
    for text in [
        "\"enc_block_1.1.conv3.bias\" (8) is missing",
        "\"dec_block_2.0.conv2.weight\" has shape 7x16x1x1x1, the network needs",
        "\"criterion.weight\" (3) does not belong to the network",
        "\"enc_block_7.0.conv1.bias\" (3) does not belong to the network",
        "to leave out what is not the network's: --ignore 'criterion.*'",
    ] {
        assert!(e.contains(text), "{text}: {e}");
    }
    let other: Checkpoint = [("conv.weight".to_owned(), Tensor::zeros(vec![3]))].into_iter().collect();
    assert!(
        refused(&s.file("o.pth", &saved(|d| d, &other).zip("o", ID)))
            .contains("not a MedNeXt: no tensor is called \"stem.weight\" (1 tensor: \"conv.weight\"); mnx compiles MedNeXts only")
    );
    assert!(refused(&s.file("e.pth", &saved(|_| Py::Int(1), &other).zip("e", ID))).contains("no state dict"));
}

/// A state dict whose tensors `change` may put differently.
fn reshaped(w: &Checkpoint, change: impl Fn(usize, &Tensor, &mut TensorOf, &mut Vec<u8>)) -> Saved {
    let mut storages = Vec::new();
    let mut tensors = Vec::new();
    for (i, (name, t)) in w.iter().enumerate() {
        let mut view = TensorOf::dense("FloatStorage", &i.to_string(), &t.shape);
        let mut bytes: Vec<u8> = t.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        change(i, t, &mut view, &mut bytes);
        storages.push((view.key.clone(), bytes));
        tensors.push((name.to_owned(), Py::Tensor(Rc::new(view))));
    }
    Saved { root: Py::ordered(tensors), storages }
}

#[test]
fn storage_types_strides_and_shared_storages() {
    let s = Scratch::new();
    let want = weights(&net());
    // Values that half precision and integers hold exactly.
    let coarse: Checkpoint = want
        .iter()
        .map(|(k, t)| (k.to_owned(), Tensor::new(t.shape.clone(), t.data.iter().map(|v| (v * 50.0).round()).collect())))
        .collect();
    type Encode = fn(f32) -> Vec<u8>;
    let types: [(&'static str, usize, Encode); 7] = [
        ("DoubleStorage", 8, |v| f64::from(v).to_le_bytes().to_vec()),
        ("HalfStorage", 2, |v| half::f16::from_f32(v).to_le_bytes().to_vec()),
        ("BFloat16Storage", 2, |v| half::bf16::from_f32(v).to_le_bytes().to_vec()),
        ("LongStorage", 8, |v| (v as i64).to_le_bytes().to_vec()),
        ("IntStorage", 4, |v| (v as i32).to_le_bytes().to_vec()),
        ("ShortStorage", 2, |v| (v as i16).to_le_bytes().to_vec()),
        ("CharStorage", 1, |v| (v as i8).to_le_bytes().to_vec()),
    ];
    for (class, width, encode) in types {
        let file = reshaped(&coarse, |_, t, view, bytes| {
            view.class = class;
            *bytes = t.data.iter().flat_map(|v| encode(*v)).collect();
        });
        for (kind, bytes) in [("zip", file.zip("t", ID)), ("legacy", file.legacy(&vec![width; want.len()]))] {
            let (i, got) = import(&s.file("t.pth", &bytes), &Options::default()).unwrap_or_else(|e| panic!("{class} {kind}: {e}"));
            assert_same(&got, &coarse, class);
            assert!(i.notes.iter().any(|n| n.contains("become float32")), "{:?}", i.notes);
        }
    }
    // Columns first, with a gap before and between: every element stands elsewhere than usual.
    let strided = reshaped(&want, |_, t, view, bytes| {
        view.strides = t
            .shape
            .iter()
            .scan(3, |step, n| {
                Some({
                    let now = *step;
                    *step *= n;
                    now
                })
            })
            .collect();
        view.offset = 5;
        view.elements = 5 + 3 * t.len();
        let mut out = vec![0u8; 4 * view.elements];
        for (flat, v) in t.data.iter().enumerate() {
            let (mut rest, mut at) = (flat, view.offset);
            for (n, s) in t.shape.iter().zip(&view.strides).rev() {
                at += rest % n * s;
                rest /= n;
            }
            out[4 * at..4 * at + 4].copy_from_slice(&v.to_le_bytes());
        }
        *bytes = out;
    });
    assert_same(&import(&s.file("s.pth", &strided.zip("s", ID)), &Options::default()).unwrap().1, &want, "strided");
    assert_same(&import(&s.file("s.pth", &strided.legacy(&vec![4; want.len()])), &Options::default()).unwrap().1, &want, "strided legacy");

    // One storage for all, as flat parameters have.
    let total: usize = want.iter().map(|(_, t)| t.len()).sum();
    let mut at = 0;
    let mut tensors = Vec::new();
    for (name, t) in want.iter() {
        let view = TensorOf { key: "0".into(), elements: total, offset: at, ..TensorOf::dense("FloatStorage", "0", &t.shape) };
        at += t.len();
        tensors.push((name.to_owned(), Py::Tensor(Rc::new(view))));
    }
    let flat: Vec<u8> = want.iter().flat_map(|(_, t)| t.data.iter().flat_map(|v| v.to_le_bytes())).collect();
    let shared = Saved { root: Py::ordered(tensors), storages: vec![("0".into(), flat)] };
    assert_same(&import(&s.file("f.pth", &shared.zip("f", ID)), &Options::default()).unwrap().1, &want, "shared");
    assert_same(&import(&s.file("f.pth", &shared.legacy(&[4])), &Options::default()).unwrap().1, &want, "shared legacy");
}

#[test]
fn hostile_and_broken_files_end_in_an_error() {
    let s = Scratch::new();
    let w = weights(&net());
    let good = saved(|d| d, &w);
    let whole = good.zip("g", ID);
    // Truncated anywhere; a byte of a tensor changed (the archive's checksum finds it).
    for cut in [1, 3, 100, whole.len() / 2, whole.len() - 1] {
        refused(&s.file("c.pth", &whole[..cut]));
    }
    let legacy = good.legacy(&vec![4; w.len()]);
    for cut in [1, 10, 40, 300, legacy.len() / 2, legacy.len() - 1] {
        refused(&s.file("c.pth", &legacy[..cut]));
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    assert!(refused(&s.file("c.pth", &flipped)).to_lowercase().contains("checksum"), "{}", refused(&s.file("c.pth", &flipped)));

    // A storage that is shorter than it says, or not there.
    let mut short = good.clone();
    short.storages[3].1.pop();
    assert!(refused(&s.file("c.pth", &short.zip("g", ID))).contains("bytes"));
    short.storages.remove(3);
    assert!(refused(&s.file("c.pth", &short.zip("g", ID))).contains("is not in the file"));

    // A tensor that a stride of zero makes enormous.
    let bomb = reshaped(&w, |i, _, view, _| {
        if i == 1 {
            view.shape = vec![30_000, 30_000, 30_000];
            view.strides = vec![0, 0, 0];
        }
    });
    let mut file = TorchFile::open(&s.file("c.pth", &bomb.zip("g", ID))).unwrap();
    let value = file.heap().get(file.root(), "stem.weight").unwrap();
    let e = file.tensor("stem.weight", value).unwrap_err().to_string();
    assert!(e.contains("far larger than the file"), "{e}");

    // Names that would be paths, two entries of one name, no pickle, several pickles, a script.
    let entries = |names: &[&str]| zip(&names.iter().map(|n| ((*n).to_owned(), pickle(&Py::Int(1)))).collect::<Vec<_>>());
    for (names, reason) in [
        (&["../data.pkl"][..], "a zip archive without data.pkl"),
        (&["/data.pkl", "x"][..], "without data.pkl"),
        (&["C:\\\\data.pkl"][..], "without data.pkl"),
        (&["a/b/data.pkl"][..], "without data.pkl"),
        (&["a/data.pkl", "a/data.pkl"][..], "two entries of one name"),
        (&["a/other"][..], "without data.pkl"),
        (&["a/data.pkl", "b/data.pkl"][..], "2 files data.pkl"),
        (&["a/data.pkl", "a/constants.pkl", "a/code/x.py"][..], "TorchScript"),
    ] {
        let e = refused(&s.file("z.pth", &entries(names)));
        assert!(e.contains(reason), "{names:?}: {e}");
    }
    // An end that claims more entries than could be.
    let mut many = whole.clone();
    let end = many.len() - 22;
    many[end + 10..end + 12].copy_from_slice(&[0xff, 0xff]);
    let record = many.len() - 22 - 20 - 56;
    many[record + 24..record + 40].fill(0x7f);
    assert!(refused(&s.file("z.pth", &many)).contains("entries"));

    // Code in a pickle, whatever holds it.
    let evil = Saved { root: Py::Call(Rc::new((Py::Global("os", "system"), Py::tuple(vec![Py::str("true")]), None))), storages: vec![] };
    for bytes in [evil.zip("x", ID), evil.legacy(&[]), pickle(&evil.root)] {
        let e = refused(&s.file("e.pth", &bytes));
        assert!(e.contains("os.system is not on the list"), "{e}");
    }
    for (name, bytes) in [("empty.pth", &b""[..]), ("text.pth", b"hello there\n"), ("x.safetensors", b"\x08\0\0\0\0\0\0\0{\"a\":1}}")] {
        refused(&s.file(name, bytes));
    }
    refused(&s.0.path().join("none.pth"));
}

#[test]
fn a_deflated_bomb_is_cut_off() {
    use std::io::Write;
    let s = Scratch::new();
    // Two hundred megabytes of zeros, deflated, in the place of the pickle and of a storage.
    for place in ["b/data.pkl", "b/data/0"] {
        let path = s.0.path().join("b.pth");
        let mut writer = ::zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let deflated = ::zip::write::SimpleFileOptions::default().compression_method(::zip::CompressionMethod::Deflated);
        if place != "b/data.pkl" {
            let root =
                Py::ordered(vec![("stem.weight".into(), Py::Tensor(Rc::new(TensorOf::dense("FloatStorage", "0", &[4, 2, 1, 1, 1]))))]);
            writer.start_file("b/data.pkl", deflated).unwrap();
            writer.write_all(&pickle(&root)).unwrap();
        }
        writer.start_file(place, deflated).unwrap();
        let block = vec![0u8; 1 << 20];
        for _ in 0..200 {
            writer.write_all(&block).unwrap();
        }
        writer.finish().unwrap();
        if place == "b/data.pkl" {
            let e = refused(&path);
            assert!(e.contains("at most") && e.contains("data.pkl"), "{e}");
            continue;
        }
        let mut file = TorchFile::open(&path).unwrap();
        let value = file.heap().get(file.root(), "stem.weight").unwrap();
        let e = file.tensor("stem.weight", value).unwrap_err().to_string();
        assert!(e.contains("\"stem.weight\"") && e.contains("at most 32 expected"), "{e}");
    }
}
