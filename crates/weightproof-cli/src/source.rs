//! The network and the data of a run, read or embedded, and how they fit together.

use crate::config::{DataConfig, ModelConfig};
use crate::error::Failure;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof_formats::data::{Batch, ChannelOrder, DataOptions, DataSet, Split, reorder};
use weightproof_formats::network::{BatchNorm, LoadedNetwork, ReadOptions, parse_onnx, read_network_with};
use weightproof_report::{DataReport, ModelReport};

const MODEL: &[u8] = include_bytes!("../../../assets/mnist-784-128-64-32-10.onnx");
const MODEL_NAME: &str = "embedded mnist-784-128-64-32-10";
const IMAGES: &[u8] = include_bytes!("../../../assets/mnist-test-1000-images.idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../../assets/mnist-test-1000-labels.idx1-ubyte.gz");
const DATA_NAME: &str = "embedded mnist-test-1000";

/// Reads the network and describes it.
pub fn load_model(config: &ModelConfig) -> Result<(Network, ModelReport), Failure> {
    let (loaded, name, path) = match &config.path {
        None => (embedded_model()?, MODEL_NAME.to_owned(), None),
        Some(path) => {
            let options = ReadOptions {
                architecture: config.architecture.clone(),
                batch_norm: if config.separate_batch_norm { BatchNorm::Separate } else { BatchNorm::Fold },
            };
            let loaded = read_network_with(path, &options).map_err(|error| {
                let failure = Failure::from(error);
                if is_data(path) { failure.hint("the model comes first: MODEL DATA") } else { failure }
            })?;
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            (loaded, name, Some(path.display().to_string()))
        }
    };
    let LoadedNetwork { network, notes, sha256, format } = loaded;
    let report = ModelReport { notes, ..ModelReport::new(&network, &name, path, sha256, format) };
    Ok((network, report))
}

fn embedded_model() -> Result<LoadedNetwork, Failure> {
    let parsed = parse_onnx(MODEL).map_err(|e| Failure::new(format!("{MODEL_NAME}: {e}")));
    let (network, notes) = parsed?;
    let sha256 = Sha256::digest(MODEL).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(LoadedNetwork { network, notes, sha256, format: "onnx" })
}

/// Whether a path looks like data, for a hint.
fn is_data(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_dir() || ["npz", "npy", "csv", "bin", "gz"].contains(&extension.as_str())
}

/// Samples in the order that the network wants.
pub struct Source {
    data: DataSet,
    /// The file that labels are blamed on.
    path: PathBuf,
    move_channels: Option<ChannelOrder>,
    shape: Vec<usize>,
}

impl Source {
    /// Opens the data and checks that they fit `network`; `embedded_model` says whether it is the embedded one.
    pub fn open(config: &DataConfig, network: &Network, embedded_model: bool) -> Result<Self, Failure> {
        let (data, path) = match &config.path {
            None => (embedded_data(config, network, embedded_model)?, PathBuf::from(DATA_NAME)),
            Some(path) => (DataSet::open(&options(config, path))?, path.clone()),
        };
        let shape = data.info().shape.clone();
        let (found, wanted): (usize, usize) = (shape.iter().product(), network.input_width());
        if found != wanted {
            return Err(Failure::new(format!(
                "{}: expected samples of {wanted} values, the network's input of shape {:?}, found {found} values of \
                 shape {shape:?}",
                path.display(),
                network.input_shape()
            ))
            .hint("give data of the network's size, or the network that belongs to the data"));
        }
        let move_channels = channel_move(&shape, network.input_shape(), config.layout);
        let path = config.labels.clone().unwrap_or(path);
        Ok(Source { data, path, move_channels, shape })
    }

    /// What the data set is.
    pub fn info(&self) -> &weightproof_formats::data::DataInfo {
        self.data.info()
    }

    /// SHA-256 of the bytes with the samples.
    pub fn sha256(&self) -> Result<String, Failure> {
        Ok(self.data.sha256()?)
    }

