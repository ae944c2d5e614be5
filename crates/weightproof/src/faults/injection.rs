//! Sets of hits on several words: forward passes after them, and a search for a set that breaks a sample.
//!
//! ```text
//! candidates     of each row of a dense layer the two hits that move it furthest, of each channel of a convolution those with the
//!                largest damage to first order
//! greedy         the candidate after which the margin is smallest, by a forward pass for each; one hit after the other
//! exchange       each hit of the set in turn is replaced by the best candidate, until none is better
//! baseline       progressive bit search: of each layer the hit with the largest damage to first order, of these the best by a forward pass
//! ```
//! # Guarantee
//! None: what is found is a witness only after [`super::SingleHits`] has judged the network after the hits.
//! # Source
//! theory.md §10; progressive bit search: Rakin, He, Fan, ICCV 2019, arXiv 1903.12269 (there one set for a batch and its loss, here for a
//! sample and its margin).

use super::{Hit, Memory, StoredLayer};
use crate::kernels::{Matrix, Window, add_average_pool_transposed, add_linear_transposed};
use crate::network::Layer;
use std::borrow::Cow;

/// A hit on a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordHit {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Number of the word.
    pub word: usize,
    /// What happens to it.
    pub hit: Hit,
}

impl WordHit {
    fn is_on(&self, layer: usize, word: usize) -> bool {
        (self.layer, self.word) == (layer, word)
    }
}

/// Most rounds of exchanges.
const ROUNDS: usize = 3;
/// Rivals whose margins candidates of convolutions are ranked by, the closest first.
const RIVALS: usize = 2;
/// Candidates of each channel and rival.
const OF_CHANNEL: usize = 2;

/// Searches sets of hits for one sample.
pub(super) struct Injection<'m> {
    memory: &'m Memory,
    /// Values of every node without faults.
    clean: &'m [Vec<f64>],
    pub(super) target: usize,
}

/// Hits and the margin after them.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub hits: Vec<WordHit>,
    pub margin: f64,
}

/// What the furthest hit on a word takes from a margin, to first order.
struct Damage {
    word: usize,
    /// Which end of the values that hits give is the worse.
    end: usize,
    /// How much the margin loses.
    lost: f64,
}

impl<'m> Injection<'m> {
    pub fn new(memory: &'m Memory, clean: &'m [Vec<f64>], target: usize) -> Self {
        Injection { memory, clean, target }
    }

    /// No hits.
    pub fn start(&self) -> Found {
        let outputs = self.clean.last().expect("a network has nodes");
        Found { hits: Vec::new(), margin: margin(outputs, self.target) }
    }

    /// One more hit, and exchanges; `None` when no word is left.
    pub fn grow(&self, found: &Found) -> Option<Found> {
        let mut found = self.best(&found.hits)?;
        for _ in 0..ROUNDS {
            let before = found.margin;
            for k in 0..found.hits.len() {
                if found.margin <= 0.0 {
                    return Some(found);
                }
                let mut others = found.hits.clone();
                others.remove(k);
                if let Some(other) = self.best(&others).filter(|other| other.margin < found.margin) {
                    found = other;
                }
            }
            if !(found.margin < before) {
                break;
            }
        }
        Some(found)
    }

    /// One more hit by progressive bit search.
    pub fn grow_by_gradient(&self, found: &Found) -> Option<Found> {
        let values = self.after(&found.hits);
        let rival = *self.rivals(&values).first()?;
        let gradient = self.gradient(&values, rival);
        let layers = 0..self.memory.layers().len();
        let candidates = layers.filter_map(|number| {
            let layer = &self.memory.layers()[number];
            let damages = self.damages(layer, &values, &gradient);
            self.worst(number, &damages, 1, &found.hits).pop()
        });
        self.least(&found.hits, candidates.collect())
    }

    /// The set with the candidate after which the margin is smallest.
    fn best(&self, taken: &[WordHit]) -> Option<Found> {
        let values = self.after(taken);
        let mut candidates = Vec::new();
        let mut gradients = None;
        for (number, layer) in self.memory.layers().iter().enumerate() {
            let node = &self.memory.network().nodes()[layer.node];
            if matches!(node.layer, Layer::Dense(_)) {
                self.furthest(number, &values[node.inputs[0]], taken, &mut candidates);
                continue;
            }
            let gradients = gradients.get_or_insert_with(|| {
                let rivals = self.rivals(&values);
                let of = |&rival: &usize| self.gradient(&values, rival);
                rivals.iter().take(RIVALS).map(of).collect::<Vec<_>>()
            });
            for gradient in gradients.iter() {
                let damages = self.damages(layer, &values, gradient);
                for channel in damages.chunks(layer.cols) {
                    candidates.extend(self.worst(number, channel, OF_CHANNEL, taken));
                }
            }
        }
        self.least(taken, candidates)
    }

