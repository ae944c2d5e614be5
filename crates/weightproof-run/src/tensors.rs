//! Whether the tensors of one file are roundings of those of another, for files of any size: numbers are read in parts.

use crate::RunError;
use crate::faithful::{room, rule};
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::path::Path;
use weightproof::threat::Kind;
use weightproof_formats::FormatError;
use weightproof_formats::tensors::{PART, Storage, TensorEntry, TensorFile};
use weightproof_report::{FaithfulLayer, RoundingRule, SmallestSet, TensorsReport};

/// Kinds of sets in the order of [`Extent`].
const KINDS: [Kind; 5] = [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Frobenius, Kind::RowBall];
/// What a sum of squares of that many numbers may have lost, as a part of itself, is below this times their number.
const OF_SUM: f64 = f64::EPSILON;

/// The block of a report about a file of tensors.
///
/// # Errors
/// A file that can no longer be read.
pub fn describe<R>(path: &Path, file: &TensorFile<R>) -> Result<TensorsReport, RunError> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let bytes = std::fs::metadata(path).map_err(FormatError::io(path))?.len();
    let numbers = file.tensors.iter().map(TensorEntry::len).sum();
    Ok(TensorsReport { name, format: file.format.into(), tensors: file.tensors.len(), numbers, bytes })
}

/// The tensors of two files that have the same names: what each became, and for each kind the smallest set that holds all. Tensors of
/// one dimension are biases.
///
/// # Guarantee
/// Radii are rounded up.
/// # Errors
/// Files whose tensors differ in name or shape, or that can no longer be read.
pub fn compare<R: Read + Seek, S: Read + Seek>(
    float: (&Path, &mut TensorFile<R>),
    rounded: (&Path, &mut TensorFile<S>),
) -> Result<(Vec<FaithfulLayer>, Vec<SmallestSet>), RunError> {
    let ((path, float), (other, rounded)) = (float, rounded);
    let places: HashMap<String, TensorEntry> =
        float.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect();
    if places.len() != rounded.tensors.len() {
        let found = rounded.tensors.len();
        return Err(RunError::misfit(format!(
            "expected {} tensors with names of their own, found {found}",
            places.len()
        )));
    }
    let (mut layers, mut all) = (Vec::new(), Extent::default());
    for second in rounded.tensors.clone() {
        let Some(first) = places.get(&second.name) else {
            let text = format!(
                "tensor {}: expected one of that name in {}, found none",
                second.name,
                path.display()
            );
            return Err(RunError::misfit(text));
        };
        if first.shape != second.shape {
            let (expected, found) = (&first.shape, &second.shape);
            let text = format!("tensor {}: expected the shape {expected:?}, found {found:?}", second.name);
            return Err(RunError::misfit(text));
        }
        let mut pair = Pair::new(first, &second);
        let (mut a, mut b, mut steps, mut none) = (vec![], vec![], vec![], vec![]);
        let mut at = 0;
        while at < first.len() {
            float.read(first, at, PART, &mut a, &mut none).map_err(|e| e.in_file(path))?;
            rounded.read(&second, at, PART, &mut b, &mut steps).map_err(|e| e.in_file(other))?;
            pair.add(&a, &b, &steps);
            at += a.len() as u64;
        }
        layers.push(pair.finish(&mut all));
    }
    Ok((layers, all.sets()))
}

/// The smallest radii of all tensors so far, in the order of [`KINDS`], of weights and of biases; NaN and infinity are none.
#[derive(Default)]
struct Extent {
    weights: [f64; 5],
    biases: [f64; 5],
}

impl Extent {
    fn sets(&self) -> Vec<SmallestSet> {
        let finite = |v: f64| Some(v).filter(|v| v.is_finite());
        let of = |(k, kind): (usize, Kind)| {
            let both = finite(self.weights[k]).zip(finite(self.biases[k]));
            SmallestSet { kind: kind.to_string(), radius: both.map(|b| b.0), bias_radius: both.map(|b| b.1) }
        };
        KINDS.into_iter().enumerate().map(of).collect()
    }
}

/// Two tensors, number by number.
struct Pair {
    found: FaithfulLayer,
    /// Of the second.
    storage: Storage,
    largest_steps: f64,
    is_bias: bool,
    row: usize,
    /// Of the row that is being read: place, largest number and largest change.
    column: usize,
    rows: usize,
    largest: f64,
    moved: f64,
    squares: f64,
    /// Radii of the rows that were read.
    absolute: f64,
    relative: f64,
    per_channel: f64,
    row_ball: f64,
    total: f64,
    count: f64,
}

