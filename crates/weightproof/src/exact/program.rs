//! One sample and one specification row as a mixed-integer linear program (theory.md §3, §6). Without integrality it bounds the leaves
//! of the search.
//!
//! ```text
//! minimise    v_plus − v_minus                                             over the outputs
//! affine      Σ (W z − E|z|) + b − e ≤ p ≤ Σ (W z + E|z|) + b + e          Lemma 1; an equality where E and e are 0
//! rectifier   r ≥ 0, r ≥ p, r ≤ p − l (1 − d), r ≤ u d                     r = max(p, 0), p ∈ [l, u], l < 0 < u, d ∈ {0, 1}
//! magnitude   |z| = 2 max(z, 0) − z                                        where z has either sign
//! ```
//! Everything else is written with these: every sum is an affine row, every piecewise linear function a sum of rectifiers.
//! Without integrality the rectifier is the triangle below the chord, `r ≤ u (p − l)/(u − l)`, and the magnitude lies below its
//! chord, so that one program serves both, see [`Program::relaxed`].
//!
//! The oracle writes its programs by other code, `exact/oracle/milp.rs`: nothing here judges the search.

use super::encode::Place;
use super::rows::Encoder;
use crate::bounds::Arithmetic;
use crate::network::{Network, Node};
use crate::property::SpecRow;
use crate::threat::PerturbationSet;
use crate::verdict::Guarantee;
use std::collections::HashMap;
use std::ops::Range;
use thiserror::Error;

/// `minimise objective·v + constant` over the variables `v` within `bounds` and `rows`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// One coefficient for each variable.
    pub objective: Vec<f64>,
    /// Added to the objective.
    pub constant: f64,
    /// Least and largest value of each variable.
    pub bounds: Vec<(f64, f64)>,
    /// Which variables must be whole numbers; all of these are 0 or 1.
    pub integer: Vec<bool>,
    /// Constraints.
    pub rows: Vec<Row>,
    /// What the elements of each node are, by node index.
    pub elements: Vec<Vec<Element>>,
    /// Rows of the hulls of quantizers, by the variable of what comes out.
    pub hulls: HashMap<usize, Range<usize>>,
}

/// `lower ≤ Σ coefficient · v ≤ upper`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Variables in increasing order, each once, with their coefficients.
    pub terms: Vec<(usize, f64)>,
    /// Least value, may be −∞.
    pub lower: f64,
    /// Largest value, may be ∞.
    pub upper: f64,
    /// How far rounding may have moved the sum and its ends, for every point within the bounds.
    pub slack: f64,
}

/// An element of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    /// It does not move.
    Constant(f64),
    /// It is this variable.
    Variable(usize),
}

/// Why there is no program.
#[derive(Debug, Error, PartialEq)]
pub enum ProgramError {
    /// A node, or how it moves, is not piecewise linear.
    #[error("node {node}: {reason} is not piecewise linear, so there is no linear program of it")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// What it is.
        reason: String,
    },
    /// The set belongs to another network.
    #[error("node {node}: the perturbation set has no radii for it")]
    NoRadii {
        /// Name of the node.
        node: String,
    },
    /// The input has another length than the network's.
    #[error("length of the input: expected {expected}, found {found}")]
    Input {
        /// Elements of the network's input.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The specification row asks for an output that is not there.
    #[error("output of the specification: expected less than {outputs}, found {found}")]
    Output {
        /// Outputs of the network.
        outputs: usize,
        /// Index that was asked for.
        found: usize,
    },
    /// A box is NaN or infinite.
    #[error("node {node}: element {element} is not bounded")]
    Unbounded {
        /// Name of the node.
        node: String,
        /// Index of the element.
        element: usize,
    },
}

