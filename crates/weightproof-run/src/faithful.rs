//! Whether one network is a rounding of another: layer by layer, and the smallest set of each kind that holds it.

use crate::RunError;
use weightproof::kernels::Matrix;
use weightproof::network::{Affine, Network, Node, StoredIntegers};
use weightproof::threat::{Kind, LayerPerturbation, Perturbation, ThreatModel};
use weightproof_report::{FaithfulLayer, RoundingRule, SmallestSet};

/// The kinds of sets that are tried.
const KINDS: [Kind; 5] = [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius, Kind::RowBall];
/// Part of a step that quantizers lose, which compute `w / s` and `s q` in fp32.
const SINGLE: f64 = 4.0 / 16_777_216.0;

/// The layers of `rounded` against those of `network`, in their order.
///
/// # Errors
/// Networks whose layers with parameters differ in number or shape.
pub fn layers(network: &Network, rounded: &Network) -> Result<Vec<FaithfulLayer>, RunError> {
    Ok(pairs(network, rounded)?.into_iter().map(|(first, second)| layer(first, second)).collect())
}

/// For each kind the smallest radii with which its set around `network` holds `rounded`.
///
/// # Guarantee
/// Membership in the set was checked in f64, without tolerance but for the sums of squares of balls.
/// # Errors
/// As [`layers`].
pub fn smallest_sets(network: &Network, rounded: &Network) -> Result<Vec<SmallestSet>, RunError> {
    let pairs = pairs(network, rounded)?;
    let moved = network.affine_layers().zip(&pairs).map(|((node, _, _), (_, (_, second)))| {
        LayerPerturbation { node, weight: second.weight.clone(), bias: second.bias.clone() }
    });
    let perturbation = Perturbation { layers: moved.collect(), ..Perturbation::default() };
    let x = vec![0.0; network.input_width()];
    let of = |kind: Kind| {
        let most = |f: fn(Kind, &Affine, &Affine) -> f64| {
            pairs.iter().map(|((_, a), (_, b))| f(kind, a, b)).fold(0.0, f64::max)
        };
        let (mut radius, mut bias_radius) = (most(weight_radius), most(bias_radius));
        let nothing = SmallestSet { kind: kind.to_string(), radius: None, bias_radius: None };
        if !(radius.is_finite() && bias_radius.is_finite()) {
            return nothing;
        }
        // Quotients and norms are rounded to nearest.
        for _ in 0..64 {
            let model = ThreatModel { bias_radius: Some(bias_radius), ..ThreatModel::new(kind, radius) };
            let holds =
                model.resolve(network).is_ok_and(|set| set.contains(network, &x, &perturbation).is_ok());
            if holds {
                return SmallestSet { radius: Some(radius), bias_radius: Some(bias_radius), ..nothing };
            }
            (radius, bias_radius) = (radius.next_up(), bias_radius.next_up());
        }
        nothing
    };
    Ok(KINDS.into_iter().map(of).collect())
}

/// A layer with parameters.
type Layer<'n> = (&'n Node, &'n Affine);

/// Layers with parameters of both networks, in their order.
fn pairs<'n>(network: &'n Network, rounded: &'n Network) -> Result<Vec<(Layer<'n>, Layer<'n>)>, RunError> {
    let all =
        |network: &'n Network| network.affine_layers().map(|(_, node, affine)| (node, affine)).collect();
    let (first, second): (Vec<Layer<'n>>, Vec<Layer<'n>>) = (all(network), all(rounded));
    if first.len() != second.len() {
        let (expected, found) = (first.len(), second.len());
        return Err(RunError::misfit(format!("expected {expected} layers with parameters, found {found}")));
    }
    let size = |affine: &Affine| (affine.weight.rows(), affine.weight.cols());
    for ((node, a), (other, b)) in first.iter().zip(&second) {
        if size(a) != size(b) {
            let (expected, found) = (size(a), size(b));
            return Err(RunError::misfit(format!(
                "layer {} as {}: expected {} x {} weights, found {} x {}",
                node.name, other.name, expected.0, expected.1, found.0, found.1
            )));
        }
    }
    Ok(first.into_iter().zip(second).collect())
}

fn layer((node, a): Layer<'_>, (other, b): Layer<'_>) -> FaithfulLayer {
    let mut found = FaithfulLayer {
        layer: node.name.clone(),
        stored_as: other.name.clone(),
        bits: b.stored.as_ref().map(|stored| stored.bits),
        groups: b.stored.as_ref().map_or(0, |stored| stored.steps.len()),
        rule: RoundingRule::Equal,
        weights: a.weight.as_slice().len(),
        beyond_half: 0,
        outside: 0,
        first_outside: None,
        largest_steps: None,
        largest_bias: a.bias.iter().zip(&b.bias).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
    };
    let Some(stored) = &b.stored else {
        let equal = a.weight == b.weight;
        found.rule = if equal { RoundingRule::Equal } else { RoundingRule::Unknown };
        return found;
    };
    let mut largest = 0.0_f64;
    for (k, (&before, &after)) in a.weight.as_slice().iter().zip(b.weight.as_slice()).enumerate() {
        let steps = moved_steps(stored, k, before, after);
        largest = largest.max(steps);
        let room = room(after / stored.step(k));
        found.beyond_half += usize::from(steps > 0.5 + room);
        if steps > 1.0 + room {
            found.outside += 1;
            let cols = a.weight.cols();
            found.first_outside.get_or_insert((k / cols, k % cols));
        }
    }
    found.largest_steps = Some(largest);
    found.rule = rule(found.outside, found.beyond_half, largest);
    found
}

