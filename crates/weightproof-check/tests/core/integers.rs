//! There is no floating-point arithmetic in the checker, and what it computes is right: against rationals, at points of the set.

use crate::rational::{Rational, rational};
use crate::writer::*;
use std::path::Path;
use weightproof_check::certificate::{Header, Property};
use weightproof_check::check::root;
use weightproof_check::layer::Model;
use weightproof_check::network::{Network, Window};
use weightproof_check::number::{Interval, Number, share};
use weightproof_check::onnx;
use weightproof_check::pass::{Chosen, Pass, Reach};
use weightproof_check::relax::State;
use weightproof_check::set::Set;

#[test]
fn no_floating_point() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // The name of a format.
        let text = text.replace("format:tf32", "");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        for word in words {
            let is_float = word.contains("f32") || word.contains("f64") || word == "f16" || word == "f128";
            assert!(!is_float, "{}: {word}", path.display());
        }
        // Numbers such as 1.5 in the code, not in comments or texts.
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.contains('"')) {
            let literal = line
                .as_bytes()
                .windows(3)
                .any(|w| w[0].is_ascii_digit() && w[1] == b'.' && w[2].is_ascii_digit());
            assert!(!literal, "{}: {line}", path.display());
        }
    }
}

#[test]
fn numbers_are_those_of_ieee() {
    let mut stream = Stream(5);
    for k in 0..2000 {
        let x = stream.next() * 2_f64.powi((k % 600) - 300);
        let single = x as f32;
        assert_eq!(Number::from_single(single.to_bits()), Number::from_double(f64::from(single).to_bits()));
        let number = Number::from_double(x.to_bits()).unwrap();
        assert_eq!(number.value as f64 * 2_f64.powi(number.exponent), x);
        let y = stream.next() * 2_f64.powi((k % 7) * 20 - 60);
        let other = Number::from_double(y.to_bits()).unwrap();
        assert_eq!(number.cmp(&other), x.partial_cmp(&y).unwrap());
        // Rounded to the nearest in f64, to both sides here.
        let exact = Rational::from(number).plus(&other.into());
        let sum = number + other;
        assert!(Rational::from(sum) <= exact);
        let Interval { low, high } = Interval::around(sum, -number - other);
        let (low, high) = (Rational::from(low), Rational::from(high));
        assert!(low <= exact && exact <= high && (rational(x + y) == low || rational(x + y) == high));
        let square = if sum.is_negative() { -sum } else { sum };
        let root = Rational::from(square.root_up());
        let slack = rational(1.0 + 1e-15);
        assert!(
            root.times(&root) >= square.into() && root.times(&root) <= Rational::from(square).times(&slack)
        );
        assert_eq!(sum.cmp(&number), Rational::from(sum).cmp(&number.into()));
        let (a, b) = (number.magnitude(), other.magnitude());
        let exact = x.abs() / (x.abs() + y.abs());
        assert!((share(a, b) as f64 / 2_f64.powi(60) - exact).abs() < 1e-12, "{x} {y}");
    }
    for bits in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(f64::to_bits) {
        assert_eq!(Number::from_double(bits), None);
    }
    for bits in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_bits) {
        assert_eq!(Number::from_single(bits), None);
    }
    let tiny = Number::from_double(1).unwrap();
    assert_eq!((tiny.value, tiny.exponent), (1, -1074));
    assert_eq!(Number::from_single(0x8000_0000), Some(Number::ZERO));
    let texts = [
        (1.0, "1.00000"),
        (-0.001, "-0.00100000"),
        (123456.0, "1.23456e5"),
        (0.0, "0"),
        (1e-9, "1.00000e-9"),
        (0.3, "0.299999"),
        (5e-324, "4.94065e-324"),
        (f64::MAX, "1.79769e308"),
    ];
    // Ties go to even numbers; a quotient is rounded once.
    let number = |x: f64| Number::from_double(x.to_bits()).unwrap();
    for (x, nearest) in
        [(-2.5, -2), (-1.5, -2), (-0.5, 0), (0.5, 0), (1.5, 2), (2.5, 2), (2.75, 3), (-1e-30, 0)]
    {
        assert_eq!(number(x).nearest(0), nearest, "{x}");
    }
    for k in 0..4000 {
        let (x, y) = (stream.next() * 2_f64.powi(k % 90 - 45), f64::from(stream.next().abs() as f32));
        assert_eq!(number(x).single(), number(f64::from(x as f32)), "{x}");
        let tie = f64::from(x as f32) + f64::from((x as f32).next_up());
        assert_eq!(number(tie / 2.0).single(), number(f64::from((tie / 2.0) as f32)), "{tie}");
        assert_eq!(number(x).divided(number(y)), number(f64::from(x as f32 / y as f32)), "{x} {y}");
    }
    for (x, text) in texts {
        assert_eq!(Number::from_double(x.to_bits()).unwrap().to_string(), text);
    }
}