impl Program {
    /// The program of the input `x` over `set`; `boxes(node, element)` holds the values that an element may take.
    ///
    /// # Guarantee
    /// Exact in real arithmetic for networks of dense layers, piecewise linear activations, sums, scalings, average pooling
    /// and rearrangements, when the boxes contain all reachable values; tighter boxes are faster, and boxes that cut values
    /// off restrict the set to what they leave. Every output element of a convolution has a row of its own, so all uses of a
    /// kernel weight move independently: exact for sets whose layers are
    /// [`per_use`](crate::threat::LayerSet::per_use), and a lower bound where kernels are shared.
    ///
    /// # Errors
    /// [`ProgramError`] for balls, max pooling and smooth activations, which have no linear program, and where the
    /// arguments do not belong to the network.
    ///
    /// # Source
    /// theory.md §3 (Lemma 1), §6.
    pub fn new(
        network: &Network,
        set: &PerturbationSet,
        x: &[f64],
        boxes: impl Fn(usize, usize) -> (f64, f64),
        row: SpecRow,
    ) -> Result<Program, ProgramError> {
        ProgramError::check(network, set, x, row)?;
        let mut encoder = Encoder::default();
        for (index, node) in network.nodes().iter().enumerate() {
            let reads = |other: &&Node| other.inputs.iter().any(|i| node.inputs.contains(i));
            let is_only_reader = network.nodes().iter().filter(reads).count() == 1;
            encoder.add(&Place { index, node, is_only_reader, set }, x, |element| boxes(index, element))?;
        }
        Ok(encoder.minimising(row))
    }

    /// The program without integrality: triangles for rectifiers, chords for magnitudes (theory.md §3, §4.3).
    pub fn relaxed(mut self) -> Program {
        self.integer.fill(false);
        self
    }

    /// A lower bound on the objective from one multiplier for each row: of its lower end where positive, of its upper end where
    /// negative.
    ///
    /// ```text
    /// c·v ≥ Σ_r y_r⁺ lower_r + y_r⁻ upper_r + min over the bounds of (c − Aᵀ y)·v
    /// ```
    /// # Guarantee
    /// Rigorous: holds for all multipliers, of the relaxed program and so of the mixed one, whatever rounding did to the program and
    /// to this bound; with the best multipliers it is the relaxed minimum, but for what is charged for that.
    /// # Source
    /// Weak duality. Every variable has bounds, so multipliers need not be feasible.
    pub fn dual_bound(&self, multipliers: &[f64]) -> f64 {
        let mut reduced = self.objective.clone();
        let mut bound = self.constant;
        // What every number that is added up is a part of, and what encoding may have lost.
        let (mut magnitudes, mut lost): (Vec<f64>, f64) = (reduced.iter().map(|c| c.abs()).collect(), 0.0);
        let mut size = bound.abs();
        for (row, &y) in self.rows.iter().zip(multipliers) {
            let end = if y > 0.0 { row.lower } else { row.upper };
            if y == 0.0 || !end.is_finite() {
                continue;
            }
            bound += y * end;
            size += (y * end).abs();
            lost += y.abs() * row.slack;
            for &(v, a) in &row.terms {
                reduced[v] -= y * a;
                magnitudes[v] += (y * a).abs();
            }
        }
        let least = |(&c, &(lower, upper)): (&f64, &(f64, f64))| if c > 0.0 { c * lower } else { c * upper };
        bound += reduced.iter().zip(&self.bounds).map(least).sum::<f64>();
        let largest = |(m, (lower, upper)): (&f64, &(f64, f64))| m * lower.abs().max(upper.abs());
        size += magnitudes.iter().zip(&self.bounds).map(largest).sum::<f64>();
        // A sum has at most one term for each row and each variable.
        let arithmetic = Arithmetic::<f64>::new(Guarantee::Rigorous);
        let n = 2 * (self.rows.len() + self.bounds.len()) + 8;
        let charge = arithmetic.gamma(n) * (size + lost) + lost + arithmetic.underflow(n) * (1.0 + size);
        arithmetic.down(bound - charge, 1)
    }

    /// Values of all nodes at the point `v`.
    ///
    /// # Panics
    /// When `v` has fewer entries than there are variables.
    pub fn values(&self, v: &[f64]) -> Vec<Vec<f64>> {
        let value = |element: &Element| match element {
            Element::Constant(c) => *c,
            Element::Variable(k) => v[*k],
        };
        self.elements.iter().map(|node| node.iter().map(value).collect()).collect()
    }
}

