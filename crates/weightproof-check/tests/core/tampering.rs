//! Certificates that were changed are rejected: a table of kinds of tampering.

use crate::hits::{self, Faults};
use crate::writer::format::*;
use crate::writer::{Bounder, Kind, Net, Op, Stream, compressed, double, finished, header, window};
use weightproof_check::network::Window;
use weightproof_check::run::Opened;

/// A certificate in parts, and its model.
#[derive(Clone)]
struct Case {
    header: Header,
    records: Vec<Record>,
    model: Vec<u8>,
}

impl Case {
    fn new(net: &Net, threat: &crate::writer::Threat, property: Property, records: Vec<Record>) -> Case {
        Case { header: header(net, threat, property), records, model: net.onnx() }
    }

    fn lines(&self) -> Vec<String> {
        crate::writer::lines(&self.header, &self.records)
    }

    fn domains(&mut self) -> &mut Vec<Domain> {
        match &mut self.records[0].verdict {
            Verdict::Verified(domains) => domains,
            other => panic!("{other:?}"),
        }
    }

    fn witness(&mut self) -> &mut Witness {
        match &mut self.records[0].verdict {
            Verdict::Falsified(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    fn weight(&mut self, node: usize) -> &mut String {
        match &mut self.header.network[node].op {
            OpText::Dense { weight, .. } | OpText::Conv { weight, .. } => weight,
            other => panic!("{other:?}"),
        }
    }
}

/// Why a file is not accepted; `None` when all of it is.
fn complaint(file: &[u8], model: &[u8]) -> Option<String> {
    let mut opened = match Opened::new(file, model) {
        Ok(opened) => opened,
        Err(problem) => return Some(problem.to_string()),
    };
    let mut first = None;
    let end = opened.check(1, |finding| {
        if let Err(why) = finding.result {
            first.get_or_insert(why);
        }
    });
    end.err().map(|problem| problem.to_string()).or(first)
}

/// Parameters, inputs and radii with few bits: every sum of the interval method is exact in f64.
fn exact() -> Case {
    let stream = &mut Stream(3);
    let mut net = Net::layers(&[4, 6, 5, 3], stream);
    for node in &mut net.nodes {
        if let Op::Dense { weight, bias: Some(bias), .. } = &mut node.op {
            weight.iter_mut().chain(bias).for_each(|w| *w = (*w * 8.0).round() / 8.0);
        }
    }
    let threat = crate::writer::Threat::new(Kind::Absolute, 1.0 / 1024.0);
    let mut bounder = Bounder::new(&net, &threat);
    bounder.widening = 0.0;
    let records = (0..8).map(|sample| {
        let input: Vec<f64> = stream.many(4, 1.0).iter().map(|x| (x * 8.0).round() / 8.0).collect();
        let mut record = bounder.linear_record(sample, &input);
        if let Verdict::Verified(domains) = &mut record.verdict {
            domains[0].boxes.truncate(1);
        }
        record
    });
    let records: Vec<Record> =
        records.filter(|r| matches!(r.verdict, Verdict::Verified(_))).take(3).collect();
    assert_eq!(records.len(), 3);
    Case::new(&net, &threat, Property::Label, records)
}

fn linear(kind: Kind) -> Case {
    let net = Net::layers(&[5, 10, 8, 3], &mut Stream(17));
    let threat = crate::writer::Threat::new(kind, 0.004);
    let mut stream = Stream(19);
    let records =
        (0..12).map(|sample| Bounder::new(&net, &threat).linear_record(sample, &stream.many(5, 1.0)));
    let records: Vec<Record> =
        records.filter(|r| matches!(r.verdict, Verdict::Verified(_))).take(3).collect();
    assert_eq!(records.len(), 3);
    Case::new(&net, &threat, Property::Prediction, records)
}

/// A number format.
fn format() -> Case {
    let mut case = linear(Kind::Absolute);
    let net = Net::layers(&[5, 10, 8, 3], &mut Stream(17));
    let threat = crate::writer::Threat::new(crate::writer::BF16, 1.0);
    let mut stream = Stream(19);
    let records =
        (0..12).map(|sample| Bounder::new(&net, &threat).linear_record(sample, &stream.many(5, 1.0)));
    case.records = records.filter(|r| matches!(r.verdict, Verdict::Verified(_))).take(3).collect();
    assert_eq!(case.records.len(), 3);
    case.header = header(&net, &threat, Property::Prediction);
    case
}

fn deviation() -> Case {
    let mut case = linear(Kind::Absolute);
    case.header.property = Property::Deviation { tolerance: double(&[1.0]) };
    case.records.iter_mut().for_each(|record| record.class = None);
    case
}

fn tree() -> Case {
    let threat =
        crate::writer::Threat { input_radius: 0.08, ..crate::writer::Threat::new(Kind::Absolute, 0.02) };
    let is_split = |r: &Record| matches!(&r.verdict, Verdict::Verified(domains) if domains.len() > 4);
    let found = (0..200).find_map(|seed| {
        let mut stream = Stream(seed);
        let net = Net::layers(&[6, 12, 10, 4], &mut stream);
        let record = Bounder::new(&net, &threat).tree_record(0, &stream.many(6, 1.0), 60);
        record.filter(is_split).map(|record| (net, record))
    });
    let (net, record) = found.unwrap();
    let mut records = vec![record];
    let row = if records[0].class == Some(0) { 1 } else { 0 };
    // Slopes and multipliers of one row of the last domain: any will do, where the bound stays above zero.
    let Verdict::Verified(domains) = &mut records[0].verdict else { unreachable!() };
    let last = domains.iter_mut().rev().find(|d| d.split.is_none() && !d.boxes.is_empty()).unwrap();
    let numbers = |node, values: &[f64]| NodeNumbers { node, elements: None, values: double(values) };
    let slopes = vec![numbers(2, &[0.5; 12]), numbers(4, &[0.5; 10])];
    last.rows.push(RowClaim { row, slopes, multipliers: vec![numbers(3, &[0.0; 10])] });
    Case::new(&net, &threat, Property::Label, records)
}

fn falsified(shares: bool) -> Case {
    let net = Net::layers(&[5, 10, 8, 3], &mut Stream(23));
    let threat = crate::writer::Threat::new(Kind::Absolute, 0.1);
    let mut stream = Stream(29);
    let record = |sample| Bounder::new(&net, &threat).witness_record(sample, &stream.many(5, 1.0), shares);
    let records: Vec<Record> = (0..20).filter_map(record).take(2).collect();
    assert_eq!(records.len(), 2);
    Case::new(&net, &threat, Property::Prediction, records)
}

fn images() -> Case {
    let stream = &mut Stream(31);
    let mut net = Net::new(&[1, 4, 4]);
    net.conv(Window { padding: [[1, 1]; 2], stride: [2, 2], ..window([1, 4, 4], 3, [3, 3]) }, stream);
    net.then(Op::Leaky(0.125));
    net.then(Op::MaxPool(Window { groups: 3, ..window([3, 2, 2], 3, [2, 1]) }));
    net.then(Op::AveragePool(Window { groups: 3, ..window([3, 1, 2], 3, [1, 2]) }));
    net.then(Op::Reshape(vec![3]));
    net.dense(3, stream);
    let threat = crate::writer::Threat::new(Kind::Absolute, 0.001);
    let records =
        (0..12).map(|sample| Bounder::new(&net, &threat).linear_record(sample, &stream.many(16, 1.0)));
    let records: Vec<Record> =
        records.filter(|r| matches!(r.verdict, Verdict::Verified(_))).take(2).collect();
    Case::new(&net, &threat, Property::Label, records)
}

/// Steps of stored integers, quantizers.
fn stored(kind: Kind) -> Case {
    let net = crate::accepts::stored(5).swap_remove(1);
    let threat = crate::writer::Threat::new(kind, 1.0);
    let mut stream = Stream(3);
    let records =
        (0..12).map(|sample| Bounder::new(&net, &threat).linear_record(sample, &stream.many(5, 1.0)));
    let records: Vec<Record> =
        records.filter(|r| matches!(r.verdict, Verdict::Verified(_))).take(2).collect();
    assert_eq!(records.len(), 2);
    Case::new(&net, &threat, Property::Label, records)
}

/// Single hits.
fn hit() -> Case {
    let mut case = stored(Kind::Lsb);
    let net = crate::accepts::stored(5).swap_remove(1);
    case.header = Faults::new(1, 1, &[0, 1], &[0, 1]).header(&net, 0.0);
    case.records.iter_mut().for_each(|record| record.verdict = Verdict::Verified(vec![]));
    case
}

/// Hits on two words: claimed boxes, or a witness.
fn several((net, header, records): (Net, Header, Vec<Record>)) -> Case {
    Case { header, records, model: net.onnx() }
}

/// Chosen elements, and outputs between two ends.
fn chosen() -> Case {
    let (_, mut net) = crate::writer::networks().pop().unwrap();
    let own = net.clone();
    // What the checker adds to the model.
    net.then(Op::Gather(vec![None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)], 0.0));
    let signs = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0].to_vec();
    net.then(Op::Scale { scale: signs, shift: [0.0, -8.0, -8.0, -8.0, -8.0, -8.0, -8.0].to_vec() });
    let threat = crate::writer::Threat::new(Kind::Absolute, 0.002);
    let record = Bounder::new(&net, &threat).linear_record(0, &Stream(9).many(5, 1.0));
    assert!(matches!(record.verdict, Verdict::Verified(_)) && record.class == Some(0), "{record:?}");
    let mut case = Case::new(&net, &threat, Property::Label, vec![record]);
    case.model = own.onnx();
    case.header.model_sha256 = header(&own, &threat, Property::Label).model_sha256;
    case.header.outputs =
        Some(serde_json::json!({ "within": { "lower": double(&[-8.0]), "upper": double(&[8.0]) } }));
    case
}

/// Hits on words of a network of floating-point numbers; one sample, of which the proof matters little.
fn of_rounded() -> Case {
    let mut case = several(hits::of_rounded(2, &Faults::new(1, 1, &[1], &[2])));
    case.records.truncate(1);
    case.records[0].verdict = Verdict::Unknown("nothing".into());
    case
}

/// Replaces number `place` of a text of numbers in double precision.
fn put(text: &mut String, place: usize, value: f64) {
    put_bits(text, place, value.to_bits());
}

fn put_bits(text: &mut String, place: usize, bits: u64) {
    let (size, at) = if text.starts_with('s') { (8, 1 + 8 * place) } else { (16, 1 + 16 * place) };
    let digits = if size == 8 {
        format!("{:08x}", (f64::from_bits(bits) as f32).to_bits())
    } else {
        format!("{bits:016x}")
    };
    text.replace_range(at..at + size, &digits);
}

fn get(text: &str, place: usize) -> f64 {
    if text.starts_with('s') {
        let digits = &text[1 + 8 * place..][..8];
        return f64::from(f32::from_bits(u32::from_str_radix(digits, 16).unwrap()));
    }
    f64::from_bits(u64::from_str_radix(&text[1 + 16 * place..][..16], 16).unwrap())
}

fn bump(text: &mut String, place: usize, change: impl Fn(f64) -> f64) {
    put(text, place, change(get(text, place)));
}

fn uniform(set: &mut WeightSet) -> &mut String {
    match set {
        WeightSet::Uniform(text) | WeightSet::Relative(text) => text,
        other => panic!("{other:?}"),
    }
}

fn split(case: &mut Case) -> &mut Split {
    case.domains()[0].split.as_mut().unwrap()
}

/// The row with slopes and multipliers.
fn row(case: &mut Case) -> &mut RowClaim {
    case.domains().iter_mut().find_map(|domain| domain.rows.first_mut()).unwrap()
}

fn moved(case: &mut Case) -> &mut String {
    match &mut case.witness().layers[0].to {
        Moved::Parameters { weight, .. } => weight,
        Moved::Rows(t) => t,
    }
}

type Change = (&'static str, fn(&mut Case));

const OF_HEADER: &[Change] = &[
    ("another schema", |c| c.header.schema = 2),
    ("a wrong hash of the model", |c| c.header.model_sha256.replace_range(0..1, "g")),
    ("another model", |c| c.model.push(0)),
    ("a weight moved by a unit in its last place", |c| {
        bump(c.weight(1), 0, |w| f64::from((w as f32).next_up()))
    }),
    ("two weights swapped", |c| {
        let (a, b) = (get(c.weight(1), 0), get(c.weight(1), 1));
        put(c.weight(1), 0, b);
        put(c.weight(1), 1, a);
    }),
    ("a weight that is NaN", |c| put(c.weight(1), 2, f64::NAN)),
    ("a weight that is infinite", |c| put(c.weight(1), 2, f64::INFINITY)),
    ("a weight too few", |c| c.weight(1).truncate(1 + 8 * 23)),
    ("a digit that is none", |c| c.weight(1).replace_range(5..6, "x")),
    ("biases dropped", |c| {
        let OpText::Dense { bias, .. } = &mut c.header.network[1].op else { panic!() };
        *bias = None;
    }),
    ("a bias changed", |c| {
        let OpText::Dense { bias: Some(bias), .. } = &mut c.header.network[1].op else { panic!() };
        bump(bias, 0, |b| b + 1.0);
    }),
    ("a ReLU made a change of shape", |c| c.header.network[2].op = OpText::Reshape),
    ("a node that reads itself", |c| c.header.network[2].inputs = vec![2]),
    ("a node that reads the input", |c| c.header.network[4].inputs = vec![0]),
    ("a network without nodes", |c| c.header.network.clear()),
    ("the last layer left out", |c| drop(c.header.network.pop())),
    ("a radius shrunk by a unit in its last place", |c| {
        bump(uniform(&mut c.header.set[1].weights), 0, f64::next_down)
    }),
    ("a radius of biases shrunk", |c| bump(c.header.set[0].bias.as_mut().unwrap(), 2, f64::next_down)),
    ("radii of biases left out", |c| c.header.set[0].bias = None),
    ("a layer left out of the set", |c| drop(c.header.set.remove(1))),
    ("a layer twice in the set", |c| {
        let again = c.header.set[0].clone();
        c.header.set.push(again);
    }),
    ("a set of a node without parameters", |c| c.header.set[0].node = 2),
    ("a set of a node that is not there", |c| c.header.set[0].node = 99),
    ("a radius that is negative", |c| put(uniform(&mut c.header.set[0].weights), 0, -1.0)),
    ("a radius that is NaN", |c| put(uniform(&mut c.header.set[0].weights), 0, f64::NAN)),
    ("a ball in place of a box", |c| c.header.set[0].weights = WeightSet::Ball(double(&[1.0]))),
    ("a documented radius that is larger", |c| c.header.threat.radius = Some(double(&[0.5]))),
    ("no documented radius", |c| c.header.threat.radius = None),
    ("a kind of threat that is not known", |c| c.header.threat.kind = "adiabatic".into()),
    ("another kind of threat", |c| c.header.threat.kind = "frobenius".into()),
    ("a layer that is not there", |c| c.header.threat.layers = Some(vec!["dense9".into()])),
    ("an input radius that is negative", |c| c.header.threat.input_radius = double(&[-0.5])),
    ("a larger input radius than the boxes have", |c| c.header.threat.input_radius = double(&[0.5])),
    ("a larger error of activations than the rows have", |c| {
        c.header.threat.activation_radius = double(&[9.0])
    }),
];

const OF_RECORDS: &[Change] = &[
    ("a lower end moved inward by a unit in its last place", |c| {
        bump(&mut c.domains()[0].boxes[0].lower, 1, f64::next_up)
    }),
    ("an upper end moved inward by a unit in its last place", |c| {
        bump(&mut c.domains()[0].boxes[0].upper, 5, f64::next_down);
    }),
    ("a box that is a point", |c| {
        let lower = c.domains()[0].boxes[0].lower.clone();
        c.domains()[0].boxes[0].upper = lower;
    }),
    ("ends in the wrong order", |c| {
        let claim = &mut c.domains()[0].boxes[0];
        std::mem::swap(&mut claim.lower, &mut claim.upper);
    }),
    ("an end that is NaN", |c| put(&mut c.domains()[0].boxes[0].lower, 0, f64::NAN)),
    ("an end that is infinite", |c| put(&mut c.domains()[0].boxes[0].lower, 0, f64::NEG_INFINITY)),
    ("a box of too few elements", |c| c.domains()[0].boxes[0].lower.truncate(1 + 16 * 5)),
    ("only some elements", |c| c.domains()[0].boxes[0].elements = Some(vec![0, 1, 2])),
    ("a box so wide that no row is proved", |c| put(&mut c.domains()[0].boxes[0].upper, 0, 1e9)),
    ("the box of another node", |c| c.domains()[0].boxes[0].node = 3),
    ("the box of a node that is not there", |c| c.domains()[0].boxes[0].node = 99),
    ("a box twice", |c| {
        let again = c.domains()[0].boxes[0].clone();
        c.domains()[0].boxes.push(again);
    }),
    ("a better box of a ReLU than follows", |c| {
        let mut claim = c.domains()[0].boxes[0].clone();
        (claim.node, claim.lower) = (2, double(&[0.0; 6]));
        claim.upper = double(&[1e-6; 6]);
        c.domains()[0].boxes.push(claim);
    }),
    ("another class", |c| c.records[0].class = c.records[0].class.map(|class| (class + 1) % 3)),
    ("a class that is not there", |c| c.records[0].class = Some(3)),
    ("no class", |c| c.records[0].class = None),
    ("another input", |c| bump(&mut c.records[0].input, 0, |x| x + 1.0)),
    ("an input that is NaN", |c| put(&mut c.records[0].input, 0, f64::NAN)),
    ("an input too short", |c| c.records[0].input.truncate(1 + 16 * 3)),
    ("samples in another order", |c| c.records.swap(0, 1)),
    ("a sample twice", |c| c.records[1] = c.records[0].clone()),
    ("verified without a domain", |c| c.domains().clear()),
    ("a domain that nothing leads to", |c| c.domains().push(Domain::default())),
    ("a whole set that is said to be empty", |c| {
        c.domains()[0].empty = Some(Element { node: 3, element: 0 })
    }),
    ("a row that is not there", |c| c.domains()[0].rows.push(RowClaim { row: 7, ..RowClaim::default() })),
    ("a row twice", |c| {
        let row = if c.records[0].class == Some(0) { 1 } else { 0 };
        let claim = RowClaim { row, ..RowClaim::default() };
        c.domains()[0].rows = vec![claim.clone(), claim];
    }),
];

const OF_TREES: &[Change] = &[
    ("a leaf left out", |c| drop(c.domains().pop())),
    ("a part that is the whole", |c| split(c).below = 0),
    ("one part twice", |c| {
        let above = split(c).above;
        split(c).below = above;
    }),
    ("a part that is not there", |c| split(c).above = 10_000),
    ("a split at another value", |c| put(&mut split(c).value, 0, 0.1)),
    ("a split at NaN", |c| put(&mut split(c).value, 0, f64::NAN)),
    ("a split of an element that is not there", |c| split(c).element = 12),
    ("a split of a node that is not there", |c| split(c).node = 99),
    ("a split of another element", |c| split(c).element = (split(c).element + 1) % 10),
    ("parts swapped", |c| {
        let part = split(c);
        std::mem::swap(&mut part.below, &mut part.above);
    }),
    ("no split where one is needed", |c| {
        c.domains().truncate(1);
        c.domains()[0].split = None;
    }),
    ("a leaf that is said to be empty", |c| {
        let leaf = c.domains().iter_mut().rfind(|d| d.split.is_none() && !d.boxes.is_empty()).unwrap();
        leaf.empty = Some(Element { node: 3, element: 0 });
    }),
    ("a slope above 1", |c| put(&mut row(c).slopes[0].values, 0, 1.0_f64.next_up())),
    ("a slope below 0", |c| put(&mut row(c).slopes[0].values, 0, -1e-300)),
    ("a slope that is NaN", |c| put(&mut row(c).slopes[0].values, 0, f64::NAN)),
    ("slopes too few", |c| row(c).slopes[0].values.truncate(1 + 16 * 3)),
    ("slopes of a layer", |c| row(c).slopes[0].node = 1),
    ("slopes of a node that is not there", |c| row(c).slopes[0].node = 99),
    ("multipliers too few", |c| row(c).multipliers[0].values.truncate(1 + 16 * 3)),
    ("a multiplier that is infinite", |c| put(&mut row(c).multipliers[0].values, 0, f64::INFINITY)),
    ("multipliers of elements that do not rise", |c| row(c).multipliers[0].elements = Some(vec![1; 10])),
];

const OF_WITNESSES: &[Change] = &[
    ("a row that holds", |c| {
        let class = c.records[0].class.unwrap();
        let row = c.witness().row;
        c.witness().row = 3 - class - row;
    }),
    ("the row of the class itself", |c| c.witness().row = c.records[0].class.unwrap()),
    ("nothing moved", |c| c.witness().layers.clear()),
    ("a layer moved twice", |c| {
        let again = c.witness().layers[0].clone();
        c.witness().layers.push(again);
    }),
    ("a node without parameters moved", |c| c.witness().layers[0].node = 2),
    ("moved to NaN", |c| put(moved(c), 0, f64::NAN)),
    ("moved out of the set", |c| bump(moved(c), 3, |w| w + 1.1_f64.copysign(w))),
    ("too few numbers", |c| {
        let size = moved(c).len() - 16;
        moved(c).truncate(size);
    }),
    ("an input that moves although it must not", |c| c.witness().input = Some(double(&[0.5; 5]))),
    ("a class that the network does not say", |c| {
        let (class, row) = (c.records[0].class.unwrap(), c.witness().row);
        c.records[0].class = Some(3 - class - row);
    }),
    ("a radius that the witness does not keep", |c| {
        c.header.threat.radius = Some(double(&[0.05]));
        c.header.set.iter_mut().for_each(|layer| put(uniform(&mut layer.weights), 0, 0.05));
    }),
];

fn integers(case: &mut Case) -> &mut StoredText {
    let OpText::Dense { stored: Some(stored), .. } = &mut case.header.network[1].op else { panic!() };
    stored
}

fn quantizer(case: &mut Case, change: impl Fn(&mut String, &mut i32, &mut i32, &mut i32)) {
    let OpText::Activation(ActivationText::Quantize { step, zero, low, high }) =
        &mut case.header.network[2].op
    else {
        panic!()
    };
    change(step, zero, low, high);
}

const OF_INTEGERS: &[Change] = &[
    ("a radius less than a step", |c| {
        let WeightSet::Rows(rows) = &mut c.header.set[1].weights else { panic!() };
        bump(rows, 2, f64::next_down);
    }),
    ("a radius of biases less than a step", |c| {
        bump(c.header.set[1].bias.as_mut().unwrap(), 0, f64::next_down)
    }),
    ("another step of weights", |c| bump(&mut integers(c).steps, 0, |s| 0.5 * s)),
    ("another step of biases", |c| bump(integers(c).bias_steps.as_mut().unwrap(), 0, |s| 0.5 * s)),
    ("no steps of biases", |c| integers(c).bias_steps = None),
    ("too few zero points", |c| integers(c).zeros.truncate(3)),
    ("other bits", |c| integers(c).bits = 7),
    ("integers without sign", |c| integers(c).signed = false),
    ("no integers", |c| {
        let OpText::Dense { stored, .. } = &mut c.header.network[1].op else { panic!() };
        *stored = None;
    }),
    ("another step of a quantizer", |c| quantizer(c, |step, _, _, _| bump(step, 0, |s| 2.0 * s))),
    ("a step of a quantizer that is negative", |c| quantizer(c, |step, _, _, _| bump(step, 0, |s| -s))),
    ("a step of a quantizer that is tiny", |c| quantizer(c, |step, _, _, _| bump(step, 0, |_| 1e-31))),
    ("another zero point", |c| quantizer(c, |_, zero, _, _| *zero += 1)),
    ("a zero point below all integers", |c| quantizer(c, |_, zero, _, _| *zero = -1)),
    ("another least integer", |c| quantizer(c, |_, _, low, _| *low = -1)),
    ("another largest integer", |c| quantizer(c, |_, _, _, high| *high = 254)),
    ("integers from end to end", |c| quantizer(c, |_, _, low, high| (*low, *high) = (i32::MIN, i32::MAX))),
    ("a quantizer left out", |c| c.header.network[2].op = OpText::Reshape),
    ("a rounding that is not known", |c| c.header.threat.rounding = Some("up".into())),
    ("any step, where boxes are for the nearest", |c| c.header.threat.rounding = Some("any".into())),
];

/// Replaces a part of what may be hit.
fn faulty(case: &mut Case, pointer: &str, value: serde_json::Value) {
    *case.header.faults.as_mut().unwrap().pointer_mut(pointer).unwrap() = value;
}

const OF_HITS: &[Change] = &[
    ("all bits, some of which break the sample", |c| {
        (0..3).for_each(|k| faulty(c, &format!("/layers/{k}/weights"), (0..8).collect()));
    }),
    ("biases in the highest bit", |c| faulty(c, "/layers/2/biases", [31].to_vec().into())),
    ("a bit that words have not", |c| faulty(c, "/layers/1/weights", [8].to_vec().into())),
    ("a bit that biases have not", |c| faulty(c, "/layers/1/biases", [32].to_vec().into())),
    ("bits that do not rise", |c| faulty(c, "/layers/1/weights", [1, 0].to_vec().into())),
    ("no flip", |c| faulty(c, "/bits", 0.into())),
    ("hits on a node without words", |c| faulty(c, "/layers/0/node", 2.into())),
    ("hits on a node that is not there", |c| faulty(c, "/layers/0/node", 99.into())),
    ("weights that move beside hits", |c| {
        c.header.set = vec![LayerSet {
            node: 1,
            weights: WeightSet::Uniform(double(&[1e-9])),
            bias: None,
            per_use: false,
        }]
    }),
    ("inputs that move beside hits", |c| c.header.threat.input_radius = double(&[1e-9])),
    ("any step beside hits", |c| c.header.threat.rounding = Some("any".into())),
    ("domains of a proof", |c| c.domains().push(Domain::default())),
    ("another class", |c| c.records[0].class = c.records[0].class.map(|class| (class + 1) % 3)),
    ("two words, of which the record has no proof", |c| faulty(c, "/words", 2.into())),
];

const OF_SEVERAL_HITS: &[Change] = &[
    ("three words, where boxes are for two", |c| faulty(c, "/words", 3.into())),
    ("no word", |c| faulty(c, "/words", 0.into())),
    ("a proof of one word, which is searched", |c| faulty(c, "/words", 1.into())),
    ("two flips, where boxes are for one", |c| faulty(c, "/bits", 2.into())),
    ("a fault that is not known", |c| faulty(c, "/fault", "replace".into())),
    ("another bit of weights", |c| faulty(c, "/layers/0/weights", [0, 2].to_vec().into())),
    ("another bit of biases", |c| faulty(c, "/layers/0/biases", [0, 14].to_vec().into())),
    ("another bit of the last layer", |c| faulty(c, "/layers/1/weights", [0, 6].to_vec().into())),
    ("layers in another order", |c| {
        c.header.faults.as_mut().unwrap()["layers"].as_array_mut().unwrap().reverse()
    }),
    ("a layer listed twice, the second time without bits", |c| {
        let layers = c.header.faults.as_mut().unwrap()["layers"].as_array_mut().unwrap();
        layers.insert(1, serde_json::json!({ "node": 1, "weights": [], "biases": [] }));
    }),
    ("inputs that move, where boxes are for a fixed one", |c| c.header.threat.input_radius = double(&[1e-3])),
    ("a lower end without a part of a damage", |c| bump(&mut c.domains()[0].boxes[0].lower, 0, |l| l + 1e-6)),
    ("an upper end without a part of a damage", |c| {
        bump(&mut c.domains()[0].boxes[0].upper, 1, |u| u - 1e-6)
    }),
    ("no domain", |c| c.domains().clear()),
    ("weights that move beside hits", |c| {
        c.header.set = vec![LayerSet {
            node: 1,
            weights: WeightSet::Uniform(double(&[0.0])),
            bias: None,
            per_use: false,
        }]
    }),
    ("a number format beside hits", |c| {
        (c.header.threat.kind, c.header.threat.radius) = ("format:bf16".into(), Some(double(&[1.0])));
        c.header.threat.layers = Some(vec![]);
    }),
];

const OF_HIT_WITNESSES: &[Change] = &[
    ("three words", |c| {
        let mut third = c.witness().hits[1].clone();
        third.node += 100;
        c.witness().hits.push(third);
    }),
    ("one word, where the witness has two", |c| faulty(c, "/words", 1.into())),
    ("one word twice", |c| c.witness().hits[1] = c.witness().hits[0].clone()),
    ("words in another order", |c| c.witness().hits.reverse()),
    ("a bit that may not flip", |c| c.witness().hits[0].to ^= 1),
    ("a word that is not hit", |c| c.witness().hits[0].to ^= 1 << 2),
    ("an integer of more bits", |c| c.witness().hits[0].to += 1 << 8),
    ("the largest integer", |c| c.witness().hits[1].to = i64::MAX),
    ("a weight that is not there", |c| c.witness().hits[1].word = Place::Weight(1000)),
    ("a bias that is not there", |c| c.witness().hits[1].word = Place::Bias(1000)),
    ("a node without words", |c| c.witness().hits[0].node = 0),
    ("no hit", |c| c.witness().hits.clear()),
    ("one of two hits", |c| c.witness().hits.truncate(1)),
    ("the row of another class", |c| c.witness().row = c.records[0].class.unwrap()),
    ("an input that moves", |c| {
        let mut moved = c.records[0].input.clone();
        bump(&mut moved, 0, |x| x + 1e-3);
        c.witness().input = Some(moved);
    }),
    ("no faults", |c| c.header.faults = None),
    ("bits of another layer", |c| {
        let node = c.witness().hits[0].node;
        for layer in c.header.faults.as_mut().unwrap()["layers"].as_array_mut().unwrap() {
            if layer["node"] == node {
                (layer["weights"], layer["biases"]) = (serde_json::json!([]), serde_json::json!([]));
            }
        }
    }),
];

/// Integers of the first layer of a network that was rounded, with its weights.
fn rounded(case: &mut Case) -> (&mut StoredText, &mut String, &mut String) {
    let OpText::Dense { stored: Some(stored), weight, bias: Some(bias), .. } = &mut case.header.network[1].op
    else {
        panic!()
    };
    (stored, weight, bias)
}

/// Moves number `place` of a text by so many steps.
fn by_steps(text: &mut String, place: usize, step: f64, count: f64) {
    bump(text, place, |w| ((w / step).round() + count) * step);
}

const OF_ROUNDED: &[Change] = &[
    // Its number is between this step and the next.
    ("a weight a step above", |c| {
        let (stored, weight, _) = rounded(c);
        by_steps(weight, 0, get(&stored.steps, 0), 1.0);
    }),
    ("a weight a step below", |c| {
        let (stored, weight, _) = rounded(c);
        by_steps(weight, 0, get(&stored.steps, 0), -1.0);
    }),
    ("a weight at another end", |c| {
        let (stored, weight, _) = rounded(c);
        put(weight, 0, 127.0 * get(&stored.steps, 0));
    }),
    ("a weight that is no multiple of its step", |c| bump(rounded(c).1, 4, |w| w * (1.0 + 1e-9))),
    ("a bias at another end", |c| {
        let (stored, _, bias) = rounded(c);
        put(bias, 0, 127.0 * get(&stored.steps, 0));
    }),
    ("a bias that is not at its end", |c| {
        let (stored, _, bias) = rounded(c);
        by_steps(bias, 0, get(&stored.steps, 0), 2.0);
    }),
    ("a step beyond the last integer", |c| {
        let (stored, _, bias) = rounded(c);
        by_steps(bias, 0, get(&stored.steps, 0), -2.0);
    }),
    ("a step that is negative", |c| bump(&mut rounded(c).0.steps, 0, |s| -s)),
    ("a step of zero", |c| bump(&mut rounded(c).0.steps, 0, |_| 0.0)),
    ("a zero point", |c| rounded(c).0.zeros[0] = 20),
    ("integers of 7 bits", |c| rounded(c).0.bits = 7),
    ("integers of 60 bits", |c| rounded(c).0.bits = 60),
    ("integers without a sign", |c| rounded(c).0.signed = false),
    ("biases without steps", |c| rounded(c).0.bias_steps = None),
    ("a rounding that is not told", |c| rounded(c).0.rounded = false),
    ("a bit that words have not", |c| faulty(c, "/layers/0/weights", [1, 8].to_vec().into())),
    ("a bit that biases have not", |c| faulty(c, "/layers/0/biases", [2, 8].to_vec().into())),
    ("no hits", |c| c.header.faults = None),
    ("another row of integers", |c| {
        let OpText::Dense { rows, .. } = &mut c.header.network[1].op else { panic!() };
        *rows = 3;
    }),
];

fn entries(case: &mut Case) -> &mut String {
    let WeightSet::Entries(text) = &mut case.header.set[1].weights else { panic!() };
    text
}

const OF_FORMATS: &[Change] = &[
    ("a radius less than what rounding does", |c| bump(entries(c), 7, |e| e * (1.0 - 1e-11))),
    ("a radius of biases less than what rounding does", |c| {
        bump(c.header.set[1].bias.as_mut().unwrap(), 2, |e| e * (1.0 - 1e-11))
    }),
    ("a coarser format", |c| c.header.threat.kind = "format:fp8e4m3".into()),
    ("twice the rounding", |c| c.header.threat.radius = Some(double(&[2.0]))),
    ("a multiple that is negative", |c| c.header.threat.radius = Some(double(&[-1.0]))),
    ("a radius of biases of its own", |c| c.header.threat.bias_radius = Some(double(&[0.0]))),
    ("a format that is not known", |c| c.header.threat.kind = "format:fp12".into()),
    ("a layer that does not round", |c| drop(c.header.set.remove(0))),
    ("no radii of biases", |c| c.header.set[0].bias = None),
    ("an input out of the range of the format", |c| put(&mut c.records[0].input, 0, 1e39)),
];

fn chooser(case: &mut Case) -> (&mut Vec<Option<usize>>, &mut String) {
    let OpText::Gather { source, constant } = &mut case.header.network[3].op else { panic!() };
    (source, constant)
}

const OF_CHOICES: &[Change] = &[
    ("another element", |c| chooser(c).0[0] = Some(8)),
    ("an element that is not there", |c| chooser(c).0[0] = Some(14)),
    ("an element in place of the constant", |c| chooser(c).0[2] = Some(1)),
    ("an element too few", |c| chooser(c).0.truncate(8)),
    ("another constant", |c| bump(chooser(c).1, 0, |x| x + 1.0)),
    ("inputs of a choice swapped", |c| c.header.network[3].inputs.reverse()),
    ("another end of outputs", |c| {
        c.header.outputs =
            Some(serde_json::json!({ "within": { "lower": double(&[-8.0]), "upper": double(&[4.0]) } }))
    }),
    ("one end of outputs", |c| {
        c.header.outputs = Some(serde_json::json!({ "within": { "lower": null, "upper": double(&[8.0]) } }))
    }),
    ("no ends of outputs", |c| c.header.outputs = None),
    ("a threshold of three outputs", |c| {
        c.header.outputs = Some(serde_json::json!({ "positive": { "threshold": double(&[0.0]) } }))
    }),
    ("outputs that are beyond an end", |c| c.records[0].class = Some(1)),
    ("outputs that are beyond an end, of which nothing is claimed", |c| {
        c.records[0].class = Some(1);
        c.records[0].verdict = Verdict::Unknown("nothing".into());
    }),
    ("shifts that are not the ends", |c| {
        let OpText::Scale { shift, .. } = &mut c.header.network.last_mut().unwrap().op else { panic!() };
        bump(shift, 1, |x| x + 1.0);
    }),
];

fn all_rejected(base: &Case, changes: &[Change]) -> usize {
    let complain = |case: &Case| complaint(&compressed(&case.lines()), &case.model);
    assert_eq!(complain(base), None);
    for (name, change) in changes {
        let mut case = base.clone();
        change(&mut case);
        let why = complain(&case).unwrap_or_else(|| panic!("accepted: {name}"));
        println!("{name}: {why}");
    }
    changes.len()
}

#[test]
fn tampering_is_rejected() {
    let mut kinds = all_rejected(&exact(), OF_HEADER);
    kinds += all_rejected(&exact(), OF_RECORDS);
    kinds += all_rejected(&tree(), OF_TREES);
    kinds += all_rejected(&falsified(true), OF_WITNESSES);
    all_rejected(&falsified(false), OF_WITNESSES);
    kinds += all_rejected(&stored(Kind::Lsb), OF_INTEGERS);
    kinds += all_rejected(&hit(), OF_HITS);
    kinds += all_rejected(&several(hits::several()), OF_SEVERAL_HITS);
    kinds += all_rejected(&several(hits::broken()), OF_HIT_WITNESSES);
    kinds += all_rejected(&of_rounded(), OF_ROUNDED);
    kinds +=
        all_rejected(&hit(), &[("integers of the file, called rounded", |c| rounded(c).0.rounded = true)]);
    kinds += all_rejected(&chosen(), OF_CHOICES);
    kinds += all_rejected(&format(), OF_FORMATS);
    kinds += all_rejected(
        &linear(Kind::Absolute),
        &[("steps of integers that are not stored", |c| c.header.threat.kind = "lsb".into())],
    );
    kinds += all_rejected(
        &linear(Kind::Relative),
        &[("a relative radius shrunk", |c| bump(uniform(&mut c.header.set[0].weights), 0, f64::next_down))],
    );
    kinds += all_rejected(
        &deviation(),
        &[
            ("a tolerance that is NaN", |c| {
                c.header.property = Property::Deviation { tolerance: double(&[f64::NAN]) }
            }),
            ("a smaller tolerance", |c| {
                c.header.property = Property::Deviation { tolerance: double(&[1e-4]) }
            }),
        ],
    );
    kinds += all_rejected(
        &images(),
        &[
            ("another stride", |c| {
                let OpText::Conv { window, .. } = &mut c.header.network[1].op else { panic!() };
                (window.stride, window.dilation) = ([1, 1], [2, 2]);
            }),
            ("another slope of the network", |c| {
                c.header.network[2].op = OpText::Activation(ActivationText::LeakyRelu(double(&[0.0625])))
            }),
            ("other counts of a mean", |c| {
                let OpText::AveragePool { counts, .. } = &mut c.header.network[4].op else { panic!() };
                counts[0] = 1;
            }),
        ],
    );
    assert!(kinds >= 195, "{kinds} kinds");
}

/// Not only because proofs fail: the network of the certificate is compared with the model.
#[test]
fn another_weight_is_named() {
    let mut case = exact();
    bump(case.weight(1), 0, |w| f64::from((w as f32).next_up()));
    let mut other = chosen();
    chooser(&mut other).0[0] = Some(8);
    for case in [case, other] {
        let why = complaint(&compressed(&case.lines()), &case.model).expect("it is rejected");
        assert!(why.contains("of the model"), "{why}");
    }
}

#[test]
fn damaged_files_are_rejected() {
    let case = linear(Kind::Absolute);
    let lines = case.lines();
    let rejected = |name: &str, file: &[u8]| {
        let why = complaint(file, &case.model).unwrap_or_else(|| panic!("accepted: {name}"));
        println!("{name}: {why}");
    };
    let file = compressed(&lines);
    rejected("the last line left out", &compressed(&lines[..lines.len() - 1]));
    rejected("a record left out", &compressed(&[&lines[..1], &lines[2..]].concat()));
    rejected(
        "lines in another order",
        &compressed(&[&lines[..1], &lines[2..3], &lines[1..2], &lines[3..]].concat()),
    );
    rejected("a line behind the last one", &compressed(&[&lines[..], &lines[1..2]].concat()));
    let mut edited = lines.clone();
    edited[1] = edited[1].replace("\"sample\":", "\"sample\": ");
    rejected("a record edited, the hash of the lines not", &compressed(&edited));
    let mut unknown = lines[..lines.len() - 1].to_vec();
    unknown[1] = unknown[1].replacen("{\"sample\":", "{\"note\":1,\"sample\":", 1);
    rejected("a field that is not known", &compressed(&finished(unknown)));
    rejected("an empty file", &[]);
    rejected("no gzip", b"{\"schema\":1}\n");
    for cut in (0..file.len()).step_by(37) {
        rejected("cut off", &file[..cut]);
    }
    for place in (0..file.len()).step_by(53) {
        let mut flipped = file.clone();
        flipped[place] ^= 1 << (place % 8);
        // Names and times of gzip members are no part of the proof.
        if complaint(&flipped, &case.model).is_none() {
            assert!(flate2::bufread::MultiGzDecoder::new(&flipped[..]).header().is_some());
        }
    }
    // What an interrupted writer leaves: all records before the cut are still reported.
    let mut opened = Opened::new(&file[..file.len() - 60], &case.model).unwrap();
    let mut found = 0;
    assert!(opened.check(1, |finding| found += usize::from(finding.result.is_ok())).is_err());
    assert_eq!(found, 3);
}

/// A row that is listed without slopes and multipliers is proved where it is listed, also in front of a split, and then in no part;
/// listed slopes are used.
#[test]
fn listed_rows() {
    let base = tree();
    let complain = |case: &Case| complaint(&compressed(&case.lines()), &case.model);
    let mut proved = Vec::new();
    for row in (0..4).filter(|row| base.records[0].class != Some(*row)) {
        let mut case = base.clone();
        case.domains().iter_mut().for_each(|domain| domain.rows.clear());
        case.domains()[0].rows = vec![RowClaim { row, ..RowClaim::default() }];
        match complain(&case) {
            None => proved.push(row),
            Some(why) => assert!(why.contains("expected a bound above 0"), "{why}"),
        }
    }
    assert!((1..3).contains(&proved.len()), "the split is for some rows only: {proved:?}");
    let mut twice = base.clone();
    twice.domains()[0].rows = vec![RowClaim { row: proved[0], ..RowClaim::default() }];
    let leaf = twice.domains().iter().rposition(|domain| domain.split.is_none()).unwrap();
    twice.domains()[leaf].rows = twice.domains()[0].rows.clone();
    assert!(complain(&twice).unwrap().contains("there is no such row to prove"));
    // What is told of one row of the whole set, whether it is proved or not.
    let told = |row, node, elements, values: &[f64]| {
        let mut case = base.clone();
        let slopes = vec![NodeNumbers { node, elements, values: double(values) }];
        case.domains().truncate(1);
        case.domains()[0].split = None;
        case.domains()[0].rows = vec![RowClaim { row, slopes, ..RowClaim::default() }];
        let file = compressed(&case.lines());
        let mut opened = Opened::new(&file[..], &case.model).unwrap();
        let (record, mut told) = (opened.find(0).unwrap(), None);
        drop(opened.one(&record, &mut |step| told = told.take().or(step.starts_with("row").then_some(step))));
        told.unwrap()
    };
    let mut matters = false;
    for (node, width) in [(2, 12), (4, 10)] {
        for row in (0..4).filter(|row| base.records[0].class != Some(*row)) {
            let plain = told(row, node, Some(vec![]), &[]);
            matters |= plain != told(row, node, None, &vec![0.0; width]);
            matters |= plain != told(row, node, None, &vec![1.0; width]);
        }
    }
    assert!(matters, "slopes change a bound");
}

/// Writes the header and the model that `fuzz/fuzz_targets/certificate.rs` puts in front of its bytes; run it when the format changes:
/// `cargo test -p weightproof-check --test core tampering:: -- --ignored`.
#[test]
#[ignore = "writes files"]
fn write_fuzz_files() {
    let net = Net::layers(&[2, 3, 2], &mut Stream(1));
    let case = Case::new(&net, &crate::writer::Threat::new(Kind::Absolute, 0.01), Property::Label, vec![]);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    std::fs::write(folder.join("certificate.onnx"), &case.model).unwrap();
    std::fs::write(folder.join("certificate.json"), &case.lines()[0]).unwrap();
}

/// Bytes of lines are changed at random, the hash of the lines is right: an answer, whatever it is, and no end of the program.
#[test]
fn damaged_records_have_an_answer() {
    let mut stream = Stream(37);
    let mut answers = [0, 0];
    for case in [
        exact(),
        tree(),
        falsified(true),
        falsified(false),
        images(),
        stored(Kind::Lsb),
        hit(),
        several(hits::several()),
        several(hits::broken()),
        of_rounded(),
        chosen(),
        format(),
    ] {
        let lines = case.lines();
        for _ in 0..300 {
            let mut changed = lines[..lines.len() - 1].to_vec();
            let line = changed.len() - 1 - (stream.next().abs() * 1.2) as usize % changed.len();
            let mut bytes = changed[line].clone().into_bytes();
            for _ in 0..3 {
                let place = (stream.next().abs() * bytes.len() as f64) as usize;
                bytes[place] = b"0123456789abcdef\"[]{},:-nul"[(stream.next().abs() * 27.0) as usize];
            }
            changed[line] = String::from_utf8(bytes).unwrap();
            let is_rejected = complaint(&compressed(&finished(changed)), &case.model).is_some();
            answers[usize::from(is_rejected)] += 1;
        }
    }
    assert!(answers[1] > 10 * answers[0], "accepted and rejected: {answers:?}");
}