impl Pair {
    fn new(first: &TensorEntry, second: &TensorEntry) -> Self {
        let weights = usize::try_from(first.len()).unwrap_or(usize::MAX);
        let groups = second.storage.bits().map_or(0, |_| weights / second.storage.group());
        let stored_as = format!("{} ({})", second.name, second.storage.name());
        let found = FaithfulLayer {
            layer: first.name.clone(),
            stored_as,
            bits: second.storage.bits(),
            groups,
            rule: RoundingRule::Equal,
            weights,
            beyond_half: 0,
            outside: 0,
            first_outside: None,
            largest_steps: None,
            largest_bias: 0.0,
        };
        Pair {
            found,
            storage: second.storage,
            largest_steps: 0.0,
            is_bias: first.shape.len() < 2,
            row: first.row(),
            column: 0,
            rows: 0,
            largest: 0.0,
            moved: 0.0,
            squares: 0.0,
            absolute: 0.0,
            relative: 0.0,
            per_channel: 0.0,
            row_ball: 0.0,
            total: 0.0,
            count: 0.0,
        }
    }

    /// Numbers before and after, with the steps of those after.
    fn add(&mut self, before: &[f64], after: &[f64], steps: &[f64]) {
        for ((&a, &b), &step) in before.iter().zip(after).zip(steps) {
            let change = (b - a).abs();
            let moved = if change == 0.0 { 0.0 } else { change.next_up() };
            // A block of integers may have the step 0: its numbers are all the same.
            let step = if self.storage.bits().is_none() { spacing(self.storage, b) } else { step };
            let in_steps = if change == 0.0 { 0.0 } else { change / step };
            let room = if change == 0.0 || step == 0.0 { 0.0 } else { room(b / step) };
            self.largest_steps = larger(self.largest_steps, in_steps);
            self.found.beyond_half += usize::from(!(in_steps <= 0.5 + room));
            if !(in_steps <= 1.0 + room) {
                self.found.outside += 1;
                self.found.first_outside.get_or_insert((self.rows, self.column));
            }
            self.absolute = larger(self.absolute, moved);
            self.relative = larger(self.relative, share(moved, a.abs()));
            self.moved = larger(self.moved, moved);
            self.largest = larger(self.largest, a.abs());
            // Squares that vanish are not forgotten.
            self.squares += moved * moved + if moved == 0.0 { 0.0 } else { f64::MIN_POSITIVE };
            self.column += 1;
            if self.column == self.row {
                self.end_row();
            }
        }
    }

    fn end_row(&mut self) {
        self.per_channel = larger(self.per_channel, share(self.moved, self.largest));
        self.row_ball = larger(self.row_ball, root(self.squares, self.row as f64));
        (self.total, self.count) = (self.total + self.squares, self.count + self.row as f64);
        (self.column, self.largest, self.moved, self.squares) = (0, 0.0, 0.0, 0.0);
        self.rows += 1;
    }

    fn finish(mut self, all: &mut Extent) -> FaithfulLayer {
        let (absolute, relative) = (self.absolute, self.relative);
        let (side, radii) = if self.is_bias {
            self.found.largest_bias = absolute;
            // The unit of a bias in a set per channel is that of weights that no name tells.
            let per_channel = if absolute == 0.0 { 0.0 } else { f64::INFINITY };
            (&mut all.biases, [absolute, relative, per_channel, absolute, absolute])
        } else {
            let frobenius = root(self.total, self.count);
            (&mut all.weights, [absolute, relative, self.per_channel, frobenius, self.row_ball])
        };
        side.iter_mut().zip(radii).for_each(|(most, radius)| *most = larger(*most, radius));
        self.found.largest_steps = Some(self.largest_steps);
        self.found.rule = rule(self.found.outside, self.found.beyond_half, self.largest_steps);
        self.found
    }
}

/// The distance of floating-point numbers of a storage around `number`.
fn spacing(storage: Storage, number: f64) -> f64 {
    let (digits, least) = match storage {
        Storage::F16 => (10, -14),
        Storage::Bf16 => (7, -126),
        Storage::F32 => (23, -126),
        Storage::F64
        | Storage::Q4_0
        | Storage::Q4_1
        | Storage::Q5_0
        | Storage::Q5_1
        | Storage::Q8_0
        | Storage::Q4K
        | Storage::Q5K
        | Storage::Q6K => (52, -1022),
    };
    let exponent = (number.abs().to_bits() >> 52) as i32 - 1023;
    2.0_f64.powi(exponent.max(least)) * 2.0_f64.powi(-digits)
}

/// The larger of two numbers; NaN outweighs all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// `part / whole` rounded up, where nothing is a part of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { (part / whole).next_up() }
}

