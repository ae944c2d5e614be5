//! Joint attack on inputs and weights: signed gradient steps in turns, one Ŵ for each batch.
//!
//! ```text
//! x̂ ← clip(x̂ + a sign ∂ℓ/∂x, x ± ε_x) ∩ [0, 1]      Ŵ ← clip(Ŵ + a sign ∂ℓ/∂W, W ± ε_W)      ℓ: mean cross-entropy
//! ```
//! An estimate: what it finds is an upper bound on the accuracy under the worst point of the set. A point of a small set lies in
//! every larger one, so accuracies of a grid are made monotone by the points that were found already.
//!
//! # Source
//! The joint PGD of Tsai et al., arXiv 2102.11935 (reconstruction).

use weightproof::network::Network;
use weightproof_train::Labelled;
use weightproof_train::adversary::pgd::{step_inputs, step_parameters};
use weightproof_train::graph::Graph;
use weightproof_train::parameters::Parameters;

/// Samples that share a Ŵ.
pub const BATCH: usize = 500;

/// Radii and length of an attack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointAttack {
    /// Radius of the inputs, which stay in [0, 1].
    pub input_radius: f64,
    /// Radius of weights and biases.
    pub radius: f64,
    /// Steps of each of the two.
    pub steps: usize,
}

/// A point of the set.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    parameters: Parameters,
    inputs: Vec<f32>,
}

/// Accuracy on `data` under the attack, for each pair of radii: rows by input radius, columns by the radius of the weights, both
/// ascending.
pub fn grid(network: &Network, data: &Labelled, radii: (&[f64], &[f64]), steps: usize) -> Vec<Vec<f64>> {
    let graph = Graph::new(network);
    let start = Parameters::of(network);
    let places: Vec<usize> = (0..data.len()).collect();
    let mut survivors = vec![vec![0; radii.1.len()]; radii.0.len()];
    for batch in places.chunks(BATCH).map(|places| data.pick(places)) {
        let mut found: Vec<Vec<usize>> = survivors.iter().map(|row| vec![0; row.len()]).collect();
        for (i, &input_radius) in radii.0.iter().enumerate() {
            for (j, &radius) in radii.1.iter().enumerate() {
                let attack = JointAttack { input_radius, radius, steps };
                let mut least = attack.survivors(&graph, &start, &batch);
                if i > 0 {
                    least = least.min(found[i - 1][j]);
                }
                if j > 0 {
                    least = least.min(found[i][j - 1]);
                }
                found[i][j] = least;
                survivors[i][j] += least;
            }
        }
    }
    let share = |count: usize| count as f64 / data.len() as f64;
    survivors.into_iter().map(|row| row.into_iter().map(share).collect()).collect()
}

impl JointAttack {
    /// Samples of the batch that are right both unperturbed and at the worst point that is met on the way.
    fn survivors(&self, graph: &Graph, start: &Parameters, batch: &Labelled) -> usize {
        let mut at = Point { parameters: start.clone(), inputs: batch.inputs.clone() };
        let (unperturbed, mut gradient) = evaluate(graph, &at, &batch.labels);
        let both = |found: &[bool]| found.iter().zip(&unperturbed).filter(|(a, b)| **a && **b).count();
        let mut least = both(&unperturbed);
        if self.radius <= 0.0 && self.input_radius <= 0.0 {
            return least;
        }
        for step in 0..2 * self.steps {
            let inputs = step % 2 == 0;
            if (inputs && self.input_radius <= 0.0) || (!inputs && self.radius <= 0.0) {
                continue;
            }
            self.step(inputs, &mut at, &gradient, start, &batch.inputs);
            let found;
            (found, gradient) = evaluate(graph, &at, &batch.labels);
            least = least.min(both(&found));
        }
        least
    }

    fn step(&self, inputs: bool, at: &mut Point, gradient: &Point, start: &Parameters, first: &[f32]) {
        if inputs {
            step_inputs(&mut at.inputs, &gradient.inputs, first, self.input_radius, self.steps);
        } else {
            at.parameters =
                step_parameters(&at.parameters, &gradient.parameters, start, self.radius, self.steps);
        }
    }
}

/// Which samples are right at a point, and the gradient of the mean cross-entropy there.
fn evaluate(graph: &Graph, at: &Point, labels: &[u32]) -> (Vec<bool>, Point) {
    let found = graph.cross_entropy(&at.parameters, &at.inputs, labels);
    (found.right, Point { parameters: found.gradient, inputs: found.input_gradient })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::network::Activation;
    use weightproof_train::architecture::dense;
    use weightproof_train::parameters::Initialization;

    fn problem() -> (Network, Labelled) {
        let network = dense(&[3, 8, 2], Activation::Relu).unwrap();
        let network = Parameters::random(&network, Initialization::HeNormal, 1.0, 3).install(&network);
        let inputs: Vec<f32> = (0..60).map(|k| (k * 37 % 61) as f32 / 61.0).collect();
        let rows =
            inputs.chunks(3).map(|x| network.forward(&x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()));
        let labels = rows.map(|f| u32::from(f[1] > f[0])).collect();
        (network, Labelled { width: 3, inputs, labels })
    }

    #[test]
    fn points_stay_within_the_set() {
        let (network, data) = problem();
        let (graph, start) = (Graph::new(&network), Parameters::of(&network));
        let attack = JointAttack { input_radius: 0.1, radius: 0.02, steps: 7 };
        let mut at = Point { parameters: start.clone(), inputs: data.inputs.clone() };
        for step in 0..14 {
            let (_, gradient) = evaluate(&graph, &at, &data.labels);
            attack.step(step % 2 == 0, &mut at, &gradient, &start, &data.inputs);
        }
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let moved: Vec<f32> =
            at.parameters.arrays.iter().zip(&start.arrays).map(|(a, b)| far(a, b)).collect();
        assert!(moved.iter().all(|&m| m <= 0.02 + 1e-6) && moved.iter().any(|&m| m > 0.019), "{moved:?}");
        let inputs = far(&at.inputs, &data.inputs);
        assert!(inputs <= 0.1 + 1e-6 && inputs > 0.09, "{inputs}");
        assert!(at.inputs.iter().all(|x| (0.0..=1.0).contains(x)));
    }

    #[test]
    fn accuracies_fall_along_the_grid_and_start_clean() {
        let (network, data) = problem();
        let grid = grid(&network, &data, (&[0.0, 0.1, 0.5], &[0.0, 0.05, 0.5]), 5);
        assert_eq!(grid[0][0], 1.0);
        for i in 0..3 {
            for j in 0..3 {
                assert!(i == 0 || grid[i][j] <= grid[i - 1][j]);
                assert!(j == 0 || grid[i][j] <= grid[i][j - 1]);
            }
        }
        assert!(grid[2][2] < 0.7, "{grid:?}");
    }
}