/// Sums of the checker are below the exact sum, and near it.
#[test]
fn sums_are_rounded_down() {
    let mut stream = Stream(6);
    for _ in 0..500 {
        let (mut sum, mut exact) = (Number::ZERO, rational(0.0));
        for k in 0..40 {
            let (a, x) =
                ((stream.next() * 2_f64.powi(56)) as i64, stream.next() * 2_f64.powi((k * 7) % 90 - 45));
            let x = Number::from_double(x.to_bits()).unwrap();
            sum += Number::new(a, -50) * x;
            exact = exact.plus(&Rational::new(a, -50).times(&x.into()));
        }
        let lost = exact.minus(&sum.into());
        assert!(!lost.is_negative() && lost < rational(2_f64.powi(-40)), "{lost:?}");
    }
}

/// Parameters over many powers of two, so that rows, columns and layers have exponents of their own.
fn wild(widths: &[usize], stream: &mut Stream) -> Net {
    let mut net = Net::layers(widths, stream);
    for node in &mut net.nodes {
        if let Op::Dense { weight, .. } = &mut node.op {
            for w in weight {
                *w = f64::from((*w * 2_f64.powi((stream.next() * 12.0) as i32)) as f32);
            }
        }
    }
    net
}

/// The value of a network at rows moved by shares of their radii, in rationals.
fn exact(net: &Net, threat: &crate::writer::Threat, input: &[f64], shares: &mut Stream) -> Vec<Rational> {
    let mut z: Vec<Rational> = input.iter().map(|x| rational(*x)).collect();
    for (index, node) in net.nodes.iter().enumerate().skip(1) {
        let Some((rows, weight, bias)) = net.parameters(index) else {
            z.iter_mut().for_each(|z| *z = z.clone().max(rational(0.0)));
            continue;
        };
        let (radii, bias_radii) = net.radii(index, threat);
        let row = |i: usize| {
            let t = rational(shares.next().signum());
            let mut sum = rational(bias.unwrap()[i]).plus(&t.times(&rational(bias_radii[i])));
            for (j, z) in z.iter().enumerate() {
                let k = i * z_len(weight, rows) + j;
                let sign = if z.is_negative() { rational(-1.0) } else { rational(1.0) };
                let moved = rational(weight[k]).plus(&t.times(&sign).times(&rational(radii[k])));
                sum = sum.plus(&moved.times(z));
            }
            sum
        };
        z = (0..rows).map(row).collect();
        assert_eq!(node.width, z.len());
    }
    z
}

fn z_len(weight: &[f64], rows: usize) -> usize {
    weight.len() / rows
}

/// The model of a network, and its boxes without claims at an input.
fn prepared(net: &Net, threat: &crate::writer::Threat, input: &[f64], per_use: bool) -> (Model, State) {
    let mut text = header(net, threat, format::Property::Label);
    text.set.iter_mut().for_each(|layer| layer.per_use = per_use);
    let file = compressed(&lines(&text, &[]));
    let header: Header = weightproof_check::certificate::Lines::new(&file[..]).header().unwrap();
    assert_eq!(header.property, Property::Label);
    let network = Network::new(&header.network).unwrap();
    assert_eq!(network.difference(&onnx::read(&net.onnx()).unwrap()), None);
    let model = Model::new(network.clone(), Set::new(&header, &network).unwrap());
    let state = root(&model, &bits(input)).unwrap();
    (model, state)
}

