//! PAC-Bayes sharpness: the largest Gaussian noise on all parameters that the training accuracy withstands.
//!
//! ```text
//! σ   largest with  E_{u ~ N(0, σ² I)}[ error(θ + u) ] − error(θ) ≤ 0.1                       sharpness 1/σ²
//! σ'  the same with u_i ~ N(0, σ'² θ_i²)                                                      sharpness 1/σ'²
//!
//! ‖θ − θ⁰‖² / 4σ² + ln(n/σ) + 10
//! ¼ Σ_i ln( (ε² + (σ'² + 1) ‖θ − θ⁰‖²/d) / (ε² + σ'² (θ_i − θ⁰_i)²) ) + ln(n/σ') + 10        ε = 10⁻³, d parameters
//! ```
//! The last two are the numerators of the PAC-Bayes bound as the source compares them; θ⁰ is the network before training where that
//! is given, else zero. The expectation is the mean over a few draws, the same draws for every σ, and σ is found by bisection in
//! its logarithm from 10⁻⁵ to 10²: an estimate, and for networks whose error is no monotone function of σ one of several answers.
//! Parameters are weights and biases.
//!
//! # Source
//! Neyshabur, Bhojanapalli, McAllester and Srebro, arXiv 1706.08947; Jiang et al., arXiv 1912.02178, appendix C.5.

use crate::context::{Context, margins, outputs, share_up_to};
use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use weightproof::network::Network;
use weightproof::threat::LayerPerturbation;
use weightproof::verdict::Samples;
use weightproof::verdict::Worth;

/// How much the error may grow.
const GROWTH: f64 = 0.1;
/// Range of σ, as powers of ten.
const RANGE: (f64, f64) = (-5.0, 2.0);
/// Halvings of the range: to 0.2%.
const HALVINGS: usize = 13;
/// ε of the magnitude-aware bound.
const EPSILON: f64 = 1e-3;

const fn measure(
    name: &'static str,
    quantity: &'static str,
    value: fn(&Context<'_>) -> Result<f64, Refusal>,
) -> Measure {
    Measure {
        name,
        quantity,
        source: "Neyshabur et al., arXiv 1706.08947; Jiang et al., arXiv 1912.02178",
        needs: Needs { labels: true, search: true, ..Needs::NOTHING },
        parts: Parts::Nothing,
        guarantee: Worth::Estimate,
        direction: Direction::WorseLarger,
        value,
    }
}

/// `1/σ²`.
pub const SHARPNESS: Measure =
    measure("pac-bayes-sharpness", "1 / sigma^2, noise N(0, sigma^2)", |c| Ok(deviation(c, false)?.powi(-2)));
/// `1/σ'²`.
pub const MAGNITUDE_SHARPNESS: Measure =
    measure("pac-bayes-magnitude-sharpness", "1 / sigma^2, noise N(0, sigma^2 theta^2)", |c| {
        Ok(deviation(c, true)?.powi(-2))
    });
/// The numerator of the bound.
pub const BOUND: Measure =
    measure("pac-bayes", "||theta - theta0||^2 / 4 sigma^2 + ln(n / sigma) + 10", |c| {
        let sigma = deviation(c, false)?;
        let squares: f64 = differences(c)?.iter().map(|d| d * d).sum();
        Ok(squares / (4.0 * sigma * sigma) + (c.samples() as f64 / sigma).ln() + 10.0)
    });
/// The numerator of the magnitude-aware bound.
pub const MAGNITUDE_BOUND: Measure = measure(
    "pac-bayes-magnitude",
    "1/4 sum ln((e^2 + (sigma^2 + 1) ||theta - theta0||^2 / d) / (e^2 + sigma^2 (theta - theta0)^2)) + ln(n / sigma) + 10",
    |c| {
        let sigma = deviation(c, true)?;
        Ok(magnitude_bound(&differences(c)?, sigma) + (c.samples() as f64 / sigma).ln() + 10.0)
    },
);

fn magnitude_bound(differences: &[f64], sigma: f64) -> f64 {
    let (e, s) = (EPSILON * EPSILON, sigma * sigma);
    let mean = differences.iter().map(|d| d * d).sum::<f64>() / differences.len() as f64;
    0.25 * differences.iter().map(|d| ((e + (s + 1.0) * mean) / (e + s * d * d)).ln()).sum::<f64>()
}

/// `θ − θ⁰` of all parameters.
fn differences(context: &Context<'_>) -> Result<Vec<f64>, Refusal> {
    let all = |network: &Network| -> Vec<f64> {
        let layers = network.affine_layers();
        layers
            .flat_map(|(_, _, a)| a.weight.as_slice().iter().chain(&a.bias).copied().collect::<Vec<_>>())
            .collect()
    };
    let after = all(context.network);
    let Some(initial) = context.initial else { return Ok(after) };
    crate::distance::changes(context.network, initial)?;
    Ok(after.iter().zip(all(initial)).map(|(a, b)| a - b).collect())
}

/// The largest σ, searched once.
fn deviation(context: &Context<'_>, relative: bool) -> Result<f64, Refusal> {
    context.deviations[usize::from(relative)].get_or_init(|| search(context, relative)).clone()
}

fn search(context: &Context<'_>, relative: bool) -> Result<f64, Refusal> {
    let samples = context.searched()?;
    let clean = error(context.network, samples);
    let draws: Vec<u64> = (0..context.effort.draws.max(1) as u64).collect();
    let (network, seed) = (context.network, context.effort.seed);
    let growth = |sigma: f64| {
        let of = |draw: &u64| {
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ (draw << 32));
            error(&noisy(network, sigma, relative, &mut random), samples)
        };
        // Each draw that is worked on has a network of its own.
        let together = draws.chunks(rayon::current_num_threads());
        let errors: Vec<f64> =
            together.flat_map(|draws| draws.par_iter().map(of).collect::<Vec<f64>>()).collect();
        errors.iter().sum::<f64>() / draws.len() as f64 - clean
    };
    largest(|sigma| growth(sigma) <= GROWTH).ok_or_else(|| {
        Refusal::Undefined(
            "the training error grows by more than 0.1 for every noise that is tried, or for none".into(),
        )
    })
}

