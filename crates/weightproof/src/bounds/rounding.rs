//! What rounding may take from bounds (theory.md §12).
//!
//! Bounds are computed in floating point, to the nearest number. What every operation may have lost is *charged*: boxes are
//! widened, and a backward pass keeps, beside the constant of each row, a bound on what rounding did to it.
//!
//! ```text
//! a sum of n products, in any order, fused or not      |fl(Σ a_i b_i) − Σ a_i b_i| ≤ γ_n Σ |a_i b_i| + n η       γ_n = n u / (1 − n u)
//! a stored coefficient that is off by δ_j              costs at most δ_j ζ_j,   ζ_j ≥ |z_j| on the box of the node
//! a step through p = W z + b                           costs γ_n Σ_i |A_i| v_i,   v = (|W| + E) ζ + |b| + e
//! weights whose uses move together                     cost γ_m Σ_i |A_i| (E ζ)_i more, m roundings of what each weight meets
//! ```
//! `v` is one product for each sample and layer, shared by all rows. Slopes are data: any slope is sound when its intercept is
//! rounded outward.
//!
//! # Guarantee
//! Holds for IEEE 754 products and sums, rounded to nearest, whether or not subnormal numbers are flushed to zero.
//! # Source
//! theory.md §12; Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.

use super::deviation::weight_deviation;
use super::hits::{self, Largest};
use super::linear::is_shared;
use super::{Block, State, States};
use crate::kernels::rows::larger;
use crate::kernels::{Matrix, Scalar, Window, add_by_row, average_pool, linear};
use crate::model::{Affine, Step, gathered};
use crate::verdict::Guarantee;

/// Factor on every charge for the rounding of the charges themselves.
const OF_CHARGES: f64 = 1.0 + 1.0 / 64.0;
/// Sums of more terms are not charged but given up: [`OF_CHARGES`] would not cover their charges.
const MOST_ROUNDING: f64 = 1.0 / 128.0;
/// Roundings of single operations around a sum, never more than this many.
pub(crate) const FEW: usize = 32;
/// Partial sums that the loops over rows keep: their sums are this much shallower.
const LANES: usize = 16;

/// How the arithmetic in which bounds are computed rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic<T> {
    /// Unit roundoff `u`; 0 where rounding is neglected.
    unit: T,
    /// What underflow may take from one operation `η`: the smallest normal number, in case subnormals are flushed.
    tiny: T,
}

impl<T: Scalar> Arithmetic<T> {
    /// The arithmetic of `T`, charged or not.
    pub fn new(guarantee: Guarantee) -> Self {
        match guarantee {
            Guarantee::Rigorous => {
                Arithmetic { unit: T::epsilon() * T::from_f64(0.5), tiny: T::min_positive_value() }
            }
            Guarantee::RealArithmetic => Arithmetic { unit: T::zero(), tiny: T::zero() },
        }
    }

    /// Whether rounding is neglected.
    pub fn is_exact(self) -> bool {
        self.unit == T::zero()
    }

    /// `γ_n`, with room for the rounding of what it is multiplied with.
    pub fn gamma(self, n: usize) -> T {
        let part = n as f64 * self.unit.to_f64();
        if part > MOST_ROUNDING {
            return T::infinity();
        }
        T::from_f64_up(part / (1.0 - part) * OF_CHARGES)
    }

    /// What underflow may take from `n` operations.
    pub fn underflow(self, n: usize) -> T {
        T::from_f64_up(n as f64) * self.tiny
    }

    /// Outward rounding of what was computed with `n` roundings of numbers of its size.
    pub(crate) fn outward(self, n: usize) -> Outward<T> {
        Outward { part: self.gamma(n + 1), least: self.underflow(n + 1) }
    }

    /// A number that the exact one, of which `value` was computed with `n` roundings, is not below.
    pub fn down(self, value: T, n: usize) -> T {
        self.outward(n).down(value)
    }
}

/// See [`Arithmetic::outward`].
#[derive(Clone, Copy)]
pub(crate) struct Outward<T> {
    part: T,
    least: T,
}

