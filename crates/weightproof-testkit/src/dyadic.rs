//! Numbers `m · 2^e`, exactly, and networks evaluated with them: what rounding is judged by.

use num_bigint::{BigInt, Sign};
use num_rational::Ratio;
use std::cmp::Ordering;
use std::ops::{Add, Mul, Neg, Sub};
use weightproof::kernels::Window;
use weightproof::network::{Activation, Affine, Layer, Network};

/// `mantissa · 2^exponent`.
#[derive(Clone, Debug)]
pub struct Dyadic {
    mantissa: BigInt,
    exponent: i64,
}

impl Dyadic {
    /// Zero.
    pub fn zero() -> Self {
        Dyadic { mantissa: BigInt::ZERO, exponent: 0 }
    }

    /// A floating-point number, exactly.
    ///
    /// # Panics
    /// When it is infinite or NaN.
    pub fn new(value: f64) -> Self {
        assert!(value.is_finite(), "{value} is no number");
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let mantissa = BigInt::from(mantissa);
        let mantissa = if value < 0.0 { -mantissa } else { mantissa };
        Dyadic { mantissa, exponent: exponent.max(1) - 1075 }.reduced()
    }

    /// The same number as a fraction.
    pub fn fraction(&self) -> Ratio<BigInt> {
        let power = BigInt::from(1) << self.exponent.unsigned_abs() as usize;
        match self.exponent {
            0.. => Ratio::from_integer(&self.mantissa * power),
            _ => Ratio::new(self.mantissa.clone(), power),
        }
    }

    fn reduced(mut self) -> Self {
        match self.mantissa.trailing_zeros() {
            None => Dyadic::zero(),
            Some(zeros) => {
                self.mantissa >>= zeros;
                self.exponent += zeros as i64;
                self
            }
        }
    }

    /// Mantissa at a smaller exponent.
    fn at(&self, exponent: i64) -> BigInt {
        &self.mantissa << (self.exponent - exponent) as usize
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa.sign() == Sign::NoSign
    }

    /// A floating-point number near it: within a few units of the last place, or infinite.
    pub fn near(&self) -> f64 {
        let excess = self.mantissa.bits() as i64 - 60;
        let (mantissa, exponent) = if excess > 0 {
            (&self.mantissa >> excess as usize, self.exponent + excess)
        } else {
            (self.mantissa.clone(), self.exponent)
        };
        let mantissa: i64 = mantissa.try_into().expect("sixty bits");
        // In two steps, so that neither power overflows.
        let half = exponent.clamp(-2000, 2000) as i32 / 2;
        let rest = exponent.clamp(-2000, 2000) as i32 - half;
        mantissa as f64 * 2.0_f64.powi(half) * 2.0_f64.powi(rest)
    }

    /// The larger of two.
    pub fn max(self, other: Dyadic) -> Dyadic {
        if other > self { other } else { self }
    }
}

impl PartialEq for Dyadic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Dyadic {}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Self) -> Ordering {
        let difference = self - other;
        difference.mantissa.sign().cmp(&Sign::NoSign)
    }
}

impl Add for &Dyadic {
    type Output = Dyadic;
    fn add(self, other: &Dyadic) -> Dyadic {
        let exponent = self.exponent.min(other.exponent);
        Dyadic { mantissa: self.at(exponent) + other.at(exponent), exponent }.reduced()
    }
}

impl Sub for &Dyadic {
    type Output = Dyadic;
    fn sub(self, other: &Dyadic) -> Dyadic {
        self + &-other
    }
}

impl Mul for &Dyadic {
    type Output = Dyadic;
    fn mul(self, other: &Dyadic) -> Dyadic {
        Dyadic { mantissa: &self.mantissa * &other.mantissa, exponent: self.exponent + other.exponent }
            .reduced()
    }
}

impl Neg for &Dyadic {
    type Output = Dyadic;
    fn neg(self) -> Dyadic {
        Dyadic { mantissa: -&self.mantissa, exponent: self.exponent }
    }
}

