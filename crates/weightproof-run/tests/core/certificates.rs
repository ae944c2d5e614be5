//! Certificates of the engine, repeated by the checker, which shares nothing with it.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use weightproof::faults::{Fault, FaultModel};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Gather, Network, NetworkBuilder, Scale, StepRounding};
use weightproof::property::Property;
use weightproof::threat::{Inference, Kind, NumberFormat, Rounding, ThreatModel};
use weightproof::verdict::Verdict;
use weightproof_check::check::Accepted;
use weightproof_check::onnx;
use weightproof_check::run::{Finding, Opened};
use weightproof_formats::network::{read_network, write_network};
use weightproof_report::{BudgetReport, CertificateReport, CertifyRecord};
use weightproof_run::certificate::Plan;
use weightproof_run::config::{Config, DataConfig, MethodConfig, ModelConfig, Outputs};
use weightproof_run::exact::ExactConfig;
use weightproof_run::faults::Beside;
use weightproof_run::run::{BatchSize, Run, Watch, pool};
use weightproof_run::session::Session;
use weightproof_run::threat::ThreatConfig;
use weightproof_run::{RunError, certify, exact};
use weightproof_testkit::networks::{Blueprint, Design, input, rng};
use weightproof_testkit::threats;

/// Samples of each network.
const SAMPLES: usize = 4;

struct Quiet;

impl Watch for Quiet {}

/// A question about the network and the data of a folder.
struct Case<'c> {
    folder: &'c Path,
    threat: ThreatModel,
    method: &'static str,
    property: Property,
    /// Whether `--mean` and `--std` are given.
    normalized: bool,
    /// What else is asked.
    asks: Asks,
}

/// What few runs ask.
#[derive(Clone, Default)]
struct Asks {
    outputs: Option<Outputs>,
    rounding: StepRounding,
    faults: Option<FaultModel>,
    /// Whether values are quantized.
    quantizes: bool,
}

