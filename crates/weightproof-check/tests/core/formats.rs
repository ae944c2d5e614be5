//! Number formats: what the checker proves is what rounding of a linear network may do at worst, and no more.

use crate::writer::format::{Domain, Property, Record, Verdict};
use crate::writer::*;
use weightproof_check::check::Accepted;
use weightproof_check::network::Window;
use weightproof_check::run::Opened;

/// The bound that the checker proves of class 0 of a network with two outputs, or why it does not.
fn proved(
    net: &Net,
    threat: &Threat,
    input: &[f64],
    change: impl Fn(&mut format::Header),
) -> Result<f64, String> {
    let mut header = header(net, threat, Property::Label);
    change(&mut header);
    let verdict = Verdict::Verified(vec![Domain::default()]);
    let record = Record { sample: 0, class: Some(0), input: double(input), verdict };
    let file = compressed(&lines(&header, &[record]));
    let mut opened = Opened::new(&file[..], &net.onnx()).map_err(|problem| problem.to_string())?;
    let mut found = Err("no record".into());
    opened.check(1, |finding| found = finding.result).map_err(|problem| problem.to_string())?;
    match found? {
        Accepted::Verified(least, _) => Ok(least.value as f64 * 2_f64.powi(least.exponent)),
        other => Err(format!("{other:?}")),
    }
}

/// The least output `row` of a layer that reads `z`, or the largest for the sign −1, with all of its radii.
fn end(net: &Net, threat: &Threat, node: usize, (row, sign): (usize, f64), z: &[f64]) -> f64 {
    let (rows, weight, bias) = net.parameters(node).unwrap();
    let (radii, of_bias) = net.radii(node, threat);
    let columns = weight.len() / rows;
    let term = |j: usize| weight[row * columns + j] * z[j] - sign * radii[row * columns + j] * z[j].abs();
    (0..columns).map(term).sum::<f64>() + bias.unwrap()[row] - sign * of_bias[row]
}

/// Biases in single precision that let class 0 win.
fn biases(scale: f64) -> Vec<f64> {
    [4.0, -4.0].map(|b| f64::from((b * scale) as f32)).to_vec()
}

/// Whether two numbers are the same but for a part of 10⁻⁹ and the widths of boxes of 53 bits.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (a.abs() + b.abs())
}

/// Two layers of the input whose outputs are added. Small numbers, so that underflow of the format counts.
#[test]
fn sums_of_layers_are_rounded() {
    let mut found = 0;
    for (seed, (scale, kind)) in
        [(1.0, FP8), (1.0, BF16), (1e-5, FP8), (1e-3, FP8)].into_iter().cycle().take(24).enumerate()
    {
        let stream = &mut Stream(seed as u64);
        let mut net = Net::new(&[3]);
        let layer = |stream: &mut Stream| Op::Dense {
            rows: 2,
            weight: stream.many(6, 1.0),
            bias: Some(biases(scale)),
        };
        let (first, second) = (layer(stream), layer(stream));
        let layers = [net.push(first, &[0]), net.push(second, &[0])];
        net.push(Op::Add, &layers);
        let (threat, z) = (Threat::new(kind, 1.0), stream.many(3, scale));
        let Kind::Format(_, bits, least) = kind else { unreachable!() };
        let (u, eta, gamma, underflow) = rounding(bits, least, 2);
        let (relative, absolute) = ((1.0 + u) * gamma - 1.0, gamma * eta * 2.0 + underflow);
        let output = |row: usize, sign: f64| {
            let ends = layers.map(|node| end(&net, &threat, node, (row, sign), &z));
            ends.map(|p| p - sign * relative * p.abs()).iter().sum::<f64>() - sign * absolute
        };
        let truth = output(0, 1.0) - output(1, -1.0);
        match proved(&net, &threat, &z, |_| {}) {
            Ok(bound) => {
                assert!(is_near(bound, truth), "{seed}: {bound} {truth}");
                found += 1;
            }
            Err(why) => assert!(truth <= 0.0, "{seed}: {truth}, {why}"),
        }
    }
    assert!(found > 12, "{found}");
}

/// A kernel over four positions, whose mean is taken: every use rounds on its own.
#[test]
fn means_and_uses_of_kernels_are_rounded() {
    let mut found = 0;
    for (seed, (scale, kind)) in
        [(1.0, FP8), (1.0, BF16), (1e-4, FP8)].into_iter().cycle().take(18).enumerate()
    {
        let stream = &mut Stream(40 + seed as u64);
        let mut net = Net::new(&[1, 2, 2]);
        let (weight, bias) = (stream.many(2, 1.0), Some(biases(scale)));
        let conv = net.push(Op::Conv { window: window([1, 2, 2], 2, [1, 1]), weight, bias }, &[0]);
        net.then(Op::AveragePool(Window { groups: 2, ..window([2, 2, 2], 2, [2, 2]) }));
        net.then(Op::Reshape(vec![2]));
        let (threat, z) = (Threat::new(kind, 1.0), stream.many(4, scale));
        let Kind::Format(_, bits, least) = kind else { unreachable!() };
        let (u, eta, gamma, underflow) = rounding(bits, least, 6);
        let (relative, absolute) = ((1.0 + u) * gamma - 1.0, gamma * eta + underflow);
        let output = |row: usize, sign: f64| {
            let at = |x: &f64| end(&net, &threat, conv, (row, sign), &[*x]);
            let mean = |p: f64| 0.25 * (p - sign * relative * p.abs());
            z.iter().map(at).map(mean).sum::<f64>() - sign * absolute
        };
        let truth = output(0, 1.0) - output(1, -1.0);
        match proved(&net, &threat, &z, |_| {}) {
            Ok(bound) => {
                assert!(is_near(bound, truth), "{seed}: {bound} {truth}");
                found += 1;
            }
            Err(why) => assert!(truth <= 0.0, "{seed}: {truth}, {why}"),
        }
        let alike = proved(&net, &threat, &z, |header| header.set[0].per_use = false).unwrap_err();
        assert!(alike.contains("move on their own"), "{alike}");
    }
    assert!(found > 8, "{found}");
}

/// Where only some layers round, sums are exact, as the engine has it; values that leave the range of the format are named.
#[test]
fn named_layers_and_ranges() {
    let mut net = Net::new(&[1]);
    let layer = |weight: f64| Op::Dense { rows: 2, weight: vec![weight, 0.0], bias: Some(vec![0.0, -1.0]) };
    net.push(layer(1.0), &[0]);
    net.push(layer(3.0), &[0]);
    net.push(Op::Add, &[1, 2]);
    let threat = Threat::new(FP8, 1.0);
    let all = proved(&net, &threat, &[1.0], |_| {}).unwrap();
    let some =
        proved(&net, &threat, &[1.0], |header| header.threat.layers = Some(vec!["n1".into(), "n2".into()]));
    assert!(all < some.unwrap() - 0.1);
    let said = proved(&net, &threat, &[70_000.0], |_| {}).unwrap_err();
    assert!(said.contains("n0) may read 70000") || said.contains("node 1 (n1) may read"), "{said}");
    let said = proved(&net, &threat, &[30_000.0], |_| {}).unwrap_err();
    assert!(said.contains("node 3 (n3) may read") && said.contains("range of the format"), "{said}");
    let mut large = net.clone();
    large.nodes[1].op = layer(60_000.0);
    let said = proved(&large, &threat, &[0.5], |_| {}).unwrap_err();
    assert!(said.contains("weight (0, 0) is 60000.0, out of the range"), "{said}");
}