    /// The set with the candidate after which the margin is smallest.
    fn least(&self, taken: &[WordHit], candidates: Vec<WordHit>) -> Option<Found> {
        let mut best: Option<Found> = None;
        for candidate in candidates {
            let hits: Vec<WordHit> = taken.iter().copied().chain([candidate]).collect();
            let values = self.after(&hits);
            let margin = margin(values.last()?, self.target);
            if best.as_ref().is_none_or(|best| margin < best.margin) && margin.is_finite() {
                best = Some(Found { hits, margin });
            }
        }
        best
    }

    /// Of each row of a dense layer the two hits that move it furthest.
    fn furthest(&self, number: usize, z: &[f64], taken: &[WordHit], out: &mut Vec<WordHit>) {
        let layer = &self.memory.layers()[number];
        for row in 0..layer.rows {
            let mut far = [(0.0, None), (0.0, None)];
            let mut see = |word: usize, ends: [f64; 2], z: f64| {
                for (end, d) in ends.into_iter().enumerate() {
                    for (k, sign) in [-1.0, 1.0].into_iter().enumerate() {
                        let t = sign * d * z;
                        if t > far[k].0 && !taken.iter().any(|hit| hit.is_on(number, word)) {
                            far[k] = (t, Some((word, end)));
                        }
                    }
                }
            };
            for (column, &z) in z.iter().enumerate() {
                let ends = [0, 1].map(|k| layer.weight_ends[k][(row, column)]);
                see(row * layer.cols + column, ends, z);
            }
            if let (Some(&low), Some(&high)) = (layer.bias_ends[0].get(row), layer.bias_ends[1].get(row)) {
                see(layer.rows * layer.cols + row, [low, high], 1.0);
            }
            let places = far.iter().filter_map(|(_, place)| *place);
            out.extend(places.filter_map(|(word, end)| furthest_hit(layer, number, word, end)));
        }
    }

    /// What the furthest hits on each word take from a margin with this gradient; words of weights, then of biases.
    fn damages(&self, layer: &StoredLayer, values: &[Cow<'_, [f64]>], gradient: &[Vec<f64>]) -> Vec<Damage> {
        let node = &self.memory.network().nodes()[layer.node];
        let (z, g) = (&values[node.inputs[0]], &gradient[layer.node]);
        let window = node.layer.kernel_window();
        let positions = g.len() / layer.rows;
        let of_word = |word: usize| {
            let (row, column) = layer.place(word);
            let own = &g[row * positions..(row + 1) * positions];
            let read = |(p, g): (usize, &f64)| source(window, row, column?, p).map(|k| g * z[k]);
            let sum: f64 = match column {
                None => own.iter().sum(),
                Some(_) => own.iter().enumerate().filter_map(read).sum(),
            };
            let lost = layer.ends(word).map(|d| -d * sum);
            let end = usize::from(lost[1] > lost[0]);
            Damage { word, end, lost: lost[end] }
        };
        (0..layer.words()).map(of_word).collect()
    }

    /// The hits with the largest of these damages, on words that are not hit yet.
    fn worst(&self, number: usize, damages: &[Damage], most: usize, taken: &[WordHit]) -> Vec<WordHit> {
        let is_free = |word: usize| !taken.iter().any(|hit| hit.is_on(number, word));
        let mut sorted: Vec<_> = damages.iter().filter(|d| d.lost > 0.0 && is_free(d.word)).collect();
        sorted.sort_by(|a, b| b.lost.total_cmp(&a.lost).then(a.word.cmp(&b.word)));
        let layer = &self.memory.layers()[number];
        sorted
            .into_iter()
            .take(most)
            .filter_map(|damage| furthest_hit(layer, number, damage.word, damage.end))
            .collect()
    }

    /// Classes other than the target, the closest first.
    pub fn rivals(&self, values: &[Cow<'_, [f64]>]) -> Vec<usize> {
        let outputs = values.last().expect("a network has nodes");
        let mut rivals: Vec<usize> = (0..outputs.len()).filter(|&k| k != self.target).collect();
        rivals.sort_by(|a, b| outputs[*b].total_cmp(&outputs[*a]).then(a.cmp(b)));
        rivals
    }

    /// Values of all nodes after these hits; what does not move is that without faults.
    pub fn after(&self, hits: &[WordHit]) -> Vec<Cow<'m, [f64]>> {
        let network = self.memory.network();
        let mut values: Vec<Cow<'m, [f64]>> = Vec::with_capacity(network.nodes().len());
        for (index, node) in network.nodes().iter().enumerate() {
            let own: Vec<&WordHit> =
                hits.iter().filter(|hit| self.memory.layers()[hit.layer].node == index).collect();
            let moves = node.inputs.iter().any(|&i| matches!(values[i], Cow::Owned(_)));
            if own.is_empty() && !moves {
                values.push(Cow::Borrowed(&self.clean[index]));
                continue;
            }
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|&i| &*values[i]).collect();
            let mut value = if moves { node.layer.apply(&inputs, None) } else { self.clean[index].clone() };
            for WordHit { layer, word, hit } in own {
                let layer = &self.memory.layers()[*layer];
                let (row, column) = layer.place(*word);
                let positions = value.len() / layer.rows;
                let window = node.layer.kernel_window();
                for (position, value) in value[row * positions..(row + 1) * positions].iter_mut().enumerate()
                {
                    *value += match column {
                        None => hit.moved(),
                        Some(column) => {
                            source(window, row, column, position).map_or(0.0, |k| hit.moved() * inputs[0][k])
                        }
                    };
                }
            }
            values.push(Cow::Owned(value));
        }
        values
    }

