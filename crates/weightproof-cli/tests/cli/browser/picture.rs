//! Pictures of pages, so small that letters blur: compared is where things are, how dark and of which colour.

use super::Browser;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::io::Cursor;

/// Cells of a picture, across and down.
const CELLS: [usize; 2] = [32, 48];
/// Height of the page that is looked at, in pixels.
const HEIGHT: usize = 1536;

/// Mean colours of the cells of the top of a page, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture(pub Vec<[u8; 3]>);

impl Browser {
    /// The top of the page that is open, in a window of this width.
    pub fn picture(&self, width: usize) -> Picture {
        // The browser makes it small: 4 pixels for a cell.
        let scale = 4.0 * CELLS[0] as f64 / width as f64;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": HEIGHT, "scale": scale });
        let settings = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let answer = self.devtools("Page.captureScreenshot", &settings);
        let (size, pixels) = decoded(&STANDARD.decode(answer["data"].as_str().unwrap()).unwrap());
        let mut cells = vec![[0_usize; 4]; CELLS[0] * CELLS[1]];
        for (k, pixel) in pixels.iter().enumerate() {
            let (x, y) = (k % size[0] * CELLS[0] / size[0], k / size[0] * CELLS[1] / size[1]);
            let cell = &mut cells[y * CELLS[0] + x];
            cell.iter_mut()
                .zip(pixel.iter().map(|&c| usize::from(c)).chain([1]))
                .for_each(|(sum, c)| *sum += c);
        }
        Picture(cells.iter().map(|[r, g, b, n]| [r, g, b].map(|sum| (sum / n) as u8)).collect())
    }
}

impl Picture {
    /// Pictures side by side, as a file.
    pub fn write(pictures: &[Picture]) -> Vec<u8> {
        let rows = (0..CELLS[1]).flat_map(|y| pictures.iter().flat_map(move |p| p.row(y).as_flattened()));
        let bytes: Vec<u8> = rows.copied().collect();
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, (CELLS[0] * pictures.len()) as u32, CELLS[1] as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
        file
    }

    /// The pictures of such a file.
    pub fn read(file: &[u8]) -> Vec<Picture> {
        let (size, pixels) = decoded(file);
        let of =
            |k: usize| pixels.chunks(size[0]).flat_map(move |row| row[k * CELLS[0]..][..CELLS[0]].to_vec());
        (0..size[0] / CELLS[0]).map(|k| Picture(of(k).collect())).collect()
    }

    fn row(&self, y: usize) -> &[[u8; 3]] {
        &self.0[y * CELLS[0]..][..CELLS[0]]
    }

    /// How far colours lie apart in the mean, from 0 to 1.
    pub fn distance(&self, other: &Picture) -> f64 {
        let pairs = self.0.as_flattened().iter().zip(other.0.as_flattened());
        let sum: f64 = pairs.map(|(&a, &b)| f64::from(a.abs_diff(b)) / 255.0).sum();
        sum / (3 * self.0.len()) as f64
    }
}

/// Width and height, and the colours of a PNG file.
fn decoded(file: &[u8]) -> ([usize; 2], Vec<[u8; 3]>) {
    let mut reader = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    let pixels = bytes[..frame.buffer_size()].chunks(frame.color_type.samples());
    ([frame.width as usize, frame.height as usize], pixels.map(|p| [p[0], p[1], p[2]]).collect())
}
