//! One case in three steps that may run in three threads: prepare, segment, store.

use std::time::Instant;

use mnx_runtime::{Patches, memory};
use mnx_volume::{
    Geometry, Preprocessed, Queue, ReadOptions, Restorer, Scan, Volume, keep_largest, picture, preprocess, preprocess_taking,
    read_channels, write_f32, write_labels,
};

use crate::cmd::predict::doubt;
use crate::cmd::predict::job::{Job, of_channel};
use crate::cmd::predict::model::Model;
use crate::cmd::predict::save::{self, Scores};
use crate::failure::Failure;

/// Seconds per step, in order.
#[derive(Debug, Default)]
pub struct Times(pub Vec<(&'static str, f64)>);

impl Times {
    /// Runs and times one step.
    pub fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = work();
        self.0.push((name, start.elapsed().as_secs_f64()));
        tracing::info!(seconds = %format_args!("{:.4}", start.elapsed().as_secs_f64()), "{name}");
        value
    }
}

/// A case that the network can look at.
#[derive(Debug)]
pub struct Ready {
    /// The file's volume; without voxels, unless a picture is to be drawn.
    pub volume: Volume,
    /// The model's view of it.
    pub ready: Preprocessed,
    /// Times taken so far.
    pub times: Times,
}

/// A case that the network has looked at.
pub struct Scored {
    volume: Volume,
    geometry: Geometry,
    restorer: Restorer,
    tiles: usize,
    times: Times,
}

/// A case that is done.
#[derive(Debug)]
pub struct Stored {
    /// Voxels of each value.
    pub counts: Vec<u64>,
    /// Volume of a voxel.
    pub voxel_mm3: f64,
    /// Patches.
    pub tiles: usize,
    /// All steps.
    pub times: Times,
}

/// Reads a case and brings it to the model's grid; what is doubtful about it is told before the work.
pub fn prepare(model: &Model, job: &Job, nan_to_num: bool, tell: &dyn Fn(&str)) -> Result<Ready, Failure> {
    let _case = tracing::info_span!("case", name = %job.name).entered();
    let mut times = Times::default();
    let options = ReadOptions { nan_to_num, channels: Some(model.channels), reader: model.preprocess.reader };
    let mut volume = times.step("read", || read_channels(&job.inputs, &options)).map_err(|e| of_channel(model, job, e))?;
    let ready = times.step("prepare", || -> Result<Preprocessed, Failure> {
        doubt::check(model, job, &volume, memory::limit(), tell)?;
        let prepared =
            if job.picture.is_some() { preprocess(&volume, &model.preprocess) } else { preprocess_taking(&mut volume, &model.preprocess) };
        prepared.map_err(|e| of_channel(model, job, e))
    })?;
    Ok(Ready { volume, ready, times })
}

/// Slides the network over a case. `progress` is told patches done and in all.
pub fn segment(
    model: &Model,
    patches: &mut Patches,
    job: &Job,
    case: Ready,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Scored, Failure> {
    let _case = tracing::info_span!("case", name = %job.name).entered();
    let tiles = model.tiles(case.ready.shape);
    let Ready { volume, ready, mut times } = case;
    let Preprocessed { data, shape, geometry, .. } = ready;
    let keep = job.saved.is_some() || job.probabilities.is_some();
    let restorer = times.step("network", || -> Result<Restorer, Failure> {
        let mut restorer = Restorer::new(&geometry, &model.rules, keep)?;
        let mut network = Network { patches, model, values: Vec::new() };
        let scan = Scan { image: &data, shape, classes: model.classes(), mirror_axes: &model.mirrors };
        model
            .window
            .run_queued::<Failure>(scan, &mut network, progress, &mut |band| Ok(restorer.push(band.z, band.depth, band.logits)?))?;
        Ok(restorer)
    })?;
    Ok(Scored { volume, geometry, restorer, tiles, times })
}

/// Goes back to the file's grid and writes. The segmentation comes last: where it is, the case is done.
pub fn store(model: &Model, job: &Job, case: Scored) -> Result<Stored, Failure> {
    let _case = tracing::info_span!("case", name = %job.name).entered();
    let Scored { volume, geometry, restorer, tiles, mut times } = case;
    let voxel_mm3 = volume.spacing.iter().product::<f64>();
    let mut restored = times.step("restore", || restorer.finish())?;
    times.step("postprocess", || {
        for rule in &model.postprocess {
            keep_largest(&mut restored.labels, volume.shape, rule, voxel_mm3);
        }
    });
    times.step("write", || -> Result<(), Failure> {
        if let Some(probabilities) = restored.probabilities.take() {
            if let Some(saved) = &job.saved {
                save::probabilities(model, job, saved, &Scores { probabilities: &probabilities, volume: &volume, geometry: &geometry })?;
            }
            if let Some(path) = &job.probabilities {
                write_f32(path, &probabilities.all_of_file()?, model.classes(), &volume.header)?;
            }
        }
        if let Some(path) = &job.picture {
            picture::montage(&volume, &restored.labels, &model.names, path)?;
        }
        write_labels(&job.segmentation, &restored.labels, &volume.header)?;
        Ok(())
    })?;
    let mut counts = vec![0u64; model.names.len()];
    for &label in &restored.labels {
        counts[usize::from(label)] += 1;
    }
    Ok(Stored { counts, voxel_mm3, tiles, times })
}

/// Refuses a patch's scores if any of them is not finite: averaged and compared, they would end as labels like any other.
fn all_finite(scores: &[f32]) -> Result<(), Failure> {
    let odd = scores.iter().filter(|v| !v.is_finite()).count();
    if odd == 0 {
        return Ok(());
    }
    Err(Failure::user(
        "mnx-0216",
        format!(
            "{odd} of {} scores of a patch are not finite: the network, or its 16-bit storage on a GPU, does not stand this input \
         (compile with --precision f32, or look for values far outside what it was trained on)",
            scores.len()
        ),
    ))
}

/// The patch queue with the folds' scores averaged, or side by side where they are averaged after the tiles.
struct Network<'a> {
    patches: &'a mut Patches,
    model: &'a Model,
    /// Every fold's scores of one patch.
    values: Vec<f32>,
}

impl Queue<Failure> for Network<'_> {
    fn depth(&self) -> usize {
        self.patches.depth()
    }

    fn push(&mut self, patch: &[f32]) -> Result<(), Failure> {
        Ok(self.patches.push(patch)?)
    }

    fn pop(&mut self, scores: &mut [f32]) -> Result<(), Failure> {
        let folds = self.patches.folds();
        if self.model.window.members > 1 || folds == 1 {
            self.patches.pop(scores)?;
            all_finite(scores)?;
            let n = scores.len() / folds;
            scores.chunks_exact_mut(n).for_each(|member| self.model.activate_first(member));
            return Ok(());
        }
        self.values.resize(folds * scores.len(), 0.0);
        self.patches.pop(&mut self.values)?;
        all_finite(&self.values)?;
        for (fold, member) in self.values.chunks_exact_mut(scores.len()).enumerate() {
            self.model.activate_first(member);
            let add = |(s, m): (&mut f32, &f32)| *s = if fold == 0 { *m } else { *s + m };
            scores.iter_mut().zip(&*member).for_each(add);
        }
        scores.iter_mut().for_each(|v| *v /= folds as f32);
        Ok(())
    }
}
