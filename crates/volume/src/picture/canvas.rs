//! An RGB image to draw on, and the colours of the labels.

use std::io::{self, BufWriter, Write};

use super::font;

pub(crate) type Colour = [u8; 3];

/// Colours of the first labels: far apart on grey, and for most colour-blind readers too.
const FIRST: [Colour; 12] = [
    [230, 75, 53],
    [77, 187, 213],
    [240, 200, 60],
    [60, 160, 90],
    [170, 90, 200],
    [245, 145, 60],
    [90, 120, 240],
    [240, 120, 180],
    [160, 210, 80],
    [150, 110, 70],
    [40, 200, 170],
    [200, 200, 200],
];

/// The colour of a label from 1 up; beyond the list, hues turn by the golden angle.
pub(crate) fn label_colour(label: u16) -> Colour {
    let i = usize::from(label).saturating_sub(1);
    if let Some(colour) = FIRST.get(i) {
        return *colour;
    }
    let hue = (i as f64 * 0.618_033_988_749_894_9).fract() * 6.0;
    let light = [1.0, 0.75, 0.9][i % 3];
    let strength = [0.75, 0.9, 0.5][i / 3 % 3];
    let channel = |offset: f64| {
        let k = (hue + offset).rem_euclid(6.0);
        let ramp = k.min(4.0 - k).clamp(0.0, 1.0);
        (255.0 * light * (1.0 - strength * ramp)) as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Pixels, rows from the top.
pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize, colour: Colour) -> Canvas {
        let pixels = colour.iter().copied().cycle().take(3 * width * height).collect();
        Canvas { width, height, pixels }
    }

    /// Sets one pixel; those beyond the edge are left out.
    pub(crate) fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            self.pixels[3 * (y * self.width + x)..][..3].copy_from_slice(&colour);
        }
    }

    /// Paints a rectangle from its corner `[x, y]` on, of `[width, height]` pixels.
    pub(crate) fn fill(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], colour: Colour) {
        for row in y..y + height {
            for column in x..x + width {
                self.set(column, row, colour);
            }
        }
    }

    /// Draws text whose dots are `scale` pixels wide.
    pub(crate) fn text(&mut self, [x, y]: [usize; 2], scale: usize, text: &str, colour: Colour) {
        for (i, c) in text.chars().enumerate() {
            for (row, bits) in font::glyph(c).into_iter().enumerate() {
                for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                    let left = x + (i * font::ADVANCE + column) * scale;
                    self.fill([left, y + row * scale], [scale; 2], colour);
                }
            }
        }
    }

    /// Encodes as PNG, 8-bit RGB.
    pub(crate) fn encode(&self, out: impl Write) -> io::Result<()> {
        let size = |n: usize| u32::try_from(n).map_err(io::Error::other);
        let mut encoder = png::Encoder::new(BufWriter::new(out), size(self.width)?, size(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(io::Error::other)?;
        writer.write_image_data(&self.pixels).map_err(io::Error::other)?;
        writer.finish().map_err(io::Error::other)
    }
}

/// Pixels that a text of `characters` takes in width.
pub(crate) fn text_width(characters: usize, scale: usize) -> usize {
    (characters * font::ADVANCE).saturating_sub(1) * scale
}

/// Pixels that a text takes in height.
pub(crate) fn text_height(scale: usize) -> usize {
    font::HEIGHT * scale
}
