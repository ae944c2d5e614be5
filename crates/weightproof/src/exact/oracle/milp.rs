//! One sample as a mixed-integer linear program for the solver alone (theory.md §3, §6).
//!
//! ```text
//! affine      Σ (w z − r|z|) + b − e ≤ p ≤ Σ (w z + r|z|) + b + e          Lemma 1; r, e: radii of the parameters
//! maximum     m ≥ 0, m ≥ p, m ≤ p − l (1 − d), m ≤ u d                     m = max(p, 0), p ∈ [l, u], l < 0 < u, d ∈ {0, 1}
//! magnitude   |z| = 2 max(z, 0) − z                                        where z has either sign
//! ```
//! Every layer is written with these. The box [l, u] of an element is the interval of its own sum over the boxes of what it
//! reads; where asked, the solver narrows it by the least and the largest value of the element in the program so far, without
//! integrality. Nothing else: no bound method, no box and no row of the search enters. The search writes its linear programs by
//! other code, `exact/program.rs`.

use super::{Answer, OracleError, OracleOptions, Outcome, TOLERANCE};
use crate::exact::program::ProgramError;
use crate::network::{Activation, Affine, AveragePool, Layer, Network, Node};
use crate::property::SpecRow;
use crate::threat::{PerturbationSet, SumRounding, WeightSet};
use crate::verdict::Reason;
use highs::{Col, HighsModelStatus, HighsSolutionStatus, RowProblem, Sense, SolvedModel};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

/// What a solved end of a box may be wrong by, relative to its size.
const SLACK: f64 = 1e-6;

/// An element of a node: a column of the program, or a constant.
#[derive(Clone, Copy, Debug)]
struct Value {
    /// `None` for a constant, whose ends are equal.
    column: Option<usize>,
    lower: f64,
    upper: f64,
}

/// A summand `w z`, `|w − weight| ≤ radius`.
struct Term {
    z: Value,
    weight: f64,
    radius: f64,
}

/// `Σ a · v` by column; the solver refuses a column that stands twice in a row.
#[derive(Clone, Default)]
struct Linear(BTreeMap<usize, f64>);

impl Linear {
    fn add(&mut self, column: usize, a: f64) {
        *self.0.entry(column).or_insert(0.0) += a;
    }
}

/// The values of a column.
#[derive(Clone, Copy)]
struct Range {
    lower: f64,
    upper: f64,
    /// Only 0 and 1.
    binary: bool,
}

/// `lower ≤ Σ a · v ≤ upper`.
struct Row {
    lower: f64,
    sum: Linear,
    upper: f64,
}

/// The program of one sample, without an objective.
#[derive(Default)]
pub(super) struct Milp {
    columns: Vec<Range>,
    rows: Vec<Row>,
    /// Elements of all nodes, in node order.
    nodes: Vec<Vec<Value>>,
    /// `max(p, 0)` by the column of p.
    positive: HashMap<usize, Value>,
}

/// Where the boxes of a program come from.
#[derive(Clone, Copy)]
pub(super) enum Boxes {
    /// Intervals.
    Intervals,
    /// Intervals, narrowed by the solver until this instant, if any.
    Narrowed(Option<Instant>),
}

impl Value {
    fn constant(value: f64) -> Value {
        Value { column: None, lower: value, upper: value }
    }
}

impl Term {
    fn still(z: Value, weight: f64) -> Term {
        Term { z, weight, radius: 0.0 }
    }

    /// Least and largest `w z`: the least is a concave function of z and the largest a convex one, so both are at an end.
    fn interval(&self) -> (f64, f64) {
        let Value { lower, upper, .. } = self.z;
        let least = |z: f64| self.weight * z - self.radius * z.abs();
        let most = |z: f64| self.weight * z + self.radius * z.abs();
        (least(lower).min(least(upper)), most(lower).max(most(upper)))
    }
}