impl<T: Scalar> Outward<T> {
    /// A number that the exact one is not below.
    #[inline(always)]
    pub fn down(self, value: T) -> T {
        value - (self.part * value.abs() + self.least)
    }

    /// A number that the exact one is not above.
    #[inline(always)]
    pub fn up(self, value: T) -> T {
        -self.down(-value)
    }
}

/// The constants of the bounds of some rows, and what rounding may have added to the bounds.
#[derive(Clone, Debug)]
pub(crate) struct Offsets<T> {
    value: Vec<T>,
    charge: Vec<T>,
    /// Variance proxies of random weights.
    variance: Vec<f64>,
    /// What hits on stored words may take.
    damages: Option<Largest>,
    arithmetic: Arithmetic<T>,
    step: T,
}

impl<T: Scalar> Offsets<T> {
    /// Zero for `rows` rows.
    pub fn new(rows: usize, arithmetic: Arithmetic<T>) -> Self {
        let zeros = || vec![T::zero(); rows];
        let variance = vec![0.0; rows];
        let (step, damages) = (arithmetic.gamma(1), None);
        Offsets { value: zeros(), charge: zeros(), variance, damages, arithmetic, step }
    }

    /// The same where at most `words` words are hit.
    pub fn with_hits(self, words: usize) -> Self {
        let damages = (words > 0).then(|| Largest::new(self.value.len(), words));
        Offsets { damages, ..self }
    }

    /// Adds what hits on one word may take from row `r`.
    #[inline(always)]
    pub fn add_damage(&mut self, r: usize, damage: f64) {
        if let Some(damages) = &mut self.damages {
            damages.add(r, damage);
        }
    }

    /// Adds a number to the constant of row `r`.
    #[inline(always)]
    pub fn add(&mut self, r: usize, term: T) {
        self.value[r] += term;
        if self.step > T::zero() {
            self.charge[r] += self.step * self.value[r].abs();
        }
    }

    /// Charges what rounding may have added to the bound of row `r`.
    #[inline(always)]
    pub fn charge(&mut self, r: usize, error: T) {
        self.charge[r] += error;
    }

    /// Adds to the variance of row `r`.
    #[inline(always)]
    pub fn add_variance(&mut self, r: usize, variance: f64) {
        self.variance[r] += variance;
    }

    /// Sums of the variances of all rows, to the nearest number.
    pub fn variances(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.variance)
    }

    /// Lower bounds of all rows, rounded down, and what was charged to them.
    pub fn finish(self) -> (Vec<T>, Vec<T>) {
        let lower = |(r, (&value, &charge)): (usize, (&T, &T))| {
            // The charge may be infinite, the value then is no number at all.
            let lower = if charge == T::zero() { value } else { self.arithmetic.down(value - charge, 1) };
            self.damages.as_ref().map_or(lower, |damages| hits::lowered(lower, damages.sum(r)))
        };
        (self.value.iter().zip(&self.charge).enumerate().map(lower).collect(), self.charge)
    }
}

/// Roundings in a step through one node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roundings {
    /// Of an element of its box.
    pub forward: usize,
    /// Of a coefficient of what it reads, and of the constants.
    pub backward: usize,
    /// Beside these, of what weights of a convolution are multiplied with where their uses move together, and of the sum of what that
    /// takes. It is charged by [`Sums::uses`] alone.
    pub uses: usize,
}

