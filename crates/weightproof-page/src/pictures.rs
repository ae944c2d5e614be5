//! Images of samples.

use std::collections::BTreeMap;
use std::io;

/// Longest side of an image on a page; larger ones are made smaller by whole factors.
const MOST: usize = 128;

/// Images of the samples of a study.
#[derive(Clone, Debug, Default)]
pub struct Pictures {
    /// By index of the sample.
    pub by_index: BTreeMap<usize, Picture>,
    /// Why there are none, or what was done to them.
    pub note: Option<String>,
}

/// An image as PNG.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The bytes of the file.
    pub png: Vec<u8>,
    /// Width and height in pixels.
    pub size: (usize, usize),
}

/// How values of a sample lie in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Whether channels come first.
    pub first: bool,
}

impl Layout {
    /// The layout of samples of this shape, if they are grey or RGB images.
    pub fn of(shape: &[usize]) -> Option<Self> {
        let layout = |height, width, channels, first| {
            (height > 1 && width > 1).then_some(Layout { height, width, channels, first })
        };
        match *shape {
            [height, width] | [1, height, width] => layout(height, width, 1, true),
            [3, height, width] => layout(height, width, 3, true),
            [height, width, 1] => layout(height, width, 1, false),
            [height, width, 3] => layout(height, width, 3, false),
            _ => None,
        }
    }

    fn at(&self, values: &[f64], row: usize, column: usize, channel: usize) -> f64 {
        let pixel = row * self.width + column;
        values[if self.first {
            channel * self.height * self.width + pixel
        } else {
            pixel * self.channels + channel
        }]
    }
}

impl Picture {
    /// An image of `values`, where `low` is black and `high` is white.
    ///
    /// # Errors
    /// Those of the encoder.
    ///
    /// # Panics
    /// When there are fewer values than the layout has.
    pub fn new(values: &[f64], layout: Layout, (low, high): (f64, f64)) -> io::Result<Self> {
        let factor = layout.height.max(layout.width).div_ceil(MOST).max(1);
        let size = (layout.width.div_ceil(factor), layout.height.div_ceil(factor));
        let mut bytes = Vec::with_capacity(size.0 * size.1 * layout.channels);
        for row in 0..size.1 {
            for column in 0..size.0 {
                for channel in 0..layout.channels {
                    // The mean over a square of pixels.
                    let rows = row * factor..((row + 1) * factor).min(layout.height);
                    let columns = column * factor..((column + 1) * factor).min(layout.width);
                    let count = (rows.len() * columns.len()) as f64;
                    let of_row =
                        |r| columns.clone().map(move |c| layout.at(values, r, c, channel)).sum::<f64>();
                    let mean = rows.map(of_row).sum::<f64>() / count;
                    let part = (mean - low) / (high - low).max(f64::MIN_POSITIVE);
                    bytes.push((255.0 * part.clamp(0.0, 1.0)).round() as u8);
                }
            }
        }
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, size.0 as u32, size.1 as u32);
        encoder.set_color(if layout.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.set_compression(png::Compression::High);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&bytes));
        written.map_err(io::Error::other)?;
        Ok(Picture { png, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(picture: &Picture) -> (png::ColorType, Vec<u8>) {
        let mut reader = png::Decoder::new(io::Cursor::new(&picture.png)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        bytes.truncate(info.buffer_size());
        (info.color_type, bytes)
    }

    #[test]
    fn both_orders_of_channels_give_the_same_image() {
        let first = [0.0, 0.2, 0.4, 0.6, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let last: Vec<f64> = (0..4).flat_map(|p| (0..3).map(move |c| first[4 * c + p])).collect();
        let range = (0.0, 1.0);
        let a = Picture::new(&first, Layout::of(&[3, 2, 2]).unwrap(), range).unwrap();
        let b = Picture::new(&last, Layout::of(&[2, 2, 3]).unwrap(), range).unwrap();
        assert_eq!(decode(&a), (png::ColorType::Rgb, vec![0, 255, 0, 51, 255, 0, 102, 255, 0, 153, 255, 0]));
        assert_eq!(decode(&a), decode(&b));
    }

    #[test]
    fn large_images_are_made_smaller_and_flat_samples_are_none() {
        let layout = Layout::of(&[1, 300, 200]).unwrap();
        let picture = Picture::new(&vec![0.5; 60_000], layout, (0.0, 1.0)).unwrap();
        assert_eq!(picture.size, (67, 100));
        assert!(decode(&picture).1.iter().all(|p| *p == 128));
        for shape in [&[784][..], &[1, 5], &[4, 8, 8], &[2, 2, 2, 2]] {
            assert_eq!(Layout::of(shape), None, "{shape:?}");
        }
    }
}