impl Milp {
    /// The program of `x` over `set`.
    ///
    /// # Errors
    /// [`OracleError`] for balls and smooth activations, and where values are not finite or leave a number format.
    pub fn new(
        network: &Network,
        set: &PerturbationSet,
        x: &[f64],
        boxes: Boxes,
    ) -> Result<Milp, OracleError> {
        let mut milp = Milp::default();
        for (index, node) in network.nodes().iter().enumerate() {
            milp.in_range(node, set)?;
            let mut values = milp.node(index, node, set, x)?;
            let finite = |v: &Value| v.lower.is_finite() && v.upper.is_finite();
            if let Some(element) = values.iter().position(|v| !finite(v)) {
                return Err(ProgramError::Unbounded { node: node.name.clone(), element }.into());
            }
            let last = index + 1 == network.nodes().len();
            if let (Boxes::Narrowed(end), false) = (boxes, last) {
                milp.narrow_all(&mut values, end)?;
            }
            milp.nodes.push(values);
        }
        Ok(milp)
    }

    /// Narrows the boxes of elements that have either sign and are sums of columns, by one linear program for each end.
    fn narrow_all(&mut self, values: &mut [Value], end: Option<Instant>) -> Result<(), OracleError> {
        let mut sums = vec![false; self.columns.len()];
        self.rows.iter().flat_map(|row| row.sum.0.keys()).for_each(|&k| sums[k] = true);
        let known: HashSet<usize> = self.positive.keys().copied().collect();
        let open = |v: &Value| {
            let k = v.column.filter(|k| sums[*k] && !known.contains(k))?;
            (v.lower < 0.0 && v.upper > 0.0).then_some(k)
        };
        if values.iter().all(|v| open(v).is_none()) {
            return Ok(());
        }
        let (problem, columns) = self.problem(true);
        let mut model = problem.try_optimise(Sense::Minimise)?;
        model.try_set_option("threads", 1)?;
        for option in ["primal_feasibility_tolerance", "dual_feasibility_tolerance"] {
            model.try_set_option(option, TOLERANCE)?;
        }
        for value in values {
            let Some(k) = open(value) else { continue };
            for sign in [1.0, -1.0] {
                if end.is_some_and(|end| Instant::now() >= end) {
                    return Ok(());
                }
                model.change_column_cost(columns[k], sign);
                let solved = model.try_solve()?;
                let found = solved.objective_value();
                let least = found - SLACK * (1.0 + found.abs());
                if solved.status() == HighsModelStatus::Optimal && least.is_finite() {
                    let (lower, upper) =
                        if sign > 0.0 { (least, value.upper) } else { (value.lower, -least) };
                    *value = self.narrow(*value, lower, upper);
                }
                model = solved.into();
            }
            model.change_column_cost(columns[k], 0.0);
            model.change_column_bounds(columns[k], value.lower..=value.upper);
        }
        Ok(())
    }

    /// The program for the solver, and its columns.
    fn problem(&self, relaxed: bool) -> (RowProblem, Vec<Col>) {
        let mut problem = RowProblem::new();
        let mut column =
            |r: &Range| problem.add_column_with_integrality(0.0, r.lower..=r.upper, r.binary && !relaxed);
        let columns: Vec<Col> = self.columns.iter().map(&mut column).collect();
        for row in &self.rows {
            let terms = row.sum.0.iter().map(|(&k, &a)| (columns[k], a));
            problem.add_row(row.lower..=row.upper, terms);
        }
        (problem, columns)
    }

    /// Values that products and sums read must stay within the range of the set's number format.
    fn in_range(&self, node: &Node, set: &PerturbationSet) -> Result<(), OracleError> {
        let reads =
            matches!(node.layer, Layer::Dense(_) | Layer::Conv(_) | Layer::Add | Layer::AveragePool(_));
        let limit = set.value_limit.filter(|_| reads).unwrap_or(f64::INFINITY);
        let mut read = node.inputs.iter().flat_map(|&i| &self.nodes[i]);
        match read.all(|v| -limit <= v.lower && v.upper <= limit) {
            true => Ok(()),
            false => Err(OracleError::Void(Reason::FormatRange)),
        }
    }