fn bits(input: &[f64]) -> Vec<Number> {
    input.iter().map(|x| Number::from_double(x.to_bits()).unwrap()).collect()
}

/// Kernels that move alike at all positions: no vertex is below a bound, the worst one is the bound where nothing is nonlinear, and
/// uses that move on their own have a lower one.
#[test]
fn shared_kernels() {
    let mut stream = Stream(43);
    let mut gained = 0;
    for round in 0..20 {
        let mut net = Net::new(&[1, 3, 3]);
        net.conv(Window { padding: [[1, 0], [0, 1]], ..window([1, 3, 3], 2, [2, 2]) }, &mut stream);
        if round % 2 == 0 {
            net.then(Op::Relu);
        }
        if round % 4 < 2 {
            // Two kernels of one weight over all channels, at nine positions.
            net.conv(window([2, 3, 3], 2, [1, 1]), &mut stream);
        }
        net.then(Op::Reshape(vec![18]));
        net.dense(2, &mut stream);
        let threat = crate::writer::Threat::new(Kind::Absolute, 0.05);
        let input = stream.many(9, 1.0);
        let output = net.nodes.len() - 1;
        let bound = |per_use: bool| {
            let (model, state) = prepared(&net, &threat, &input, per_use);
            let bound =
                |reach| Pass { model: &model, state: &state, reach }.bound(output, &[(0, 1), (1, -1)], None);
            let (apart, shared) = (bound(Reach::PerUse), bound(Reach::Shared));
            // A pass that charges uses together knows their sums on a box only, so neither is the better one.
            if per_use { apart } else { apart.max(shared) }
        };
        let (shared, apart) = (bound(false), bound(true));
        assert!(shared >= apart);
        gained += usize::from(shared > apart);
        let mut least: Option<Rational> = None;
        for _ in 0..1 << 10 {
            let mut moved = net.clone();
            for node in &mut moved.nodes {
                if let Op::Conv { weight, bias: Some(bias), .. } = &mut node.op {
                    weight.iter_mut().chain(bias).for_each(|w| *w += 0.05 * stream.next().signum());
                }
            }
            // The dense layer at its worst for the activations at this vertex; both rows move on their own.
            let plain = crate::writer::Threat::new(Kind::Absolute, 0.0);
            let z: Vec<f64> =
                Bounder::new(&Net { nodes: moved.nodes[..output].to_vec(), ..Net::default() }, &plain)
                    .forward(&input);
            let Some((_, weight, Some(bias))) = moved.parameters(output) else { panic!("dense") };
            let reach = 0.05 + z.iter().map(|z| 0.05 * z.abs()).sum::<f64>();
            let row = |i: usize| bias[i] + (0..18).map(|j| weight[18 * i + j] * z[j]).sum::<f64>();
            let value = rational(row(0) - row(1) - 2.0 * reach);
            least = Some(least.map_or(value.clone(), |least| least.min(value)));
        }
        let least = least.unwrap();
        assert!(Rational::from(shared) <= least.plus(&rational(1e-9)), "{shared} {least:?}");
    }
    assert!(gained > 15, "{gained}");
}