    /// The gradient of the margin against `rival` with respect to the value of every node.
    fn gradient(&self, values: &[Cow<'_, [f64]>], rival: usize) -> Vec<Vec<f64>> {
        let network = self.memory.network();
        let mut gradient: Vec<Vec<f64>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
        let output = network.output();
        gradient[output][self.target] += 1.0;
        gradient[output][rival] -= 1.0;
        for (index, node) in network.nodes().iter().enumerate().rev() {
            let Some(&first) = node.inputs.first() else { continue };
            let own = std::mem::take(&mut gradient[index]);
            let width = gradient[first].len();
            let back = |weight: &Matrix<f64>, window: Option<&Window>| {
                let mut out = Matrix::zeros(1, width);
                add_linear_transposed(&mut out, &Matrix::from_vec(1, own.len(), own.clone()), weight, window);
                out.as_slice().to_vec()
            };
            let mut add = |input: usize, part: &[f64]| {
                gradient[input].iter_mut().zip(part).for_each(|(g, p)| *g += p);
            };
            match &node.layer {
                Layer::Input => {}
                Layer::Dense(affine) => add(first, &back(&affine.weight, None)),
                Layer::Conv(conv) => add(first, &back(&conv.affine.weight, Some(&conv.window))),
                Layer::Scale(scale) => {
                    add(first, &own.iter().zip(&scale.scale).map(|(g, s)| g * s).collect::<Vec<_>>());
                }
                Layer::Activation(f) => {
                    let of = |(g, &p): (&f64, &f64)| g * f.derivative(p);
                    add(first, &own.iter().zip(values[first].iter()).map(of).collect::<Vec<_>>());
                }
                Layer::MaxPool(window) => {
                    let mut part = vec![0.0; width];
                    for (k, g) in own.iter().enumerate() {
                        let (plane, position) =
                            (k / window.positions() * window.plane(), k % window.positions());
                        let elements = (0..window.taps()).filter_map(|tap| window.source(position, tap));
                        let largest = elements
                            .map(|e| plane + e)
                            .max_by(|a, b| values[first][*a].total_cmp(&values[first][*b]));
                        largest.into_iter().for_each(|j| part[j] += g);
                    }
                    add(first, &part);
                }
                Layer::AveragePool(average) => {
                    let mut out = Matrix::zeros(1, width);
                    let a = Matrix::from_vec(1, own.len(), own.clone());
                    add_average_pool_transposed(&mut out, &a, &average.window, &average.factor);
                    add(first, out.as_slice());
                }
                Layer::Add => node.inputs.iter().for_each(|&i| add(i, &own)),
                Layer::Multiply => {
                    let [x, y] = [node.inputs[0], node.inputs[1]];
                    let times = |other: usize| -> Vec<f64> {
                        own.iter().zip(values[other].iter()).map(|(g, z)| g * z).collect()
                    };
                    add(x, &times(y));
                    add(y, &times(x));
                }
                Layer::Gather(gather) => {
                    let mut all = vec![0.0; node.inputs.iter().map(|&i| values[i].len()).sum()];
                    let chosen =
                        gather.source.iter().zip(&own).filter_map(|(source, g)| Some((*source.as_ref()?, g)));
                    chosen.for_each(|(k, g)| all[k] += g);
                    let mut from = 0;
                    for &i in &node.inputs {
                        add(i, &all[from..from + values[i].len()]);
                        from += values[i].len();
                    }
                }
                Layer::DynamicQuantize(_) | Layer::Reshape => add(first, &own),
            }
            gradient[index] = own;
        }
        gradient
    }
}

/// The smallest margin of `target`; NaN when one is NaN.
pub(super) fn margin(outputs: &[f64], target: usize) -> f64 {
    let rivals = (0..outputs.len()).filter(|&k| k != target);
    rivals.fold(f64::INFINITY, |m, k| crate::verdict::nan_min(m, outputs[target] - outputs[k]))
}

/// The element that a layer reads at a position through a column of its weights; `None` in the padding.
fn source(window: Option<&Window>, row: usize, column: usize, position: usize) -> Option<usize> {
    window.map_or(Some(column), |window| window.element(row, column, position))
}

/// The hit on a word that moves it furthest down (0) or up (1).
fn furthest_hit(layer: &StoredLayer, number: usize, word: usize, end: usize) -> Option<WordHit> {
    let hits = layer.hits_on(word).map(|(_, hit)| hit).filter(Hit::is_finite);
    let furthest = hits.max_by(|a, b| {
        let (a, b) = (a.moved(), b.moved());
        if end == 1 { a.total_cmp(&b) } else { b.total_cmp(&a) }
    });
    furthest.map(|hit| WordHit { layer: number, word, hit })
}