    /// The data's block of a report about `samples` of them from `offset` on.
    pub fn report(&self, samples: usize, offset: usize) -> Result<DataReport, Failure> {
        let info = self.info();
        Ok(DataReport {
            description: info.description.clone(),
            format: info.format.into(),
            samples,
            offset,
            shape: info.shape.clone(),
            labelled: info.labelled,
            sha256: self.sha256()?,
        })
    }

    /// The next samples, at most `most`; labels are checked against `classes` unless that is `None`.
    pub fn next(&mut self, most: usize, classes: Option<usize>) -> Result<Option<Batch>, Failure> {
        let Some(mut batch) = self.data.next_batch(most)? else { return Ok(None) };
        match classes {
            Some(classes) => batch.check_labels(classes, &self.path)?,
            None => batch.labels = None,
        }
        if let Some(to) = self.move_channels {
            batch.inputs = reorder(&self.shape, &batch.inputs, to).1;
        }
        Ok(Some(batch))
    }

    /// `network` with the normalization of `--mean` and `--std` in front, so that it reads the data as they are.
    pub fn normalized(&self, network: Network, config: &DataConfig) -> Result<Network, Failure> {
        if config.mean.is_none() && config.std.is_none() {
            return Ok(network);
        }
        let mean = self.spread("mean", config.mean.as_deref().unwrap_or(&[0.0]))?;
        let std = self.spread("std", config.std.as_deref().unwrap_or(&[1.0]))?;
        let scale = std.iter().map(|s| 1.0 / s).collect();
        let shift = mean.iter().zip(&std).map(|(m, s)| -m / s).collect();
        Ok(network.with_normalization(scale, shift)?)
    }

    /// One number for each value of a sample, in the order that the network reads them.
    fn spread(&self, name: &str, numbers: &[f64]) -> Result<Vec<f64>, Failure> {
        let width: usize = self.shape.iter().product();
        let channels = channels(&self.shape);
        if let [one] = numbers {
            return Ok(vec![*one; width]);
        }
        if numbers.len() == width {
            return Ok(numbers.to_vec());
        }
        if numbers.len() != channels || channels == 1 {
            let each =
                if channels == 1 { String::new() } else { format!("{channels} (one for each channel), ") };
            let found = numbers.len();
            return Err(Failure::new(format!(
                "{name}: expected 1 number, {each}or {width} (one for each value), found {found}"
            )));
        }
        let pixels = width / channels;
        let first = self.move_channels.unwrap_or_else(|| order(&self.shape)) == ChannelOrder::First;
        Ok((0..width).map(|k| numbers[if first { k / pixels } else { k % channels }]).collect())
    }
}

fn options(config: &DataConfig, path: &Path) -> DataOptions {
    DataOptions {
        path: path.into(),
        labels: config.labels.clone(),
        split: if config.split == "train" { Split::Train } else { Split::Test },
        offset: config.offset,
        samples: config.samples,
        csv_labels: config.csv_labels,
    }
}

fn embedded_data(config: &DataConfig, network: &Network, embedded_model: bool) -> Result<DataSet, Failure> {
    if let Some(labels) = &config.labels {
        return Err(Failure::new(format!(
            "{}: expected data for these labels, found none",
            labels.display()
        ))
        .hint("name the data after the model: MODEL DATA --labels FILE"));
    }
    let data = embedded_images()?;
    let width: usize = data.info().shape.iter().product();
    if !embedded_model && width != network.input_width() {
        return Err(Failure::new(format!(
            "expected data for a network with an input of shape {:?}, found none",
            network.input_shape()
        ))
        .hint("name a folder or file with data after the model: MODEL DATA"));
    }
    Ok(data.select(config.offset, config.samples)?)
}

/// The embedded sample of MNIST.
pub fn embedded_images() -> Result<DataSet, Failure> {
    Ok(DataSet::from_idx_bytes(IMAGES, Some(LABELS.into()), DATA_NAME)?)
}

/// Number of channels of a sample.
fn channels(shape: &[usize]) -> usize {
    match (shape, order(shape)) {
        (&[first, _, _], ChannelOrder::First) => first,
        (&[_, _, last], ChannelOrder::Last) => last,
        _ => 1,
    }
}

