//! The network and the data of a run, read or embedded, and how they fit together.

use crate::RunError;
use crate::config::{DataConfig, ModelConfig};
use crate::feed::{Feed, FeedInfo};
use crate::scale::{ChosenScale, choose};
use std::ops::Range;
use std::path::{Path, PathBuf};
use weightproof::network::{Network, StepRounding};
use weightproof::verdict::Samples;
use weightproof_formats::FormatError;
use weightproof_formats::data::{
    Batch, ChannelOrder, CsvHeader, DataInfo, DataOptions, DataSet, Split, reorder,
};
use weightproof_formats::fingerprint::sha256;
use weightproof_formats::network::{
    BatchNorm, LoadedNetwork, OnnxNetwork, ReadOptions, read_network_with, read_onnx,
};
use weightproof_report::{DataReport, ModelReport};

const MODEL: &[u8] = include_bytes!("../../../assets/mnist-784-128-64-32-10.onnx");
const MODEL_NAME: &str = "embedded mnist-784-128-64-32-10";
const IMAGES: &[u8] = include_bytes!("../../../assets/mnist-test-1000-images.idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../../assets/mnist-test-1000-labels.idx1-ubyte.gz");
const DATA_NAME: &str = "embedded mnist-test-1000";
/// Pixels of an embedded image.
const EMBEDDED_WIDTH: usize = 28 * 28;

/// Reads the network and describes it.
///
/// # Errors
/// A file that cannot be read or is no network.
pub fn load_model(config: &ModelConfig) -> Result<(Network, ModelReport), RunError> {
    let (loaded, name, path) = match &config.path {
        None => (embedded_model()?, MODEL_NAME.to_owned(), None),
        Some(path) => {
            let options = ReadOptions {
                architecture: config.architecture.clone(),
                batch_norm: if config.separate_batch_norm { BatchNorm::Separate } else { BatchNorm::Fold },
                outputs: config.outputs.clone(),
                inputs: config.inputs.clone(),
                dims: config.dims.clone(),
            };
            let loaded = read_network_with(path, &options)?;
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            (loaded, name, Some(path.display().to_string()))
        }
    };
    let LoadedNetwork { network, mut notes, dropped_head, sha256, format } = loaded;
    let network = match config.step_rounding {
        StepRounding::NearestEven => network,
        StepRounding::Any if !network.has_quantizers() => {
            return Err(RunError::setting("rounding", "a network with quantizers for any", "one without"));
        }
        StepRounding::Any => {
            notes.push("quantizers may give a step beside the nearest one (--rounding any)".into());
            network.with_step_rounding(StepRounding::Any)
        }
    };
    let report =
        ModelReport { notes, dropped_head, ..ModelReport::new(&network, &name, path, sha256, format) };
    Ok((network, report))
}

/// The bytes of the file of a network, or of the embedded one.
///
/// # Errors
/// A file that cannot be read.
pub fn model_bytes(path: Option<&Path>) -> Result<Vec<u8>, RunError> {
    match path {
        None => Ok(MODEL.to_vec()),
        Some(path) => Ok(std::fs::read(path).map_err(FormatError::io(path))?),
    }
}

fn embedded_model() -> Result<LoadedNetwork, RunError> {
    let parsed = read_onnx(MODEL, BatchNorm::default());
    let OnnxNetwork { network, notes, dropped_head } =
        parsed.map_err(|e| RunError::misfit(format!("{MODEL_NAME}: {e}")))?;
    Ok(LoadedNetwork { network, notes, dropped_head, sha256: sha256(MODEL), format: "onnx" })
}

/// How samples of one shape become inputs of a network.
pub struct Fit {
    move_channels: Option<ChannelOrder>,
    shape: Vec<usize>,
}

