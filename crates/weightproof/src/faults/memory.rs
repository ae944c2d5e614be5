//! The words of a network, the hits that a fault model allows on them, and the network that the words stand for.

use super::injection::WordHit;
use super::model::Encoding;
use super::storage::Words;
use super::{Change, Code, FaultError, FaultModel, Protection, Storage};
use crate::kernels::Matrix;
use crate::network::{Affine, Network, StoredIntegers};
use crate::threat::LayerPerturbation;
use std::sync::Arc;

/// The most hits on one network: each has counts.
const MOST_HITS: u64 = 1 << 27;

/// The memory of a network under a fault model.
#[derive(Clone, Debug)]
pub struct Memory {
    network: Network,
    layers: Vec<StoredLayer>,
    /// By node.
    rounded: Arc<[Option<StoredIntegers>]>,
}

/// The words of one layer that may be hit. Word `i · cols + j` is weight (i, j), word `rows · cols + i` is bias i.
#[derive(Clone, Debug)]
pub struct StoredLayer {
    /// Index of the node.
    pub node: usize,
    /// Name of the node.
    pub name: String,
    /// Rows of the weights.
    pub rows: usize,
    /// Columns of the weights.
    pub cols: usize,
    words: Words,
    /// Changes of a word of the weights, and of a bias.
    changes: [Vec<Change>; 2],
    encoding: Option<Encoding>,
    /// Words that were hit already, and are not hit again.
    spent: Vec<usize>,
    /// Number of the layer's first hit.
    first_hit: usize,
    /// Least and largest change of each weight by a hit that leaves it finite, with zero; (rows, cols).
    pub(super) weight_ends: [Matrix<f64>; 2],
    /// The same of the biases, empty when they are not hit.
    pub(super) bias_ends: [Vec<f64>; 2],
    /// Changes of each word, those whose hit moves it furthest first, those that leave no finite number last.
    furthest: Arc<[u16]>,
}

/// A hit on a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Highest bit that changed in memory.
    pub bit: u32,
    /// Whether that bit became 1.
    pub up: bool,
    /// Value before.
    pub before: f64,
    /// Value that is read after it, NaN or infinite where the format has such words.
    pub after: f64,
}

impl Hit {
    /// Whether the word is still a number.
    pub fn is_finite(&self) -> bool {
        self.after.is_finite()
    }

    /// How far the parameter moves.
    pub fn moved(&self) -> f64 {
        self.after - self.before
    }
}

impl Memory {
    /// Stores the parameters of `network`.
    ///
    /// # Errors
    /// A model that [`FaultModel::check`] refuses, layers that do not exist or whose weights another layer has, too, parameters beyond the
    /// range of the storage.
    pub fn new(network: &Network, model: &FaultModel) -> Result<Memory, FaultError> {
        model.check()?;
        let named = model.protect.iter().map(|p| p.layers.as_ref()).chain([model.layers.as_ref()]);
        for name in named.flatten().flatten() {
            if !network.affine_layers().any(|(_, node, _)| node.name == *name) {
                let known = network.affine_layers().map(|(_, node, _)| node.name.clone()).collect();
                return Err(FaultError::UnknownLayer { found: name.clone(), known });
            }
        }
        let is_hit = |node: usize| {
            model.layers.as_ref().is_none_or(|names| names.contains(&network.nodes()[node].name))
        };
        if let Some([first, second]) = network.same_weights(is_hit) {
            return Err(FaultError::Shared { first: first.into(), second: second.into() });
        }
        let mut parameters = Vec::new();
        let mut layers = Vec::new();
        let mut hits = 0_u64;
        let mut highest = 0;
        let mut rounded = vec![None; network.nodes().len()];
        for (node, n, affine) in network.affine_layers() {
            let words = model.storage.words(&n.name, affine)?;
            let (weight, mut bias) = words.decoded(affine.weight.rows(), affine.weight.cols());
            bias.resize(affine.bias.len(), 0.0);
            if let (Storage::Integer(q), None) = (model.storage, &affine.stored) {
                rounded[node] = Some(words.integers(q.bits));
            }
            if (&weight, &bias) != (&affine.weight, &affine.bias) {
                parameters.push(LayerPerturbation { node, weight, bias });
            }
            if is_hit(node) {
                let layer = StoredLayer::new((node, &n.name), affine, words, model, hits as usize)?;
                hits += layer.hits() as u64;
                highest = highest.max(layer.highest_bit());
                layers.push(layer);
            }
            if hits > MOST_HITS {
                return Err(FaultError::Hits { found: hits, limit: MOST_HITS });
            }
        }
        let positions = model.protect.iter().filter_map(|p| p.bits.as_ref()).chain(&model.at).flatten();
        if let Some(&found) = positions.max().filter(|b| **b > highest) {
            return Err(FaultError::Position { found, highest });
        }
        let network =
            if parameters.is_empty() { network.clone() } else { network.with_parameters(&parameters) };
        Ok(Memory { network, layers, rounded: rounded.into() })
    }