/// Outputs of `network` in exact arithmetic, with the weights `weight(node, row, column)` and biases `bias(node, row)`.
///
/// # Panics
/// For average pooling and for activations that are not piecewise linear.
pub fn forward(
    network: &Network,
    x: &[f64],
    weight: impl Fn(usize, usize, usize) -> Dyadic,
    bias: impl Fn(usize, usize) -> Dyadic,
) -> Vec<Dyadic> {
    let mut values: Vec<Vec<Dyadic>> = Vec::new();
    for (index, node) in network.nodes().iter().enumerate() {
        let read = |k: usize| &values[node.inputs[k]];
        let affine = |own: &Affine, window: Option<&Window>| {
            let (z, positions) = (read(0), window.map_or(1, Window::positions));
            let element = |k: usize| {
                let (i, position) = (k / positions, k % positions);
                (0..own.weight.cols()).fold(bias(index, i), |sum, j| match source(window, i, j, position) {
                    Some(at) => &sum + &(&weight(index, i, j) * &z[at]),
                    None => sum,
                })
            };
            (0..own.bias.len() * positions).map(element).collect()
        };
        let value: Vec<Dyadic> = match &node.layer {
            Layer::Input => x.iter().map(|&x| Dyadic::new(x)).collect(),
            Layer::Dense(own) => affine(own, None),
            Layer::Conv(conv) => affine(&conv.affine, Some(&conv.window)),
            Layer::Scale(s) => {
                let of = |(z, (s, t)): (&Dyadic, (&f64, &f64))| &(z * &Dyadic::new(*s)) + &Dyadic::new(*t);
                read(0).iter().zip(s.scale.iter().zip(&s.shift)).map(of).collect()
            }
            Layer::Activation(f) => read(0).iter().map(|p| activation(*f, p)).collect(),
            Layer::Add => {
                let sum = |k: usize| (1..node.inputs.len()).fold(read(0)[k].clone(), |s, i| &s + &read(i)[k]);
                (0..node.width()).map(sum).collect()
            }
            Layer::Multiply => (0..node.width()).map(|k| &read(0)[k] * &read(1)[k]).collect(),
            Layer::Reshape => read(0).clone(),
            Layer::Gather(gather) => {
                let all: Vec<&Dyadic> = node.inputs.iter().flat_map(|&i| &values[i]).collect();
                let of = |source: &Option<usize>| {
                    source.map_or_else(|| Dyadic::new(gather.constant), |k| all[k].clone())
                };
                gather.source.iter().map(of).collect()
            }
            Layer::DynamicQuantize(_) | Layer::MaxPool(_) | Layer::AveragePool(_) => {
                panic!("{}: not evaluated exactly", node.name)
            }
        };
        values.push(value);
    }
    values.pop().expect("a network has nodes")
}

/// The input element that column `j` of row `i` meets at an output position, if any.
fn source(window: Option<&Window>, i: usize, j: usize, position: usize) -> Option<usize> {
    let Some(window) = window else { return Some(j) };
    let channel = i / window.group_outputs() * window.group_inputs() + j / window.taps();
    window.source(position, j % window.taps()).map(|source| channel * window.plane() + source)
}

fn activation(f: Activation, p: &Dyadic) -> Dyadic {
    match f {
        Activation::Relu => p.clone().max(Dyadic::zero()),
        Activation::LeakyRelu { slope } if p.is_negative() => p * &Dyadic::new(slope),
        Activation::LeakyRelu { .. } => p.clone(),
        Activation::Clip { low, high } => {
            let mut value = p.clone();
            if low.is_finite() {
                value = value.max(Dyadic::new(low));
            }
            if high.is_finite() && value > Dyadic::new(high) {
                value = Dyadic::new(high);
            }
            value
        }
        Activation::SoftThreshold { lambda } => {
            let lambda = Dyadic::new(lambda);
            let beyond = |p: &Dyadic| (p - &lambda).max(Dyadic::zero());
            &beyond(p) - &beyond(&(&Dyadic::zero() - p))
        }
        Activation::Square => p * p,
        Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Exp
        | Activation::Reciprocal
        | Activation::Power { .. }
        | Activation::Gelu
        | Activation::GeluTanh
        | Activation::Elu { .. }
        | Activation::Silu
        | Activation::Mish
        | Activation::HardSwish
        | Activation::Softsign
        | Activation::Atan
        | Activation::Quantize(_) => panic!("{}: not evaluated exactly", f.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_exact() {
        let (tiny, large) = (Dyadic::new(5e-324), Dyadic::new(1.7e308));
        assert_eq!(&(&large + &tiny) - &large, tiny);
        assert_eq!((&large * &tiny).near(), 1.7e308 * 5e-324);
        assert!(Dyadic::new(-0.1) < Dyadic::zero() && Dyadic::new(0.1) > Dyadic::new(0.1_f64.next_down()));
        assert_eq!(Dyadic::new(-0.0), Dyadic::zero());
        assert_eq!((&Dyadic::new(0.1) + &Dyadic::new(0.2)).near(), 0.1 + 0.2);
    }
}