#[test]
fn no_point_of_the_set_is_below_a_bound() {
    let mut stream = Stream(41);
    let mut tight = 0;
    for round in 0..60 {
        let net = if round % 2 == 0 {
            wild(&[4, 8, 7, 3], &mut stream)
        } else {
            Net::layers(&[4, 8, 7, 3], &mut stream)
        };
        let kind = [Kind::Absolute, Kind::Entries][round / 2 % 2];
        let threat = crate::writer::Threat::new(kind, [0.0, 0.01, 0.1][round % 3]);
        let input = stream.many(4, 1.0);
        let (model, state) = prepared(&net, &threat, &input, false);
        for row in [vec![(0, 1)], vec![(1, -1)], vec![(0, 1), (2, -1)]] {
            let bound = [Reach::PerUse, Reach::Near].map(|reach| {
                Rational::from(Pass { model: &model, state: &state, reach }.bound(5, &row, None))
            });
            for _ in 0..12 {
                let outputs = exact(&net, &threat, &input, &mut stream);
                let value = row.iter().fold(rational(0.0), |sum, &(j, sign)| {
                    if sign > 0 { sum.plus(&outputs[j]) } else { sum.minus(&outputs[j]) }
                });
                assert!(bound.iter().all(|bound| *bound <= value), "{bound:?} {value:?}");
                // Without radii only rounding is between them.
                let rest = value.minus(&bound[0]);
                tight += usize::from(rest < rational(1e-9).times(&value.magnitude().max(rational(1.0))));
            }
        }
    }
    assert!(tight > 500, "{tight}");
}

/// A member of the set: parameters at ends of their boxes or on the sphere of their ball, inputs at ends, every activation with an
/// error of full size; the last layer at its worst for the row.
fn member(net: &Net, threat: &crate::writer::Threat, input: &[f64], row: &[f64], stream: &mut Stream) -> f64 {
    let mut values: Vec<Vec<f64>> = Vec::new();
    let last = net.nodes.len() - 1;
    for (index, node) in net.nodes.iter().enumerate() {
        let z = node.inputs.first().map(|&i| values[i].clone()).unwrap_or_default();
        let mut moved = net.clone();
        if let (Some((rows, weight, bias)), Op::Dense { .. } | Op::Conv { .. }) =
            (net.parameters(index), &node.op)
        {
            let (radii, bias_radii) = net.radii(index, threat);
            let columns = weight.len() / rows;
            // Directions of rows: against the row of the specification at the end, else any.
            let t: Vec<f64> =
                (0..rows).map(|i| if index == last { -row[i] } else { stream.next().signum() }).collect();
            let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-300);
            // What each weight of a row is turned to: its input, and of a kernel all that it meets.
            let towards: Vec<f64> = match &node.op {
                Op::Conv { window, .. } => {
                    let mut met = vec![0.0; columns];
                    let taps = (0..window.positions()).flat_map(|p| window.taps(0, p));
                    taps.for_each(|(column, j)| met[column] += z[j]);
                    met
                }
                _ => z.clone(),
            };
            let change = |k: usize| {
                let (i, z) = (k / columns, towards[k % columns]);
                match threat.kind {
                    Kind::Frobenius => threat.radius * t[i] / norm(&t) * z / norm(&towards),
                    Kind::RowBall => threat.radius * t[i] * z / norm(&towards),
                    _ => radii[k] * t[i] * z.signum(),
                }
            };
            let w = (0..weight.len()).map(|k| weight[k] + change(k)).collect();
            let b = bias.map(|bias| (0..rows).map(|i| bias[i] + bias_radii[i] * t[i]).collect());
            match &mut moved.nodes[index].op {
                Op::Dense { weight, bias, .. } | Op::Conv { weight, bias, .. } => (*weight, *bias) = (w, b),
                _ => unreachable!(),
            }
        }
        let plain = crate::writer::Threat::new(Kind::Absolute, 0.0);
        let mut value = match &node.op {
            Op::Input(_) => input.iter().map(|x| x + threat.input_radius * stream.next().signum()).collect(),
            Op::Add => (0..node.width).map(|j| node.inputs.iter().map(|&i| values[i][j]).sum()).collect(),
            Op::Gather(source, constant) => {
                let all: Vec<f64> = node.inputs.iter().flat_map(|&i| values[i].clone()).collect();
                source.iter().map(|k| k.map_or(*constant, |k| all[k])).collect()
            }
            _ => {
                // The node alone.
                let mut one = Net::new(&net.nodes[node.inputs[0]].shape);
                one.push(moved.nodes[index].op.clone(), &[0]);
                Bounder::new(&one, &plain).forward(&z)
            }
        };
        if is_activation(&node.op) {
            value.iter_mut().for_each(|z| *z += threat.activation_radius * stream.next().signum());
        }
        values.push(value);
    }
    values[last].iter().zip(row).map(|(z, c)| z * c).sum()
}