    /// The network that runs: with the parameters that the words stand for.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The integers that the floating-point parameters of node `index` are rounded to, where the storage rounds them to some.
    pub fn rounded(&self, index: usize) -> Option<&StoredIntegers> {
        self.rounded[index].as_ref()
    }

    /// The layers whose words may be hit.
    pub fn layers(&self) -> &[StoredLayer] {
        &self.layers
    }

    /// Number of hits, for all words of all layers.
    pub fn hits(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.first_hit + layer.hits())
    }

    /// Number of words that may be hit.
    pub fn words(&self) -> usize {
        self.layers.iter().map(StoredLayer::words).sum()
    }

    /// The weights and biases of a layer after a hit on one of its words.
    pub fn parameters_after(&self, layer: usize, word: usize, hit: &Hit) -> LayerPerturbation {
        self.layers[layer].with_word(&self.network, word, hit.after)
    }

    /// The network after hits on different words.
    pub(super) fn network_after(&self, hits: &[WordHit]) -> Network {
        hits.iter().fold(self.network.clone(), |network, WordHit { layer, word, hit }| {
            network.with_parameters(&[self.layers[*layer].with_word(&network, *word, hit.after)])
        })
    }

    /// The memory after a hit on one of its words, which is not hit again. Numbers of hits stay.
    #[must_use]
    pub(super) fn after(&self, layer: usize, word: usize, hit: &Hit) -> Memory {
        let network = self.network.with_parameters(&[self.parameters_after(layer, word, hit)]);
        let mut layers = self.layers.clone();
        let own = &mut layers[layer];
        own.spent.push(word);
        match own.place(word) {
            (i, Some(j)) => own.weight_ends.iter_mut().for_each(|ends| ends[(i, j)] = 0.0),
            (i, None) => own.bias_ends.iter_mut().for_each(|ends| ends[i] = 0.0),
        }
        Memory { network, layers, rounded: self.rounded.clone() }
    }

    /// The hit with this number; `None` when no hit has it.
    pub fn find(&self, number: usize) -> Option<WordHit> {
        let layer = self.layers.partition_point(|layer| layer.first_hit <= number).checked_sub(1)?;
        let word = self.layers[layer].word_of(number)?;
        let hit = self.layers[layer].hits_on(word).find(|(n, _)| *n == number)?;
        Some(WordHit { layer, word, hit: hit.1 })
    }
}

impl StoredLayer {
    /// Its weights and biases in `network`, where a word stands for `value`.
    fn with_word(&self, network: &Network, word: usize, value: f64) -> LayerPerturbation {
        let affine = network.nodes()[self.node].layer.affine().expect("a layer with words");
        let (mut weight, mut bias) = (affine.weight.clone(), affine.bias.clone());
        match self.place(word) {
            (i, Some(j)) => weight[(i, j)] = value,
            (i, None) => bias[i] = value,
        }
        LayerPerturbation { node: self.node, weight, bias }
    }

