//! Gradients against differences, rows against single rows, and the two spaces against each other.

use super::super::examples::{dense, inputs, residual, sets};
use super::super::search::generator;
use super::super::{weight_space, witness};
use super::*;
use crate::network::Network;
use crate::property::SpecRow;
use rand::RngExt;

const STEP: f64 = 1e-6;
const TOLERANCE: f64 = 1e-6;
/// Rows of the tests: two of the first sample, one of the second.
const SAMPLES: [usize; 3] = [0, 0, 1];
const SPACES: [Parameters; 2] = [Parameters::Neurons, Parameters::Weights];

fn networks() -> [(&'static str, Network); 2] {
    [("dense", dense()), ("residual", residual())]
}

/// A point inside of all boxes and balls, so that differences are defined.
fn inner_point(space: &Space, seed: u64) -> Point<f64> {
    let mut point = Point::zeros(space, SAMPLES.len());
    for row in 0..SAMPLES.len() {
        let mut rng = generator(seed, 0, row);
        point.randomize(space, row, &mut rng);
        point.shrink(row, rng.random_range(0.5..0.9));
    }
    point
}

/// What [`Landscape::gradient`] leaves out of the derivative with respect to variable `i` of a slot.
fn factor(pass: &Pass<'_, '_, f64>, slot: usize, i: usize, row: usize) -> f64 {
    let (problem, node) = (pass.problem, pass.problem.space.slots[slot].node);
    let slots = problem.space.nodes[node];
    if slots.bias == Some(slot) {
        return problem.radii.layer(node).bias[i];
    }
    match &problem.model.steps[node] {
        Step::Input => {
            let (lower, upper) = pass.fixed.input.as_ref().unwrap();
            (upper[(SAMPLES[row], i)] - lower[(SAMPLES[row], i)]) / 2.0
        }
        Step::Affine(affine) if slots.weights == Some(slot) => {
            let cols = affine.weight.cols();
            problem.weights(node).at(i / cols, i % cols)
        }
        Step::Affine(affine) => {
            let z = pass.value(problem.model.input_of(node), row, SAMPLES[row]).to_vec();
            let reach = problem.reach_at(node, &Matrix::from_vec(1, affine.weight.cols(), z));
            reach[(0, i.min(reach.cols() - 1))]
        }
        Step::Activation(_) => problem.radii.activation(),
        Step::Scale { .. }
        | Step::DynamicQuantize(_)
        | Step::MaxPool(_)
        | Step::AveragePool { .. }
        | Step::Add
        | Step::Multiply
        | Step::Gather(_)
        | Step::Reshape => panic!("no variables"),
    }
}

#[test]
fn gradients_match_differences_in_both_spaces() {
    let goal = SpecRow::difference(1, 2);
    for (name, network) in networks() {
        let x = inputs(&network, 2);
        for (case, (set_name, set)) in sets(&network).iter().enumerate() {
            for parameters in SPACES {
                let problem = SearchProblem::new(&network, set, Space::new(&network, set, parameters));
                let fixed = FixedValues::new(&problem, &problem.model.forward(x.clone()));
                let mut pass = Pass::new(&problem, &fixed);
                let mut point = inner_point(&problem.space, case as u64);
                let count = SAMPLES.len();
                let rows =
                    Rows { samples: SAMPLES.to_vec(), goals: vec![goal; count], smoothing: vec![0.0; count] };
                pass.outputs(&point, &SAMPLES);
                pass.backward(&point, &rows);
                let gradient = |slot| pass.gradient(slot).unwrap().clone();
                let gradients: Vec<Matrix<f64>> = (0..problem.space.slots.len()).map(gradient).collect();
                for (slot, gradient) in gradients.iter().enumerate() {
                    assert_eq!((gradient.rows(), gradient.cols()), (count, problem.space.slots[slot].width));
                    for i in 0..gradient.cols() {
                        let mut values = |offset: f64| -> Vec<f64> {
                            (0..count).for_each(|row| point.0[slot][(row, i)] += offset);
                            let f = pass.outputs(&point, &SAMPLES);
                            let values = (0..count).map(|row| goal.apply(f.row(row))).collect();
                            (0..count).for_each(|row| point.0[slot][(row, i)] -= offset);
                            values
                        };
                        let (above, below) = (values(STEP), values(-STEP));
                        for row in 0..count {
                            let difference = (above[row] - below[row]) / (2.0 * STEP);
                            let exact = gradient[(row, i)] * factor(&pass, slot, i, row);
                            assert!(
                                (exact - difference).abs() < TOLERANCE * (1.0 + exact.abs()),
                                "{name}, {set_name}, {parameters:?}, {:?}, variable {i}, row {row}: \
                                 {exact} and {difference}",
                                problem.space.slots[slot]
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_each_other() {
    let goals = [SpecRow::difference(1, 2), SpecRow::difference(0, 2), SpecRow::lower(1)];
    for (name, network) in networks() {
        let x = inputs(&network, 2);
        for (case, (set_name, set)) in sets(&network).iter().enumerate() {
            for parameters in SPACES {
                let problem = SearchProblem::new(&network, set, Space::new(&network, set, parameters));
                let fixed = FixedValues::new(&problem, &problem.model.forward(x.clone()));
                let point = inner_point(&problem.space, case as u64);
                let evaluate = |of: &[usize]| {
                    let mut own = Point::zeros(&problem.space, of.len());
                    of.iter().enumerate().for_each(|(to, &row)| own.copy_row(to, &point, row));
                    let rows = Rows {
                        samples: of.iter().map(|&row| SAMPLES[row]).collect(),
                        goals: of.iter().map(|&row| goals[row]).collect(),
                        smoothing: vec![0.5; of.len()],
                    };
                    let mut pass = Pass::new(&problem, &fixed);
                    let mut found = vec![pass.outputs(&own, &rows.samples).clone()];
                    pass.backward(&own, &rows);
                    let slots = 0..problem.space.slots.len();
                    found.extend(slots.map(|slot| pass.gradient(slot).unwrap().clone()));
                    found
                };
                let whole = evaluate(&[0, 1, 2]);
                for row in 0..SAMPLES.len() {
                    for (whole, single) in whole.iter().zip(evaluate(&[row])) {
                        assert_eq!(whole.row(row), single.row(0), "{name}, {set_name}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_centre_is_the_unperturbed_network() {
    for (name, network) in networks() {
        let x = inputs(&network, 2);
        for (set_name, set) in sets(&network) {
            // The centre of the interval of an input that is clipped is not the input.
            let set = crate::threat::PerturbationSet { input_range: None, ..set };
            for parameters in SPACES {
                let problem = SearchProblem::new(&network, &set, Space::new(&network, &set, parameters));
                let values = problem.model.forward(x.clone());
                let fixed = FixedValues::new(&problem, &values);
                let centre = Point::zeros(&problem.space, SAMPLES.len());
                let mut pass = Pass::new(&problem, &fixed);
                let outputs = pass.outputs(&centre, &SAMPLES);
                for (row, &s) in SAMPLES.iter().enumerate() {
                    for (a, b) in outputs.row(row).iter().zip(network.forward(x.row(s))) {
                        assert!((a - b).abs() < 1e-12, "{name}, {set_name}, {parameters:?}: {a} and {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn weight_space_folds_into_neuron_space() {
    for (name, network) in networks() {
        let x = inputs(&network, 2);
        for (case, (set_name, set)) in sets(&network).iter().enumerate() {
            let weights = SearchProblem::new(&network, set, Space::new(&network, set, Parameters::Weights));
            let neurons = SearchProblem::new(&network, set, Space::new(&network, set, Parameters::Neurons));
            let values = weights.model.forward(x.clone());
            let (still_weights, still_neurons) =
                (FixedValues::new(&weights, &values), FixedValues::new(&neurons, &values));
            let mut rng = generator(7, case as u64, 0);
            let mut point = inner_point(&weights.space, case as u64);
            for values in &mut point.0 {
                values.as_mut_slice().iter_mut().for_each(|u| *u *= rng.random::<f64>());
            }
            let mut pass = Pass::new(&weights, &still_weights);
            let outputs = pass.outputs(&point, &SAMPLES).clone();
            let fold = |row| weight_space::fold(&pass, &neurons.space, &point, &SAMPLES, row);
            let units: Vec<Vec<Vec<f32>>> = (0..SAMPLES.len()).map(fold).collect();
            let units: Vec<&[Vec<f32>]> = units.iter().map(Vec::as_slice).collect();
            let folded = witness::unpack(&neurons.space, &units);
            let mut pass = Pass::new(&neurons, &still_neurons);
            for (a, b) in outputs.as_slice().iter().zip(pass.outputs(&folded, &SAMPLES).as_slice()) {
                assert!((a - b).abs() < TOLERANCE, "{name}, {set_name}: {a} and {b}");
            }
        }
    }
}