impl Case<'_> {
    fn model(&self) -> PathBuf {
        self.folder.join("network.onnx")
    }

    fn session(&self) -> Result<Session, RunError> {
        let data = DataConfig {
            path: Some(self.folder.join("data.csv")),
            csv_labels: false,
            mean: self.normalized.then(|| vec![0.1]),
            std: self.normalized.then(|| vec![0.7]),
            ..DataConfig::default()
        };
        Session::open(Config {
            model: ModelConfig {
                path: Some(self.model()),
                step_rounding: self.asks.rounding,
                ..ModelConfig::default()
            },
            data,
            threat: ThreatConfig::new(self.threat.clone(), Vec::new(), None),
            property: Some(self.property),
            outputs: self.asks.outputs,
            tolerance: (self.property == Property::Deviation).then_some(0.8),
            logits: false,
            precision: None,
            seed: 0,
        })
    }

    /// The records of a run that writes a certificate.
    fn write(&self, file: &Path) -> Result<(Vec<CertifyRecord>, CertificateReport), RunError> {
        let mut session = self.session()?;
        let faults = self.asks.faults.clone().map(|model| Beside::new(&mut session, model)).transpose()?;
        let sets = session.config.threat.sets(&session.network, None)?;
        let method = MethodConfig::new(self.method, None)?;
        let max_nodes = method.is_exact().then_some(300);
        let config = ExactConfig {
            method,
            budget: BudgetReport { max_nodes, ..BudgetReport::default() },
            journal: None,
            witness: None,
            certificate: Some(file.into()),
            oracle: None,
        };
        let run = Run::new(pool(Some(2))?, Quiet, BatchSize::Fixed(SAMPLES), (0, session.precision))
            .with_label(session.label());
        let (records, written) = if config.method.is_exact() {
            let mut report = exact::run(&mut session, &sets, &config, run)?;
            let records = report.results.remove(0).samples.into_iter().map(|record| record.certify);
            (records.collect(), report.header.certificate)
        } else {
            let mut report = certify::run(&mut session, &sets, &config, faults.as_ref(), run)?;
            (report.results.remove(0).samples, report.header.certificate)
        };
        Ok((records, written.expect("a certificate was asked for")))
    }

    /// What the checker says about a file.
    fn findings(&self, file: &Path) -> Vec<Finding> {
        let file = BufReader::new(fs::File::open(file).unwrap());
        let mut opened = Opened::new(file, &fs::read(self.model()).unwrap()).unwrap();
        let mut findings = Vec::new();
        opened.check(2, |finding| findings.push(finding)).unwrap();
        findings
    }

    /// How many verified and falsified records the checker accepts.
    ///
    /// # Errors
    /// A certificate that cannot be made, and a record that is not accepted for what the run says of it.
    fn check(&self) -> Result<[usize; 2], String> {
        let file = self.folder.join("certificate.wpc");
        let (records, written) = self.write(&file).map_err(|error| error.to_string())?;
        let findings = self.findings(&file);
        // What linear programs prove with the hulls of quantizers has no form in a certificate.
        let may_lack = if self.asks.quantizes && self.method == "exact" { 1 } else { 0 };
        let enough = written.without_proof <= may_lack && written.records == records.len();
        if !enough || findings.len() != records.len() {
            return Err(format!("{written:?} of {} records, {} findings", records.len(), findings.len()));
        }
        let (mut accepted, mut lacking) = ([0; 2], 0);
        for (record, finding) in records.iter().zip(&findings) {
            match (record.verdict, &finding.result) {
                (Verdict::Verified, Ok(Accepted::Verified(..))) => accepted[0] += 1,
                (Verdict::Falsified, Ok(Accepted::Falsified(_))) => accepted[1] += 1,
                (Verdict::Unknown, Ok(Accepted::Unknown)) => {}
                // Whoever writes looks for hits that break what a run leaves open.
                (Verdict::Unknown, Ok(Accepted::Falsified(_))) if self.asks.faults.is_some() => {
                    accepted[1] += 1
                }
                (Verdict::Verified, Ok(Accepted::Unknown)) => lacking += 1,
                // A witness that moves activations has no place in the format.
                (Verdict::Falsified, Ok(Accepted::Unknown)) if self.threat.activation_radius > 0.0 => {}
                (verdict, _) => return Err(format!("{verdict:?}: {finding}")),
            }
        }
        match lacking == written.without_proof {
            true => Ok(accepted),
            false => Err(format!("{lacking} without proof, {written:?}")),
        }
    }
}

/// Number of networks; `WEIGHTPROOF_CASES` asks for more.
fn cases(few: u64) -> u64 {
    std::env::var("WEIGHTPROOF_CASES").map_or(few, |cases| cases.parse().expect("a number of cases"))
}

/// A folder with a network and samples.
fn folder(network: &Network, seed: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_network(&folder.path().join("network.onnx"), network).unwrap();
    let mut random = rng(seed);
    let mut line = || {
        let x = input(network.input_width(), false, &mut random);
        x.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(",")
    };
    let lines: Vec<String> = (0..SAMPLES).map(|_| line()).collect();
    fs::write(folder.path().join("data.csv"), lines.join("\n")).unwrap();
    folder
}

