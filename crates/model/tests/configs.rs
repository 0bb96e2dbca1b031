//! Reading configs: what absent keys mean, and what is said of wrong ones.
#![allow(clippy::unwrap_used)]

use mnx_artifact::{
    Activation, Average, Connectivity, Deviation, Gaussian, Inference, Postprocess, Preprocess, ProbabilityFile, Reader, Resampling,
    SeparateZ, Sequence, Windows,
};
use mnx_ir::GrnReduce;
use mnx_model::{Config, Dim, Flavour, NormType, Normalization, Variant};

fn read(toml: &str) -> Config {
    Config::from_toml(toml, "dir/net.toml").unwrap()
}

/// All complaints, one string each.
fn refused(toml: &str) -> Vec<String> {
    let list = Config::from_toml(toml, "net.toml").unwrap_err();
    list.iter().map(ToString::to_string).collect()
}

fn refused_once(toml: &str, parts: &[&str]) {
    let list = refused(toml);
    assert_eq!(list.len(), 1, "{list:#?}");
    for part in parts {
        assert!(list[0].contains(part), "`{part}` is not in: {}", list[0]);
    }
}

const MUST: &str = "in_channels = 1\nn_channels = 8\nn_classes = 3\n";

#[test]
fn official_defaults() {
    let c = read(MUST);
    assert_eq!(c.name, "net");
    assert_eq!((c.flavour, c.variant), (Flavour::Official, None));
    assert_eq!((c.exp_r, c.block_counts), ([4; 9], [2; 9]));
    assert_eq!((c.enc_kernel_size, c.dec_kernel_size), (7, 7));
    assert!(!c.deep_supervision && !c.do_res && !c.do_res_up_down && !c.grn);
    assert_eq!((c.norm_type, c.dim, c.grn_reduce), (NormType::Group, Dim::Three, GrnReduce::Mean));
    assert!(c.preprocess.is_none() && c.labels.is_empty() && c.notices.is_empty());
}

#[test]
fn variants_fill_and_explicit_keys_override() {
    let c = read("variant = \"M\"\nin_channels = 4\nn_classes = 4");
    assert_eq!(c.name, "MedNeXt-M k3");
    assert_eq!((c.n_channels, c.enc_kernel_size, c.dec_kernel_size), (32, 3, 3));
    assert!(c.do_res && c.do_res_up_down && !c.grn);
    assert_eq!(c.exp_r, Variant::M.exp_r());
    assert_eq!(c.block_counts, [3, 4, 4, 4, 4, 4, 4, 4, 3]);
    let c =
        read("variant = \"L\"\nin_channels = 1\nn_classes = 2\nn_channels = 16\ndo_res = false\nexp_r = 2\nkernel_size = 5\ngrn = true");
    assert_eq!((c.n_channels, c.exp_r, c.dec_kernel_size), (16, [2; 9], 5));
    assert!(!c.do_res && c.do_res_up_down && c.grn);
    assert_eq!(c.block_counts, Variant::L.block_counts());
}

#[test]
fn kernel_size_wins_and_says_so() {
    let c = read(&format!("{MUST}kernel_size = 3\nenc_kernel_size = 5\ndec_kernel_size = 3"));
    assert_eq!((c.enc_kernel_size, c.dec_kernel_size), (3, 3));
    assert_eq!(c.notices, ["kernel_size = 3 overrides enc_kernel_size"]);
    let c = read(&format!("{MUST}enc_kernel_size = 3\ndec_kernel_size = 5"));
    assert_eq!((c.enc_kernel_size, c.dec_kernel_size), (3, 5));
    refused_once(&format!("{MUST}enc_kernel_size = 3"), &["dec_kernel_size", "missing"]);
}

#[test]
fn monai_semantics() {
    let c = read("flavour = \"monai\"");
    assert_eq!((c.in_channels, c.n_channels, c.n_classes, c.exp_r), (1, 32, 2, [2; 9]));
    assert_eq!((c.enc_kernel_size, c.do_res), (7, false));
    // One residual flag for both.
    let c = read("flavour = \"monai\"\ndo_res = true");
    assert!(c.do_res && c.do_res_up_down);
    let c = read("flavour = \"monai\"\nvariant = \"S\"\nin_channels = 1\nn_classes = 2\ndo_res_up_down = false");
    assert!(!c.do_res && !c.do_res_up_down);
    refused_once("flavour = \"monai\"\ndo_res = true\ndo_res_up_down = false", &["net.toml:3", "one flag"]);
    refused_once("flavour = \"monai\"\nenc_kernel_size = 3\ndec_kernel_size = 5", &["net.toml:3", "one kernel size"]);
    refused_once("flavour = \"monai\"\nnorm_type = \"layer\"", &["net.toml:2", "MONAI"]);
}

