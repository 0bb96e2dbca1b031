//! The files of one case.

use std::path::{Path, PathBuf};

use mnx_volume::VolumeError;

use crate::cmd::predict::model::Model;
use crate::cmd::predict::stem;
use crate::failure::Failure;

/// A case's files.
#[derive(Debug, Clone)]
pub struct Job {
    /// For people.
    pub name: String,
    /// One file per channel, or one with all.
    pub inputs: Vec<PathBuf>,
    /// The segmentation.
    pub segmentation: PathBuf,
    /// `--save-probabilities`.
    pub saved: Option<Saved>,
    /// `--probabilities`.
    pub probabilities: Option<PathBuf>,
    /// `--picture`.
    pub picture: Option<PathBuf>,
}

/// nnU-Net's two files of a case's probabilities.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The array.
    pub npz: PathBuf,
    /// Where it came from.
    pub properties: PathBuf,
}

impl Saved {
    /// Beside a segmentation, under its name.
    pub fn beside(segmentation: &Path) -> Self {
        let with = |ending: &str| PathBuf::from(format!("{}{ending}", stem(segmentation).display()));
        Self { npz: with(".npz"), properties: with(".pkl") }
    }
}

impl Job {
    /// Every file that is written.
    pub fn outputs(&self) -> Vec<&Path> {
        let saved = self.saved.iter().flat_map(|s| [&s.npz, &s.properties]);
        [&self.segmentation].into_iter().chain(&self.probabilities).chain(&self.picture).chain(saved).map(PathBuf::as_path).collect()
    }
}

/// A volume's error in the words of the model: its channels by name, and the file where the error has none.
pub fn of_channel(model: &Model, job: &Job, error: VolumeError) -> Failure {
    if let VolumeError::Channels { path, found, .. } = &error {
        let (path, found) = (path.display(), mnx_words::many(*found, "channel"));
        let wanted = match (job.inputs.len(), model.channels) {
            (1, 1) => format!("the model takes {}", model.takes()),
            (1, _) => format!("the model takes {}: one -i per channel, in this order, or one 4-D file expected", model.takes()),
            _ => "one per file expected".to_owned(),
        };
        return Failure::user("mnx-0211", format!("{path}: {found}, {wanted}"));
    }
    let Failure::User(mut problem) = Failure::from(error) else { return Failure::Bug("a volume's error is no user's".to_owned()) };
    let begins = |path: &PathBuf| problem.message.starts_with(&format!("{}:", path.display()));
    match job.inputs.iter().position(begins) {
        Some(channel) if job.inputs.len() > 1 => problem.message.push_str(&format!(" ({})", model.channel(channel))),
        Some(_) => {}
        None => {
            if let Some(first) = job.inputs.first() {
                problem.message = format!("{}: {}", first.display(), problem.message);
            }
        }
    }
    Failure::User(problem)
}