/// Scalings, convolutions with padding, a residual connection, both kinds of pooling with windows that leave out or pad, and all activations
/// of the format.
fn images(seed: u64) -> Network {
    let mut random = rng(seed);
    let mut numbers = |rows: usize, columns: usize| {
        let all = input(rows * columns, false, &mut random);
        Matrix::from_vec(rows, columns, all.into_iter().map(|v| 1.5 * v / (columns as f64).sqrt()).collect())
    };
    let padded = |channels| Window { padding: [[1, 1]; 2], ..Window::new([channels, 6, 6], 2, [3, 3]) };
    let mut builder = NetworkBuilder::new(vec![1, 6, 6]);
    let centred = builder.scale("centred", 0, Scale::new(vec![1.0; 36], vec![-0.25; 36])).unwrap();
    let divided = builder.scale("divided", centred, Scale::dividing(vec![0.75; 36])).unwrap();
    let first = builder.conv("first", divided, numbers(2, 9), vec![0.1, 0.2], padded(1)).unwrap();
    let relu = builder.activation("relu", first, Activation::Relu).unwrap();
    let second = builder.conv("second", relu, numbers(2, 18), vec![0.1, -0.1], padded(2)).unwrap();
    let sum = builder.add("sum", vec![relu, second]).unwrap();
    let window = Window { stride: [2, 2], ..Window::pooling([2, 6, 6], [2, 2]) };
    let most = builder.max_pool("most", sum, window).unwrap();
    let leaky = builder.activation("leaky", most, Activation::LeakyRelu { slope: 0.125 }).unwrap();
    let window = Window { stride: [2, 2], ..Window::pooling([2, 3, 3], [2, 2]) };
    let mean = builder.average_pool("mean", leaky, window, false).unwrap();
    let flat = builder.reshape("flat", mean, vec![2]).unwrap();
    let flat = builder.scale("scaled", flat, Scale::new(vec![1.5, -0.5], vec![0.0, 0.25])).unwrap();
    let hidden = builder.dense("hidden", flat, numbers(5, 2), vec![0.2; 5]).unwrap();
    let clip = builder.activation("clip", hidden, Activation::Clip { low: 0.0, high: 0.5 }).unwrap();
    builder.dense("last", clip, numbers(3, 5), Vec::new()).unwrap();
    builder.finish().unwrap()
}

/// Elements of two layers, which are reversed, dropped, used twice and padded, as networks that keep channels last have them.
fn chosen(seed: u64) -> Network {
    let mut random = rng(seed);
    let mut numbers = |rows: usize, columns: usize| {
        let all = input(rows * columns, false, &mut random);
        Matrix::from_vec(rows, columns, all.into_iter().map(|v| 1.5 * v / (columns as f64).sqrt()).collect())
    };
    let mut builder = NetworkBuilder::new(vec![2, 3, 4]);
    let places = (0..24).map(|k| Some(k % 4 * 6 + k / 4)).collect();
    let gather = |source, constant| Gather { source, constant };
    let first = builder.gather("turned", vec![0], gather(places, 0.0), vec![4, 3, 2]).unwrap();
    let conv = builder
        .conv("conv", first, numbers(2, 16), vec![0.1, -0.2], Window::new([4, 3, 2], 2, [2, 2]))
        .unwrap();
    let relu = builder.activation("relu", conv, Activation::Relu).unwrap();
    let source = vec![Some(7), Some(0), None, Some(2), Some(2), Some(5), Some(4), None];
    let join = builder.gather("join", vec![relu, conv], gather(source, 0.25), vec![8]).unwrap();
    let hidden = builder.dense("hidden", join, numbers(6, 8), vec![0.2; 6]).unwrap();
    let turned = builder.gather("back", vec![hidden], gather((0..6).rev().map(Some).collect(), 0.0), vec![6]);
    let relu = builder.activation("relu2", turned.unwrap(), Activation::Relu).unwrap();
    builder.dense("last", relu, numbers(3, 6), Vec::new()).unwrap();
    builder.finish().unwrap()
}