    fn new(
        (node, name): (usize, &str),
        affine: &Affine,
        words: Words,
        model: &FaultModel,
        first_hit: usize,
    ) -> Result<StoredLayer, FaultError> {
        let words = if model.biases { words } else { Words { biases: Vec::new(), ..words } };
        let of_layer =
            |p: &&Protection| p.layers.as_ref().is_none_or(|names| names.iter().any(|n| n == name));
        let width =
            |list: &[(u32, u32)]| list.first().map_or(0, |&(_, code)| words.codes[code as usize].bits());
        let mut open = u32::MAX;
        let mut encoding = None;
        for protection in model.protect.iter().filter(of_layer) {
            match (&protection.bits, protection.by) {
                (None, Encoding::Triple) => open = 0,
                (Some(bits), Encoding::Triple) => bits.iter().for_each(|b| open &= !(1 << b)),
                (_, by @ (Encoding::ParityZero | Encoding::Secded)) => encoding = Some(by),
            }
        }
        if let Some(at) = &model.at {
            open &= at.iter().filter(|b| **b < 32).fold(0, |mask, b| mask | 1 << b);
        }
        let changes = |bits: u32| Change::all(model.fault, bits, model.bits, open);
        let changes = [changes(width(&words.weights))?, changes(width(&words.biases))?];
        let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
        let nothing = || [Matrix::zeros(rows, cols), Matrix::zeros(rows, cols)];
        let none = vec![0.0; words.biases.len()];
        let mut layer = StoredLayer {
            node,
            name: name.into(),
            rows,
            cols,
            words,
            changes,
            encoding,
            spent: Vec::new(),
            first_hit,
            weight_ends: nothing(),
            bias_ends: [none.clone(), none],
            furthest: [].into(),
        };
        let mut furthest = Vec::with_capacity(layer.hits());
        for word in 0..layer.words() {
            let (mut least, mut most) = (0.0_f64, 0.0_f64);
            let (first, count) = layer.numbers_of(word);
            let mut reach = vec![-1.0; count];
            for (number, hit) in layer.hits_on(word).filter(|(_, hit)| hit.is_finite()) {
                (least, most) = (least.min(hit.moved()), most.max(hit.moved()));
                reach[number - first] = hit.moved().abs();
            }
            let begin = furthest.len();
            furthest.extend(0..count as u16);
            furthest[begin..].sort_by(|&a, &b| reach[usize::from(b)].total_cmp(&reach[usize::from(a)]));
            match layer.place(word) {
                (i, Some(j)) => {
                    [least, most].into_iter().zip(&mut layer.weight_ends).for_each(|(d, e)| e[(i, j)] = d)
                }
                (i, None) => [least, most].into_iter().zip(&mut layer.bias_ends).for_each(|(d, e)| e[i] = d),
            }
        }
        Ok(StoredLayer { furthest: furthest.into(), ..layer })
    }

    /// Number of words.
    pub fn words(&self) -> usize {
        self.words.weights.len() + self.words.biases.len()
    }

    /// Row and column of the weight that a word stores; no column for a bias.
    pub fn place(&self, word: usize) -> (usize, Option<usize>) {
        let weights = self.words.weights.len();
        if word < weights { (word / self.cols, Some(word % self.cols)) } else { (word - weights, None) }
    }

    /// The bits of a word, and what they stand for.
    pub fn word(&self, word: usize) -> (u32, Code) {
        let weights = &self.words.weights;
        let (bits, code) =
            weights.get(word).copied().unwrap_or_else(|| self.words.biases[word - weights.len()]);
        (bits, self.words.codes[code as usize])
    }