    fn node(
        &mut self,
        index: usize,
        node: &Node,
        set: &PerturbationSet,
        x: &[f64],
    ) -> Result<Vec<Value>, OracleError> {
        let unsupported = |reason: &str| {
            OracleError::from(ProgramError::Unsupported { node: node.name.clone(), reason: reason.into() })
        };
        let z: Vec<Value> = node.inputs.iter().flat_map(|&i| self.nodes[i].iter().copied()).collect();
        let width = node.width();
        let rounding = set.roundings.iter().find(|r| r.node == index).copied();
        let SumRounding { relative, absolute, .. } =
            rounding.unwrap_or(SumRounding { node: index, relative: 0.0, absolute: 0.0 });
        let mut terms: Vec<(Vec<Term>, f64, f64)> = Vec::with_capacity(width);
        match &node.layer {
            Layer::Input => {
                let interval =
                    |&x: &f64| if set.input_radius == 0.0 { (x, x) } else { set.input_interval(x) };
                return Ok(x.iter().map(interval).map(|(lower, upper)| self.free(lower, upper)).collect());
            }
            Layer::Reshape => return Ok(z),
            Layer::Gather(gather) => {
                let of = |source: &Option<usize>| source.map_or(Value::constant(gather.constant), |k| z[k]);
                return Ok(gather.source.iter().map(of).collect());
            }
            Layer::MaxPool(window) => {
                let read = |k: usize| -> Vec<Value> {
                    let (channel, position) = (k / window.positions(), k % window.positions());
                    let inside = (0..window.taps()).filter_map(|tap| window.source(position, tap));
                    inside.map(|at| z[channel * window.plane() + at]).collect()
                };
                return Ok((0..width).map(|k| self.largest(&read(k))).collect());
            }
            Layer::DynamicQuantize(_) | Layer::Multiply => return Err(unsupported(node.layer.kind())),
            Layer::Activation(f) => {
                let apply = |p: &Value| {
                    let clean = self.activation(*f, *p).ok_or_else(|| unsupported(f.name()))?;
                    Ok(self.sum(&[Term::still(clean, 1.0)], 0.0, set.activation_radius))
                };
                return z.iter().map(apply).collect();
            }
            Layer::Dense(affine) => {
                let radii = &set.layer(index).expect("`ProgramError::check` looks for it");
                if radii.weight.is_ball() {
                    return Err(unsupported("a ball of weights"));
                }
                for i in 0..width {
                    let met = (0..z.len()).map(|j| (j, z[j]));
                    terms.push((parameters(affine, &radii.weight, i, met), affine.bias[i], radii.bias[i]));
                }
            }
            Layer::Conv(conv) => {
                let radii = &set.layer(index).expect("`ProgramError::check` looks for it");
                if radii.weight.is_ball() {
                    return Err(unsupported("a ball of weights"));
                }
                let window = &conv.window;
                for k in 0..width {
                    let (i, position) = (k / window.positions(), k % window.positions());
                    let first = i / window.group_outputs() * window.group_inputs();
                    let met = (0..window.patch()).filter_map(|j| {
                        let at = window.source(position, j % window.taps())?;
                        Some((j, z[(first + j / window.taps()) * window.plane() + at]))
                    });
                    let parameters = parameters(&conv.affine, &radii.weight, i, met);
                    terms.push((parameters, conv.affine.bias[i], radii.bias[i]));
                }
            }
            Layer::Scale(s) => {
                terms.extend((0..width).map(|k| (vec![Term::still(z[k], s.scale[k])], s.shift[k], 0.0)));
            }
            Layer::Add => {
                let term = |&z: &Value| Term { z, weight: 1.0, radius: relative };
                let summands = |k: usize| z[k..].iter().step_by(width).map(term).collect();
                terms.extend((0..width).map(|k| (summands(k), 0.0, absolute)));
            }
            Layer::AveragePool(AveragePool { window, factor }) => {
                for k in 0..width {
                    let (channel, position) = (k / window.positions(), k % window.positions());
                    let weight = factor[position];
                    let inside = (0..window.taps()).filter_map(|tap| window.source(position, tap));
                    let z = inside.map(|at| z[channel * window.plane() + at]);
                    let summands = z.map(|z| Term { z, weight, radius: weight.abs() * relative });
                    terms.push((summands.collect(), 0.0, absolute));
                }
            }
        }
        Ok(terms.iter().map(|(terms, shift, slack)| self.sum(terms, *shift, *slack)).collect())
    }

