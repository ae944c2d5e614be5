//! `certify --certificate`: a file from which a stranger repeats every proof and every witness (theory.md §12b).
//!
//! ```text
//! batch + records → verified: proof of the exact search | falsified: witness | unknown: reason → lines in the order of samples
//! ```
//! Whatever method gave the verdict, the proof is made anew, of boxes, slopes, multipliers and splits alone.

mod checker;
mod file;
mod header;
mod hits;
mod text;

use crate::RunError;
use crate::config::MethodConfig;
use crate::faults::Beside;
use crate::feed::Feed;
use crate::session::Session;
use crate::threat::SetAt;
use file::{CertificateFile, Packed};
use header::Places;
use hits::BreakingHits;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Mutex, PoisonError};
use text::{Domain, Header, Moved, MovedLayer, Numbers, Record, Verdict, Witness};
use weightproof::attack::CompactWitness;
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::faults::HitSet;
use weightproof::network::{Layer, Network};
use weightproof::property::{Property, Specification};
use weightproof::threat::{Perturbation, PerturbationSet};
use weightproof::verdict::{self, Reason, Samples};
use weightproof_report::{CertificateReport, CertifyRecord};

/// Most domains of the proof of one sample.
const MOST_DOMAINS: usize = 100_000;
/// The same beside hits, whose damages no split makes less.
const MOST_DOMAINS_OF_HITS: usize = 200;

/// A certificate that is to be written: where, and what is known before the first sample.
pub struct Plan {
    path: PathBuf,
    header: Header,
    places: Places,
    first: usize,
}

/// A certificate that is being written, from any thread.
pub struct Certificate<'n> {
    network: &'n Network,
    set: &'n PerturbationSet,
    property: Property,
    prover: ExactCertifier<'n>,
    /// Hits on words that every bound pays for, and the search for some that break a sample which a run leaves open.
    hits: Option<HitSet>,
    breaking: Option<BreakingHits<'n>>,
    /// Whether it is about single hits beside which nothing moves, whose proof the checker makes itself.
    of_single_hits: bool,
    places: Places,
    path: PathBuf,
    file: Mutex<(CertificateFile, usize)>,
}

/// What breaks a sample, and the certifier whose witness it is.
pub type Broken<'w, 'n> = (&'w ExactCertifier<'n>, &'w CompactWitness);

impl Plan {
    /// The plan for a path, if one is given.
    ///
    /// # Errors
    /// More than one radius, another guarantee than rigorous, and networks and sets that certificates do not hold, or the checker does
    /// not know.
    pub fn new<F: Feed>(
        path: Option<&Path>,
        session: &Session<F>,
        sets: &[SetAt],
        method: &MethodConfig,
        faults: Option<&Beside>,
    ) -> Result<Option<Plan>, RunError> {
        let Some(path) = path else { return Ok(None) };
        session.require_tolerance("a certificate")?;
        let (header, places) = header::header(session, sets, method, faults)?;
        Ok(Some(Plan { path: path.into(), header, places, first: session.first() }))
    }

    /// Starts the file; `options` are those of the search for proofs, `faults` the hits of the plan.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn start<'n>(
        self,
        network: &'n Network,
        at: &'n SetAt,
        options: ExactOptions,
        faults: Option<&'n Beside>,
    ) -> Result<Certificate<'n>, RunError> {
        let Plan { path, header, places, first } = self;
        let hits = faults.map(Beside::hits);
        let property = options.certify.property;
        let nodes = if hits.is_some() { MOST_DOMAINS_OF_HITS } else { MOST_DOMAINS };
        let budget = Budget { nodes: Some(nodes), time: None, deadline: None, ..options.budget };
        let options = ExactOptions { gap: None, budget, ..options };
        let moves = at.set.input_radius > 0.0 || at.set.activation_radius > 0.0;
        let is_still = !moves && header.threat.rounding.is_none();
        let of_single_hits = is_still && hits.as_ref().is_some_and(|hits| hits.words() == 1);
        let prover = ExactCertifier::new(network, slice::from_ref(&at.set), options);
        let file = Mutex::new((CertificateFile::create(&path, &header, first)?, 0));
        let breaking = faults.and_then(|faults| BreakingHits::new(faults, property));
        let set = &at.set;
        Ok(Certificate { network, set, property, prover, hits, breaking, of_single_hits, places, path, file })
    }
}