    /// The hits that the fault model allows on a word, with their numbers in the network.
    pub fn hits_on(&self, word: usize) -> impl Iterator<Item = (usize, Hit)> + '_ {
        let (first, count) = self.numbers_of(word);
        self.hits_by(word, 0..count).map(move |(c, hit)| (first + c, hit))
    }

    /// The hits on a word by some of its changes, with the numbers of these.
    fn hits_by<'a>(
        &'a self,
        word: usize,
        changes: impl Iterator<Item = usize> + 'a,
    ) -> impl Iterator<Item = (usize, Hit)> + 'a {
        let of_word = &self.changes[usize::from(self.is_bias(word))];
        let (bits, code) = self.word(word);
        let before = code.decode(bits);
        let is_open = !self.spent.contains(&word);
        changes.filter(move |_| is_open).filter_map(move |c| {
            let after = of_word[c].of(bits)?;
            let bit = (bits ^ after).ilog2();
            let up = after >> bit & 1 == 1;
            let read = self.read(bits, after, code)?;
            Some((c, Hit { bit, up, before, after: read }))
        })
    }

    /// The hits that leave a word finite, with their numbers in the network, those that move it furthest first.
    pub(super) fn furthest_first(&self, word: usize) -> impl Iterator<Item = (usize, Hit)> + '_ {
        let (first, count) = self.numbers_of(word);
        let begin = first - self.first_hit;
        let changes = self.furthest[begin..begin + count].iter().map(|&c| usize::from(c));
        self.hits_by(word, changes).filter(|(_, hit)| hit.is_finite()).map(move |(c, hit)| (first + c, hit))
    }

    /// Least and largest change of a word by a hit that leaves it finite, with zero.
    pub(super) fn ends(&self, word: usize) -> [f64; 2] {
        match self.place(word) {
            (i, Some(j)) => [0, 1].map(|k| self.weight_ends[k][(i, j)]),
            (i, None) => [0, 1].map(|k| self.bias_ends[k][i]),
        }
    }

    /// Hits that leave an infinity or NaN.
    pub(super) fn not_finite(&self) -> u64 {
        let of_word = |word| self.hits_on(word).filter(|(_, hit)| !hit.is_finite()).count() as u64;
        (0..self.words()).map(of_word).sum()
    }

    /// Whether a word is of a bias.
    pub(super) fn is_bias(&self, word: usize) -> bool {
        word >= self.words.weights.len()
    }

    /// Number of the first hit on a word, and how many numbers are set aside for its changes.
    pub(super) fn numbers_of(&self, word: usize) -> (usize, usize) {
        let weights = self.words.weights.len();
        let [of_weights, of_biases] = [self.changes[0].len(), self.changes[1].len()];
        match word.checked_sub(weights) {
            None => (self.first_hit + word * of_weights, of_weights),
            Some(bias) => (self.first_hit + weights * of_weights + bias * of_biases, of_biases),
        }
    }

    /// The value that is read from a word that became another; `None` when it was corrected.
    fn read(&self, before: u32, after: u32, code: Code) -> Option<f64> {
        let changed = (before ^ after).count_ones();
        match self.encoding {
            Some(Encoding::Secded) if changed == 1 => None,
            Some(Encoding::Secded) => Some(0.0),
            Some(Encoding::ParityZero) if changed % 2 == 1 => Some(0.0),
            Some(Encoding::ParityZero | Encoding::Triple) | None => Some(code.decode(after)),
        }
    }

    /// Numbers that are set aside for the hits of this layer; some are of no hit.
    pub(super) fn hits(&self) -> usize {
        let [weights, biases] = &self.changes;
        self.words.weights.len() * weights.len() + self.words.biases.len() * biases.len()
    }

    /// The word that numbers of hits are set aside for.
    fn word_of(&self, number: usize) -> Option<usize> {
        let number = number.checked_sub(self.first_hit)?;
        let [weights, biases] = [self.changes[0].len(), self.changes[1].len()];
        let of_weights = self.words.weights.len() * weights;
        let word = if number < of_weights {
            number / weights
        } else {
            self.words.weights.len() + (number - of_weights).checked_div(biases)?
        };
        (word < self.words()).then_some(word)
    }

    /// Number of words that have a bit at this position.
    pub fn words_with_bit(&self, bit: u32) -> u64 {
        let with = |words: &[(u32, u32)]| {
            words.iter().filter(|(_, code)| self.words.codes[*code as usize].bits() > bit).count() as u64
        };
        with(&self.words.weights) + with(&self.words.biases)
    }

    /// The highest position of a bit of its words.
    pub fn highest_bit(&self) -> u32 {
        self.words.codes.iter().map(|code| code.bits()).max().unwrap_or(1) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Fault, Storage};
    use crate::network::{Activation, NetworkBuilder};

    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![3]);
        let first = Matrix::from_fn(2, 3, |i, j| (1.3 * i as f64 + 0.7 * j as f64 - 0.9).sin());
        let d = builder.dense("first", 0, first, vec![0.3, -0.2]).unwrap();
        let z = builder.activation("relu", d, Activation::Relu).unwrap();
        builder.dense("second", z, Matrix::from_fn(2, 2, |i, j| 0.4 - (i + j) as f64), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn memory(storage: &str, model: FaultModel) -> Memory {
        Memory::new(&network(), &FaultModel { storage: storage.parse().unwrap(), ..model }).unwrap()
    }

    /// Every storage against manipulations of bits that know nothing of codes: an integer of two's complement in i64, and floats by
    /// the processor.
    #[test]
    fn flips_of_all_bits_are_those_of_the_machine() {
        let storages = ["int8", "int4:per-channel", "int8:asymmetric", "bf16", "fp32", "int6:bias-float"];
        for storage in storages {
            let memory = memory(storage, FaultModel::default());
            for layer in memory.layers() {
                for word in 0..layer.words() {
                    let (bits, code) = layer.word(word);
                    let hits: Vec<(usize, Hit)> = layer.hits_on(word).collect();
                    assert_eq!(hits.len(), code.bits() as usize, "{storage}");
                    for (b, (_, hit)) in hits.iter().enumerate() {
                        assert_eq!(hit.bit as usize, b);
                        assert_eq!(hit.up, bits >> b & 1 == 0);
                        let expected = match code {
                            Code::Integer { bits: width, step, .. } => {
                                let weight = if b as u32 == width - 1 { -1 } else { 1 } * (1_i64 << b);
                                hit.before + step * if hit.up { weight } else { -weight } as f64
                            }
                            Code::Float(_) => {
                                let shift = 32 - code.bits();
                                f64::from(f32::from_bits((bits ^ 1 << b) << shift))
                            }
                        };
                        let same = hit.after == expected || hit.after.is_nan() && expected.is_nan();
                        assert!(same || (hit.after - expected).abs() < 1e-12, "{storage} bit {b}: {hit:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_of_hits_are_unique_and_biases_have_words() {
        let memory = memory("int8", FaultModel::default());
        let all: Vec<usize> = memory
            .layers()
            .iter()
            .flat_map(|layer| (0..layer.words()).flat_map(|w| layer.hits_on(w).map(|(n, _)| n)))
            .collect();
        assert_eq!(all, (0..memory.hits()).collect::<Vec<_>>());
        for (layer, word) in [(0, 0), (0, 5), (0, 7), (1, 3)] {
            let (number, hit) = memory.layers()[layer].hits_on(word).nth(3).unwrap();
            assert_eq!(memory.find(number), Some(WordHit { layer, word, hit }));
        }
        assert_eq!(memory.find(all.len()), None);
        // Weights and biases of the first layer; the second has no biases.
        assert_eq!((memory.words(), memory.hits()), (6 + 2 + 4, 8 * 12));
        let without = self::memory("int8", FaultModel { biases: false, ..FaultModel::default() });
        assert_eq!(without.words(), 10);
    }

    #[test]
    fn protected_bits_do_not_change() {
        let of = |text: &str, bits| {
            let protect = vec![text.parse().unwrap()];
            let memory = memory("int8", FaultModel { protect, bits, ..FaultModel::default() });
            memory.layers().iter().map(|l| l.hits_on(0).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let found = of("first:6,7", 1);
        assert_eq!(found[0].iter().map(|(_, hit)| hit.bit).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(found[1].len(), 8);
        assert!(of("all", 1).iter().all(Vec::is_empty));
        assert!(of("secded", 1).iter().all(Vec::is_empty));
        // Two errors are detected: the weight reads as zero.
        assert!(of("secded", 2)[0].iter().all(|(_, hit)| hit.after == 0.0));
        assert_eq!(of("secded", 2)[0].len(), 28);
        assert!(of("parity-zero", 1)[0].iter().all(|(_, hit)| hit.after == 0.0));
    }

    #[test]
    fn stuck_bits_and_replaced_words() {
        let stuck = memory("int8", FaultModel { fault: Fault::StuckAt0, bits: 8, ..FaultModel::default() });
        let layer = &stuck.layers()[0];
        let (bits, _) = layer.word(0);
        assert_eq!(layer.hits_on(0).count(), (1 << bits.count_ones()) - 1);
        let replaced = memory("int8", FaultModel { fault: Fault::Replace, ..FaultModel::default() });
        let layer = &replaced.layers()[0];
        assert_eq!(layer.hits_on(3).count(), 255);
        let Code::Integer { step, .. } = layer.word(3).1 else { panic!("an integer") };
        let (least, most) = (layer.weight_ends[0][(1, 0)], layer.weight_ends[1][(1, 0)]);
        assert!((most - least - 255.0 * step).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_the_network_is_refused() {
        let refused = |model: FaultModel| Memory::new(&network(), &model).unwrap_err().to_string();
        let layers = Some(vec!["third".to_owned()]);
        let error = refused(FaultModel { layers, ..FaultModel::default() });
        assert_eq!(error, "layer third: expected one of first, second");
        let storage = "int8".parse::<Storage>().unwrap();
        let error = refused(FaultModel { storage, at: Some(vec![8]), ..FaultModel::default() });
        assert_eq!(error, "bit 8: expected positions of words of layers that are hit, 0 to 7");
    }
}