#[test]
fn v2_semantics() {
    let c = read("flavour = \"v2\"\nin_channels = 1\nn_classes = 3");
    assert!(c.grn && c.do_res && c.do_res_up_down);
    assert_eq!((c.exp_r, c.block_counts), (Variant::L.exp_r(), Variant::L.block_counts()));
    assert_eq!((c.n_channels, c.enc_kernel_size), (32, 3));
    let c = read("flavour = \"v2\"\nvariant = \"S\"\nin_channels = 1\nn_classes = 3\ngrn_reduce = \"sum\"");
    assert_eq!((c.exp_r, c.grn, c.grn_reduce), ([2; 9], true, GrnReduce::Sum));
    refused_once("flavour = \"v2\"\nin_channels = 1\nn_classes = 3\ngrn = false", &["GRN in every block"]);
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    refused_once(&format!("{MUST}kernal_size = 3"), &["net.toml:4:1", "`kernal_size`", "did you mean `kernel_size`?"]);
    refused_once(&format!("{MUST}block_count = 3"), &["did you mean `block_counts`?"]);
    refused_once(&format!("{MUST}Deep_Supervision = true"), &["did you mean `deep_supervision`?"]);
    refused_once(&format!("{MUST}optimizer = 3"), &["unknown key `optimizer`", "expected one of"]);
    refused_once(&format!("{MUST}[preprocess]\nspaceing = [1, 1, 1]"), &["`preprocess.spaceing`", "`spacing`"]);
    refused_once(&format!("{MUST}[training]\nlr = 1"), &["unknown key `training`"]);
}

#[test]
fn wrong_values_name_key_value_and_expectation() {
    let wrong = |line: &str, parts: &[&str]| {
        let mut all = vec!["net.toml:4:"];
        all.extend(parts);
        refused_once(&format!("{MUST}{line}"), &all);
    };
    wrong("patch = [64, 64]", &["`patch` is `[64, 64]`", "3 extents"]);
    wrong("patch = [64, 64, 0]", &["3 extents"]);
    wrong("kernel_size = 4", &["`kernel_size` is `4`", "odd integer"]);
    wrong("kernel_size = \"3\"", &["`\"3\"`", "odd integer"]);
    wrong("kernel_size = 99", &["from 1 to 31"]);
    wrong("exp_r = 0", &["`0`", "from 1 to 64"]);
    wrong("exp_r = [2, 2, 2]", &["got 3 entries", "9 integers"]);
    wrong("exp_r = [2, 2, 2, 2, 2, 2, 2, 2, 2.5]", &["9 integers"]);
    wrong("exp_r = \"two\"", &["`\"two\"`"]);
    wrong("block_counts = [1, 1, 1, 1]", &["got 4 entries"]);
    wrong("block_counts = 2", &["a list of 9"]);
    wrong("block_counts = [1, 1, 1, 1, -1, 1, 1, 1, 1]", &["from 0 to 256"]);
    wrong("do_res = 1", &["`1`", "true or false"]);
    wrong("norm_type = \"batch\"", &["\"group\", \"layer\""]);
    wrong("norm_type = \"grup\"", &["did you mean \"group\"?"]);
    wrong("dim = 3", &["\"2d\", \"3d\""]);
    wrong("variant = \"XL\"", &["\"S\", \"B\", \"M\", \"L\""]);
    wrong("flavour = \"monia\"", &["did you mean \"monai\"?"]);
    wrong("checkpoint_style = \"inside\"", &["\"outside_block\""]);
    wrong("name = \"\"", &["a string that is not empty"]);
    wrong("labels = 3", &["a table [labels]"]);
    wrong("grn_reduce = \"max\"", &["\"mean\", \"sum\""]);
    refused_once("in_channels = 0\nn_channels = 8\nn_classes = 3", &["net.toml:1:15", "`in_channels` is `0`", "from 1"]);
    refused_once("in_channels = 1\nn_channels = -8\nn_classes = 3", &["`-8`"]);
    refused_once("in_channels = 1\nn_channels = 99999999999999999999\nn_classes = 3", &["n_channels"]);
    refused_once("n_channels = 8\nn_classes = 3", &["`in_channels` is missing"]);
    refused_once(&format!("{MUST}dim = \"2d\"\nnorm_type = \"layer\""), &["net.toml:5", "3-D networks only"]);
}