/// Certificates of all threat models for a network: what was accepted, and which threat models have no certificates.
fn all(network: &Network, seed: u64, methods: &[&'static str]) -> ([usize; 2], Vec<String>) {
    let folder = folder(network, seed);
    let (mut accepted, mut refused) = ([0; 2], Vec::new());
    for (name, threat) in threats::all(network) {
        for (k, &method) in methods.iter().enumerate() {
            let property = [Property::Prediction, Property::Deviation][(k + seed as usize) % 2];
            let normalized = threat.input_radius == 0.0 && seed % 2 == 1;
            let (folder, threat, asks) = (folder.path(), threat.clone(), Asks::default());
            let case = Case { folder, threat, method, property, normalized, asks };
            match case.check() {
                Ok(own) => accepted.iter_mut().zip(own).for_each(|(all, own)| *all += own),
                Err(error) if error.starts_with("certificate: ") => refused.push(name.clone()),
                Err(error) => panic!("{name}, {method}, {property:?}, seed {seed}: {error}"),
            }
        }
    }
    (accepted, refused)
}

#[test]
fn the_checker_accepts_certificates_of_dense_networks() {
    let mut sum = [0; 2];
    let activations = [
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.125 },
        Activation::Clip { low: 0.0, high: 0.5 },
        Activation::SoftThreshold { lambda: 0.25 },
    ];
    for seed in 0..cases(4) {
        let activation = activations[seed as usize % activations.len()];
        let network = Blueprint::new(&[4, 7, 6, 3], activation, seed).build();
        let (accepted, refused) = all(&network, seed, &["linear", "exact", "interval", "optimized"]);
        sum.iter_mut().zip(accepted).for_each(|(sum, own)| *sum += own);
        assert!(refused.is_empty(), "{refused:?}");
    }
    println!("{} verified, {} falsified", sum[0], sum[1]);
    assert!(sum[0] > 600 && sum[1] > 25, "{sum:?}");
}

#[test]
fn the_checker_accepts_certificates_of_convolutional_networks() {
    let mut sum = [0; 2];
    for seed in 0..cases(2) {
        let (accepted, refused) = all(&images(seed), seed, &["linear", "exact"]);
        sum.iter_mut().zip(accepted).for_each(|(sum, own)| *sum += own);
        assert!(refused.is_empty(), "{refused:?}");
    }
    println!("{} verified, {} falsified", sum[0], sum[1]);
    assert!(sum[0] > 40 && sum[1] > 20, "{sum:?}");
}

#[test]
fn the_checker_accepts_certificates_of_chosen_elements() {
    let mut sum = [0; 2];
    for seed in 0..cases(2) {
        let (accepted, refused) = all(&chosen(seed), seed, &["linear", "exact"]);
        sum.iter_mut().zip(accepted).for_each(|(sum, own)| *sum += own);
        assert!(refused.is_empty(), "{refused:?}");
    }
    println!("{} verified, {} falsified", sum[0], sum[1]);
    assert!(sum[0] > 40 && sum[1] > 10, "{sum:?}");
}

/// A folder with a network that ONNX Runtime quantized and the samples that it was recorded for.
fn quantized(name: &str) -> tempfile::TempDir {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weightproof-formats/tests/onnx-quantized");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(assets.join(name).with_extension("onnx"), folder.path().join("network.onnx")).unwrap();
    let text = fs::read_to_string(assets.join(name).with_extension("json")).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&text).unwrap();
    let inputs: Vec<Vec<f64>> = serde_json::from_value(recorded["inputs"].clone()).unwrap();
    let line = |x: &Vec<f64>| x.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(",");
    let lines: Vec<String> = inputs.iter().take(SAMPLES).map(line).collect();
    fs::write(folder.path().join("data.csv"), lines.join("\n")).unwrap();
    folder
}

