//! What nnU-Net's plans and data sets say beside the network: readers, file endings, managers, patches, channels, postprocessing.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mnx_artifact::{Connectivity, Postprocess, Reader};
use mnx_import::{Import, Options};
use mnx_tests::nnunet::Case;
use mnx_tests::pytorch::{Py, pickle};
use serde_json::{Value as Json, json};

fn edit(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut json: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

/// A result folder with plans and data set changed.
struct Folder {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Folder {
    fn new(case: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Case::named(case).rebuild(dir.path());
        Self { _dir: dir, root }
    }

    fn open(&self, plans: impl FnOnce(&mut Json), dataset: impl FnOnce(&mut Json), options: &Options) -> Result<Import, String> {
        let files = ["plans.json", "dataset.json"].map(|f| self.root.join(f));
        let good = files.clone().map(|f| std::fs::read(f).unwrap());
        edit(&files[0], plans);
        edit(&files[1], dataset);
        let import = Import::open(&self.root, options).map_err(|e| e.to_string());
        files.iter().zip(good).for_each(|(f, bytes)| std::fs::write(f, bytes).unwrap());
        import
    }
}

#[test]
fn readers_are_followed_or_refused_by_name() {
    let folder = Folder::new("v2_ct_iso");
    let open = |reader: Json, overwrite: Json| {
        folder.open(|p| p["image_reader_writer"] = reader, |d| d["overwrite_image_reader_writer"] = overwrite, &Options::default())
    };
    for (name, reader, orientation) in [
        ("SimpleITKIO", Reader::Simpleitk, None),
        ("NibabelIO", Reader::Nibabel, None),
        ("NibabelIOWithReorient", Reader::NibabelReorient, Some("RAS")),
    ] {
        // Plans decide; a data set alone only where plans say nothing.
        for (plans, dataset) in [(json!(name), json!("NibabelIO")), (Json::Null, json!(name))] {
            let p = open(plans, dataset).unwrap().config.preprocess.unwrap();
            assert_eq!((p.reader, p.orientation.as_deref()), (Some(reader), orientation), "{name}");
        }
    }
    let p = open(Json::Null, json!("None")).unwrap().config.preprocess.unwrap();
    assert_eq!((p.reader, p.orientation), (Some(Reader::Simpleitk), None));
    for name in ["NaturalImage2DIO", "Tiff3DIO", "MyReader\n"] {
        let e = open(json!(name), Json::Null).unwrap_err();
        assert!(
            e.contains("plans.json: image_reader_writer is \"") && e.contains(name.trim()) && e.contains("NibabelIOWithReorient"),
            "{e}"
        );
        let e = open(Json::Null, json!(name)).unwrap_err();
        assert!(e.contains("overwrite_image_reader_writer"), "{e}");
    }
}

#[test]
fn endings_managers_and_preprocessors_are_known_or_refused() {
    let folder = Folder::new("v2_ct_iso");
    let ending = |e: Json| folder.open(|_| {}, |d| d["file_ending"] = e, &Options::default());
    assert!(ending(json!(".nii")).is_ok() && ending(Json::Null).is_ok());
    for other in [".nrrd", ".mha", ".png"] {
        let e = ending(json!(other)).unwrap_err();
        assert!(
            e.contains(&format!("file_ending is \"{other}\"")) && e.contains("SimpleITK.WriteImage") && e.contains("dataset.json"),
            "{e}"
        );
    }
    let manager = |m: Json| folder.open(|p| p["label_manager"] = m, |_| {}, &Options::default());
    assert!(manager(Json::Null).is_ok());
    let e = manager(json!("MyLabelManager")).unwrap_err();
    assert!(e.contains("label_manager is \"MyLabelManager\"; LabelManager"), "{e}");
    let preprocessor =
        |o: &Options| folder.open(|p| p["configurations"]["3d_fullres"]["preprocessor_name"] = json!("CTPreprocessor"), |_| {}, o);
    let e = preprocessor(&Options::default()).unwrap_err();
    assert!(
        e.contains("preprocessor_name is \"CTPreprocessor\"; DefaultPreprocessor expected") && e.contains("--ignore-preprocessor"),
        "{e}"
    );
    let i = preprocessor(&Options { ignore_preprocessor: true, ..Options::default() }).unwrap();
    assert!(i.notes.iter().any(|n| n.starts_with("warning: preprocessor \"CTPreprocessor\" is not known")), "{:?}", i.notes);

    // Version 1 has preprocessors of its own.
    let folder = Folder::new("v1_ct");
    let path = folder.root.join("plans.pkl");
    let file = mnx_import::torch::TorchFile::open(&path).unwrap();
    let mut plans = mnx_import::pickle::to_json(file.heap(), file.root()).unwrap();
    plans["preprocessor_name"] = json!("Preprocessor3DDifferentResampling");
    std::fs::write(&path, pickle(&Py::json(&plans))).unwrap();
    let e = Import::open(&folder.root, &Options::default()).unwrap_err().to_string();
    assert!(e.contains("plans.pkl: preprocessor_name is \"Preprocessor3DDifferentResampling\"; GenericPreprocessor expected"), "{e}");
    assert!(Import::open(&folder.root, &Options { ignore_preprocessor: true, ..Options::default() }).is_ok());
}

#[test]
fn patches_that_no_mednext_takes_are_told_with_the_nearest() {
    let folder = Folder::new("v2_ct_iso");
    let open = |patch: Json| folder.open(|p| p["configurations"]["3d_fullres"]["patch_size"] = patch, |_| {}, &Options::default()).unwrap();
    for (patch, nearest, shown) in [
        (json!([24, 96, 80]), [32, 96, 80], "patch 24x96x80 does not fit: every axis a multiple of 16; nearest 32x96x80"),
        (json!([16, 16, 16]), [16, 16, 32], "patch 16x16x16 does not fit"),
        (json!([1, 100, 90]), [16, 96, 96], "patch 1x100x90 does not fit"),
    ] {
        let i = open(patch);
        assert_eq!(i.config.patch.as_deref(), Some(&nearest[..]));
        assert!(i.notes.iter().any(|n| n.starts_with(&format!("warning: {shown}"))), "{:?}", i.notes);
        // What the config says is what compiles, and why it is not the plans'.
        assert!(i.toml.contains("# plans.json says") && mnx_model::build(&i.config, 1, &nearest).is_ok(), "{}", i.toml);
    }
    let i = open(json!([48, 32, 64]));
    assert!(i.config.patch.as_deref() == Some(&[48, 32, 64][..]) && i.notes.iter().all(|n| !n.contains("does not fit")));
}

#[test]
fn names_of_channels_travel_if_they_tell_them_apart() {
    let folder = Folder::new("v2_ct_iso");
    let open = |key: &str, names: Json| {
        folder.open(
            |_| {},
            |d| {
                d.as_object_mut().unwrap().remove("channel_names");
                d[key] = names;
            },
            &Options::default(),
        )
    };
    let i = open("channel_names", json!({"0": "CT \"soft\""})).unwrap();
    assert_eq!(i.config.channels, ["CT \"soft\""]);
    assert_eq!(open("modality", json!({"0": "CT"})).unwrap().config.channels, ["CT"]);
    let i = open("channel_names", json!({"0": " "})).unwrap();
    assert!(
        i.config.channels.is_empty()
            && i.notes.iter().any(|n| n.starts_with("the names of the image channels are left out: one of them is empty"))
    );
    // Two names for a network of one channel (order and doubles: the unit tests of import's rules).
    let two = |names: Json| open("channel_names", names).unwrap_err();
    assert!(two(json!({"1": "T1", "0": "T2"})).contains("the network takes 1 image channel, plans and data set have 2"));

    // Version 1: plans.pkl, for a network of one channel.
    let v1 = Folder::new("v1_ct");
    assert_eq!(Import::open(&v1.root, &Options::default()).unwrap().config.channels, ["CT"]);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nnunet/postprocessing").join(name)
}

#[test]
fn postprocessing_files_are_read_or_refused() {
    let folder = Folder::new("v2_ct_iso");
    let with = |path: &Path| {
        let options = Options { postprocessing: Some(path.to_owned()), ..Options::default() };
        Import::open(&folder.root, &options).map(|i| i.config.inference.unwrap().postprocess).map_err(|e| e.to_string())
    };
    let largest = |labels: &[u32]| Postprocess { labels: labels.to_vec(), connectivity: Connectivity::Corners, min_size: None };
    // Files that nnU-Net's own code wrote, in both forms.
    for end in ["json", "pkl"] {
        assert_eq!(with(&fixture(&format!("labels.{end}"))).unwrap(), [largest(&[1, 2, 3]), largest(&[3])], "{end}");
        assert_eq!(with(&fixture(&format!("regions.{end}"))).unwrap(), [largest(&[1, 2, 3]), largest(&[2, 3]), largest(&[3])], "{end}");
    }
    let path = folder.root.join("p.json");
    let text = |t: Json| {
        std::fs::write(&path, t.to_string()).unwrap();
        with(&path)
    };
    let faces = Postprocess { labels: vec![2], connectivity: Connectivity::Faces, min_size: None };
    assert_eq!(text(json!({"for_which_classes": [2]})).unwrap(), [faces]);
    // Steps that changed nothing are an empty list, and no error.
    assert_eq!(text(json!({"postprocessing_fns": [], "postprocessing_kwargs": []})).unwrap(), []);
    for (json, reason) in [
        (json!({"hello": 1}), "is not a postprocessing file of nnU-Net"),
        (json!([]), "is not a postprocessing file of nnU-Net"),
        (
            json!({"postprocessing_fns": ["fill_holes"], "postprocessing_kwargs": [{"labels_or_regions": 1}]}),
            "the function \"fill_holes\" is not known",
        ),
        (
            json!({"postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"], "postprocessing_kwargs": []}),
            "1 function with 0 sets of arguments",
        ),
        (json!({"postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"]}), "postprocessing_kwargs is missing"),
        (
            json!({
                "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
                "postprocessing_kwargs": [{"labels_or_regions": 1, "background_label": 2}]
            }),
            "\"background_label\" is not known",
        ),
        (json!({"for_which_classes": [0]}), "classes from 1"),
    ] {
        let e = text(json.clone()).unwrap_err();
        assert!(e.contains(reason) && e.contains("p.json"), "{json}: {e}");
    }
    // A single checkpoint takes the file, too, which it did not before.
    let options = Options { postprocessing: Some(fixture("labels.json")), ..Options::default() };
    let single = Import::open(&folder.root.join("fold_0/checkpoint_final.pth"), &options).unwrap();
    assert_eq!(single.config.inference.unwrap().postprocess.len(), 2);
    // Version 1's predictor asserts that its file is one.
    let v1 = Folder::new("v1_ct");
    std::fs::write(v1.root.join("postprocessing.json"), "{\"hello\": 1}").unwrap();
    let e = Import::open(&v1.root, &Options::default()).unwrap_err().to_string();
    assert!(e.contains("postprocessing.json: for_which_classes is missing"), "{e}");
}