/// The root of a sum of `count` squares, rounded up.
fn root(squares: f64, count: f64) -> f64 {
    if squares == 0.0 { 0.0 } else { (squares * (1.0 + 2.0 * OF_SUM * (count + 1.0))).sqrt().next_up() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A GGUF file of tensors of two rows of 32 numbers, with a fact of each kind in its header.
    fn file(kind: u32, bytes: &[u8]) -> TensorFile<Cursor<Vec<u8>>> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |n: u32| n.to_le_bytes().to_vec();
        let wide = |n: u64| n.to_le_bytes().to_vec();
        let facts = [
            [text("name"), number(8), text("model")].concat(),
            [text("list"), number(9), number(8), wide(2), text("a"), text("bc")].concat(),
            [text("sizes"), number(9), number(4), wide(1), number(7)].concat(),
        ];
        let mut file = [b"GGUF".to_vec(), number(3), wide(1), wide(3), facts.concat()].concat();
        file.extend([text("w"), number(2), wide(32), wide(2), number(kind), wide(0)].concat());
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(bytes);
        TensorFile::new(Cursor::new(file)).unwrap()
    }

    fn float(change: impl Fn(usize) -> f32) -> TensorFile<Cursor<Vec<u8>>> {
        let numbers = (0..64).map(|k| (k % 32) as f32 * 0.5 - 8.0 + change(k));
        file(0, &numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
    }

    /// The same numbers without their changes, as integers of 8 bits with steps of one half.
    fn integers() -> TensorFile<Cursor<Vec<u8>>> {
        let row: Vec<u8> = [vec![0x00, 0x38], (0..32_u8).map(|k| k.wrapping_sub(16)).collect()].concat();
        file(8, &[row.clone(), row].concat())
    }

    fn compared(change: impl Fn(usize) -> f32) -> (FaithfulLayer, Vec<SmallestSet>) {
        let path = Path::new("file");
        let (mut layers, sets) = compare((path, &mut float(change)), (path, &mut integers())).unwrap();
        (layers.remove(0), sets)
    }

    #[test]
    fn rules_and_sets_by_hand() {
        let (layer, sets) = compared(|_| 0.0);
        assert_eq!((layer.rule, layer.bits, layer.groups), (RoundingRule::Equal, Some(8), 2));
        assert!(sets.iter().all(|set| set.radius == Some(0.0)));
        // The last number of the second row is 7.5, the largest of a row is 8.
        for (moved, rule) in
            [(0.25, RoundingRule::Nearest), (0.375, RoundingRule::Either), (0.75, RoundingRule::Outside)]
        {
            let (layer, sets) = compared(|k| if k == 63 { moved } else { 0.0 });
            assert_eq!(layer.rule, rule);
            assert_eq!(layer.first_outside, (rule == RoundingRule::Outside).then_some((1, 31)));
            let moved = f64::from(moved);
            let largest = (7.5 + moved).max(8.0);
            let expected = [moved, moved / (7.5 + moved), moved / largest, moved, moved];
            for (set, expected) in sets.iter().zip(expected) {
                let radius = set.radius.unwrap();
                assert!(radius >= expected && radius <= expected * (1.0 + 1e-12), "{set:?} {expected}");
            }
        }
        // A zero that becomes another number is in no relative set: number 16 was zero.
        let (_, sets) = compared(|k| if k == 0 { f32::NAN } else { 0.0 });
        assert!(sets.iter().all(|set| set.radius.is_none()));
    }

    #[test]
    fn a_step_of_zero_leaves_no_room() {
        let zeros = || file(8, &[0; 2 * 34]);
        let path = Path::new("file");
        for (number, rule) in [(0.0_f32, RoundingRule::Equal), (1e-9, RoundingRule::Outside)] {
            let numbers = (0..64).flat_map(|_| number.to_le_bytes()).collect::<Vec<u8>>();
            let (layers, _) = compare((path, &mut file(0, &numbers)), (path, &mut zeros())).unwrap();
            assert_eq!(layers[0].rule, rule);
        }
    }

    #[test]
    fn other_tensors_are_told() {
        let path = Path::new("file");
        let mut other = file(0, &[0; 256]);
        other.tensors[0].name = "v".into();
        let error = compare((path, &mut float(|_| 0.0)), (path, &mut other)).unwrap_err().to_string();
        assert!(error.contains("tensor v: expected one of that name"), "{error}");
    }

    #[test]
    fn spacings_are_those_of_the_formats() {
        assert_eq!(spacing(Storage::F16, 1.5), 2.0_f64.powi(-10));
        assert_eq!(spacing(Storage::F16, 0.0), 2.0_f64.powi(-24));
        assert_eq!(spacing(Storage::Bf16, -3.0), 2.0_f64.powi(-6));
        assert_eq!(spacing(Storage::F32, 1.0), f64::from(f32::EPSILON));
        assert_eq!(spacing(Storage::F64, 0.0), f64::MIN_POSITIVE * f64::EPSILON);
    }
}