    /// `ρ(p)`; `None` when it is not piecewise linear.
    fn activation(&mut self, f: Activation, p: Value) -> Option<Value> {
        let (value, kinks) = match f {
            Activation::Relu => return Some(self.positive(p)),
            // s p + (1 − s) max(p, 0)
            Activation::LeakyRelu { slope } => {
                let positive = self.positive(p);
                let terms = [Term::still(p, slope), Term::still(positive, 1.0 - slope)];
                (self.sum(&terms, 0.0, 0.0), [0.0, 0.0])
            }
            // low + max(p − low, 0) − max(p − high, 0), or p − max(p − high, 0)
            Activation::Clip { low, high } => {
                let mut above = |end: f64| {
                    let shifted = self.sum(&[Term::still(p, 1.0)], -end, 0.0);
                    self.positive(shifted)
                };
                let (shift, first) = if low.is_finite() { (low, above(low)) } else { (0.0, p) };
                let last = if high.is_finite() { above(high) } else { Value::constant(0.0) };
                (self.sum(&[Term::still(first, 1.0), Term::still(last, -1.0)], shift, 0.0), [low, high])
            }
            // max(p − λ, 0) − max(−p − λ, 0)
            Activation::SoftThreshold { lambda } => {
                let mut beyond = |sign: f64| {
                    let shifted = self.sum(&[Term::still(p, sign)], -lambda, 0.0);
                    self.positive(shifted)
                };
                let terms = [Term::still(beyond(1.0), 1.0), Term::still(beyond(-1.0), -1.0)];
                (self.sum(&terms, 0.0, 0.0), [-lambda, lambda])
            }
            Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Atan
            | Activation::Square
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. }
            | Activation::Quantize(_) => return None,
        };
        // A piecewise linear function has its ends at those of p and at its kinks.
        let inside = kinks.into_iter().filter(|k| p.lower < *k && *k < p.upper);
        let ends = [p.lower, p.upper].into_iter().chain(inside).map(|p| f.apply(p));
        let (lower, upper) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, u), v| (l.min(v), u.max(v)));
        Some(self.narrow(value, lower, upper))
    }

    /// `max(a, b) = a + max(b − a, 0)`, one value after the other.
    fn largest(&mut self, values: &[Value]) -> Value {
        let (first, rest) = values.split_first().expect("windows that see no element are refused");
        rest.iter().fold(*first, |a, b| {
            if b.upper <= a.lower {
                return a;
            }
            let above = self.sum(&[Term::still(*b, 1.0), Term::still(a, -1.0)], 0.0, 0.0);
            let above = self.positive(above);
            let largest = self.sum(&[Term::still(a, 1.0), Term::still(above, 1.0)], 0.0, 0.0);
            self.narrow(largest, a.lower.max(b.lower), a.upper.max(b.upper))
        })
    }

    /// An element anywhere in `Σ terms + shift ± slack`.
    fn sum(&mut self, terms: &[Term], shift: f64, slack: f64) -> Value {
        let intervals = terms.iter().map(Term::interval);
        let (lower, upper) =
            intervals.fold((shift - slack, shift + slack), |(l, u), (low, high)| (l + low, u + high));
        if let ([Term { z, weight: 1.0, radius: 0.0 }], 0.0, 0.0) = (terms, shift, slack) {
            return *z;
        }
        let p = self.free(lower, upper);
        let Some(column) = p.column else { return p };
        // Coefficients by column, as an element may be read more than once; what does not move goes to the ends.
        let (mut center, mut spread) = (Linear::default(), Linear::default());
        let (mut low, mut high) = (shift - slack, shift + slack);
        for term in terms {
            let Some(z) = term.z.column else {
                let (least, most) = term.interval();
                (low, high) = (low + least, high + most);
                continue;
            };
            center.add(z, term.weight);
            if term.radius != 0.0 {
                self.magnitude(term.z).into_iter().for_each(|(z, sign)| spread.add(z, sign * term.radius));
            }
        }
        if center.0.is_empty() {
            return p;
        }
        // p − Σ w z + side Σ r |z|
        let row = |side: f64| {
            let mut row = Linear::default();
            center.0.iter().for_each(|(&z, w)| row.add(z, -w));
            spread.0.iter().for_each(|(&z, r)| row.add(z, side * r));
            row.add(column, 1.0);
            row
        };
        self.rows.push(Row { lower: low, sum: row(1.0), upper: f64::INFINITY });
        self.rows.push(Row { lower: f64::NEG_INFINITY, sum: row(-1.0), upper: high });
        p
    }

    /// `|z|` as a sum of columns.
    fn magnitude(&mut self, z: Value) -> Vec<(usize, f64)> {
        let column = z.column.expect("a constant has no column");
        match self.positive(z).column {
            None => vec![(column, -1.0)],
            Some(positive) if positive == column => vec![(column, 1.0)],
            Some(positive) => vec![(column, -1.0), (positive, 2.0)],
        }
    }

    /// `max(p, 0)`.
    fn positive(&mut self, p: Value) -> Value {
        let (l, u) = (p.lower, p.upper);
        let Some(column) = p.column.filter(|_| l < 0.0 && u > 0.0) else {
            return if u <= 0.0 { Value::constant(0.0) } else { p };
        };
        if let Some(known) = self.positive.get(&column) {
            return *known;
        }
        let (m, d) = (self.column(0.0, u, false), self.column(0.0, 1.0, true));
        let mut row = |lower: f64, terms: &[(usize, f64)], upper: f64| {
            self.rows.push(Row { lower, sum: Linear(terms.iter().copied().collect()), upper });
        };
        row(0.0, &[(m, 1.0), (column, -1.0)], f64::INFINITY);
        row(f64::NEG_INFINITY, &[(m, 1.0), (column, -1.0), (d, -l)], -l);
        row(f64::NEG_INFINITY, &[(m, 1.0), (d, -u)], 0.0);
        let value = Value { column: Some(m), lower: 0.0, upper: u };
        self.positive.insert(column, value);
        value
    }

    /// An element within [lower, upper] and nothing else.
    fn free(&mut self, lower: f64, upper: f64) -> Value {
        // Ends that are not numbers stay, to be refused.
        let column = (lower < upper).then(|| self.column(lower, upper, false));
        Value { column, lower, upper }
    }

    fn column(&mut self, lower: f64, upper: f64, binary: bool) -> usize {
        self.columns.push(Range { lower, upper, binary });
        self.columns.len() - 1
    }

    /// An element that is known to lie within [lower, upper], too.
    fn narrow(&mut self, value: Value, lower: f64, upper: f64) -> Value {
        let Some(column) = value.column else { return value };
        let (lower, upper) = (value.lower.max(lower), value.upper.min(upper));
        self.columns[column] = Range { lower, upper, binary: false };
        Value { column: Some(column), lower, upper }
    }

    /// The least value of `row` on the outputs. With `breaking` only points where it is not above zero count.
    ///
    /// # Errors
    /// When the solver refuses the program, or fails.
    pub fn minimise(
        &self,
        row: SpecRow,
        breaking: bool,
        options: &OracleOptions,
    ) -> Result<Answer, OracleError> {
        let outputs = self.nodes.last().map_or(&[][..], Vec::as_slice);
        let ends = row.plus.map(|k| (k, 1.0)).into_iter().chain(row.minus.map(|k| (k, -1.0)));
        let (mut constant, mut costs) = (0.0, Linear::default());
        for (value, sign) in ends.map(|(k, sign)| (outputs[k], sign)) {
            match value.column {
                None => constant += sign * value.lower,
                Some(column) => costs.add(column, sign),
            }
        }
        let (mut problem, columns) = self.problem(options.relaxed);
        let costs: Vec<(Col, f64)> = costs.0.into_iter().map(|(k, cost)| (columns[k], cost)).collect();
        costs.iter().for_each(|(column, cost)| problem.change_column_cost(*column, *cost));
        if breaking && !costs.is_empty() {
            problem.add_row(..=-constant, &costs);
        }
        let mut model = problem.try_optimise(Sense::Minimise)?;
        model.try_set_option("threads", 1)?;
        model.try_set_option("random_seed", (options.seed & 0x7fff_ffff) as i32)?;
        model.try_set_option("mip_rel_gap", 0.0)?;
        for option in ["mip_abs_gap", "mip_feasibility_tolerance", "primal_feasibility_tolerance"] {
            model.try_set_option(option, TOLERANCE)?;
        }
        if let Some(time) = options.time {
            model.try_set_option("time_limit", time.as_secs_f64())?;
        }
        let mixed = !options.relaxed && self.columns.iter().any(|column| column.binary);
        self.answer(&costs, constant, mixed, &model.try_solve()?)
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is not exhaustive")]
    fn answer(
        &self,
        costs: &[(Col, f64)],
        constant: f64,
        mixed: bool,
        solved: &SolvedModel,
    ) -> Result<Answer, OracleError> {
        let outcome = match solved.status() {
            // Without columns there is nothing to optimise.
            HighsModelStatus::Optimal | HighsModelStatus::ModelEmpty => Outcome::Optimal,
            HighsModelStatus::Infeasible => Outcome::Infeasible,
            HighsModelStatus::ReachedTimeLimit => Outcome::TimeLimit,
            status => return Err(OracleError::Solver(format!("model status {status:?}"))),
        };
        let found =
            outcome == Outcome::Optimal || solved.primal_solution_status() == HighsSolutionStatus::Feasible;
        let v = solved.get_solution().columns().to_vec();
        let value = constant + costs.iter().map(|(column, c)| c * v[column.index()]).sum::<f64>();
        let lower = match outcome {
            Outcome::Infeasible => f64::INFINITY,
            Outcome::Optimal | Outcome::TimeLimit if mixed => {
                constant + solved.double_info_value(c"mip_dual_bound")?
            }
            Outcome::Optimal => value,
            Outcome::TimeLimit => f64::NEG_INFINITY,
        };
        let at = |value: &Value| value.column.map_or(value.lower, |column| v[column]);
        let point = found.then(|| self.nodes.iter().map(|node| node.iter().map(at).collect()).collect());
        Ok(Answer { outcome, lower, upper: if found { value } else { f64::INFINITY }, point })
    }
}

/// Row `i` of a layer on the elements that its columns meet.
fn parameters(
    affine: &Affine,
    radii: &WeightSet,
    i: usize,
    met: impl Iterator<Item = (usize, Value)>,
) -> Vec<Term> {
    met.map(|(j, z)| Term { z, weight: affine.weight[(i, j)], radius: radii.at(i, j) }).collect()
}