impl Certificate<'_> {
    /// Adds the samples at the places `chosen` of a batch, of which these are the records; `broken` knows what breaks a sample that
    /// an attack broke. A run that is ended leaves out what it does not reach.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add<'w, 'n: 'w>(
        &self,
        batch: Samples<'_>,
        chosen: &[usize],
        records: &[&CertifyRecord],
        broken: impl Fn(usize) -> Option<Broken<'w, 'n>>,
    ) -> Result<(), RunError> {
        let is_verified = |record: &CertifyRecord| record.verdict == verdict::Verdict::Verified;
        let (places, verified): (Vec<usize>, Vec<usize>) = (0..chosen.len())
            .filter(|&place| !self.of_single_hits && is_verified(records[place]))
            .map(|place| (place, chosen[place]))
            .unzip();
        let mut proofs: Vec<Option<Verdict>> = (0..chosen.len()).map(|_| None).collect();
        let node = |index| self.places.of(index);
        let width = |index: usize| self.network.nodes()[index].width();
        let found = self.prover.prove(0, self.hits.as_ref(), batch, &verified);
        for (place, proof) in places.into_iter().zip(found) {
            let row = |k| self.row(records[place], k);
            proofs[place] = proof.map(|proof| {
                Verdict::Verified(proof.domains.iter().map(|d| Domain::new(d, node, row, width)).collect())
            });
        }
        let mut witnesses = self.witnesses(batch, chosen, records);
        if self.prover.is_ended() {
            return Ok(());
        }
        for (place, proof) in proofs.into_iter().enumerate() {
            let (s, record) = (chosen[place], records[place]);
            let x = &batch.inputs[s * self.network.input_width()..][..self.network.input_width()];
            let proof = proof.or(self.of_single_hits.then(|| Verdict::Verified(Vec::new())));
            let missing = is_verified(record) && proof.is_none();
            let verdict = match (record.verdict, proof) {
                (verdict::Verdict::Verified, Some(proof)) => proof,
                (verdict::Verdict::Verified, None) => Verdict::Unknown("no-proof-found".into()),
                (verdict::Verdict::Falsified, _) => self.falsified(record, x, broken(s)),
                (verdict::Verdict::Unknown, _) => match witnesses[place].take() {
                    Some(witness) => Verdict::Falsified(witness),
                    None => Verdict::Unknown(record.reason.map_or("unknown", Reason::name).into()),
                },
            };
            let (class, input) = (self.class(record), Numbers::new(&self.read(x)));
            let packed = Packed::new(Record { sample: record.index, class, input, verdict })?;
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.1 += usize::from(missing);
            file.0.add(packed)?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<CertificateReport, RunError> {
        let (file, without_proof) = self.file.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (records, sha256) = file.finish()?;
        Ok(CertificateReport {
            path: self.path.to_string_lossy().into_owned(),
            records,
            without_proof,
            sha256,
        })
    }

    /// Hits that break the samples at the places `chosen` which the run leaves open.
    fn witnesses(
        &self,
        batch: Samples<'_>,
        chosen: &[usize],
        records: &[&CertifyRecord],
    ) -> Vec<Option<Witness>> {
        let mut witnesses: Vec<Option<Witness>> = chosen.iter().map(|_| None).collect();
        let Some(breaking) = &self.breaking else { return witnesses };
        let is_open = |place: &usize| records[*place].verdict == verdict::Verdict::Unknown;
        let open: Vec<usize> = (0..chosen.len()).filter(is_open).collect();
        let width = self.network.input_width();
        let inputs = open.iter().flat_map(|&place| &batch.inputs[chosen[place] * width..][..width]);
        let inputs: Vec<f64> = inputs.copied().collect();
        let classes: Vec<usize> = open.iter().filter_map(|&place| self.class(records[place])).collect();
        let samples = Samples { first: 0, inputs: &inputs, labels: None };
        let found = breaking.witnesses(samples, &classes, |index| self.places.of(index));
        open.into_iter().zip(found).for_each(|(place, found)| witnesses[place] = found);
        witnesses
    }

    /// What the network of the certificate reads when the sample is `x`.
    fn read(&self, x: &[f64]) -> Vec<f64> {
        match (&self.network.nodes()[self.places.input].layer, self.places.input) {
            (Layer::Scale(own), 1) => x
                .iter()
                .zip(&own.scale)
                .zip(&own.shift)
                .map(|((x, scale), shift)| scale * x + shift)
                .collect(),
            _ => x.to_vec(),
        }
    }

    /// The class that the property is about, where it is about one.
    fn class(&self, record: &CertifyRecord) -> Option<usize> {
        let class = match self.property {
            Property::Label => record.label,
            Property::Prediction => Some(record.predicted),
            Property::Deviation => None,
        };
        class.map(|class| class as usize)
    }

    /// The number in the certificate of row `k` of a sample's specification.
    fn row(&self, record: &CertifyRecord, k: usize) -> usize {
        match self.class(record) {
            Some(class) => Specification::rival(class, k),
            // The engine's row 2j bounds an output from below, the certificate's says that it does not rise.
            None => k ^ 1,
        }
    }

    /// The witness of a sample, whose own class breaks the property, or which an attack broke.
    fn falsified(&self, record: &CertifyRecord, x: &[f64], broken: Option<Broken<'_, '_>>) -> Verdict {
        let (perturbation, shares) = match (record.reason, broken) {
            (Some(Reason::Misclassified), _) => (Perturbation::default(), Vec::new()),
            (_, Some((certifier, witness))) => {
                (certifier.witness(0, x, witness), certifier.shares(0, witness))
            }
            (_, None) => return Verdict::Unknown("no-witness-kept".into()),
        };
        if !perturbation.activations.is_empty() {
            return Verdict::Unknown("a-witness-that-moves-activations".into());
        }
        let layer = |moved: &weightproof::threat::LayerPerturbation| {
            let rows = shares.get(moved.node).and_then(Option::as_ref);
            let to = match rows {
                Some(t) => Moved::Rows(Numbers::new(t)),
                None => self.parameters(moved),
            };
            MovedLayer { node: self.places.of(moved.node), to }
        };
        Verdict::Falsified(Witness {
            row: self.broken_row(record, x, &perturbation),
            input: perturbation.input.as_ref().map(|moved| Numbers::new(&self.moved_input(x, moved))),
            layers: perturbation.layers.iter().map(layer).collect(),
            hits: Vec::new(),
        })
    }

    /// The row that a perturbation breaks most.
    fn broken_row(&self, record: &CertifyRecord, x: &[f64], perturbation: &Perturbation) -> usize {
        let moved = self.network.forward_perturbed(x, perturbation);
        let largest = |values: Vec<(usize, f64)>| {
            let worst = values.into_iter().reduce(|a, b| if b.1 > a.1 { b } else { a });
            worst.map_or(0, |(row, _)| row)
        };
        let Some(class) = self.class(record) else {
            let outputs = self.network.forward(x);
            let sides = |(j, (f, moved)): (usize, (&f64, &f64))| [(2 * j, moved - f), (2 * j + 1, f - moved)];
            return largest(outputs.iter().zip(&moved).enumerate().flat_map(sides).collect());
        };
        largest(moved.into_iter().enumerate().filter(|(j, _)| *j != class).collect())
    }

    /// All parameters of a moved layer, within its set in exact arithmetic.
    fn parameters(&self, moved: &weightproof::threat::LayerPerturbation) -> Moved {
        let affine = self.network.nodes()[moved.node].layer.affine().expect("a layer with parameters");
        let set = self.set.layer(moved.node).expect("every layer with parameters has a set");
        let columns = affine.weight.cols();
        let weight = |(k, &value): (usize, &f64)| {
            let (i, j) = (k / columns, k % columns);
            // Those of balls are drawn back from the sphere already.
            if set.weight.is_ball() {
                value
            } else {
                within(value, affine.weight[(i, j)], set.weight.at(i, j))
            }
        };
        let weights: Vec<f64> = moved.weight.as_slice().iter().enumerate().map(weight).collect();
        let biases: Vec<f64> =
            (0..moved.bias.len()).map(|i| within(moved.bias[i], affine.bias[i], set.bias[i])).collect();
        Moved::Parameters {
            weight: Numbers::new(&weights),
            bias: affine.has_bias.then(|| Numbers::new(&biases)),
        }
    }

    fn moved_input(&self, x: &[f64], moved: &[f64]) -> Vec<f64> {
        x.iter().zip(moved).map(|(&x, &moved)| within(moved, x, self.set.input_radius)).collect()
    }
}

/// A number near `value` whose distance from `centre` is at most `radius` in exact arithmetic.
fn within(value: f64, centre: f64, radius: f64) -> f64 {
    const INSIDE: f64 = 1.0 - 4.0 * f64::EPSILON;
    let mut value = if (value - centre).abs() >= radius { centre + (value - centre) * INSIDE } else { value };
    while (value - centre).abs() > radius {
        value = if value > centre { value.next_down() } else { value.next_up() };
    }
    value
}