/// The largest number of the range for which `holds` is true, by bisection; `None` when that is an end of the range.
fn largest(holds: impl Fn(f64) -> bool) -> Option<f64> {
    let at = |exponent: f64| 10f64.powf(exponent);
    let (mut low, mut high) = RANGE;
    if !holds(at(low)) || holds(at(high)) {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if holds(at(middle)) { low = middle } else { high = middle }
    }
    Some(at(low))
}

/// Share of `samples` that the network is wrong about.
pub fn error(network: &Network, samples: Samples<'_>) -> f64 {
    share_up_to(&margins(&outputs(network, samples.inputs), samples.labels.unwrap_or_default()), 0.0)
}

/// The network with Gaussian noise on every parameter.
fn noisy(network: &Network, sigma: f64, relative: bool, random: &mut impl Rng) -> Network {
    let mut move_it = |w: f64| w + sigma * if relative { w.abs() } else { 1.0 } * standard_normal(random);
    let mut parameters = Vec::new();
    for (node, _, affine) in network.affine_layers() {
        let mut weight = affine.weight.clone();
        weight.as_mut_slice().iter_mut().for_each(|w| *w = move_it(*w));
        // A layer without biases gets none.
        let bias = affine.bias.iter().map(|&b| if affine.has_bias { move_it(b) } else { b }).collect();
        parameters.push(LayerPerturbation { node, weight, bias });
    }
    network.with_parameters(&parameters)
}

/// A standard normal number (Box and Muller).
pub(crate) fn standard_normal(random: &mut impl Rng) -> f64 {
    let radius: f64 = 1.0 - random.random::<f64>();
    let angle: f64 = random.random::<f64>() * std::f64::consts::TAU;
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::{Activation, NetworkBuilder};
    use weightproof::threat::{Kind, ThreatModel};

    #[test]
    fn bisection_finds_the_end_of_what_holds() {
        let found = largest(|sigma| sigma <= 0.3).unwrap();
        assert!(found <= 0.3 && found > 0.3 * 0.995, "{found}");
        assert_eq!(largest(|_| true), None);
        assert_eq!(largest(|_| false), None);
    }

    /// Moved by c in all parameters: mean square c², every summand ln((ε² + (s+1)c²)/(ε² + s c²)).
    #[test]
    fn magnitude_bound_by_hand() {
        let (c, sigma) = (0.5_f64, 0.2_f64);
        let s = sigma * sigma;
        let expected = 0.25 * 3.0 * ((1e-6 + (s + 1.0) * c * c) / (1e-6 + s * c * c)).ln();
        assert!((magnitude_bound(&[c, -c, c], sigma) - expected).abs() < 1e-12);
    }

    fn network(c: f64) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let w = |c: f64| Matrix::from_vec(2, 2, vec![c, -c, -c, c]);
        let p = builder.dense("a", 0, w(c), vec![0.1 * c, 0.0]).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, w(1.0 / c), vec![0.0; 2]).unwrap();
        builder.finish().unwrap()
    }

    fn measured(c: f64, relative: bool) -> f64 {
        let x: Vec<f64> = (0..80).map(|k| f64::from(k * 37 % 19) / 10.0 - 0.9).collect();
        let labels: Vec<u32> = x.chunks(2).map(|x| u32::from(x[0] < x[1])).collect();
        let samples = Samples { first: 0, inputs: &x, labels: Some(&labels) };
        let network = network(c);
        let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
        deviation(&Context::new(&network, samples, &set, "linear").unwrap(), relative).unwrap()
    }

    /// Magnitude-aware sharpness does not see how layers share a factor; sharpness does.
    #[test]
    fn magnitude_aware_sharpness_is_invariant_to_rescaling_of_layers() {
        assert!((measured(1.0, true) - measured(4.0, true)).abs() < 1e-9);
        let [even, uneven] = [1.0, 4.0].map(|c| measured(c, false));
        assert!((even / uneven).ln().abs() > 0.2, "{even} {uneven}");
    }

    #[test]
    fn draws_do_not_depend_on_the_number_of_threads() {
        let found = [1, 2, 3, 8].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| [false, true].map(|relative| measured(2.0, relative)))
        });
        assert!(found.iter().all(|same| *same == found[0]), "{found:?}");
    }
}
