//! Folders of pictures: one folder for each class, with PNG or JPEG files.

use super::MAX_SAMPLE_VALUES;
use super::samples::{Rows, SampleReader};
use crate::error::{DataError, FormatError};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The largest file of a picture.
const MAX_FILE: u64 = 1 << 27;
/// The most folders, and pictures in all of them.
const MAX_CLASSES: usize = 1 << 16;
const MAX_PICTURES: usize = 1 << 24;

/// The pictures of a folder, in the order of their classes and names.
pub(crate) struct ImageReader {
    pictures: Vec<(PathBuf, u32)>,
    classes: Vec<String>,
    shape: [usize; 3],
    next: usize,
}

/// Channels, height and width, and the numbers, one channel after the other.
type Picture = ([usize; 3], Vec<f64>);

impl ImageReader {
    /// The folders below `folder` that hold pictures, if there are any: their names in order are the classes.
    ///
    /// # Errors
    /// A folder or the first picture that cannot be read.
    pub fn open(folder: &Path) -> Result<Option<Self>, FormatError> {
        let (mut pictures, mut classes) = (Vec::new(), Vec::new());
        for name in names(folder)? {
            let below = folder.join(&name);
            if !below.is_dir() {
                continue;
            }
            let files: Vec<PathBuf> = names(&below)?
                .into_iter()
                .filter(|file| is_picture(file))
                .map(|file| below.join(file))
                .collect();
            if files.is_empty() {
                continue;
            }
            let label = u32::try_from(classes.len()).unwrap_or(u32::MAX);
            pictures.extend(files.into_iter().map(|file| (file, label)));
            classes.push(name);
            if classes.len() > MAX_CLASSES || pictures.len() > MAX_PICTURES {
                let expected = format!("at most {MAX_CLASSES} folders with {MAX_PICTURES} pictures");
                return Err(DataError::new("folder", expected, "more").in_file(folder));
            }
        }
        let Some((first, _)) = pictures.first() else { return Ok(None) };
        let (shape, _) = read(first)?;
        Ok(Some(ImageReader { pictures, classes, shape, next: 0 }))
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The files, for a fingerprint.
    pub fn files(&self) -> Vec<PathBuf> {
        self.pictures.iter().map(|(path, _)| path.clone()).collect()
    }
}

impl SampleReader for ImageReader {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn count(&self) -> Option<usize> {
        Some(self.pictures.len())
    }

    fn pixels(&self) -> bool {
        true
    }

    fn labelled(&self) -> bool {
        true
    }

    fn skip(&mut self, samples: usize) -> Result<usize, DataError> {
        let skipped = samples.min(self.pictures.len() - self.next);
        self.next += skipped;
        Ok(skipped)
    }