#[test]
fn no_member_is_below_a_bound_with_any_choice() {
    let mut stream = Stream(47);
    let kinds =
        [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Entries, Kind::Frobenius, Kind::RowBall];
    for (name, net) in networks() {
        for kind in kinds {
            for round in 0..6 {
                let (input_radius, activation_radius) =
                    ([0.0, 0.3, 0.0][round % 3], [0.0, 0.0, 0.1][round % 3]);
                let threat = crate::writer::Threat {
                    kind,
                    radius: [0.2, 0.01][round / 3],
                    input_radius,
                    activation_radius,
                };
                let input = stream.many(net.nodes[0].width, 1.0);
                let (model, state) = prepared(&net, &threat, &input, false);
                let output = net.nodes.len() - 1;
                let row = [1.0, -1.0];
                let mut least = f64::MAX;
                for _ in 0..40 {
                    let all: Vec<f64> =
                        (0..net.nodes[output].width).map(|j| row.get(j).copied().unwrap_or(0.0)).collect();
                    least = least.min(member(&net, &threat, &input, &all, &mut stream));
                }
                for choice in 0..6 {
                    let number = |x: f64| Number::from_double(x.to_bits()).unwrap();
                    let mut chosen =
                        Chosen { slopes: vec![None; output + 1], multipliers: vec![None; output + 1] };
                    for (index, node) in net.nodes.iter().enumerate().take(output).filter(|_| choice > 0) {
                        if matches!(node.op, Op::Relu) {
                            let slopes = (0..node.width).map(|_| Some(number(stream.next().abs())));
                            chosen.slopes[index] = Some(slopes.collect());
                        }
                        let multipliers = (0..node.width).map(|_| number(stream.next() * f64::from(choice)));
                        chosen.multipliers[index] = (choice % 2 == 0).then(|| multipliers.collect());
                    }
                    for reach in [Reach::Near, Reach::PerUse, Reach::Shared] {
                        let pass = Pass { model: &model, state: &state, reach };
                        let bound = pass.bound(output, &[(0, 1), (1, -1)], Some(&chosen));
                        let room = rational(1e-9 * (1.0 + least.abs()));
                        let what = format!("{name}, {threat:?}, {reach:?}, choice {choice}");
                        assert!(
                            Rational::from(bound) <= rational(least).plus(&room),
                            "{what}: {bound}, {least} found"
                        );
                    }
                }
            }
        }
    }
}