/// What a number that is `steps` steps from zero may be off for its rounding in fp32, in steps.
pub(crate) fn room(steps: f64) -> f64 {
    SINGLE * (1.0 + steps.abs())
}

/// The rule that weights follow of which so many moved by more than a step and by more than half a step, the farthest by `largest`.
pub(crate) fn rule(outside: usize, beyond_half: usize, largest: f64) -> RoundingRule {
    match (outside, beyond_half) {
        (0, 0) if largest == 0.0 => RoundingRule::Equal,
        (0, 0) => RoundingRule::Nearest,
        (0, _) => RoundingRule::Either,
        (_, _) => RoundingRule::Outside,
    }
}

/// How far weight number `k` moved, in steps.
fn moved_steps(stored: &StoredIntegers, k: usize, before: f64, after: f64) -> f64 {
    (after - before).abs() / stored.step(k)
}

/// Numbers less the first ones.
fn change(a: &Affine, b: &Affine) -> Matrix<f64> {
    Matrix::from_fn(a.weight.rows(), a.weight.cols(), |i, j| b.weight[(i, j)] - a.weight[(i, j)])
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most: f64, v| most.max(v.abs()))
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// `part / whole`, where nothing is a part of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

/// The radius with which a set of this kind around `a` holds the weights of `b`, rounded to nearest.
fn weight_radius(kind: Kind, a: &Affine, b: &Affine) -> f64 {
    let moved = change(a, b);
    let rows = 0..a.weight.rows();
    match kind {
        Kind::Relative => {
            let pairs = moved.as_slice().iter().zip(a.weight.as_slice());
            pairs.map(|(d, w)| share(d.abs(), w.abs())).fold(0.0, f64::max)
        }
        Kind::PerChannel => {
            rows.map(|i| share(largest(moved.row(i)), largest(a.weight.row(i)))).fold(0.0, f64::max)
        }
        Kind::Frobenius => norm(moved.as_slice()),
        Kind::RowBall => rows.map(|i| norm(moved.row(i))).fold(0.0, f64::max),
        Kind::Absolute | Kind::Lsb | Kind::Integer(_) | Kind::Format(_) => largest(moved.as_slice()),
    }
}

/// The same for biases, in the unit that biases have in the kind.
fn bias_radius(kind: Kind, a: &Affine, b: &Affine) -> f64 {
    let moved = |i: usize| (b.bias[i] - a.bias[i]).abs();
    let of_row = |i: usize| match kind {
        Kind::Relative => share(moved(i), a.bias[i].abs()),
        Kind::PerChannel => share(moved(i), largest(a.weight.row(i))),
        Kind::Absolute | Kind::Frobenius | Kind::RowBall | Kind::Lsb | Kind::Integer(_) | Kind::Format(_) => {
            moved(i)
        }
    };
    (0..a.bias.len()).map(of_row).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::network::{Activation, Layer as Kind64, NetworkBuilder};

    fn network(weight: [f64; 4], bias: [f64; 2], stored: Option<StoredIntegers>) -> Network {
        let mut builder = NetworkBuilder::new(vec![2]);
        let weight = Matrix::from_vec(2, 2, weight.to_vec());
        let affine = Affine { weight, bias: bias.to_vec(), has_bias: true, stored };
        let dense = builder.push("dense", Kind64::Dense(affine), vec![0], vec![2]).unwrap();
        builder.activation("relu", dense, Activation::Relu).unwrap();
        builder.finish().unwrap()
    }

    fn stored() -> Option<StoredIntegers> {
        Some(StoredIntegers {
            bits: 8,
            signed: true,
            steps: vec![0.5],
            zeros: vec![0],
            groups: vec![],
            bias_steps: vec![],
        })
    }

    #[test]
    fn rules_follow_from_how_far_weights_moved() {
        let rounded = network([1.0, -0.5, 0.5, 2.0], [0.0; 2], stored());
        for (weight, rule, beyond_half, outside) in [
            ([1.0, -0.5, 0.5, 2.0], RoundingRule::Equal, 0, 0),
            ([1.2, -0.3, 0.25, 2.0], RoundingRule::Nearest, 0, 0),
            ([1.3, -0.3, 0.25, 2.0], RoundingRule::Either, 1, 0),
            ([1.3, -0.3, 0.25, 2.75], RoundingRule::Outside, 2, 1),
        ] {
            let found = &layers(&network(weight, [0.0; 2], None), &rounded).unwrap()[0];
            assert_eq!((found.rule, found.beyond_half, found.outside), (rule, beyond_half, outside));
            assert_eq!(found.first_outside, (outside > 0).then_some((1, 1)));
        }
    }

    #[test]
    fn smallest_sets_by_hand() {
        let first = network([1.0, -0.5, 0.0, 2.0], [1.0, 0.0], None);
        let rounded = network([1.5, -0.5, 0.25, 2.0], [1.25, 0.0], stored());
        let found = smallest_sets(&first, &rounded).unwrap();
        let radii: Vec<Option<f64>> = found.iter().map(|set| set.radius).collect();
        // A weight of zero that moves is in no relative set.
        assert_eq!(radii[..3], [Some(0.5), None, Some(0.5)]);
        let frobenius = radii[3].unwrap();
        assert!((frobenius - 0.3125_f64.sqrt()).abs() < 1e-15 && radii[4] == Some(0.5), "{radii:?}");
        assert_eq!(found[0].bias_radius, Some(0.25));
        let other = network([0.0; 4], [0.0; 2], None);
        assert!(smallest_sets(&other, &other).unwrap().iter().all(|set| set.radius == Some(0.0)));
    }
}