impl Roundings {
    /// Those of node `index`. Sums of node values are charged as parts of [`sums`].
    pub fn of<T: Scalar>(block: &Block<'_, T>, index: usize) -> Self {
        let model = block.prepared.model;
        let both = |n: usize| Roundings { forward: n, backward: n, uses: 0 };
        match &model.steps[index] {
            Step::Affine(layer) => {
                let (rows, cols) = (layer.weight.rows(), layer.weight.cols());
                match &layer.window {
                    None => Roundings { forward: cols + FEW, ..both(rows + cols / LANES + FEW) },
                    Some(window) => {
                        let positions = window.positions();
                        let patches =
                            if block.prepared.radii.layer(index).weight.is_ball() { cols } else { 0 };
                        let biases = rows + positions / LANES;
                        let readers = window.group_outputs() * most_readers(window);
                        let backward = readers + patches + biases + FEW;
                        let uses = Roundings::of_uses(positions, rows * cols);
                        Roundings { forward: cols + FEW, backward, uses }
                    }
                }
            }
            // With the inverse of a divisor.
            Step::Scale { .. } => both(Roundings::of_row(model.width(index))),
            Step::AveragePool { window, .. } => both(2 * window.taps() + FEW),
            Step::Add => both(2 * model.inputs_of(index).len() + FEW),
            Step::Multiply => {
                Roundings { forward: 1, backward: Roundings::of_row(model.width(index)), uses: 0 }
            }
            Step::Gather(gather) => both(block.prepared.most_uses(index, gather) + FEW),
            Step::MaxPool(window) => both(2 * window.taps() + FEW),
            Step::Activation(_) | Step::DynamicQuantize(_) => both(Roundings::of_row(model.width(index))),
            Step::Input | Step::Reshape => both(0),
        }
    }

    /// Of the loss of `weights` that move alike at `positions`: the ends of the interval of each sum over positions may be off,
    /// and what its chord is above the magnitude changes by twice that.
    pub fn of_uses(positions: usize, weights: usize) -> usize {
        2 * positions + weights / LANES + FEW
    }

    /// Of a sum over a row of `width` elements.
    pub fn of_row(width: usize) -> usize {
        width / LANES + FEW
    }
}

/// How many taps of `window` read one element, each from another position, at most: along an axis those whose distances are multiples
/// of the stride.
fn most_readers(window: &Window) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let along = |axis: usize| {
        let stride = window.stride[axis];
        window.kernel[axis].div_ceil(stride / divisor(stride, window.dilation[axis]))
    };
    along(0) * along(1)
}

/// What rounding in a step through a node is charged by.
#[derive(Clone, Debug)]
pub(crate) struct Sums<T> {
    /// For each element the sum of the magnitudes of all terms that make it, (samples, width).
    pub terms: Matrix<T>,
    /// The same of what weights may add whose uses move together, where they move: of a convolution only.
    pub uses: Option<Matrix<T>>,
    /// For each sample what underflow of the coefficients of what the node reads may take from a bound.
    pub underflow: Vec<T>,
}

/// For each element of node `index` the sum of the magnitudes of all terms that make it, (samples, width); `None` where it is no
/// sum.
pub(crate) fn terms<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
) -> Option<Matrix<T>> {
    let prepared = block.prepared;
    let inputs = prepared.model.inputs_of(index);
    let rounding = prepared.radii.roundings[index];
    let rounded = |v: T| v * (T::one() + rounding.relative) + rounding.absolute;
    let magnitude = |i: usize| states.magnitude(i);
    Some(match &prepared.model.steps[index] {
        Step::Affine(layer) => {
            let (z, set) = (magnitude(inputs[0]), prepared.radii.layer(index));
            let mut terms = Matrix::default();
            linear(&mut terms, &z, prepared.absolute(index), layer.window.as_ref());
            if set.weight.is_ball() {
                terms.add_assign(&weight_deviation(&set.weight, &z, layer));
            }
            let biases: Vec<T> = layer.bias.iter().zip(&set.bias).map(|(b, &e)| b.abs() + e).collect();
            add_by_row(&mut terms, &biases);
            terms
        }
        Step::Scale { scale, shift } => {
            let z = magnitude(inputs[0]);
            Matrix::from_fn(z.rows(), z.cols(), |s, j| scale[j].abs() * z[(s, j)] + shift[j].abs())
        }
        Step::AveragePool { window, factor } => {
            average_pool(&magnitude(inputs[0]), window, factor).map(rounded)
        }
        Step::Add => {
            let mut sum = magnitude(inputs[0]);
            inputs[1..].iter().for_each(|&i| sum.add_assign(&magnitude(i)));
            sum.map(rounded)
        }
        Step::Multiply => {
            let (mut product, other) = (magnitude(inputs[0]), magnitude(inputs[1]));
            let factors = other.as_slice().iter();
            product.as_mut_slice().iter_mut().zip(factors).for_each(|(x, &y)| *x *= y);
            product
        }
        Step::Gather(gather) => {
            let all: Vec<Matrix<T>> = inputs.iter().map(|&i| magnitude(i)).collect();
            gathered(&all.iter().collect::<Vec<_>>(), gather, T::from_f64(gather.constant.abs()))
        }
        Step::Input | Step::Activation(_) | Step::DynamicQuantize(_) | Step::MaxPool(_) | Step::Reshape => {
            return None;
        }
    })
}