#[test]
fn all_complaints_at_once() {
    let list = refused("in_channels = 0\nkernel_size = 2\nexpr = 3");
    assert_eq!(list.len(), 5, "{list:#?}"); // unknown, in_channels, n_channels, n_classes, kernel_size
}

#[test]
fn syntax_and_files() {
    refused_once("in_channels = \n", &["net.toml:1", "not valid TOML"]);
    refused_once("in_channels = 1\nin_channels = 2", &["net.toml:2", "not valid TOML"]);
    let missing = Config::load("no/such/file.toml").unwrap_err();
    assert!(missing[0].to_string().contains("no/such/file.toml"));
    for junk in ["", "\u{0}", "[", "]]]]", "a.b.c = 1", "= 3", "'''"] {
        assert!(Config::from_toml(junk, "junk.toml").is_err(), "{junk:?}");
    }
}

#[test]
fn preprocess_and_labels() {
    let c = read(&format!(
        "{MUST}[preprocess]\nspacing = [2.0, 1, 1.5]\norientation = \"RAS\"\nnormalization = \"zscore-masked\"\ncrop_to_nonzero = true\n\
         [labels]\nwhite = 2\nbackground = 0\ngrey = 1\n"
    ));
    let p = c.preprocess.clone().unwrap();
    assert_eq!(p.spacing, Some(vec![2.0, 1.0, 1.5]));
    assert_eq!((p.orientation.as_deref(), p.crop_to_nonzero), (Some("RAS"), true));
    assert_eq!(p.normalization, [Normalization::ZScoreMasked]);
    let labels: Vec<_> = c.labels.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(labels, [("background", 0), ("grey", 1), ("white", 2)]);
    assert_eq!(c.to_json()["preprocess"]["normalization"][0]["scheme"], "zscore-masked");

    let c = read(
        "in_channels = 2\nn_channels = 8\nn_classes = 3\n[preprocess]\n\
        normalization = [\"none\", { scheme = \"ct\", low = -100, high = 300.5, mean = 50, std = 20 }]",
    );
    let want = [Normalization::None, Normalization::Ct { low: -100.0, high: 300.5, mean: 50.0, std: 20.0, masked: false }];
    assert_eq!(c.preprocess.unwrap().normalization, want);
}

#[test]
fn channels_have_names() {
    let two = "in_channels = 2\nn_channels = 8\nn_classes = 3\n";
    assert_eq!(read(&format!("{two}[channels]\nT2 = 1\nT1 = 0\n")).channels, ["T1", "T2"]);
    assert!(read(two).channels.is_empty());
    let wrong = |lines: &str, part: &str| refused_once(&format!("{two}[channels]\n{lines}"), &["net.toml", part]);
    wrong("T1 = 0", "`channels.NAME OF CHANNEL 1` is missing");
    wrong("T1 = 0\nT2 = 2\nT3 = 1", "an image channel, 0 to 1");
    wrong("T1 = 0\nT2 = 1\nT3 = 1", "channels `T2` and `T3` are both 1");
}