#[test]
fn the_checker_accepts_certificates_of_quantized_networks() {
    let names = [
        "dense-qdq-channel",
        "dense-qdq-signed",
        "dense-qdq-int16",
        "dense-qdq-uint16",
        "convolution-qdq",
        "residual-qdq",
        "matmul-qdq",
        "dense-operator",
        "convolution-operator",
        "int4-blocks",
    ];
    let sets = [(Kind::Lsb, 1.0), (Kind::Relative, 0.05), (Kind::Absolute, 0.02), (Kind::Lsb, 12.0)];
    let mut sum = [0; 2];
    for (k, name) in names.into_iter().enumerate() {
        let folder = quantized(name);
        for (j, (kind, radius)) in sets.into_iter().enumerate() {
            // The last layer of this one is stored in floats, and no value is quantized.
            let quantizes = name != "int4-blocks";
            if !quantizes && kind == Kind::Lsb {
                continue;
            }
            let input_radius = if j == 1 { 0.004 } else { 0.0 };
            let threat = ThreatModel { input_radius, ..ThreatModel::new(kind, radius) };
            // The search for proofs of large sets takes long where values meet.
            let methods = if name == "residual-qdq" { &["linear"][..] } else { &["linear", "exact"] };
            for &method in methods {
                let property = [Property::Prediction, Property::Deviation][(k + j) % 2];
                let is_any = quantizes && j % 2 == 0 && k % 3 == 0;
                let rounding = if is_any { StepRounding::Any } else { StepRounding::NearestEven };
                let (folder, asks) = (folder.path(), Asks { rounding, quantizes, ..Asks::default() });
                let case = Case { folder, threat: threat.clone(), method, property, normalized: false, asks };
                let accepted =
                    case.check().unwrap_or_else(|error| panic!("{name}, {threat:?}, {method}: {error}"));
                sum.iter_mut().zip(accepted).for_each(|(sum, own)| *sum += own);
            }
        }
    }
    println!("{} verified, {} falsified", sum[0], sum[1]);
    assert!(sum[0] > 120 && sum[1] > 5, "{sum:?}");
}

/// Outputs that are no classes.
#[test]
fn the_checker_accepts_certificates_of_thresholds_and_ends() {
    let mut sum = [0; 2];
    for (k, sigmoid) in [false, true, false].into_iter().enumerate() {
        let count = if k == 2 { 3 } else { 1 };
        let own = Blueprint::new(&[4, 7, 6, count], Activation::Relu, k as u64).build();
        let mut builder = NetworkBuilder::new(own.input_shape().to_vec());
        for node in &own.nodes()[1..] {
            builder.push(&node.name, node.layer.clone(), node.inputs.clone(), node.shape.clone()).unwrap();
        }
        if sigmoid {
            builder.activation("probability", own.nodes().len() - 1, Activation::Sigmoid).unwrap();
        }
        let folder = folder(&builder.finish().unwrap(), k as u64);
        let outputs = [
            Outputs::Positive { threshold: Some(0.125) },
            Outputs::Positive { threshold: None },
            Outputs::Within { lower: -0.75, upper: f64::INFINITY },
        ][k];
        for radius in [0.001, 0.1] {
            for method in ["linear", "exact"] {
                let (threat, property) = (ThreatModel::new(Kind::Absolute, radius), Property::Prediction);
                let (folder, asks) = (folder.path(), Asks { outputs: Some(outputs), ..Asks::default() });
                let case = Case { folder, threat, method, property, normalized: false, asks };
                let accepted = case.check().unwrap_or_else(|error| panic!("{outputs:?}, {method}: {error}"));
                sum.iter_mut().zip(accepted).for_each(|(sum, own)| *sum += own);
            }
        }
    }
    println!("{} verified, {} falsified", sum[0], sum[1]);
    assert!(sum[0] > 20 && sum[1] > 3, "{sum:?}");
}

/// The checker finds the proof of single hits itself, of all samples that a run verifies.
#[test]
fn the_checker_accepts_certificates_of_single_hits() {
    let mut sum = 0;
    for name in ["dense-qdq-channel", "dense-qdq-signed", "convolution-qdq", "matmul-qdq"] {
        let folder = quantized(name);
        for (bits, at) in [(1, vec![0, 1, 2, 3, 4, 5]), (2, vec![0, 1, 4])] {
            let faults = Some(FaultModel { bits, at: Some(at), ..FaultModel::default() });
            let (threat, asks) = (ThreatModel::new(Kind::Absolute, 0.0), Asks { faults, ..Asks::default() });
            let (property, normalized) = (Property::Prediction, false);
            let case = Case { folder: folder.path(), threat, method: "linear", property, normalized, asks };
            sum += case.check().unwrap_or_else(|error| panic!("{name}, {bits} bits: {error}"))[0];
        }
    }
    println!("{sum} verified");
    assert!(sum > 20, "{sum}");
}