/// The sums of node `index`, whose inputs have `states`; `None` where no rounding is charged by them.
pub(crate) fn sums<T: Scalar>(block: &Block<'_, T>, states: &States<'_, T>, index: usize) -> Option<Sums<T>> {
    let (model, arithmetic) = (block.prepared.model, block.prepared.arithmetic);
    let inputs = model.inputs_of(index);
    if arithmetic.is_exact() || inputs.iter().all(|&i| states.is_fixed(i)) {
        return None;
    }
    let mut terms = terms(block, states, index)?;
    // Underflow in a term is charged as a part of it.
    let least = arithmetic.tiny / arithmetic.unit;
    terms.as_mut_slice().iter_mut().for_each(|v| *v += least);
    let moves_alike =
        |layer: &&Affine<T>| layer.window.is_some() && is_shared(block.prepared.radii.layer(index));
    let uses = model.affine_of(index).filter(moves_alike).map(|layer| {
        let set = &block.prepared.radii.layer(index).weight;
        weight_deviation(set, &states.magnitude(inputs[0]), layer).map(|v| v + least)
    });
    let roundings = Roundings::of(block, index);
    let n = roundings.backward + roundings.uses + model.width(index);
    let of_sample = |s: usize| {
        let size: T = inputs.iter().map(|&i| states.size(i, s)).sum();
        arithmetic.underflow(n) * (T::one() + size)
    };
    let underflow = (0..states.samples()).map(of_sample).collect();
    Some(Sums { terms, uses, underflow })
}

/// Widens the box of node `index` by what rounding of its elements may hide.
pub(crate) fn widen<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
    state: &mut State<T>,
) {
    let (State::Box(bounds), Some(sums)) = (state, states.sums(index)) else { return };
    let n = Roundings::of(block, index).forward;
    let (model, arithmetic) = (block.prepared.model, block.prepared.arithmetic);
    // A sum of numbers that are not negative is none either, however it is rounded.
    let keeps_sign =
        matches!(model.steps[index], Step::Add | Step::Multiply | Step::AveragePool { .. } | Step::Gather(_))
            && block.prepared.radii.roundings[index].absolute == T::zero();
    for s in 0..states.samples() {
        // Where the signs of what is read are open, four products make an end, and it is corrected term by term. By sample, because
        // what is charged must not depend on its neighbours.
        let is_negative = |i: &usize| states.lower(*i).row(s).iter().any(|l| *l < T::zero());
        let mixed = model.inputs_of(index).iter().any(is_negative);
        let part = arithmetic.gamma(if mixed { 4 * n } else { n });
        let least = if keeps_sign && !mixed { T::zero() } else { T::neg_infinity() };
        let ends = bounds.lower.row_mut(s).iter_mut().zip(bounds.upper.row_mut(s));
        for (j, ((l, u), &terms)) in ends.zip(sums.terms.row(s)).enumerate() {
            let of_sign = if *l >= T::zero() { least } else { T::neg_infinity() };
            let floor = larger(of_sign, least_of_scale(block, states, index, (s, j)));
            *l -= part * terms;
            if *l < floor {
                *l = floor;
            }
            *u += part * terms;
        }
    }
}

