//! In which form the parameters of a layer are stored.

use super::{Code, FaultError};
use crate::kernels::Matrix;
use crate::network::{Affine, StoredIntegers};
use crate::threat::{
    BiasGrid, Clip, Divisor, Granularity, Integers, Kind, NumberFormat, Quantizer, Rule, extremes,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// How parameters are stored. Written `file`, `int8`, `int4:per-channel`, `bf16`, `fp16`, `fp8e4m3`, `fp8e5m2`, `fp32`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Storage {
    /// As the file has them: integers where it has integers, else fp32.
    #[default]
    File,
    /// As integers, with the settings of the threat models `int2` to `int16`; biases that stay floating-point are fp32.
    Integer(Quantizer),
    /// As floating-point numbers, rounded to the nearest.
    Float(NumberFormat),
}

impl FromStr for Storage {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Storage, FaultError> {
        let unknown = || FaultError::Storage { found: text.chars().take(60).collect() };
        if text == "file" {
            return Ok(Storage::File);
        }
        if let Some(format) = NumberFormat::from_name(text).filter(|format| *format != NumberFormat::Tf32) {
            return Ok(Storage::Float(format));
        }
        match text.parse::<Kind>() {
            Ok(Kind::Integer(q)) if q.rule == Rule::Nearest && q.clip == Clip::default() => {
                Ok(Storage::Integer(q))
            }
            Err(error) if text.starts_with("int") => Err(error.into()),
            Ok(_) | Err(_) => Err(unknown()),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Storage::File => f.write_str("file"),
            Storage::Integer(q) => Kind::Integer(*q).fmt(f),
            Storage::Float(format) => f.write_str(format.name()),
        }
    }
}

impl Serialize for Storage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Storage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Storage, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The words of one layer.
#[derive(Clone, Debug)]
pub(super) struct Words {
    /// Codes of words.
    pub codes: Vec<Code>,
    /// Words of the weights, row after row, each with the code it is written in.
    pub weights: Vec<(u32, u32)>,
    /// The same of the biases.
    pub biases: Vec<(u32, u32)>,
}

impl Words {
    /// How integers of `bits` bits stand for the parameters; biases that do not have the zero point 0 count as none.
    pub fn integers(&self, bits: u32) -> StoredIntegers {
        let grid = |code: &Code| match *code {
            Code::Integer { step, zero, .. } => Some((step, zero)),
            Code::Float(_) => None,
        };
        let (steps, zeros) = self.codes.iter().map_while(grid).unzip();
        let bias_step = |&(_, code): &(u32, u32)| grid(&self.codes[code as usize]).filter(|grid| grid.1 == 0);
        let bias_steps: Option<Vec<(f64, i64)>> = self.biases.iter().map(bias_step).collect();
        StoredIntegers {
            bits,
            signed: true,
            steps,
            zeros,
            groups: self.weights.iter().map(|&(_, code)| code).collect(),
            bias_steps: bias_steps.unwrap_or_default().into_iter().map(|grid| grid.0).collect(),
        }
    }

    /// Weights and biases that the words stand for.
    pub fn decoded(&self, rows: usize, cols: usize) -> (Matrix<f64>, Vec<f64>) {
        let value = |&(word, code): &(u32, u32)| self.codes[code as usize].decode(word);
        let weight = Matrix::from_vec(rows, cols, self.weights.iter().map(value).collect());
        (weight, self.biases.iter().map(value).collect())
    }
}

impl Storage {
    /// The words of the layer `name`. Biases that the layer does not have have no words.
    ///
    /// # Errors
    /// A parameter beyond the range of the format.
    pub(super) fn words(self, name: &str, affine: &Affine) -> Result<Words, FaultError> {
        let biases: &[f64] = if affine.has_bias { &affine.bias } else { &[] };
        match self {
            Storage::File if affine.stored.is_some() => as_stored(name, affine, biases),
            Storage::File => floats(name, NumberFormat::Fp32, affine, biases),
            Storage::Float(format) => floats(name, format, affine, biases),
            Storage::Integer(q) => integers(name, &q, affine, biases),
        }
    }
}

/// Words of numbers that are rounded to `format`.
fn float_words(
    name: &str,
    format: NumberFormat,
    code: u32,
    values: &[f64],
) -> Result<Vec<(u32, u32)>, FaultError> {
    let word = |&value: &f64| {
        let (word, limit) = (Code::Float(format).encode(format.round(value)), format.largest());
        let range =
            || FaultError::OutOfRange { layer: name.into(), format: format.name(), limit, found: value };
        word.map(|word| (word, code)).ok_or_else(range)
    };
    values.iter().map(word).collect()
}

fn floats(name: &str, format: NumberFormat, affine: &Affine, biases: &[f64]) -> Result<Words, FaultError> {
    Ok(Words {
        codes: vec![Code::Float(format)],
        weights: float_words(name, format, 0, affine.weight.as_slice())?,
        biases: float_words(name, format, 0, biases)?,
    })
}