impl ProgramError {
    /// Whether the arguments of [`Program::new`] belong to one network.
    pub(super) fn check(
        network: &Network,
        set: &PerturbationSet,
        x: &[f64],
        row: SpecRow,
    ) -> Result<(), ProgramError> {
        let (inputs, outputs) = (network.input_width(), network.output_width());
        if x.len() != inputs {
            return Err(ProgramError::Input { expected: inputs, found: x.len() });
        }
        if let Some(found) = row.plus.into_iter().chain(row.minus).find(|k| *k >= outputs) {
            return Err(ProgramError::Output { outputs, found });
        }
        let without = network.affine_layers().find(|(index, _, _)| set.layer(*index).is_none());
        without.map_or(Ok(()), |(_, node, _)| Err(ProgramError::NoRadii { node: node.name.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Matrix, Window};
    use crate::network::{Activation, Jumps, NetworkBuilder, Staircase, StepRounding};
    use crate::threat::{Kind, ThreatModel};

    const WIDE: (f64, f64) = (-10.0, 10.0);

    /// One neuron after a fixed input: `x → p = 2x + 0.5 → ρ(p) → (z, −z)`.
    fn neuron(f: Activation) -> Network {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![2.0]), vec![0.5]).unwrap();
        let z = builder.activation("f", p, f).unwrap();
        builder.dense("second", z, Matrix::from_vec(2, 1, vec![1.0, -1.0]), vec![0.0; 2]).unwrap();
        builder.finish().unwrap()
    }

    fn program(f: Activation, kind: Kind, radius: f64, x: f64) -> Result<Program, ProgramError> {
        let network = neuron(f);
        let set = ThreatModel::new(kind, radius).resolve(&network).unwrap();
        Program::new(&network, &set, &[x], |_, _| WIDE, SpecRow::difference(0, 1))
    }

    #[test]
    fn what_does_not_move_is_constant() {
        let network = neuron(Activation::Relu);
        let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
        let values = network.forward_all(&[1.0]);
        let point = |node: usize, k: usize| (values[node][k], values[node][k]);
        let program = Program::new(&network, &set, &[1.0], point, SpecRow::difference(0, 1)).unwrap();
        assert_eq!((program.bounds.len(), program.rows.len(), program.constant), (0, 0, 5.0));
        assert_eq!(program.values(&[]), [vec![1.0], vec![2.5], vec![2.5], vec![2.5, -2.5]]);
    }

    /// `p ∈ 2.5 ± 0.2`, `z = p`, `f ∈ (±1 ± 0.1) z ± 0.1`.
    #[test]
    fn a_stable_neuron_is_its_input() {
        let program = program(Activation::Relu, Kind::Absolute, 0.1, 1.0).unwrap();
        assert_eq!(program.elements[2], program.elements[1]);
        let (lower, upper) = program.bounds[0];
        assert!(2.3 - 1e-13 < lower && lower < 2.3 && 2.7 < upper && upper < 2.7 + 1e-13, "outward");
        assert_eq!(program.bounds[1..], [WIDE, WIDE]);
        assert_eq!(program.objective, [0.0, 1.0, -1.0]);
        let slack = program.rows[0].slack;
        assert!(slack > 0.0 && slack < 1e-13, "{slack}");
        let row = |terms: &[(usize, f64)], lower, upper| Row { terms: terms.to_vec(), lower, upper, slack };
        let (inf, e) = (f64::INFINITY, 0.1);
        assert_eq!(program.rows[0], row(&[(0, -1.0 + e), (1, 1.0)], -e, inf));
        assert_eq!(program.rows[1], row(&[(0, -1.0 - e), (1, 1.0)], -inf, e));
        assert!(!program.integer.contains(&true));
    }

    /// `p ∈ 0 ± 0.1 (|x| + 1)`: a binary variable, which the relaxation makes continuous.
    #[test]
    fn an_unstable_neuron_has_a_binary_variable() {
        let program = program(Activation::Relu, Kind::Absolute, 0.1, -0.25).unwrap();
        assert_eq!(program.integer.iter().filter(|i| **i).count(), 1);
        assert_eq!(program.rows.len(), 3 + 2 * 2);
        assert!(!program.relaxed().integer.contains(&true));
    }

    /// `p ∈ 2.5 ± 0.2`, steps of 0.1: levels 23 to 27, along the jumps `z ≤ p + 0.05` and `z ≥ p − 0.05` where the input moves; where it does
    /// not, nothing but z depends on p, and the levels are enough.
    #[test]
    fn a_quantizer_is_its_hull() {
        let (step, zero, jumps) = (f64::from(0.1_f32), 0, Jumps::HalfWay);
        let q = Staircase { step, zero, low: 0, high: 255, rounding: StepRounding::NearestEven, jumps };
        let network = neuron(Activation::Quantize(q));
        let program = |input_radius| {
            let threat = ThreatModel { input_radius, ..ThreatModel::new(Kind::Absolute, 0.1) };
            let set = threat.resolve(&network).unwrap();
            let box_of = |node, _| if node == 1 { (2.3, 2.7) } else { WIDE };
            Program::new(&network, &set, &[1.0], box_of, SpecRow::difference(0, 1)).unwrap()
        };
        let alone = program(0.0);
        let z = (alone.bounds.iter().position(|of| *of == (23.0 * step, 27.0 * step))).unwrap();
        assert!(alone.hulls[&z].is_empty() && alone.rows.len() == 2 * 2);
        let program = program(0.01);
        let [Element::Variable(p), Element::Variable(z)] = [1, 2].map(|node| program.elements[node][0])
        else {
            panic!("they move")
        };
        assert_eq!(program.bounds[z], (23.0 * step, 27.0 * step));
        let rows = &program.rows[program.hulls[&z].clone()];
        for p_at in [2.3, 2.35, 2.4, 2.451, 2.5, 2.6, 2.7] {
            let of = |row: &Row| row.terms.iter().find(|(v, _)| *v == p).map_or(0.0, |(_, a)| -a * p_at);
            let least = rows.iter().map(|row| row.lower + of(row)).fold(program.bounds[z].0, f64::max);
            let most = rows.iter().map(|row| row.upper + of(row)).fold(program.bounds[z].1, f64::min);
            assert!(least <= q.apply(p_at) && q.apply(p_at) <= most, "{p_at}: [{least}, {most}]");
            assert!(most - least < 1.01 * step, "{p_at}: [{least}, {most}]");
        }
    }

    #[test]
    fn what_is_not_piecewise_linear_is_refused_by_name() {
        let error = program(Activation::Tanh, Kind::Absolute, 0.1, 1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node f: tanh is not piecewise linear, so there is no linear program of it"
        );
        let error = program(Activation::Relu, Kind::Frobenius, 0.1, 1.0).unwrap_err();
        assert!(error.to_string().starts_with("node first: a ball of weights"), "{error}");
        let mut builder = NetworkBuilder::new(vec![1, 2, 2]);
        let most = builder.max_pool("most", 0, Window::pooling([1, 2, 2], [2, 2])).unwrap();
        builder.dense("dense", most, Matrix::from_vec(2, 1, vec![1.0, -1.0]), Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
        let error = Program::new(&network, &set, &[0.0; 4], |_, _| WIDE, SpecRow::lower(0)).unwrap_err();
        assert!(error.to_string().starts_with("node most: max pooling"), "{error}");
    }

    #[test]
    fn arguments_must_belong_to_the_network() {
        let network = neuron(Activation::Relu);
        let mut set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
        let new = |set: &PerturbationSet, x: &[f64], bounds, row| {
            Program::new(&network, set, x, |_, _| bounds, row).unwrap_err().to_string()
        };
        let row = SpecRow::lower(0);
        assert_eq!(new(&set, &[0.0; 2], WIDE, row), "length of the input: expected 1, found 2");
        assert_eq!(
            new(&set, &[0.0], WIDE, SpecRow::upper(2)),
            "output of the specification: expected less than 2, found 2"
        );
        assert_eq!(new(&set, &[f64::NAN], WIDE, row), "node input: element 0 is not bounded");
        assert_eq!(new(&set, &[1.0], (0.0, f64::NAN), row), "node second: element 0 is not bounded");
        set.layers.pop();
        assert_eq!(new(&set, &[0.0], WIDE, row), "node second: the perturbation set has no radii for it");
    }
}