impl Fit {
    /// Samples of `shape`, called `name` in errors, for `network`; `layout` is `nchw` or `nhwc` where it was said.
    ///
    /// # Errors
    /// When the number of values differs.
    pub fn new(
        name: &str,
        shape: &[usize],
        network: &Network,
        layout: Option<&str>,
    ) -> Result<Fit, RunError> {
        let (found, wanted): (usize, usize) = (shape.iter().product(), network.input_width());
        if found != wanted {
            return Err(RunError::Shape {
                data: name.into(),
                wanted,
                input: network.input_shape().to_vec(),
                found,
                shape: shape.to_vec(),
            });
        }
        let move_channels = channel_move(shape, network.input_shape(), layout);
        Ok(Fit { move_channels, shape: shape.to_vec() })
    }

    /// Whether samples are read as they are.
    pub fn is_identity(&self) -> bool {
        self.move_channels.is_none()
    }

    /// Samples in the order of the network.
    pub fn reordered(&self, inputs: Vec<f64>) -> Vec<f64> {
        match self.move_channels {
            None => inputs,
            Some(to) => reorder(&self.shape, &inputs, to).1,
        }
    }

    /// `network` with the normalization of the settings in front, so that it reads the data as they are.
    ///
    /// # Errors
    /// Lists of numbers that fit neither the channels nor the values of a sample.
    pub fn normalized(&self, network: Network, config: &DataConfig) -> Result<Network, RunError> {
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
    fn spread(&self, name: &'static str, numbers: &[f64]) -> Result<Vec<f64>, RunError> {
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
            let expected = format!("1 number, {each}or {width} (one for each value)");
            return Err(RunError::setting(name, expected, numbers.len().to_string()));
        }
        let pixels = width / channels;
        let first = self.move_channels.unwrap_or_else(|| order(&self.shape)) == ChannelOrder::First;
        Ok((0..width).map(|k| numbers[if first { k / pixels } else { k % channels }]).collect())
    }
}

/// Samples of files, or the embedded ones, in the order that the network wants.
pub struct Source {
    data: DataSet,
    config: DataConfig,
    scale: ChosenScale,
    /// The file that labels are blamed on.
    path: PathBuf,
    /// How the samples become inputs.
    pub fit: Fit,
    batch: Option<Batch>,
}

impl Source {
    /// Opens the data and checks that they fit `network`; `embedded_model` says whether it is the embedded one.
    ///
    /// # Errors
    /// Data that cannot be read or do not fit.
    pub fn open(config: &DataConfig, network: &Network, embedded_model: bool) -> Result<Self, RunError> {
        let (mut data, path) = match &config.path {
            None => {
                check_embedded(config, network, embedded_model)?;
                (data(config)?, PathBuf::from(DATA_NAME))
            }
            Some(path) => (data(config)?, path.clone()),
        };
        let fit = Fit::new(&path.display().to_string(), &data.info().shape, network, config.layout)?;
        let path = config.labels.clone().unwrap_or(path);
        let scale = scaled(&mut data, config, Some(network))?;
        Ok(Source { data, config: config.clone(), scale, path, fit, batch: None })
    }

    /// What the data set is.
    pub fn info(&self) -> &DataInfo {
        self.data.info()
    }

    /// The next samples, at most `most`; labels are checked against `classes` unless that is `None`.
    ///
    /// # Errors
    /// As [`Feed::advance`].
    pub fn next(&mut self, most: usize, classes: Option<usize>) -> Result<Option<Batch>, RunError> {
        let Some(mut batch) = self.data.next_batch(most)? else { return Ok(None) };
        match classes {
            Some(classes) => batch.check_labels(classes, &self.path)?,
            None => batch.labels = None,
        }
        batch.inputs = self.fit.reordered(batch.inputs);
        Ok(Some(batch))
    }
}

impl Feed for Source {
    fn info(&self) -> FeedInfo {
        let DataInfo { description, shape, count, labelled, .. } = self.data.info().clone();
        FeedInfo { description, width: shape.iter().product(), count, range: self.scale.range(), labelled }
    }