    fn read_rows(&mut self, max: usize) -> Result<Option<Rows>, DataError> {
        let width: usize = self.shape.iter().product();
        let most = max.min(self.pictures.len() - self.next).min((1 << 24) / width + 1);
        let mut rows = Rows { labels: Some(Vec::new()), ..Rows::default() };
        for (path, label) in &self.pictures[self.next..self.next + most] {
            let place = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (shape, values) =
                read(path).map_err(|e| DataError::new(place(), "a picture", e.to_string()))?;
            if shape != self.shape {
                let expected = format!("{} like the first picture", text(self.shape));
                return Err(DataError::new(place(), expected, text(shape)).with_hint(
                    "pictures are not resized or recoloured: do what the training did, and save the results",
                ));
            }
            rows.values.extend(values);
            rows.labels.get_or_insert_default().push(*label);
            rows.count += 1;
        }
        self.next += rows.count;
        Ok((rows.count > 0).then_some(rows))
    }
}

fn text([channels, height, width]: [usize; 3]) -> String {
    format!("{channels} channels of {height} x {width}")
}

/// Sorted names in a folder.
fn names(folder: &Path) -> Result<Vec<String>, FormatError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(FormatError::io(folder))? {
        names.extend(entry.map_err(FormatError::io(folder))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn is_picture(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".png", ".jpg", ".jpeg"].iter().any(|end| name.ends_with(end))
}

/// Decodes a picture; the first bytes tell the format.
fn read(path: &Path) -> Result<Picture, FormatError> {
    let size = fs::metadata(path).map_err(FormatError::io(path))?.len();
    if size > MAX_FILE {
        return Err(
            DataError::new("size", format!("at most {MAX_FILE} bytes"), size.to_string()).in_file(path)
        );
    }
    let bytes = fs::read(path).map_err(FormatError::io(path))?;
    decode(&bytes).map_err(|e| e.in_file(path))
}

/// Decodes the bytes of a PNG or JPEG file.
pub(crate) fn decode(bytes: &[u8]) -> Result<Picture, DataError> {
    let ([channels, height, width], pixels) =
        if bytes.starts_with(b"\x89PNG") { png(bytes)? } else { jpeg(bytes)? };
    let plane = height * width;
    if pixels.len() != channels * plane || plane == 0 {
        return Err(DataError::new(
            "picture",
            text([channels, height, width]),
            format!("{} bytes", pixels.len()),
        ));
    }
    let values = (0..channels * plane).map(|k| f64::from(pixels[k % plane * channels + k / plane])).collect();
    Ok(([channels, height, width], values))
}

/// Shape and bytes, the channels of a pixel one after the other.
type Pixels = ([usize; 3], Vec<u8>);

fn checked(width: usize, height: usize, channels: usize) -> Result<(), DataError> {
    let values = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
    if values.is_some_and(|n| (1..=MAX_SAMPLE_VALUES).contains(&n)) {
        return Ok(());
    }
    Err(DataError::new(
        "picture",
        format!("at most {MAX_SAMPLE_VALUES} values"),
        format!("{width} x {height}"),
    ))
}

fn png(bytes: &[u8]) -> Result<Pixels, DataError> {
    let fail = |e: png::DecodingError| DataError::new("picture", "a PNG file", e.to_string());
    let limits = png::Limits { bytes: 4 * MAX_SAMPLE_VALUES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(fail)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let (color, _) = reader.output_color_type();
    let channels = color.samples();
    checked(width, height, channels)?;
    let mut pixels = vec![0; width * height * channels];
    reader.next_frame(&mut pixels).map_err(fail)?;
    // Opacity is no colour.
    let kept = match channels {
        2 => 1,
        4 => 3,
        all => all,
    };
    if kept != channels {
        if pixels.chunks_exact(channels).any(|pixel| pixel[kept] != 255) {
            return Err(DataError::new("picture", "an opaque picture", "a transparent one"));
        }
        pixels = pixels.chunks_exact(channels).flat_map(|pixel| pixel[..kept].to_vec()).collect();
    }
    Ok(([kept, height, width], pixels))
}

fn jpeg(bytes: &[u8]) -> Result<Pixels, DataError> {
    let fail = |e: zune_jpeg::errors::DecodeErrors| {
        let text: String = format!("{e:?}").chars().filter(|c| !c.is_control()).take(120).collect();
        DataError::new("picture", "a PNG or JPEG file", text)
    };
    let options = DecoderOptions::default().set_max_width(1 << 14).set_max_height(1 << 14);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(fail)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let channels = if is_grey { 1 } else { 3 };
    let color = if is_grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let (width, height) = decoder.dimensions().unwrap_or_default();
    checked(width, height, channels)?;
    let pixels = decoder.decode().map_err(fail)?;
    Ok(([channels, height, width], pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of 2 × 1 pixels.
    fn picture(color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    }

    #[test]
    fn channels_come_one_after_the_other() {
        let colored = picture(png::ColorType::Rgb, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(decode(&colored).unwrap(), ([3, 1, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        let grey = picture(png::ColorType::Grayscale, &[7, 9]);
        assert_eq!(decode(&grey).unwrap(), ([1, 1, 2], vec![7.0, 9.0]));
        let opaque = picture(png::ColorType::Rgba, &[1, 2, 3, 255, 4, 5, 6, 255]);
        assert_eq!(decode(&opaque).unwrap(), decode(&colored).unwrap());
        let seen_through = picture(png::ColorType::Rgba, &[1, 2, 3, 255, 4, 5, 6, 254]);
        assert!(
            decode(&seen_through).is_err() && decode(b"\x89PNG").is_err() && decode(b"\xff\xd8").is_err()
        );
    }

    #[test]
    fn folders_are_classes_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for (class, name, grey) in [("dog", "b.png", 5), ("cat", "z.PNG", 3), ("dog", "a.png", 4)] {
            let below = folder.path().join(class);
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(name), picture(png::ColorType::Grayscale, &[grey, grey])).unwrap();
        }
        fs::create_dir(folder.path().join("empty")).unwrap();
        fs::write(folder.path().join("dog/notes.txt"), "no picture").unwrap();
        let mut reader = ImageReader::open(folder.path()).unwrap().unwrap();
        assert_eq!(
            (reader.classes(), reader.shape()),
            (["cat".to_string(), "dog".into()].as_slice(), [1, 1, 2].as_slice())
        );
        let rows = reader.read_rows(9).unwrap().unwrap();
        assert_eq!((rows.values, rows.labels), (vec![3.0, 3.0, 4.0, 4.0, 5.0, 5.0], Some(vec![0, 1, 1])));
        fs::write(folder.path().join("dog/c.png"), picture(png::ColorType::Rgb, &[0; 6])).unwrap();
        let mut reader = ImageReader::open(folder.path()).unwrap().unwrap();
        let error = reader.read_rows(9).unwrap_err().to_string();
        assert_eq!(
            error,
            "c.png: expected 1 channels of 1 x 2 like the first picture, found 3 channels of 1 x 2"
        );
        assert!(ImageReader::open(&folder.path().join("cat")).unwrap().is_none());
    }
}