/// Where the channels of a shape are: the axis that has 1, 3 or 4 of them, the first where both do or none.
fn order(shape: &[usize]) -> ChannelOrder {
    let few = |n: usize| [1, 3, 4].contains(&n);
    match *shape {
        [first, _, last] if few(last) && !few(first) => ChannelOrder::Last,
        _ => ChannelOrder::First,
    }
}

/// Where the channels of `data` must move for the network, if they must.
fn channel_move(data: &[usize], network: &[usize], layout: Option<&str>) -> Option<ChannelOrder> {
    if channels(data) == 1 {
        return None;
    }
    let wanted = match layout {
        Some("nhwc") => ChannelOrder::Last,
        Some(_) => ChannelOrder::First,
        None if network.len() == 3 => order(network),
        None => order(data),
    };
    (wanted != order(data)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, Layer, NetworkBuilder};

    #[test]
    fn channels_move_when_the_shapes_or_the_user_say_so() {
        let (first, last) = ([3, 32, 32], [32, 32, 3]);
        assert_eq!(channel_move(&first, &last, None), Some(ChannelOrder::Last));
        assert_eq!(channel_move(&last, &first, None), Some(ChannelOrder::First));
        assert_eq!(channel_move(&first, &first, None), None);
        assert_eq!(channel_move(&first, &[3072], None), None);
        assert_eq!(channel_move(&first, &[3072], Some("nhwc")), Some(ChannelOrder::Last));
        assert_eq!(channel_move(&last, &[3072], Some("nhwc")), None);
        assert_eq!(channel_move(&first, &last, Some("nchw")), None);
        assert_eq!(channel_move(&[28, 28], &[28, 28, 1], Some("nhwc")), None);
    }

    /// A network of 12 inputs of this shape, and two samples of 3 channels of 2 × 2 pixels; channel `c` of sample `s` is
    /// `100 s + 10 c + pixel`.
    fn images(shape: [usize; 3]) -> (Network, Source) {
        let mut builder = NetworkBuilder::new(shape.to_vec());
        let dense = builder.dense("d", 0, Matrix::zeros(2, 12), vec![0.0; 2]).unwrap();
        builder.activation("r", dense, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        let mut bytes = vec![0, 0, 8, 4];
        bytes.extend([2u32, 3, 2, 2].iter().flat_map(|n| n.to_be_bytes()));
        bytes.extend((0..24).map(|k| 100 * (k / 12) + 10 * (k % 12 / 4) + k % 4));
        let data = DataSet::from_idx_bytes(bytes, None, "images").unwrap();
        let move_channels = channel_move(&data.info().shape, &shape, None);
        let source = Source { shape: data.info().shape.clone(), data, path: "images".into(), move_channels };
        (network, source)
    }

    #[test]
    fn pixels_and_their_normalization_are_in_the_order_of_the_network() {
        let config =
            DataConfig { mean: Some(vec![1.0, 2.0, 3.0]), std: Some(vec![0.5]), ..DataConfig::default() };
        for (shape, values, mean) in [
            ([3, 2, 2], [100, 101, 102, 103, 110], [1.0, 1.0, 1.0, 1.0, 2.0]),
            ([2, 2, 3], [100, 110, 120, 101, 111], [1.0, 2.0, 3.0, 1.0, 2.0]),
        ] {
            let (network, mut source) = images(shape);
            let normalized = source.normalized(network, &config).unwrap();
            let Layer::Scale(scale) = &normalized.nodes()[1].layer else { panic!("no scale") };
            assert_eq!(scale.scale, [2.0; 12]);
            assert_eq!(scale.shift[..5], mean.map(|m| -2.0 * m));
            let batch = source.next(10, None).unwrap().unwrap();
            assert_eq!((batch.count, batch.labels), (2, None));
            assert_eq!(batch.inputs[12..17], values.map(|v| f64::from(v) / 255.0));
        }
        let wrong = DataConfig { mean: Some(vec![0.0; 5]), ..DataConfig::default() };
        let (network, source) = images([3, 2, 2]);
        let error = source.normalized(network, &wrong).unwrap_err().to_string();
        let expected =
            "error: mean: expected 1 number, 3 (one for each channel), or 12 (one for each value), found 5";
        assert_eq!(error, expected);
    }
}
