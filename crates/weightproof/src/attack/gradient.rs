//! Attacks by the gradients that they need: signed steps from the unperturbed network and input, away from the runner-up.
//!
//! ```text
//! m = f_y − f_j, j the runner-up      v the vertex that −∇m points to      d = Σ |∂m/∂u_i| |v_i − u_i|, what a linear m loses up to there
//! one gradient     u + min(1, 1.02 m / d) (v − u)      as far as a linear margin needs, and a little more
//! FGSM             v
//! PGD, k steps     u ← clip(u − (2.5 / k) sign ∇m), until the sample is broken
//! ```
//! The margin of a deviation is its tolerance less the largest deviation; the first step drives the first output up.
//! Steps of inputs are parts of their radius, wherever their range ends. In balls `v` is where `−∇m` leaves them, and steps go along
//! `∇m / ‖∇m‖₂`. Every weight is a variable of its own.
//!
//! # Source
//! FGSM: Goodfellow, Shlens and Szegedy, ICLR 2015, arXiv 1412.6572. PGD: Madry et al., ICLR 2018, arXiv 1706.06083. The one
//! gradient of variable length is our own, in the place of the one of arXiv 2008.00138.

use super::descent::{Landscape, Rows, Schedule, step_once, to_vertex};
use super::kernels::{clamp, sign};
use super::objective::Objective;
use super::pass::Pass;
use super::space::Point;
use crate::kernels::{Matrix, Scalar};
use crate::model::Step;

/// How far beyond the place where a linear margin is zero.
const BEYOND: f64 = 1.02;

/// What is done with a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stride {
    /// One step, as far as a linear margin needs.
    AsNeeded,
    /// One step to the vertex.
    Vertex,
    /// So many steps of the customary length.
    Steps(usize),
}

/// The least point of each sample that was met, and the gradients that it took to break it, or all that were computed.
pub(super) struct Followed<T> {
    /// Samples that the unperturbed network is right about.
    pub samples: Vec<usize>,
    /// Their points.
    pub point: Point<T>,
    /// Gradients for each of them.
    pub gradients: Vec<usize>,
}

/// Follows the gradient from the clean inputs `x`, (samples, input width).
pub(super) fn follow<T: Scalar>(
    pass: &mut Pass<'_, '_, T>,
    objective: &Objective<T>,
    x: &Matrix<f64>,
    stride: Stride,
) -> Followed<T> {
    let samples: Vec<usize> = (0..objective.samples()).filter(|&s| objective.is_right(s)).collect();
    let mut point = start(pass, &samples, x);
    let mut followed = Followed { point: point.clone(), gradients: vec![0; samples.len()], samples };
    let mut least = vec![T::infinity(); followed.samples.len()];
    // Row of `followed` for each row that goes on.
    let mut origin: Vec<usize> = (0..followed.samples.len()).collect();
    let (steps, length) = match stride {
        Stride::AsNeeded | Stride::Vertex => (1, 1.0),
        Stride::Steps(steps) => (steps, Schedule::plain(steps, true).first),
    };
    for step in 0..=steps {
        let mut rows =
            Rows { samples: origin.iter().map(|&row| followed.samples[row]).collect(), ..Rows::default() };
        if rows.samples.is_empty() {
            break;
        }
        let outputs = pass.outputs(&point, &rows.samples);
        let mut margins = Vec::with_capacity(origin.len());
        let mut kept = Vec::with_capacity(origin.len());
        for (row, (&s, &to)) in rows.samples.iter().zip(&origin).enumerate() {
            let (margin, goal) = objective.steepest(s, outputs.row(row));
            if margin < least[to] {
                least[to] = margin;
                followed.point.copy_row(to, &point, row);
            }
            if margin > T::zero() {
                kept.push(row);
                margins.push(margin);
                rows.goals.push(goal);
            }
        }
        if step == steps {
            break;
        }
        if kept.len() < origin.len() {
            point.keep_rows(&kept);
            origin = kept.iter().map(|&row| origin[row]).collect();
            rows.samples = kept.iter().map(|&row| rows.samples[row]).collect();
            pass.outputs(&point, &rows.samples);
        }
        rows.smoothing = vec![0.0; origin.len()];
        pass.backward(&point, &rows);
        origin.iter().for_each(|&row| followed.gradients[row] += 1);
        match stride {
            Stride::AsNeeded => {
                let mut vertex = point.clone();
                to_vertex(pass, &mut vertex);
                approach(pass, &mut point, &vertex, &rows.samples, &margins);
            }
            Stride::Vertex => to_vertex(pass, &mut point),
            Stride::Steps(_) => {
                step_once(pass, &mut point, length);
                lengthen(pass, &mut point, &rows.samples, length);
            }
        }
    }
    followed
}