#[test]
fn wrong_preprocess_and_labels() {
    let wrong = |lines: &str, part: &str| refused_once(&format!("{MUST}{lines}"), &["net.toml:5", part]);
    wrong("[preprocess]\nspacing = [1, 1]", "three positive numbers");
    wrong("[preprocess]\nspacing = [1, 1, 0]", "three positive numbers");
    wrong("[preprocess]\nspacing = [1, 1, nan]", "three positive numbers");
    wrong("[preprocess]\nspacing = 1.0", "three positive numbers");
    wrong("[preprocess]\norientation = \"RAP\"", "three letters");
    wrong("[preprocess]\norientation = \"ras\"", "three letters");
    wrong("[preprocess]\nnormalization = \"zscor\"", "did you mean \"zscore\"?");
    wrong("[preprocess]\nnormalization = \"ct\"", "ct needs its numbers");
    wrong("[preprocess]\nnormalization = { scheme = \"ct\", low = 1 }", "`high` is not a finite number");
    wrong("[preprocess]\nnormalization = { scheme = \"ct\", low = 1, high = 0, mean = 0, std = 1 }", "low below high");
    wrong("[preprocess]\nnormalization = { scheme = \"ct\", low = 0, high = 1, mean = 0, std = 0 }", "std above 0");
    wrong("[preprocess]\nnormalization = { scheme = \"ct\", lo = 0 }", "without `lo`");
    wrong("[preprocess]\nnormalization = [\"none\", \"none\"]", "each of the 1 input channels");
    let range = |numbers: &str| format!("[preprocess]\nnormalization = {{ scheme = \"range\", {numbers} }}");
    wrong(&range("low = 1"), "`high` is not a finite number");
    wrong(&range("low = 1, high = 1"), "low below high");
    wrong(&range("low = 1, high = 2, to_low = 5"), "to_low below to_high");
    wrong(&range("low = 1, high = 2, clip = 1"), "`clip` is not true or false");
    wrong(&range("low = 1, high = 2, mean = 1"), "without `mean`");
    wrong("[preprocess]\nnormalization = \"range\"", "range needs its numbers");
    wrong("[preprocess]\nnormalization = { scheme = \"percentiles\", lower = 5, upper = 101 }", "from 0 to 100");
    wrong("[preprocess]\nnormalization = { scheme = \"percentiles\", lower = 5, upper = 5 }", "lower below upper");
    wrong("[preprocess]\nreader = \"nibabble\"", "did you mean \"nibabel\"?");
    wrong("[labels]\na = 3", "from 0 to 2");
    wrong("[labels]\na = -1", "from 0 to 2");
    wrong("[labels]\na = \"x\"", "from 0 to 2");
    let list = refused(&format!("{MUST}[labels]\na = 1\nb = 1"));
    assert!(list[0].contains("labels `a` and `b` are both 1"), "{list:?}");
}

#[test]
fn inference_reads_what_the_manifest_would_write() {
    let c = read(&format!("{MUST}[preprocess]\n[inference]\n"));
    assert_eq!(c.inference, Some(Inference::default()));
    assert_eq!(c.preprocess, Some(Preprocess::default()));
    assert_eq!(read(MUST).inference, None);

    // Whatever the settings, their serialised form is a config's.
    let preprocess = Preprocess {
        spacing: Some(vec![3.0, 2.7, 2.7]),
        transpose: [2, 0, 1],
        normalization: vec![Normalization::Ct { low: -1.5, high: 2.0, mean: 0.25, std: 3.0, masked: true }],
        crop_to_nonzero: true,
        sequence: Sequence::ResampleNormalize,
        deviation: Deviation::Plus,
        resampling: Resampling { order: 1, order_z: 3, separate_z: SeparateZ::Always, anisotropy: 2.5, clip: false },
        reader: Some(Reader::NibabelReorient),
        ..Preprocess::default()
    };
    let inference = Inference {
        windows: Windows::Monai,
        step: 0.25,
        gaussian: Gaussian::NnunetV1,
        mirror_axes: Some(vec![2, 0]),
        average: Average::Probabilities,
        activation: Activation::Sigmoid,
        regions: vec![vec![1, 2, 3], vec![2, 3], vec![3]],
        class_order: vec![1, 2, 300],
        ignore: Some(4),
        export: Resampling { order: 0, ..Resampling::EXPORT },
        probabilities: ProbabilityFile::NnunetV1,
        postprocess: vec![
            Postprocess { labels: vec![1, 2], connectivity: Connectivity::Faces, min_size: Some(12.5) },
            Postprocess { labels: vec![3], connectivity: Connectivity::Corners, min_size: None },
        ],
    };
    let written = |t: &dyn Fn(&mut toml::Table)| {
        let mut all = toml::Table::new();
        t(&mut all);
        toml::to_string(&all).unwrap()
    };
    let text = written(&|all| {
        all.insert("preprocess".into(), toml::Value::try_from(&preprocess).unwrap());
        all.insert("inference".into(), toml::Value::try_from(&inference).unwrap());
        all.insert("labels".into(), toml::Value::try_from(std::collections::BTreeMap::from([("tumour", 300)])).unwrap());
    });
    let c = read(&format!("{MUST}{text}"));
    assert_eq!((c.preprocess, c.inference), (Some(preprocess), Some(inference)), "{text}");
    assert_eq!(c.labels, [("tumour".to_string(), 300)]);
    for scheme in [
        Normalization::ZScore,
        Normalization::ZScoreMasked,
        Normalization::ZScoreNonzero,
        Normalization::Rescale01,
        Normalization::Rgb01,
        Normalization::None,
        Normalization::Range { low: -57.0, high: 164.0, to_low: 0.0, to_high: 1.0, clip: true },
        Normalization::Percentiles { lower: 0.5, upper: 99.5, to_low: -1.0, to_high: 2.0, clip: false },
    ] {
        let preprocess = Preprocess { normalization: vec![scheme], ..Preprocess::default() };
        let text = written(&|all| drop(all.insert("preprocess".into(), toml::Value::try_from(&preprocess).unwrap())));
        assert_eq!(read(&format!("{MUST}{text}")).preprocess, Some(preprocess), "{text}");
    }
}

