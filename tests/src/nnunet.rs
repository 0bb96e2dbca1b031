//! nnU-Net result folders around MedNeXts with formula weights, rebuilt as PyTorch wrote them: see `tests/nnunet/README.md`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use mnx_model::{Config, signature};
use mnx_weights::{Checkpoint, golden_weight};
use serde_json::Value as Json;

use crate::pytorch::{Py, Saved, TensorOf};

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `v1_ct`, ...
    pub name: &'static str,
    /// Folder of the result folder, below the one given.
    pub folder: &'static str,
    /// The network as a config's text.
    pub network: &'static str,
    /// Names of folds with the serialisation ids of their files.
    pub folds: &'static [(&'static str, &'static str)],
    /// `inference_allowed_mirroring_axes` of v2.
    pub mirror: bool,
}

const SMALL: &str = "in_channels = 1\nn_channels = 8\nexp_r = 2\nblock_counts = [1, 1, 1, 1, 1, 1, 1, 1, 1]\ndeep_supervision = true\ndo_res = true\ndo_res_up_down = true\n";

/// All cases.
pub const CASES: [Case; 3] = [
    Case {
        name: "v1_ct",
        folder: "nnUNet/3d_fullres/Task904_Torso/nnUNetTrainerV2_MedNeXt_S_kernel3__nnUNetPlansv2.1_trgSp_1x1x1",
        network: "variant = \"S\"\nin_channels = 1\nn_classes = 4\nkernel_size = 3\ndeep_supervision = true\n",
        folds: &[("0", "1440704588896964622310642915351575777678")],
        mirror: false,
    },
    Case {
        name: "v2_ct_iso",
        folder: "Dataset901_Torso/nnUNetTrainerMedNeXt__nnUNetPlans__3d_fullres",
        network: "n_classes = 4\nkernel_size = 3\n",
        folds: &[("0", "1248240430688951761910845170142682207145")],
        mirror: false,
    },
    Case {
        name: "v2_ct_aniso_tta",
        folder: "Dataset902_Torso/nnUNetTrainerMedNeXt__nnUNetPlans__3d_fullres",
        network: "n_classes = 3\nkernel_size = 5\n",
        folds: &[("0", "1248240430688951761910735978858701057255"), ("1", "1248240430688951761907035779121569179339")],
        mirror: true,
    },
];

/// The committed files of a case: plans, data set.
pub fn fixtures(case: &Case) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nnunet").join(case.name)
}