/// The unperturbed network at the inputs `x`: the centre of all sets, but for inputs whose interval their range cuts.
fn start<T: Scalar>(pass: &Pass<'_, '_, T>, samples: &[usize], x: &Matrix<f64>) -> Point<T> {
    let mut point = Point::zeros(pass.space(), samples.len());
    let (Some(slot), Some((lower, upper))) = (pass.space().nodes[0].values, &pass.fixed.input) else {
        return point;
    };
    for (row, &s) in samples.iter().enumerate() {
        let ends = lower.row(s).iter().zip(upper.row(s));
        for ((u, &x), (&l, &h)) in point.0[slot].row_mut(row).iter_mut().zip(x.row(s)).zip(ends) {
            if h > l {
                *u = T::from_f64(2.0) * (T::from_f64(x) - l) / (h - l) - T::one();
            }
        }
    }
    point
}

/// Adds what a step of inputs lacks whose interval is cut by their range: steps are parts of the radius, not of what is left of it.
fn lengthen<T: Scalar>(pass: &Pass<'_, '_, T>, point: &mut Point<T>, samples: &[usize], length: f64) {
    let (Some(slot), Some((lower, upper))) = (pass.space().nodes[0].values, &pass.fixed.input) else {
        return;
    };
    let Some(g) = pass.gradient(slot) else { return };
    let (whole, length) = (T::from_f64(2.0 * pass.problem.radii.set.input_radius), T::from_f64(length));
    for (row, &s) in samples.iter().enumerate() {
        let ends = lower.row(s).iter().zip(upper.row(s));
        for ((u, &g), (&l, &h)) in point.0[slot].row_mut(row).iter_mut().zip(g.row(row)).zip(ends) {
            if h > l {
                *u = clamp(*u - length * (whole / (h - l) - T::one()) * sign(g), -T::one(), T::one());
            }
        }
    }
}

/// Moves every row towards its vertex, as far as a linear margin needs.
fn approach<T: Scalar>(
    pass: &Pass<'_, '_, T>,
    point: &mut Point<T>,
    vertex: &Point<T>,
    samples: &[usize],
    margins: &[T],
) {
    for (row, (&s, &margin)) in samples.iter().zip(margins).enumerate() {
        let share = T::from_f64(BEYOND) * margin / lost(pass, (point, vertex), row, s);
        let share = if share < T::one() { share } else { T::one() };
        for (u, v) in point.0.iter_mut().zip(&vertex.0) {
            u.row_mut(row).iter_mut().zip(v.row(row)).for_each(|(u, &v)| *u += share * (v - *u));
        }
    }
}

/// What a linear margin loses on the way from one point to the other, in row `row`, which is of sample `s`.
fn lost<T: Scalar>(pass: &Pass<'_, '_, T>, (from, to): (&Point<T>, &Point<T>), row: usize, s: usize) -> T {
    let of = |(slot, (u, v)): (usize, (&Matrix<T>, &Matrix<T>))| {
        let Some(g) = pass.gradient(slot) else { return T::zero() };
        let moves = u.row(row).iter().zip(v.row(row)).zip(g.row(row)).enumerate();
        moves.map(|(i, ((&u, &v), &g))| reach(pass, (slot, i), s) * g * (u - v)).sum::<T>()
    };
    from.0.iter().zip(&to.0).enumerate().map(of).sum()
}

