//! The spectrally normalised margin of chains of layers.
//!
//! ```text
//! R = Π_k λ_k σ₁(Wᵏ) · ( Σ_k (‖(Wᵏ − Mᵏ)ᵀ‖_{2,1} / σ₁(Wᵏ))^{2/3} )^{3/2}       ‖Aᵀ‖_{2,1} = Σ_i ‖A_i‖₂ over the rows of A
//! normalised margin of x_i = m_i / (R ‖X‖₂ / n)                                  ‖X‖₂ = √Σ_i ‖x_i‖₂²
//! ```
//! The bound of the source is `P[err] ≤ share of margins ≤ γ + Õ(‖X‖₂ R ln(width) / (γ n) + √(ln(1/δ)/n))`, up to constants, so what
//! is reported are R and the median normalised margin. Mᵏ is the weight before training where that is given, else zero; λ_k the
//! Lipschitz constants in ℓ2 of what lies between the layers (activations, pooling, constants of the program). Convolutions count as
//! their unrolled matrices. Biases are left out: the source has none.
//!
//! Defined for chains: a node that reads two nodes, or is read by two, is refused, and so is an activation with `ρ(0) ≠ 0`.
//!
//! Multiplying a layer by c and dividing the next one by c changes neither R nor, in ReLU networks, the margins; multiplying the
//! last layer by c multiplies both by c.
//!
//! # Source
//! Bartlett, Foster and Telgarsky, arXiv 1706.08498, theorem 1.1 and section 2.

use crate::distance::changes;
use crate::error::Refusal;
use crate::margins::quantile;
use crate::measures::{Direction, Measure, Needs, Parts};
use crate::norms::{euclidean, parts, spectral_norm, sum_of_row_norms};
use weightproof::kernels::Window;
use weightproof::network::{Layer, Network, Node};
use weightproof::verdict::Worth;

/// R, as a logarithm.
pub const COMPLEXITY: Measure = Measure {
    name: "spectral-complexity",
    quantity: "log10(prod sigma_1(W) (sum (||W^T - M^T||_{2,1} / sigma_1(W))^(2/3))^(3/2))",
    source: "Bartlett, Foster and Telgarsky, arXiv 1706.08498",
    needs: Needs::NOTHING,
    parts: Parts::Network,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(complexity(context.network, context.initial)?.log10()),
};

/// The median normalised margin.
pub const MARGIN: Measure = Measure {
    name: "spectral-margin",
    quantity: "median of n margin / (R ||X||_2)",
    source: "Bartlett, Foster and Telgarsky, arXiv 1706.08498",
    needs: Needs::LABELS,
    parts: Parts::Nothing,
    guarantee: Worth::Measured,
    direction: Direction::BetterLarger,
    value: |context| {
        let margins = context.margins()?;
        let samples = margins.len() as f64;
        let scale = complexity(context.network, context.initial)? * euclidean(context.train.inputs) / samples;
        Ok(quantile(margins, 0.5) / scale)
    },
};

/// R.
///
/// # Errors
/// When the network is no chain, or an activation is not zero at zero; names the node.
pub fn complexity(network: &Network, initial: Option<&Network>) -> Result<f64, Refusal> {
    check_chain(network)?;
    let mut moved = initial.map(|initial| changes(network, initial)).transpose()?.map(Vec::into_iter);
    let (mut product, mut sum) = (1.0, 0.0);
    for node in network.nodes() {
        let Some((affine, window)) = parts(&node.layer) else {
            product *= lipschitz(node)?;
            continue;
        };
        let spectral = spectral_norm(&affine.weight, window)?;
        product *= spectral;
        let change = moved.as_mut().and_then(Iterator::next);
        let change = change.map_or_else(|| affine.weight.clone(), |(change, _)| change);
        sum += (sum_of_row_norms(&change, window) / spectral).powf(2.0 / 3.0);
    }
    Ok(product * sum.powf(1.5))
}

/// An error when the network is no chain.
pub(crate) fn check_chain(network: &Network) -> Result<(), Refusal> {
    let expected = "a chain, in which every node reads the one before it";
    for (index, node) in network.nodes().iter().enumerate().skip(1) {
        if node.inputs != [index - 1] {
            let names: Vec<&str> = node.inputs.iter().map(|&i| network.nodes()[i].name.as_str()).collect();
            let found = format!("one that reads {}", names.join(" and "));
            return Err(Refusal::Node { node: node.name.clone(), expected, found });
        }
    }
    Ok(())
}