/// The integers of the file.
fn as_stored(name: &str, affine: &Affine, biases: &[f64]) -> Result<Words, FaultError> {
    let Some(stored) = &affine.stored else { return floats(name, NumberFormat::Fp32, affine, biases) };
    let (bits, signed) = (stored.bits, stored.signed);
    let groups = stored.steps.iter().zip(&stored.zeros);
    let mut codes: Vec<Code> =
        groups.map(|(&step, &zero)| Code::Integer { bits, signed, step, zero }).collect();
    let unread = |found: f64| FaultError::NotOfFile { layer: name.into(), found };
    let word = |(k, &value): (usize, &f64)| {
        let code = stored.group(k);
        codes[code].encode(value).map(|word| (word, code as u32)).ok_or_else(|| unread(value))
    };
    let weights = affine.weight.as_slice().iter().enumerate().map(word).collect::<Result<_, _>>()?;
    let first = codes.len() as u32;
    if stored.bias_steps.is_empty() {
        codes.push(Code::Float(NumberFormat::Fp32));
        let biases = float_words(name, NumberFormat::Fp32, first, biases)?;
        return Ok(Words { codes, weights, biases });
    }
    let steps = stored.bias_steps.iter();
    codes.extend(steps.map(|&step| Code::Integer { bits: 32, signed: true, step, zero: 0 }));
    let own = stored.bias_steps.len() as u32;
    let word = |(i, &value): (usize, &f64)| {
        let code = first + if own == 1 { 0 } else { i as u32 };
        codes[code as usize].encode(value).map(|word| (word, code)).ok_or_else(|| unread(value))
    };
    let biases = biases.iter().enumerate().map(word).collect::<Result<_, _>>()?;
    Ok(Words { codes, weights, biases })
}

/// What a quantizer writes.
fn integers(name: &str, q: &Quantizer, affine: &Affine, biases: &[f64]) -> Result<Words, FaultError> {
    let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
    let mut codes = Vec::new();
    let mut grids = Vec::new();
    let mut add = |values: &[f64]| {
        let (least, most) = extremes(values.iter());
        let stored = q.integers(least, most);
        codes.push(Code::Integer { bits: q.bits, signed: true, step: stored.step, zero: stored.zero });
        grids.push(stored);
        codes.len() - 1
    };
    let code_of_row: Vec<usize> = match q.granularity {
        Granularity::Tensor => vec![add(affine.weight.as_slice()); rows],
        Granularity::Channel => (0..rows).map(|i| add(affine.weight.row(i))).collect(),
    };
    let code_of_biases = (q.bias == BiasGrid::Own).then(|| add(biases));
    let mask = (1_i64 << q.bits) - 1;
    let word = |value: f64, code: usize| {
        let Integers { step, zero, lowest, highest } = grids[code];
        let q = ((value / step).round_ties_even() as i64 + zero).clamp(lowest, highest);
        ((q & mask) as u32, code as u32)
    };
    let weights = affine.weight.as_slice().iter().enumerate().map(|(k, &w)| word(w, code_of_row[k / cols]));
    let weights = weights.collect();
    let biases = match (q.bias, code_of_biases) {
        (BiasGrid::Float, _) => {
            codes.push(Code::Float(NumberFormat::Fp32));
            float_words(name, NumberFormat::Fp32, codes.len() as u32 - 1, biases)?
        }
        (BiasGrid::Own | BiasGrid::Weights, own) => {
            biases.iter().enumerate().map(|(i, &b)| word(b, own.unwrap_or(code_of_row[i]))).collect()
        }
    };
    debug_assert!(q.divisor != Divisor::Asymmetric || grids.iter().all(|grid| grid.step > 0.0));
    Ok(Words { codes, weights, biases })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine() -> Affine {
        let weight = Matrix::from_fn(3, 5, |i, j| (1.3 * i as f64 + 0.7 * j as f64).sin());
        Affine { weight, bias: vec![0.25, -2.0, 0.1], has_bias: true, stored: None }
    }

    #[test]
    fn storage_is_read_as_it_is_written() {
        for text in
            ["file", "int8", "int4:per-channel:bias-float", "bf16", "fp16", "fp8e4m3", "fp8e5m2", "fp32"]
        {
            assert_eq!(text.parse::<Storage>().unwrap().to_string(), text);
        }
        for text in ["", "int", "int8:either", "tf32", "absolute", "float", "int64"] {
            assert!(text.parse::<Storage>().is_err(), "{text}");
        }
    }

    /// The words stand for numbers within half a step (or a unit) of the parameters, and are those of a quantizer.
    #[test]
    fn words_stand_for_the_nearest_numbers() {
        let affine = affine();
        for text in [
            "int8",
            "int8:per-channel",
            "int4",
            "int8:asymmetric:bias-own-step",
            "int8:full-range:bias-float",
        ] {
            let storage: Storage = text.parse().unwrap();
            let words = storage.words("d", &affine).unwrap();
            let (weight, bias) = words.decoded(3, 5);
            for (k, (after, before)) in weight.as_slice().iter().zip(affine.weight.as_slice()).enumerate() {
                let Code::Integer { step, .. } = words.codes[words.weights[k].1 as usize] else { panic!() };
                // Full range cuts half a step more off the largest weight.
                assert!((after - before).abs() <= 1.001 * step, "{text}: {before} {after}");
            }
            let exact = text.ends_with("float");
            assert!(
                bias.iter().zip(&affine.bias).all(|(a, b)| !exact || *a == f64::from(*b as f32)),
                "{text}"
            );
        }
        // The largest weight has the integer 127.
        let words = "int8".parse::<Storage>().unwrap().words("d", &affine).unwrap();
        let most = affine.weight.as_slice().iter().fold(0.0_f64, |m, w| m.max(w.abs()));
        let k = affine.weight.as_slice().iter().position(|w| w.abs() == most).unwrap();
        assert!([127, 129].contains(&words.weights[k].0), "{:?}", words.weights[k]);
    }

    #[test]
    fn numbers_beyond_a_format_are_refused() {
        let mut affine = affine();
        affine.weight[(0, 0)] = 500.0;
        let error = Storage::Float(NumberFormat::Fp8E4M3).words("d", &affine).unwrap_err();
        assert!(error.to_string().contains("layer d"), "{error}");
    }
}