    fn advance(&mut self, most: usize, classes: Option<usize>) -> Result<Option<Samples<'_>>, RunError> {
        if let Some(batch) = self.batch.take() {
            self.data.reuse(batch.inputs);
        }
        self.batch = self.next(most, classes)?;
        Ok(self.batch.as_ref().map(samples))
    }

    fn samples(&self) -> Result<usize, RunError> {
        Ok(data(&self.config)?.left()?)
    }

    fn select(&mut self, part: Range<usize>) -> Result<(), RunError> {
        self.config.offset += part.start;
        self.config.samples = Some(part.len());
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), RunError> {
        self.data = data(&self.config)?;
        self.data.set_scale(self.scale.scale);
        Ok(())
    }

    fn sha256(&self) -> Result<String, RunError> {
        Ok(self.data.sha256()?)
    }

    fn report(&self, samples: usize, offset: usize) -> Result<DataReport, RunError> {
        let requested = self.config.samples.filter(|wanted| *wanted > samples);
        Ok(DataReport { requested, ..describe(&self.data, &self.scale, samples, offset)? })
    }
}

/// A batch as the library takes it.
fn samples(batch: &Batch) -> Samples<'_> {
    Samples { first: batch.first, inputs: &batch.inputs, labels: batch.labels.as_deref() }
}

/// The block of a report about `samples` of a data set from `offset` on.
///
/// # Errors
/// A file that can no longer be read.
pub fn describe(
    data: &DataSet,
    scale: &ChosenScale,
    samples: usize,
    offset: usize,
) -> Result<DataReport, RunError> {
    let info = data.info();
    Ok(DataReport {
        description: info.description.clone(),
        format: info.format.into(),
        samples,
        offset,
        shape: info.shape.clone(),
        labelled: info.labelled,
        classes: info.classes.clone(),
        scale: scale.report(),
        sha256: data.sha256()?,
        labels_sha256: None,
        requested: None,
        range: None,
        remarks: Vec::new(),
    })
}

/// Samples that are looked at to tell the unit of bytes.
const LOOKED_AT: usize = 256;

/// Sets the factor that `data` are multiplied by, see [`choose`].
///
/// # Errors
/// As [`choose`]; data that cannot be read.
pub fn scaled(
    data: &mut DataSet,
    config: &DataConfig,
    network: Option<&Network>,
) -> Result<ChosenScale, RunError> {
    let bytes = data.info().pixels;
    let chosen = choose(config, bytes, network, || Ok(data.largest_ahead(LOOKED_AT, 1.0)?))?;
    data.set_scale(chosen.scale);
    Ok(chosen)
}

/// The samples that the settings name, or the embedded ones.
///
/// # Errors
/// Data that cannot be read.
pub fn data(config: &DataConfig) -> Result<DataSet, RunError> {
    match &config.path {
        None => Ok(embedded_images()?.select(config.offset, config.samples)?),
        Some(path) => Ok(DataSet::open(&options(config, path))?),
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
        csv_header: csv_header(config.csv_header),
        csv_delimiter: config.csv_delimiter.and_then(|c| u8::try_from(c).ok()),
        csv_label_column: config.csv_label_column.clone(),
    }
}

/// What a setting says about the first row of CSV: `yes`, `no`, else `auto`.
pub fn csv_header(name: &str) -> CsvHeader {
    match name {
        "yes" => CsvHeader::Yes,
        "no" => CsvHeader::No,
        _ => CsvHeader::Auto,
    }
}

/// Whether the embedded samples are what the user wants.
fn check_embedded(config: &DataConfig, network: &Network, embedded_model: bool) -> Result<(), RunError> {
    if let Some(labels) = &config.labels {
        return Err(RunError::Misfit {
            message: format!("{}: expected data for these labels, found none", labels.display()),
            hint: Some("name the data after the model: MODEL DATA --labels FILE"),
        });
    }
    let shape = network.input_shape();
    let (fits, asked) = (network.input_width() == EMBEDDED_WIDTH, embedded_model || config.embedded);
    if asked && fits {
        return Ok(());
    }
    let (message, hint) = if asked {
        let message = format!("expected data of shape {shape:?}, found those embedded, of shape [28, 28]");
        (message, "name a folder or file with data")
    } else {
        let message = format!("expected data for a network with an input of shape {shape:?}, found none");
        let hint = if fits {
            "name a folder or file with data, or --data embedded for the 1,000 embedded images of MNIST's test set"
        } else {
            "name a folder or file with data"
        };
        (message, hint)
    };
    Err(RunError::Misfit { message, hint: Some(hint) })
}