/// The Lipschitz constant in ℓ2 of a node without parameters; an upper bound where windows overlap.
pub(crate) fn lipschitz(node: &Node) -> Result<f64, Refusal> {
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    match &node.layer {
        Layer::Activation(f) if f.lipschitz().is_infinite() => {
            Err(Refusal::node(node, "an activation with a Lipschitz constant"))
        }
        Layer::DynamicQuantize(_) | Layer::Multiply => {
            Err(Refusal::node(node, "an activation with a Lipschitz constant"))
        }
        Layer::Activation(f) if f.apply(0.0) == 0.0 => Ok(f.lipschitz()),
        Layer::Activation(_) => Err(Refusal::node(node, "an activation that is zero at zero")),
        Layer::Scale(scale) => Ok(most(&mut scale.scale.iter().map(|s| s.abs()))),
        // Every element counts at most as often as windows see it.
        Layer::MaxPool(window) => Ok(most(&mut seen(window, |_| 1.0).into_iter()).sqrt()),
        // The root of the largest row sum times the largest column sum.
        Layer::AveragePool(average) => {
            let inside = |p: usize| {
                let width = average.window.extent(1);
                average.window.taps_inside(0, p / width).len()
                    * average.window.taps_inside(1, p % width).len()
            };
            let rows = |p: usize| inside(p) as f64 * average.factor[p];
            let row = most(&mut (0..average.window.positions()).map(rows));
            Ok((row * most(&mut seen(&average.window, |p| average.factor[p]).into_iter())).sqrt())
        }
        Layer::Gather(gather) => {
            let last = gather.source.iter().flatten().max().map_or(0, |k| k + 1);
            let mut uses = vec![0.0_f64; last];
            gather.source.iter().flatten().for_each(|&k| uses[k] += 1.0);
            Ok(most(&mut uses.into_iter()).sqrt())
        }
        Layer::Input | Layer::Dense(_) | Layer::Conv(_) | Layer::Reshape => Ok(1.0),
        Layer::Add => Err(Refusal::node(node, "a chain")),
    }
}

/// What each element of one channel counts in all windows that see it, with a weight for each position.
fn seen(window: &Window, weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; window.plane()];
    for position in 0..window.positions() {
        let elements = (0..window.taps()).filter_map(|tap| window.source(position, tap));
        elements.for_each(|k| sums[k] += weight(position));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};

    fn network(first: Vec<f64>, second: Vec<f64>) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let p = builder.dense("a", 0, Matrix::from_vec(2, 2, first), Vec::new()).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 2, second), Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    /// Diagonal matrices diag(3, 4) and diag(1, 2): σ₁ = 4, 2; sums of row norms 7, 3.
    #[test]
    fn by_hand() {
        let trained = network(vec![3.0, 0.0, 0.0, 4.0], vec![1.0, 0.0, 0.0, 2.0]);
        let expected = 8.0 * ((7.0_f64 / 4.0).powf(2.0 / 3.0) + (1.5_f64).powf(2.0 / 3.0)).powf(1.5);
        assert!((complexity(&trained, None).unwrap() - expected).abs() < 1e-9);
        let initial = network(vec![3.0, 0.0, 0.0, 3.0], vec![1.0, 0.0, 0.0, 2.0]);
        let expected = 8.0 * (1.0_f64 / 4.0);
        assert!((complexity(&trained, Some(&initial)).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn graphs_that_are_no_chains_are_refused_by_name() {
        let mut builder = NetworkBuilder::new(vec![2]);
        let eye = || Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.0, 1.0]);
        let p = builder.dense("a", 0, eye(), Vec::new()).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        let sum = builder.add("skip", vec![z, p]).unwrap();
        builder.dense("b", sum, eye(), Vec::new()).unwrap();
        let error = complexity(&builder.finish().unwrap(), None).unwrap_err().to_string();
        assert_eq!(
            error,
            "node skip: expected a chain, in which every node reads the one before it, found one that reads r and a"
        );
        let mut builder = NetworkBuilder::new(vec![2]);
        let p = builder.dense("a", 0, eye(), Vec::new()).unwrap();
        builder.activation("s", p, Activation::Sigmoid).unwrap();
        let error = complexity(&builder.finish().unwrap(), None).unwrap_err().to_string();
        assert_eq!(error, "node s: expected an activation that is zero at zero, found sigmoid");
    }

    /// Average of non-overlapping 2 × 2 windows: singular values 1/2.
    #[test]
    fn pooling_between_layers() {
        let mut builder = NetworkBuilder::new(vec![1, 4, 4]);
        let window = Window { stride: [2, 2], ..Window::pooling([1, 4, 4], [2, 2]) };
        builder.average_pool("mean", 0, window.clone(), false).unwrap();
        let node = |b: &NetworkBuilder| b.clone();
        let mut with = node(&builder);
        let p = with.dense("a", 1, Matrix::from_vec(1, 4, vec![1.0; 4]), Vec::new()).unwrap();
        with.activation("r", p, Activation::Relu).unwrap();
        let network = with.finish().unwrap();
        // σ₁ = 2, one row of norm 2: R = 1/2 · 2 · 1.
        assert!((complexity(&network, None).unwrap() - 1.0).abs() < 1e-12);
        assert!(seen(&Window::pooling([1, 3, 3], [2, 2]), |_| 1.0).contains(&4.0));
    }
}