/// By how much one unit of variable `i` of a slot moves what it stands for: the factor that [`Landscape::gradient`] leaves out.
fn reach<T: Scalar>(pass: &Pass<'_, '_, T>, (slot, i): (usize, usize), s: usize) -> T {
    let problem = pass.problem;
    let node = problem.space.slots[slot].node;
    let slots = problem.space.nodes[node];
    match &problem.model.steps[node] {
        Step::Affine(affine) if slots.weights == Some(slot) => {
            let cols = affine.weight.cols();
            problem.weights(node).at(i / cols, i % cols)
        }
        Step::Affine(_) => problem.radii.layer(node).bias[i],
        Step::Input => {
            let (lower, upper) = pass.fixed.input.as_ref().expect("the input moves");
            T::from_f64(0.5) * (upper[(s, i)] - lower[(s, i)])
        }
        Step::Activation(_)
        | Step::Scale { .. }
        | Step::DynamicQuantize(_)
        | Step::MaxPool(_)
        | Step::AveragePool { .. }
        | Step::Add
        | Step::Multiply
        | Step::Gather(_)
        | Step::Reshape => problem.radii.activation(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{dense, inputs, residual, sets};
    use super::super::problem::{FixedValues, SearchProblem};
    use super::super::space::{Parameters, Space};
    use super::super::{AttackKind, AttackOptions, Attacker, SampleAttack};
    use super::*;
    use crate::network::{Network, NetworkBuilder};
    use crate::property::Property;
    use crate::threat::{Kind, Perturbation, PerturbationSet, ThreatModel};
    use crate::verdict::{Clean, Samples, Verdict};

    /// What is lost along the way to the vertex is the derivative of the margin, for variables of every kind.
    #[test]
    fn what_is_lost_is_the_slope_of_the_margin() {
        let mut checked = 0;
        for network in [dense(), residual()] {
            let x = inputs(&network, 1);
            for (name, set) in sets(&network) {
                let own = |parameters| {
                    SearchProblem::<f64>::new(&network, &set, Space::new(&network, &set, parameters))
                };
                let (exact, problem) = (own(Parameters::Neurons), own(Parameters::Weights));
                let fixed = FixedValues::new(&exact, &exact.model.forward(x.clone()));
                let outputs = Matrix::from_vec(1, network.output_width(), network.forward(x.row(0)));
                let clean = Clean::of(outputs.row(0), 0, None, Property::Prediction, 0.0);
                let objective = Objective::new(Property::Prediction, 0.0, &[clean], &outputs);
                let mut pass = Pass::new(&problem, &fixed);
                let point = start(&pass, &[0], &x);
                let (margin, goal) = objective.steepest(0, pass.outputs(&point, &[0]).row(0));
                assert!(
                    (margin - clean.margin).abs() < 1e-12,
                    "{name}: the start is the unperturbed network"
                );
                pass.backward(&point, &Rows { samples: vec![0], goals: vec![goal], smoothing: vec![0.0] });
                let mut vertex = point.clone();
                to_vertex(&pass, &mut vertex);
                let slope = lost(&pass, (&point, &vertex), 0, 0);
                const STEP: f64 = 1e-7;
                let mut near = point.clone();
                for (u, v) in near.0.iter_mut().zip(&vertex.0) {
                    u.as_mut_slice().iter_mut().zip(v.as_slice()).for_each(|(u, v)| *u += STEP * (v - *u));
                }
                let there = goal.apply(pass.outputs(&near, &[0]).row(0));
                let difference = (margin - there) / STEP;
                assert!((difference - slope).abs() < 1e-4 * (1.0 + slope), "{name}: {difference}, {slope}");
                checked += usize::from(slope > 0.01);
            }
        }
        assert!(checked > 30, "{checked}");
    }

    /// f = (x₁ + 2 x₂, 0): margins are linear in the input.
    fn linear() -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        builder.dense("a", 0, Matrix::from_vec(2, 2, vec![1.0, 2.0, 0.0, 0.0]), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    fn attack(
        network: &Network,
        threat: &ThreatModel,
        x: &[f64],
        kind: AttackKind,
    ) -> (SampleAttack, Perturbation) {
        let set = threat.resolve(network).unwrap();
        let attacker = Attacker::new(
            network,
            &set,
            AttackOptions { steps: 5, ..AttackOptions::new(kind, Property::Label) },
        );
        let found = attacker.attack(Samples { first: 0, inputs: x, labels: Some(&[0]) }).remove(0);
        let witness = found.witness.as_ref().map(|witness| attacker.witness(x, witness)).unwrap_or_default();
        (found, witness)
    }

    #[test]
    fn one_gradient_breaks_a_linear_margin_with_little_more_than_it_takes() {
        let network = linear();
        let inputs =
            |radius: f64| ThreatModel { input_radius: radius, ..ThreatModel::new(Kind::Absolute, 0.0) };
        // m = 1.5 and ‖g‖₁ = 3: a step of 0.5 gets to zero.
        let (found, _) = attack(&network, &inputs(0.4), &[0.5, 0.5], AttackKind::OneGradient);
        assert_eq!((found.verdict, found.gradients), (Verdict::Unknown, Some(1)));
        let (found, _) = attack(&network, &inputs(2.0), &[0.5, 0.5], AttackKind::OneGradient);
        assert_eq!(found.verdict, Verdict::Falsified);
        assert!((found.worst_margin + 0.02 * 1.5).abs() < 1e-5, "{}", found.worst_margin);
        // The gradient by the weights is x for one row and −x for the other, ‖g‖₁ = 2: the step is 1.02 · 0.75.
        let weights = ThreatModel { bias_radius: Some(0.0), ..ThreatModel::new(Kind::Absolute, 1.0) };
        let (found, witness) = attack(&network, &weights, &[0.5, 0.5], AttackKind::OneGradient);
        assert_eq!((found.verdict, found.gradients), (Verdict::Falsified, Some(1)));
        let (_, _, affine) = network.affine_layers().next().unwrap();
        let moved = witness.layers[0].weight.as_slice().iter().zip(affine.weight.as_slice());
        assert!(moved.into_iter().all(|(moved, w)| ((moved - w).abs() - 0.765).abs() < 1e-5), "{witness:?}");
        let (full, _) = attack(&network, &weights, &[0.5, 0.5], AttackKind::Fgsm);
        assert!((full.worst_margin - (1.5 - 2.0)).abs() < 1e-6, "{}", full.worst_margin);
        // Half of the radius in each step: 1.5 − 2 · 0.5 is above zero, 1.5 − 2 · 1 is not.
        let (steps, _) = attack(&network, &weights, &[0.5, 0.5], AttackKind::Pgd);
        assert_eq!((steps.verdict, steps.gradients), (Verdict::Falsified, Some(2)));
    }

    #[test]
    fn an_input_at_an_end_of_its_range_starts_there() {
        let network = linear();
        let threat = ThreatModel { input_radius: 0.25, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let mut set = threat.resolve(&network).unwrap();
        set.input_range = Some((0.0, 1.0));
        let options = AttackOptions::new(AttackKind::Fgsm, Property::Label);
        let x = [1.0, 0.125];
        let found = Attacker::new(&network, &set, options).attack(Samples {
            first: 0,
            inputs: &x,
            labels: Some(&[0]),
        });
        // (1, 0.125) goes to (0.75, 0).
        assert!((found[0].worst_margin - 0.75).abs() < 1e-6, "{}", found[0].worst_margin);
        let wrong = Attacker::new(&network, &set, AttackOptions::new(AttackKind::Pgd, Property::Label));
        let found = wrong.attack(Samples { first: 0, inputs: &x, labels: Some(&[1]) });
        assert_eq!((found[0].verdict, found[0].gradients), (Verdict::Falsified, Some(0)));
    }

    /// Steps are parts of the radius, 2.5/4 of 0.25: (1, 0.125) goes to (0.844, 0) and then to (0.75, 0), where x₁ + 2 x₂ is below 0.8.
    #[test]
    fn steps_of_an_input_are_parts_of_its_radius() {
        let mut builder = NetworkBuilder::new(vec![2]);
        builder.dense("a", 0, Matrix::from_vec(2, 2, vec![1.0, 2.0, 0.0, 0.0]), vec![-0.8, 0.0]).unwrap();
        let network = builder.finish().unwrap();
        let threat = ThreatModel { input_radius: 0.25, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let set = PerturbationSet { input_range: Some((0.0, 1.0)), ..threat.resolve(&network).unwrap() };
        let options = AttackOptions { steps: 4, ..AttackOptions::new(AttackKind::Pgd, Property::Label) };
        let samples = Samples { first: 0, inputs: &[1.0, 0.125], labels: Some(&[0]) };
        let found = Attacker::new(&network, &set, options).attack(samples).remove(0);
        assert_eq!((found.verdict, found.gradients), (Verdict::Falsified, Some(2)));
        assert!((found.worst_margin + 0.05).abs() < 1e-6, "{}", found.worst_margin);
    }
}