/// A number that element `j` of a scale layer is not below in sample `s`, whatever rounding does: `f z + t ≥ t` for a factor and an input
/// that are not negative. Nothing is known of other layers.
fn least_of_scale<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
    (s, j): (usize, usize),
) -> T {
    let model = block.prepared.model;
    let Step::Scale { scale, shift } = &model.steps[index] else { return T::neg_infinity() };
    // A negative factor may have been too small for a number: its zero keeps the sign.
    let is_rising = scale[j].is_sign_positive() && states.lower(model.input_of(index))[(s, j)] >= T::zero();
    if is_rising { block.prepared.arithmetic.down(shift[j], 1) } else { T::neg_infinity() }
}

#[cfg(test)]
mod tests {
    use super::super::step::propagate;
    use super::super::{LowerBounds, Prepared, method};
    use super::*;
    use crate::model::{Model, Radii};
    use crate::network::{Activation, Network, NetworkBuilder};
    use crate::property::Specification;
    use crate::threat::{Kind, ThreatModel};

    /// So large that f32 loses every 1 that is added to it.
    const LARGE: f64 = 33_554_432.0;
    const TERMS: usize = 4000;
    /// The partial sums of a product of one row.
    const TOTALS: usize = 16;

    /// Runs `f` on the block of the input 1 and the network z ↦ relu(z), `first` z, `second` z, whose weights hardly move.
    fn on(
        first: Matrix<f64>,
        second: Matrix<f64>,
        guarantee: Guarantee,
        f: impl FnOnce(&Block<'_, f32>) -> f64,
    ) -> f64 {
        let mut builder = NetworkBuilder::new(vec![1]);
        let start = builder.dense("start", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new()).unwrap();
        let relu = builder.activation("relu", start, Activation::Relu).unwrap();
        let hidden = builder.dense("first", relu, first, Vec::new()).unwrap();
        builder.dense("second", hidden, second, Vec::new()).unwrap();
        blocked(&builder.finish().unwrap(), &ThreatModel::new(Kind::Relative, 1e-18), guarantee, f)
    }

    /// Runs `f` on the block of the input 1.
    fn blocked(
        network: &Network,
        threat: &ThreatModel,
        guarantee: Guarantee,
        f: impl FnOnce(&Block<'_, f32>) -> f64,
    ) -> f64 {
        let set = threat.resolve(network).unwrap();
        let (model, radii) = (Model::<f32>::new(network), Radii::new(&set, network.nodes().len()));
        let prepared = Prepared::new(&model, &radii, guarantee);
        let in_f64 = model.values_in_f64(&[1.0]);
        let values: Vec<Matrix<f32>> = in_f64.iter().map(Matrix::cast).collect();
        let fixed = prepared.enclosed(&in_f64);
        f(&Block { prepared: &prepared, values: &values, fixed: &fixed, divided: true, quantiles: None })
    }

    #[test]
    fn boxes_hold_what_a_sum_loses() {
        let width = TERMS * TOTALS + 1;
        let row = |j: usize| if j == 0 { LARGE } else { f64::from(u8::from(j.is_multiple_of(TOTALS))) };
        let exact = LARGE + TERMS as f64;
        let end = |sign: f64, guarantee: Guarantee| {
            let (first, second) =
                (Matrix::from_fn(width, 1, |_, _| 1.0), Matrix::from_fn(1, width, |_, j| sign * row(j)));
            on(first, second, guarantee, |block| {
                let states = propagate(block);
                let output = block.values.len() - 1;
                f64::from(if sign > 0.0 {
                    states.upper(output)[(0, 0)]
                } else {
                    -states.lower(output)[(0, 0)]
                })
            })
        };
        for sign in [1.0, -1.0] {
            assert!(end(sign, Guarantee::Rigorous) >= exact);
            assert!(end(sign, Guarantee::RealArithmetic) < exact, "the case loses something");
        }
    }

    /// Output positions that the taps of a window read an element from, counted.
    #[test]
    fn no_element_is_read_more_often_than_charged() {
        for (kernel, stride, dilation) in [
            ([3, 3], [1, 1], [1, 1]),
            ([3, 3], [2, 2], [1, 1]),
            ([3, 2], [2, 3], [2, 1]),
            ([4, 3], [4, 2], [2, 3]),
            ([5, 1], [3, 2], [3, 4]),
        ] {
            let window =
                Window { stride, dilation, padding: [[4, 4]; 2], ..Window::new([1, 31, 32], 1, kernel) };
            let mut reads = vec![0; window.plane()];
            for y in 0..window.extent(0) {
                for x in 0..window.extent(1) {
                    for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx))) {
                        if let (Some(y), Some(x)) = (window.source_on(0, y, ky), window.source_on(1, x, kx)) {
                            reads[y * 32 + x] += 1;
                        }
                    }
                }
            }
            assert_eq!(reads.into_iter().max(), Some(most_readers(&window)), "{window:?}");
        }
    }

    /// A weight of one tap meets `2²⁵ − 2²⁵ + 1 + 1 + …` over all positions, of which f32 loses some ones, whatever the order.
    #[test]
    fn what_weights_meet_at_all_positions_is_charged() {
        let (positions, radius) = (TERMS + 2, 0.5);
        let large = |i: usize| i < 2;
        let lowest = |guarantee: Guarantee, of: fn(LowerBounds<f32>) -> f32| {
            let mut builder = NetworkBuilder::new(vec![1]);
            let first = Matrix::from_fn(positions, 1, |i, _| if large(i) { LARGE } else { 1.0 });
            let start = builder.dense("start", 0, first, Vec::new()).unwrap();
            let relu = builder.activation("relu", start, Activation::Relu).unwrap();
            let image = builder.reshape("image", relu, vec![1, 1, positions]).unwrap();
            let window = Window::new([1, 1, positions], 1, [1, 1]);
            let conv = builder.conv("conv", image, Matrix::zeros(1, 1), Vec::new(), window).unwrap();
            let flat = builder.reshape("flat", conv, vec![positions]).unwrap();
            let sum = Matrix::from_fn(1, positions, |_, i| if i == 1 { -1.0 } else { 1.0 });
            builder.dense("sum", flat, sum, Vec::new()).unwrap();
            let network = builder.finish().unwrap();
            // The input moves a little, so that nothing is fixed.
            let layers = Some(vec!["conv".into()]);
            let threat =
                ThreatModel { layers, input_radius: 1e-18, ..ThreatModel::new(Kind::Absolute, radius) };
            blocked(&network, &threat, guarantee, |block| {
                let spec = Specification::outputs(1, 1);
                f64::from(of(method::<f32>("linear").unwrap().lower_bounds(block, &spec)))
            })
        };
        // Σ_p Δ a_p z_p is at least −radius · 4000.
        let exact = -radius * TERMS as f64;
        assert!(lowest(Guarantee::Rigorous, |bounds| bounds.lower[0]) <= exact);
        assert!(
            lowest(Guarantee::RealArithmetic, |bounds| bounds.lower[0]) > exact,
            "the case loses something"
        );
        // Twice the roundings of a sum over all positions, of the radius times all that is summed up.
        let charge = 2.0 * positions as f64 * f64::from(f32::EPSILON) / 2.0 * radius * 2.0 * LARGE;
        assert!(lowest(Guarantee::Rigorous, |bounds| bounds.charge[0]) >= charge);
    }

    #[test]
    fn backward_passes_charge_what_a_sum_over_neurons_loses() {
        let (width, outputs) = (TERMS + 1, 12);
        let exact = LARGE - TERMS as f64;
        let lower = |guarantee: Guarantee| {
            let first = Matrix::from_fn(width, 1, |i, _| if i == 0 { LARGE } else { 1.0 });
            let second = Matrix::from_fn(outputs, width, |_, i| if i == 0 { 1.0 } else { -1.0 });
            on(first, second, guarantee, |block| {
                let spec = Specification::outputs(1, outputs);
                f64::from(method::<f32>("linear").unwrap().lower_bounds(block, &spec).lower[0])
            })
        };
        assert!(lower(Guarantee::Rigorous) <= exact);
        assert!(lower(Guarantee::RealArithmetic) > exact, "the case loses something");
    }
}