impl Case {
    /// A case by name.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(name: &str) -> Self {
        *CASES.iter().find(|c| c.name == name).expect("a case of tests/nnunet")
    }

    /// Whether it is nnU-Net v1's.
    pub fn is_v1(&self) -> bool {
        self.name.starts_with("v1")
    }

    /// The network, heads included.
    ///
    /// # Panics
    /// If the text above is no config.
    pub fn config(&self) -> Config {
        let text = if self.is_v1() { self.network.to_owned() } else { format!("{SMALL}{}", self.network) };
        Config::from_toml(&text, self.name).expect("a config")
    }

    /// The weights of a fold by the formula, in the order of the state dict.
    pub fn weights(&self, fold: &str) -> Checkpoint {
        let case = if self.is_v1() { self.name.to_owned() } else { format!("{}/fold{fold}", self.name) };
        signature(&self.config()).tensors.into_iter().map(|t| (t.key.clone(), golden_weight(&case, &t.key, &t.shape))).collect()
    }

    /// The checkpoint file of a fold, as bytes.
    ///
    /// # Panics
    /// If a fixture is missing.
    pub fn checkpoint(&self, fold: &str) -> Vec<u8> {
        self.checkpoint_of(fold, &self.weights(fold))
    }

    /// A checkpoint of the case with other tensors.
    ///
    /// # Panics
    /// If a fixture is missing.
    pub fn checkpoint_of(&self, fold: &str, weights: &Checkpoint) -> Vec<u8> {
        let (tensors, storages) = state_dict(weights);
        let id = self.folds.iter().find(|(name, _)| *name == fold).expect("a fold of the case").1;
        if self.is_v1() {
            let root = Py::dict(vec![
                ("epoch", Py::Int(1000)),
                ("state_dict", Py::ordered(tensors)),
                ("optimizer_state_dict", Py::None),
                ("lr_scheduler_state_dict", Py::None),
                ("plot_stuff", Py::tuple(vec![Py::list(vec![scalar(0.1)]), Py::list(vec![]), Py::list(vec![]), Py::list(vec![])])),
                ("best_stuff", Py::tuple(vec![scalar(0.5), scalar(0.1), scalar(0.1)])),
            ]);
            return Saved { root, storages }.zip("model_final_checkpoint", id);
        }
        let json = |file: &str| -> Json {
            serde_json::from_slice(&std::fs::read(fixtures(self).join(file)).expect("a fixture")).expect("a JSON fixture")
        };
        let init = Py::dict(vec![
            ("plans", plans(&json("plans.json"))),
            ("configuration", Py::str("3d_fullres")),
            ("fold", Py::Int(fold.parse().expect("a numbered fold"))),
            ("dataset_json", Py::json(&json("dataset.json"))),
        ]);
        let mirror = if self.mirror { Py::tuple(vec![Py::Int(0), Py::Int(1), Py::Int(2)]) } else { Py::None };
        let weights = Py::Dict(Rc::new(tensors.into_iter().map(|(k, v)| (Py::Str(k), v)).collect()));
        let root = Py::dict(vec![
            ("network_weights", weights),
            ("optimizer_state", Py::dict(vec![])),
            ("grad_scaler_state", Py::None),
            ("logging", Py::dict(vec![("mean_fg_dice", Py::list(vec![scalar(0.5)]))])),
            ("_best_ema", scalar(0.5)),
            ("current_epoch", Py::Int(1000)),
            ("init_args", init),
            ("trainer_name", Py::str("nnUNetTrainerMedNeXt")),
            ("inference_allowed_mirroring_axes", mirror),
        ]);
        Saved { root, storages }.zip("checkpoint_final", id)
    }

    /// Rebuilds the result folder below `dir`; answers its path.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn rebuild(&self, dir: &Path) -> PathBuf {
        let root = dir.join(self.folder);
        let write = |path: PathBuf, bytes: &[u8]| {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, bytes).expect("a file");
        };
        let fixture = |name: &str| std::fs::read(fixtures(self).join(name)).expect("a fixture");
        for (fold, _) in self.folds {
            let folder = root.join(format!("fold_{fold}"));
            if self.is_v1() {
                write(folder.join("model_final_checkpoint.model"), &self.checkpoint(fold));
                write(folder.join("model_final_checkpoint.model.pkl"), &fixture("model_final_checkpoint.model.pkl"));
            } else {
                write(folder.join("checkpoint_final.pth"), &self.checkpoint(fold));
            }
        }
        let about: &[&str] = if self.is_v1() { &["plans.pkl"] } else { &["plans.json", "dataset.json"] };
        about.iter().for_each(|name| write(root.join(name), &fixture(name)));
        root
    }
}

/// Tensors by name, and the storages' keys and bytes.
pub type StateDict = (Vec<(String, Py)>, Vec<(String, Vec<u8>)>);

/// A state dict of float32 tensors, each with a storage of its own, numbered in order.
pub fn state_dict(weights: &Checkpoint) -> StateDict {
    let mut storages = Vec::new();
    let mut tensors = Vec::new();
    for (i, (name, t)) in weights.iter().enumerate() {
        let key = i.to_string();
        tensors.push((name.to_owned(), Py::Tensor(Rc::new(TensorOf::dense("FloatStorage", &key, &t.shape)))));
        storages.push((key, t.data.iter().flat_map(|v| v.to_le_bytes()).collect()));
    }
    (tensors, storages)
}

fn scalar(x: f64) -> Py {
    Py::Scalar("numpy._core.multiarray", x)
}

/// Plans as the cases' script made them: one list object is both the data set's and the configuration's spacing.
fn plans(json: &Json) -> Py {
    let Py::Dict(all) = Py::json(json) else { return Py::None };
    let is = |k: &Py, name: &str| matches!(k, Py::Str(s) if s == name);
    let spacing = all.iter().find(|(k, _)| is(k, "original_median_spacing_after_transp")).map(|(_, v)| v.clone()).unwrap_or(Py::None);
    fn share(v: &Py, spacing: &Py) -> Py {
        let Py::Dict(d) = v else { return v.clone() };
        let entry = |(k, v): &(Py, Py)| match k {
            Py::Str(s) if s == "spacing" => (k.clone(), spacing.clone()),
            _ => (k.clone(), share(v, spacing)),
        };
        Py::Dict(Rc::new(d.iter().map(entry).collect()))
    }
    share(&Py::Dict(all), &spacing)
}