/// The embedded sample of MNIST.
///
/// # Errors
/// None in a sound build.
pub fn embedded_images() -> Result<DataSet, RunError> {
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
        let fit = Fit::new("images", &data.info().shape, &network, None).unwrap();
        let config = DataConfig::default();
        let scale = choose(&config, true, None, || Ok(None)).unwrap();
        let source = Source { data, config, scale, path: "images".into(), fit, batch: None };
        (network, source)
    }

    /// A network whose first node is this scale of its input.
    fn starts_with(scale: f64, shift: f64) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let map = weightproof::network::Scale::new(vec![scale; 2], vec![shift; 2]);
        let scaled = builder.scale("rescaling", 0, map).unwrap();
        let dense = builder.dense("d", scaled, Matrix::zeros(2, 2), vec![0.0; 2]).unwrap();
        builder.activation("r", dense, Activation::Relu).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn bytes_are_scaled_once() {
        let plain = DataConfig::default();
        let factor = |config: &DataConfig, network: &Network, largest| {
            choose(config, true, Some(network), || Ok(Some(largest))).map(|c| c.scale.to_string())
        };
        let unscaled = starts_with(2.0, -1.0);
        assert_eq!(factor(&plain, &unscaled, 200.0).unwrap(), "1/255");
        // Rescaling and normalization of bytes inside of the network, as Keras, torchvision and Caffe have them.
        for (scale, shift) in [(1.0 / 255.0, 0.0), (1.0 / 127.5, -1.0), (0.0171, -2.1), (1.0, -123.7)] {
            assert_eq!(factor(&plain, &starts_with(scale, shift), 200.0).unwrap(), "1", "{scale} {shift}");
        }
        let normalized = |mean: f64, std: f64| DataConfig {
            mean: Some(vec![mean]),
            std: Some(vec![std]),
            ..DataConfig::default()
        };
        for (mean, std, wanted) in
            [(0.13, 0.31, "1/255"), (0.0, 255.0, "1"), (127.5, 127.5, "1"), (33.0, 1.0, "1")]
        {
            assert_eq!(factor(&normalized(mean, std), &unscaled, 200.0).unwrap(), wanted, "{mean} {std}");
        }
        assert!(factor(&normalized(0.5, 4.0), &unscaled, 200.0).is_err());
        // Features of 0 and 1.
        assert!(
            factor(&plain, &unscaled, 1.0).unwrap_err().to_string().starts_with("scale: expected a number")
        );
        let given = DataConfig { scale: Some("1/2".parse().unwrap()), ..normalized(0.0, 255.0) };
        assert_eq!(factor(&given, &starts_with(1.0 / 255.0, 0.0), 1.0).unwrap(), "1/2");
        let range = |scale: &str| {
            let config = DataConfig { scale: Some(scale.parse().unwrap()), ..DataConfig::default() };
            choose(&config, true, None, || Ok(None)).unwrap().range()
        };
        assert_eq!((range("1/255"), range("1")), (Some((0.0, 1.0)), Some((0.0, 255.0))));
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
            let normalized = source.fit.normalized(network, &config).unwrap();
            let Layer::Scale(scale) = &normalized.nodes()[1].layer else { panic!("no scale") };
            assert_eq!(scale.scale, [2.0; 12]);
            assert_eq!(scale.shift[..5], mean.map(|m| -2.0 * m));
            let batch = source.next(10, None).unwrap().unwrap();
            assert_eq!((batch.count, batch.labels), (2, None));
            assert_eq!(batch.inputs[12..17], values.map(|v| f64::from(v) / 255.0));
        }
        let wrong = DataConfig { mean: Some(vec![0.0; 5]), ..DataConfig::default() };
        let (network, source) = images([3, 2, 2]);
        let error = source.fit.normalized(network, &wrong).unwrap_err().to_string();
        let expected =
            "mean: expected 1 number, 3 (one for each channel), or 12 (one for each value), found 5";
        assert_eq!(error, expected);
    }
}
