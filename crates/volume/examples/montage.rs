//! Draws a volume and its label map: `montage IMAGE LABELS OUT.png [name1 name2 ...]`.
#![forbid(unsafe_code)]

use std::path::Path;

use mnx_volume::{ReadOptions, picture::montage, read};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, labels, out, names @ ..] = arguments.as_slice() else {
        return Err("usage: montage IMAGE LABELS OUT.png [name of label 1] ...".into());
    };
    let volume = read(Path::new(image), &ReadOptions::default())?;
    let labels = read(Path::new(labels), &ReadOptions::default())?.to_labels()?;
    let names: Vec<String> = std::iter::once("background".to_string()).chain(names.iter().cloned()).collect();
    montage(&volume, &labels, &names, Path::new(out))?;
    Ok(())
}