/// Hits on several words, and hits beside inputs that move: of all samples that a run verifies.
#[test]
fn the_checker_accepts_certificates_of_several_hits() {
    let (mut sum, mut broken) = ([0; 3], 0);
    let names = ["dense-qdq-channel", "dense-qdq-signed", "convolution-qdq", "residual-qdq", "matmul-qdq"];
    for name in names {
        let folder = quantized(name);
        for (words, bits, at, input_radius) in [
            (1, 1, 0..5, 0.002),
            (2, 1, 0..4, 0.0),
            (3, 1, 0..3, 0.0),
            (3, 2, 0..2, 0.002),
            (2, 1, 5..8, 0.002),
        ] {
            let fault = if bits == 2 { Fault::StuckAt1 } else { Fault::Flip };
            let model = FaultModel { words, bits, fault, at: Some(at.collect()), ..FaultModel::default() };
            let threat = ThreatModel { input_radius, ..ThreatModel::new(Kind::Absolute, 0.0) };
            let rounding = if words == 3 { StepRounding::Any } else { StepRounding::NearestEven };
            let asks = Asks { faults: Some(model), rounding, ..Asks::default() };
            let (property, normalized) = (Property::Prediction, false);
            let case = Case { folder: folder.path(), threat, method: "linear", property, normalized, asks };
            let [verified, falsified] =
                case.check().unwrap_or_else(|error| panic!("{name}, {words} words: {error}"));
            (sum[words as usize - 1], broken) = (sum[words as usize - 1] + verified, broken + falsified);
        }
    }
    println!("{sum:?} verified, by words, {broken} falsified");
    assert!(sum.iter().all(|count| *count > 3) && broken > 0, "{sum:?} {broken}");
}

/// Words of networks of floating-point numbers, which are rounded to integers.
#[test]
fn the_checker_accepts_certificates_of_rounded_networks() {
    let (mut sum, mut broken) = ([0; 3], 0);
    let rounds = [
        ("int8", 1, 0.0),
        ("int8:per-channel", 2, 0.0),
        ("int4:per-channel", 2, 0.01),
        ("int8:full-range", 3, 0.0),
        ("int6:bias-own-step", 1, 0.01),
        ("int8:asymmetric:bias-float", 2, 0.0),
    ];
    for (k, (storage, words, input_radius)) in rounds.into_iter().enumerate() {
        let seed = k as u64;
        let dense = Blueprint::new(&[4, 7, 6, 3], Activation::Relu, seed).build();
        for network in [dense, images(seed), chosen(seed)] {
            let folder = folder(&network, seed);
            let model = FaultModel {
                storage: storage.parse().unwrap(),
                words,
                at: Some(if k == 2 { vec![1, 3] } else { vec![0, 1] }),
                biases: !storage.ends_with("float"),
                ..FaultModel::default()
            };
            let threat = ThreatModel { input_radius, ..ThreatModel::new(Kind::Absolute, 0.0) };
            let property = [Property::Prediction, Property::Deviation][k / 2 % 2];
            let asks = Asks { faults: Some(model), ..Asks::default() };
            let case =
                Case { folder: folder.path(), threat, method: "linear", property, normalized: false, asks };
            let [verified, falsified] =
                case.check().unwrap_or_else(|error| panic!("{storage}, {words} words: {error}"));
            (sum[words as usize - 1], broken) = (sum[words as usize - 1] + verified, broken + falsified);
        }
    }
    println!("{sum:?} verified, by words, {broken} falsified");
    assert!(sum.iter().all(|count| *count > 3) && broken > 0, "{sum:?} {broken}");
}

