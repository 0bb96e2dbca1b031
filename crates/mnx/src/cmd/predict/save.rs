//! `--save-probabilities`: nnU-Net's two files, in the layout of the version that the model came from.

use mnx_artifact::{ProbabilityFile, Reader};
use mnx_volume::npz::{Element, Item, write_npz, write_pickle};
use mnx_volume::{Geometry, Probabilities, Volume};

use crate::cmd::predict::job::{Job, Saved};
use crate::cmd::predict::model::Model;
use crate::failure::Failure;

/// The probabilities of a case, and where they lie.
pub struct Scores<'a> {
    /// Probabilities of every class, on the model's grid.
    pub probabilities: &'a Probabilities,
    /// The file's volume.
    pub volume: &'a Volume,
    /// The way between the two.
    pub geometry: &'a Geometry,
}

/// Writes the array and the properties.
pub fn probabilities(model: &Model, job: &Job, saved: &Saved, scores: &Scores<'_>) -> Result<(), Failure> {
    let Scores { probabilities, volume, geometry } = *scores;
    let classes = probabilities.classes();
    let with_classes = |[z, y, x]: [usize; 3]| [classes, z, y, x];
    match model.file {
        ProbabilityFile::NnunetV2 => {
            let shape = with_classes(probabilities.reader_shape());
            write_npz(&saved.npz, "probabilities", Element::F32, &shape, &mut |k| probabilities.of_reader(k))?;
            write_pickle(&saved.properties, &version_two(model.preprocess.reader, volume, geometry))?;
        }
        ProbabilityFile::NnunetV1 => {
            let shape = with_classes(probabilities.crop_shape());
            write_npz(&saved.npz, "softmax", Element::F16, &shape, &mut |k| probabilities.of_crop(k))?;
            write_pickle(&saved.properties, &version_one(model, job, volume, geometry))?;
        }
    }
    Ok(())
}

/// What SimpleITK calls a grid: origin and direction in left-posterior-superior, axes x, y, z.
struct Grid {
    spacing: Vec<f64>,
    origin: Vec<f64>,
    direction: Vec<f64>,
}

fn grid(volume: &Volume) -> Grid {
    let sign = [-1.0, -1.0, 1.0];
    let spacing: Vec<f64> = volume.spacing.iter().rev().copied().collect();
    let origin = (0..3).map(|r| sign[r] * volume.affine[r][3]).collect();
    let direction = (0..9).map(|i| sign[i / 3] * volume.affine[i / 3][i % 3] / spacing[i % 3]).collect();
    Grid { spacing, origin, direction }
}

fn text_keys(items: Vec<(&str, Item)>) -> Item {
    Item::Dict(items.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn spans(low: [usize; 3], size: [usize; 3]) -> Item {
    Item::List((0..3).map(|a| Item::List([low[a], low[a] + size[a]].map(|v| Item::Int(v as i64)).into())).collect())
}

/// nnU-Net v2's properties, as its reader of that name leaves them; shapes and boxes are those of the transposed volume.
fn version_two(reader: Option<Reader>, volume: &Volume, g: &Geometry) -> Item {
    let rows =
        |affine: &[[f64; 4]; 4]| Item::List(affine.iter().map(|row| Item::List(row.iter().map(|v| Item::Float(*v)).collect())).collect());
    let original = ("original_affine", rows(&volume.affine));
    let stuff = match reader {
        Some(Reader::Nibabel) => ("nibabel_stuff", text_keys(vec![original])),
        Some(Reader::NibabelReorient) => {
            let turned = rows(&g.reader.affine(&volume.affine, g.file_shape));
            ("nibabel_stuff", text_keys(vec![original, ("reoriented_affine", turned)]))
        }
        Some(Reader::Simpleitk) | None => {
            let Grid { spacing, origin, direction } = grid(volume);
            let itk = vec![("spacing", Item::floats(&spacing)), ("origin", Item::floats(&origin)), ("direction", Item::floats(&direction))];
            ("sitk_stuff", text_keys(itk))
        }
    };
    text_keys(vec![
        stuff,
        ("spacing", Item::List(g.reader.permute(volume.spacing).iter().map(|s| Item::Float(*s)).collect())),
        ("shape_before_cropping", Item::ints(&g.map.permute(g.file_shape))),
        ("bbox_used_for_cropping", spans(g.crop_low, g.crop_size)),
        ("shape_after_cropping_and_before_resampling", Item::ints(&g.crop_size)),
    ])
}

/// nnU-Net v1's properties; shapes and boxes are those of the file, but for the resampled volume's.
fn version_one(model: &Model, job: &Job, volume: &Volume, g: &Geometry) -> Item {
    let Grid { spacing, origin, direction } = grid(volume);
    let turned = g.map.permute(g.file_shape);
    // A model axis that runs backwards counts from the file's other end.
    let low = std::array::from_fn(|a| if g.map.flip[a] { turned[a] - g.crop_low[a] - g.crop_size[a] } else { g.crop_low[a] });
    let back = g.map.inverse();
    let files = job.inputs.iter().map(|p| Item::Text(p.display().to_string())).collect();
    let mut items = vec![
        ("original_size_of_raw_data", Item::ints(&g.file_shape)),
        ("original_spacing", Item::floats(&volume.spacing)),
        ("list_of_data_files", Item::List(files)),
        ("seg_file", Item::None),
        ("itk_origin", Item::floats(&origin)),
        ("itk_spacing", Item::floats(&spacing)),
        ("itk_direction", Item::floats(&direction)),
        ("crop_bbox", spans(back.permute(low), back.permute(g.crop_size))),
        ("size_after_cropping", Item::ints(&back.permute(g.crop_size))),
        ("size_after_resampling", Item::ints(&g.model_shape)),
        ("spacing_after_resampling", Item::floats(&g.model_spacing)),
    ];
    if !model.class_order.is_empty() {
        let order = model.class_order.iter().map(|v| Item::Int(i64::from(*v))).collect();
        items.push(("regions_class_order", Item::List(order)));
    }
    text_keys(items)
}