#[test]
fn wrong_inference() {
    let wrong = |lines: &str, part: &str| refused_once(&format!("{MUST}{lines}"), &["net.toml:5", part]);
    wrong("[preprocess]\ntranspose = [0, 1, 1]", "in some order");
    wrong("[preprocess]\ntranspose = [0, 1]", "in some order");
    wrong("[preprocess]\norientation = \"LPS\"\nreader = \"nibabel-reorient\"", "turns volumes to RAS");
    wrong("[preprocess]\nreader = \"itk\"", "\"simpleitk\"");
    wrong("[preprocess]\nsequence = \"resample\"", "\"resample-normalize\"");
    wrong("[preprocess]\ndeviation = 1e-8", "\"at-least\"");
    wrong("[preprocess]\nresampling = { order = 2 }", "`order` is not 0, 1 or 3");
    wrong("[preprocess]\nresampling = { anisotropy = 0.5 }", "1 or more");
    wrong("[preprocess]\nresampling = { ordre = 1 }", "without `ordre`");
    wrong(
        "[preprocess]\nnormalization = { scheme = \"ct\", low = 0, high = 1, mean = 0, std = 1, masked = 1 }",
        "`masked` is not true or false",
    );
    wrong("[inference]\nstep = 0", "above 0");
    wrong("[inference]\nstep = nan", "above 0");
    wrong("[inference]\nstap = 1", "did you mean `step`?");
    wrong("[inference]\ngaussian = \"v1\"", "\"nnunet-v1\"");
    wrong("[inference]\nmirror_axes = [0, 3]", "from 0 to 2");
    wrong("[inference]\nmirror_axes = [1, 1]", "different axes");
    wrong("[inference]\nclass_order = [1, 2, 3]", "activation = \"sigmoid\"");
    wrong("[inference]\nexport = 1", "order = 0, 1 or 3");
    wrong("[inference]\npostprocess = [{ labels = [0] }]", "labels from 1");
    wrong("[inference]\npostprocess = [{ labels = [1], min_size = -1 }]", "size in mm3");
    wrong("[inference]\nignore = 70000", "0 to 65535");
    refused_once(&format!("{MUST}[inference]\nactivation = \"sigmoid\""), &["class_order", "is missing"]);
    refused_once(&format!("{MUST}[inference]\nactivation = \"sigmoid\"\nclass_order = [1, 2]"), &["each of the 3 outputs"]);
    refused_once(
        &format!("{MUST}[inference]\nactivation = \"sigmoid\"\nclass_order = [1, 2, 3]\nregions = [[1]]"),
        &["1 region and 3 entries"],
    );
}

#[test]
fn no_effect_is_noticed() {
    assert_eq!(read(&format!("{MUST}grn_reduce = \"sum\"")).notices.len(), 1);
    let c = read(&format!("{MUST}checkpoint_style = \"outside_block\""));
    assert_eq!(c.checkpoint_style.as_deref(), Some("outside_block"));
    assert_eq!(read(&format!("{MUST}checkpoint_style = \"none\"")).checkpoint_style, None);
}