#[test]
fn what_a_certificate_cannot_hold_is_named() {
    let of = |activation, kind: Kind| {
        let network = Blueprint::new(&[2, 3, 2], activation, 1).build();
        let folder = folder(&network, 1);
        let radius = if kind.has_own_radius() { 1.0 } else { 0.01 };
        let threat = ThreatModel::new(kind, radius);
        let property = Property::Prediction;
        let (method, normalized, asks) = ("linear", false, Asks::default());
        let case = Case { folder: folder.path(), threat, method, property, normalized, asks };
        let file = folder.path().join("certificate.wpc");
        let error = case.write(&file).map(|_| ()).unwrap_err();
        assert!(!file.exists() && error.hint().is_some_and(|hint| hint.contains("certificate.md")));
        error.to_string()
    };
    let unread = "certificate: the checker does not read this network: node activation0";
    assert_eq!(
        of(Activation::Tanh, Kind::Absolute),
        format!("{unread} (Tanh): this operator is not supported")
    );
    let steep = format!("{unread} (LeakyRelu): node activation0: a slope outside of 0 to 1");
    assert_eq!(of(Activation::LeakyRelu { slope: 1.5 }, Kind::Absolute), steep);
    let truncating = Inference { format: NumberFormat::Bf16, rounding: Rounding::Any };
    let rounded = "certificate: expected numbers that are rounded to nearest, found format:bf16:any";
    assert_eq!(of(Activation::Relu, Kind::Format(truncating)), rounded);
}

/// What a certificate of a file would be refused for, before anything is computed; `None` where the engine does not read the file.
fn refusal(file: &Path) -> Option<Result<(), String>> {
    let network = read_network(file).ok()?.network;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    fs::write(&data, vec!["0"; network.input_width()].join(",")).unwrap();
    let threat = ThreatModel::new(Kind::Absolute, 0.001);
    let config = |property| Config {
        model: ModelConfig { path: Some(file.into()), ..ModelConfig::default() },
        data: DataConfig { path: Some(data.clone()), csv_labels: false, ..DataConfig::default() },
        threat: ThreatConfig::new(threat.clone(), Vec::new(), None),
        property: Some(property),
        outputs: None,
        tolerance: (property == Property::Deviation).then_some(0.5),
        logits: false,
        precision: None,
        seed: 0,
    };
    // One output has no classes, and outputs in front of a Softmax that was left out no deviations.
    let session = [Property::Prediction, Property::Deviation]
        .map(config)
        .into_iter()
        .find_map(|config| Session::open(config).ok())?;
    let sets = session.config.threat.sets(&session.network, None).unwrap();
    let method = MethodConfig::new("linear", None).unwrap();
    let plan = Plan::new(Some(Path::new("none")), &session, &sets, &method, None);
    Some(plan.map(|_| ()).map_err(|error| error.to_string()))
}

/// Whoever writes certificates holds exactly the networks that the checker reads: of all files that both could know.
#[test]
fn the_writer_holds_what_the_checker_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tests = root.join("crates/weightproof-formats/tests");
    let shared = root.join("../shared/models");
    let folders = [
        root.join("assets"),
        tests.join("onnx"),
        tests.join("onnx-quantized"),
        tests.join("exporters"),
        shared.clone(),
        shared.join("quantized"),
        shared.join("pairs"),
        shared.join("wild"),
    ];
    let (mut both, mut neither, mut apart) = (0, 0, Vec::new());
    for folder in folders {
        let Ok(files) = fs::read_dir(&folder) else {
            println!("skipped: there is no {}", folder.display());
            continue;
        };
        for file in files.map(|file| file.unwrap().path()) {
            if file.extension().is_none_or(|end| end != "onnx") || file.metadata().unwrap().len() > 1 << 19 {
                continue;
            }
            let is_read = onnx::read(&fs::read(&file).unwrap());
            match (refusal(&file), is_read) {
                (None, _) => {}
                (Some(Ok(())), Ok(_)) => both += 1,
                (Some(Err(said)), Err(why)) if said.ends_with(&why) => neither += 1,
                (said, why) => apart.push(format!("{}: {said:?}, checker {:?}", file.display(), why.err())),
            }
        }
    }
    println!("{both} have certificates, {neither} have none");
    assert!(apart.is_empty(), "{}", apart.join("\n"));
    assert!(both > 100 && neither > 100, "{both} {neither}");
}
