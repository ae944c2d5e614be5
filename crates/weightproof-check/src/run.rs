//! Checking a whole certificate: header, network, set, and all records on all threads.

use crate::certificate::{Fault, Header, Kind, Lines, Outputs, Property, Record, Rounding, hexadecimal};
use crate::check::{Accepted, check};
use crate::damage::Damages;
use crate::faults::Hits;
use crate::format::Format;
use crate::layer::Model;
use crate::network::Network;
use crate::number::Number;
use crate::set::Set;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
use thiserror::Error;

/// Records in memory at one time.
const TOGETHER: usize = 256;

/// Why a certificate as a whole is not accepted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// A file cannot be read, is damaged or is not supported: nothing was checked.
    #[error("{0}")]
    Input(String),
    /// The certificate contradicts the model or itself.
    #[error("rejected: {0}")]
    Rejected(String),
}

fn rejected(what: String) -> Problem {
    Problem::Rejected(what)
}

/// A certificate whose header was checked.
pub struct Opened<R> {
    /// The header.
    pub header: Header,
    /// Network and set.
    pub model: Model,
    hits: Option<Hits>,
    lines: Lines<R>,
    last: Option<usize>,
}

/// Network and set of a header, and the hits that it names, for the network `own` that was read from the model. A program that writes
/// certificates may ask this before it looks for proofs.
///
/// # Errors
/// Where the header contradicts the model or itself.
pub fn prepared(header: &Header, own: Network) -> Result<(Model, Option<Hits>), String> {
    let at = |error| format!("network: {error}");
    if own.head.is_some() && matches!(header.property, Property::Deviation { .. }) {
        return Err("property: nothing is known of how far outputs of a last Sigmoid or Softmax move".into());
    }
    let own = own.with_classes(header.outputs).map_err(at)?;
    let claimed = Network::new(&header.network).map_err(at)?;
    claimed.difference(&own).map_or(Ok(()), |difference| Err(at(difference)))?;
    let set = Set::new(header, &claimed)?;
    let Some(faults) = &header.faults else {
        return match claimed.nodes.iter().find(|node| node.is_rounded()) {
            None => Ok((Model::new(claimed, set), None)),
            Some(node) => {
                Err(format!("network: node {} is rounded, which only words that are hit are", node.name))
            }
        };
    };
    if header.threat.kind != Kind::Explicit || set.layers.iter().any(Option::is_some) {
        return Err("faults: expected weights that do not move otherwise".into());
    }
    let damages = Damages::new(faults, &claimed)?;
    // The hits are searched one by one where all else is known.
    if faults.words == 1 && !set.moves() {
        let hits = Hits::new(faults, &claimed);
        return Ok((Model::new(claimed, set), Some(hits)));
    }
    Ok((Model::new(claimed, set).with_hits(damages), None))
}

/// What was found about one record.
#[derive(Debug)]
pub struct Finding {
    /// Number of the sample.
    pub sample: usize,
    /// Accepted, or where and why not.
    pub result: Result<Accepted, String>,
}

impl Finding {
    /// 0 verified, 1 falsified, 2 nothing claimed, 3 rejected.
    pub fn kind(&self) -> usize {
        match &self.result {
            Ok(Accepted::Verified(..)) => 0,
            Ok(Accepted::Falsified(_)) => 1,
            Ok(Accepted::Unknown) => 2,
            Err(_) => 3,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sample {}: ", self.sample)?;
        match &self.result {
            Ok(Accepted::Verified(least, 1)) => write!(f, "accepted: verified, at least {least}"),
            Ok(Accepted::Verified(least, parts)) => {
                write!(f, "accepted: verified in {parts} domains, at least {least}")
            }
            Ok(Accepted::Falsified(margin)) => {
                write!(f, "accepted: falsified, at most {margin} at the witness")
            }
            Ok(Accepted::Unknown) => write!(f, "claims nothing"),
            Err(why) => write!(f, "rejected: {why}"),
        }
    }
}

impl<R: BufRead> Opened<R> {
    /// Reads the header of `certificate`, and checks it against the bytes of the model.
    ///
    /// # Errors
    /// [`Problem::Input`] when one of them cannot be read, [`Problem::Rejected`] when they do not belong together.
    pub fn new(certificate: R, model: &[u8]) -> Result<Self, Problem> {
        let mut lines = Lines::new(certificate);
        let header = lines.header().map_err(|error| Problem::Input(format!("certificate: {error}")))?;
        let sha256 = sha256(model);
        if header.model_sha256 != sha256 {
            return Err(rejected(format!(
                "SHA-256 of the model: expected {}, found {sha256}",
                header.model_sha256
            )));
        }
        let own = crate::onnx::read(model).map_err(|error| Problem::Input(format!("model: {error}")))?;
        let (model, hits) = prepared(&header, own).map_err(Problem::Rejected)?;
        Ok(Opened { header, model, hits, lines, last: None })
    }

    /// The next record; `None` behind the last one.
    ///
    /// # Errors
    /// [`Problem::Rejected`] when the file is damaged or cut off, or numbers of samples do not rise.
    pub fn record(&mut self) -> Result<Option<Box<Record>>, Problem> {
        let record = self.lines.record().map_err(Problem::Rejected)?;
        if let Some(record) = &record {
            if matches!(self.header.outputs, Some(Outputs::Within { .. })) && record.class != Some(0) {
                return Err(rejected(format!(
                    "sample {}: expected class 0, outputs between the ends",
                    record.sample
                )));
            }
            if self.last.is_some_and(|last| record.sample <= last) {
                return Err(rejected(format!("sample {}: numbers of samples do not rise", record.sample)));
            }
            self.last = Some(record.sample);
        }
        Ok(record)
    }