/// One layer of a fixed input, and an activation with an error: bounds that can be written down.
#[test]
fn bounds_by_hand() {
    let mut net = Net::new(&[2]);
    net.push(Op::Dense { rows: 2, weight: vec![1.0, 2.0, 3.0, -1.0], bias: Some(vec![0.0, 0.0]) }, &[0]);
    let bound = |net: &Net, threat: &crate::writer::Threat, row: &[(usize, i64)]| {
        let (model, state) = prepared(net, threat, &[3.0, 4.0], false);
        Pass { model: &model, state: &state, reach: Reach::PerUse }.bound(net.nodes.len() - 1, row, None)
    };
    let near = |x: Number, y: f64| {
        let apart = rational(y).minus(&x.into());
        !apart.is_negative() && apart < rational(1e-12)
    };
    // p = (11, 5), and the norm of the input is 5.
    assert!(near(
        bound(&net, &crate::writer::Threat::new(Kind::RowBall, 0.25), &[(0, 1)]),
        11.0 - 0.25 * 5.0 - 0.25
    ));
    let ball = crate::writer::Threat::new(Kind::Frobenius, 0.25);
    let expected = 6.0 - 0.25 * 2_f64.sqrt() * 5.0 - 0.5;
    let found: Rational = bound(&net, &ball, &[(0, 1), (1, -1)]).into();
    assert!(found <= rational(expected + 1e-12) && found >= rational(expected - 1e-12), "{found:?}");
    // A kernel of one weight at the inputs 3 and 4: at both it meets their sum; the first channel at 3 and the second at 4 are two weights.
    let mut kernels = Net::new(&[1, 1, 2]);
    kernels.push(
        Op::Conv { window: window([1, 1, 2], 2, [1, 1]), weight: vec![1.0, 2.0], bias: Some(vec![0.0; 2]) },
        &[0],
    );
    let both = [(0, 1), (1, 1)];
    assert!(near(
        bound(&kernels, &crate::writer::Threat::new(Kind::RowBall, 0.25), &both),
        7.0 - 0.25 * 7.0 - 0.5
    ));
    let crossed = [(0, 1), (3, -1)];
    for (kind, length) in [(Kind::RowBall, 3.0 + 4.0), (Kind::Frobenius, 5.0)] {
        let found = bound(&kernels, &crate::writer::Threat::new(kind, 0.25), &crossed);
        assert!(near(found, 3.0 - 8.0 - 0.25 * length - 0.5), "{kind:?}: {found}");
    }
    net.then(Op::Relu);
    net.push(Op::Dense { rows: 1, weight: vec![2.0, -1.0], bias: None }, &[2]);
    let noisy =
        crate::writer::Threat { activation_radius: 0.125, ..crate::writer::Threat::new(Kind::Absolute, 0.0) };
    assert!(near(bound(&net, &noisy, &[(0, 1)]), 17.0 - 3.0 * 0.125));

    // max(z, w) for z in [−1, 1], w in [−1.75, 0.25]: at most z + 0.625 (w + 1.75), which is less than 1 in the middle.
    let mut net = Net::new(&[1, 1, 2]);
    net.then(Op::MaxPool(window([1, 1, 2], 1, [1, 2])));
    net.then(Op::Reshape(vec![1]));
    let threat =
        crate::writer::Threat { input_radius: 1.0, ..crate::writer::Threat::new(Kind::Absolute, 0.0) };
    let (model, state) = prepared(&net, &threat, &[0.0, -0.75], false);
    let bound =
        |sign| Pass { model: &model, state: &state, reach: Reach::PerUse }.bound(2, &[(0, sign)], None);
    assert!(near(bound(-1), -2.25) && near(bound(1), -1.0));
    // One kernel of two weights at two positions, whose sums meet: p = (w + 2 v, 2 w + 3 v) + (b, b).
    let mut net = Net::new(&[1, 1, 3]);
    let conv = window([1, 1, 3], 1, [1, 2]);
    net.push(Op::Conv { window: conv, weight: vec![1.0, 1.0], bias: Some(vec![0.5]) }, &[0]);
    net.then(Op::Reshape(vec![2]));
    let threat = crate::writer::Threat::new(Kind::Absolute, 0.25);
    let (model, state) = prepared(&net, &threat, &[1.0, 2.0, 3.0], false);
    let bound =
        |start, reach| Pass { model: &model, state: &state, reach }.bound(start, &[(0, 1), (1, -1)], None);
    // p₀ − p₁ = −w − v, and the biases cancel.
    let (together, apart) = (-2.0 - 0.25 * 2.0, -2.0 - 0.25 * (3.0 + 5.0 + 2.0));
    assert!(near(bound(1, Reach::PerUse), apart) && near(bound(1, Reach::Shared), together));
    assert!(near(bound(2, Reach::PerUse), together) && near(bound(2, Reach::Near), together));
    let opposite =
        Pass { model: &model, state: &state, reach: Reach::Shared }.bound(1, &[(0, -1), (1, 1)], None);
    assert!(near(opposite, 2.0 - 0.25 * 2.0));
    // Each pixel moves by 1: the sums that w and v meet are in [−3, 1], and −|S|/4 ≥ (S − 3)/8 there.
    let threat = crate::writer::Threat { input_radius: 1.0, ..threat };
    let (model, state) = prepared(&net, &threat, &[1.0, 2.0, 3.0], false);
    let moving =
        Pass { model: &model, state: &state, reach: Reach::Shared }.bound(1, &[(0, 1), (1, -1)], None);
    let text = moving.to_string();
    assert!(near(moving, 1.125 * (0.0 - 4.0) - 0.75), "{text}");
}