    /// The record of a sample.
    ///
    /// # Errors
    /// As [`Opened::record`], and when there is none.
    pub fn find(&mut self, sample: usize) -> Result<Box<Record>, Problem> {
        while let Some(record) = self.record()? {
            if record.sample == sample {
                return Ok(record);
            }
        }
        Err(Problem::Input(format!("there is no sample {sample}")))
    }

    /// Checks all records on `threads` threads; `found` gets what was found about each, in their order.
    ///
    /// # Errors
    /// As [`Opened::record`]; records before are checked and reported.
    pub fn check(&mut self, threads: usize, mut found: impl FnMut(Finding)) -> Result<(), Problem> {
        loop {
            let (mut records, mut end) = (Vec::new(), None);
            while records.len() < TOGETHER && end.is_none() {
                match self.record() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => end = Some(Ok(())),
                    Err(problem) => end = Some(Err(problem)),
                }
            }
            let (next, findings) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
            let (model, property) = ((&self.model, self.hits.as_ref()), self.header.property);
            let work = || {
                while let Some(record) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let finding = finding(model, property, record, &mut |_| {});
                    findings.lock().expect("no thread panics").push(finding);
                }
            };
            scope(|threads_of| {
                (0..threads.min(records.len())).for_each(|_| drop(threads_of.spawn(work)));
            });
            let mut findings = findings.into_inner().expect("no thread panics");
            findings.sort_by_key(|finding| finding.sample);
            findings.into_iter().for_each(&mut found);
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Checks one record, and tells the steps of its proof.
    pub fn one(&self, record: &Record, tell: &mut dyn FnMut(String)) -> Finding {
        finding((&self.model, self.hits.as_ref()), self.header.property, record, tell)
    }
}

fn finding(
    model: (&Model, Option<&Hits>),
    property: Property,
    record: &Record,
    tell: &mut dyn FnMut(String),
) -> Finding {
    // Integers that do not fit are an error, and an error is no proof.
    let result = catch_unwind(AssertUnwindSafe(|| check(model, property, record, tell)));
    let result = result.unwrap_or_else(|_| Err("numbers too large for the checker".into()));
    Finding { sample: record.sample, result }
}

/// SHA-256 of bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// What a header claims, in words.
pub fn claim(header: &Header) -> String {
    let threat = &header.threat;
    let property = match &header.property {
        Property::Label => "the class of the record keeps the largest output".to_owned(),
        Property::Prediction => "the network keeps the class that it says without perturbation".to_owned(),
        Property::Deviation { tolerance } => format!("no output moves by {tolerance} or more"),
    };
    let outputs = match header.outputs {
        None => String::new(),
        Some(Outputs::Positive { threshold }) => {
            format!(
                "; class 1 is an output above {threshold} (in front of a last sigmoid), class 0 one that is not"
            )
        }
        Some(Outputs::Within { lower, upper }) => {
            let end = |end: Option<Number>| end.map_or("no end".into(), |end| end.to_string());
            format!("; class 0 is outputs between {} and {}", end(lower), end(upper))
        }
    };
    let mut set = match (threat.kind, threat.radius) {
        (Kind::Explicit, _) | (_, None) => {
            let name = threat.name.as_deref().unwrap_or("no name");
            format!("the radii that the header lists (called {name}; that they mean it is not checked)")
        }
        (Kind::Lsb, Some(radius)) => format!("radius {radius} in steps of the stored integers"),
        (kind, Some(radius)) if Format::new(kind, radius).is_some() => format!(
            "inference in the number format {kind:?}, {radius} times its rounding (inputs, weights and what layers and sums read are \
             rounded to nearest; sums, in any order, and activations are of single precision)"
        ),
        (kind, Some(radius)) => format!("{kind:?}, radius {radius}"),
    };
    if let Some(bias) = &threat.bias_radius {
        set += &format!(", radius of biases {bias}");
    }
    if let Some(layers) = &threat.layers {
        set += &format!(", layers {}", layers.join(", "));
    }
    if let Some(faults) = &header.faults {
        let change = match faults.fault {
            Fault::Flip => "flip",
            Fault::StuckAt0 => "are stuck at 0",
            Fault::StuckAt1 => "are stuck at 1",
        };
        let (words, bits) = (faults.words, faults.bits);
        set =
            format!("at most {words} of the words are hit, and at most {bits} of the bits of each {change}");
        for layer in &faults.layers {
            let name = header.network.get(layer.node).map_or("?", |node| &node.name);
            set += &format!("; {name}: bits {:?} of weights, {:?} of biases", layer.weights, layer.biases);
        }
        for node in header.network.iter().filter(|node| node.is_rounded()) {
            set += &format!("; {}: parameters are rounded to the integers of the header", node.name);
        }
    }
    if threat.rounding == Rounding::Any {
        set += ", any step beside the nearest one";
    }
    let (input, activation) = (threat.input_radius, threat.activation_radius);
    format!(
        "{property}{outputs}; set: {set}; input radius {input}; activation radius {activation}; method {}",
        header.method
    )
}
