//! Activation functions and the facts about them that bounds rest on.

use super::{Jumps, Staircase};
use crate::kernels::Scalar;
use crate::kernels::rows::{clamp, larger, vectorized};
use serde::{Deserialize, Serialize};

/// A scalar function applied to every neuron of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(p, 0)`.
    Relu,
    /// `p` for `p ≥ 0`, else `slope · p`.
    LeakyRelu {
        /// Slope for negative inputs, any finite number; −1 makes it `|p|`.
        slope: f64,
    },
    /// `p` kept in `[low, high]`; ReLU6 is the range 0 to 6. Ends may be infinite.
    Clip {
        /// Least value.
        low: f64,
        /// Largest value, `≥ low`.
        high: f64,
    },
    /// `p − λ` for `p > λ`, `p + λ` for `p < −λ`, else 0: the soft threshold, also called soft shrinkage.
    SoftThreshold {
        /// The threshold λ, a finite number of at least 0.
        lambda: f64,
    },
    /// `1 / (1 + exp(-p))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + exp(p))`.
    Softplus,
    /// `p Φ(p)` with the Gaussian distribution function Φ.
    Gelu,
    /// The hyperbolic-tangent approximation of GELU.
    GeluTanh,
    /// `p` for `p ≥ 0`, else `alpha · (exp(p) − 1)`.
    Elu {
        /// Minus the limit for negative inputs, `alpha ≥ 0`.
        alpha: f64,
    },
    /// `p / (1 + exp(-p))`, also called swish.
    Silu,
    /// `p · tanh(ln(1 + exp(p)))`.
    Mish,
    /// `p · clip(p + 3, 0, 6) / 6`.
    HardSwish,
    /// `p / (1 + |p|)`.
    Softsign,
    /// The arc tangent.
    Atan,
    /// `p²`.
    Square,
    /// `exp(p)`.
    Exp,
    /// `1 / p`; of intervals that hold zero nothing is known.
    Reciprocal,
    /// `p^exponent` of a number that is not negative, for a negative exponent of a positive one; elsewhere there is no value.
    Power {
        /// A finite number that is not whole: whole powers are products.
        exponent: f64,
    },
    /// A quantizer or a sign: a staircase.
    Quantize(Staircase),
}

/// Where the exact GELU has its only minimum, and its value there (rounded down).
const GELU_MINIMUM: (f64, f64) = (-0.751_791_524_693_564_4, -0.169_971_207_624_651);
/// The same for the hyperbolic-tangent approximation.
const GELU_TANH_MINIMUM: (f64, f64) = (-0.752_461_420_716_246_5, -0.170_040_750_571_254_5);
/// The same for SiLU.
const SILU_MINIMUM: (f64, f64) = (-1.278_464_542_761_074, -0.278_464_542_761_073_9);
/// The same for Mish.
const MISH_MINIMUM: (f64, f64) = (-1.192_431_214_515_495_2, -0.308_843_413_017_250_5);
/// The same for HardSwish.
const HARD_SWISH_MINIMUM: (f64, f64) = (-1.5, -0.375);
/// What evaluating an activation in f64 may lose, as a part of its value: the tails of GELU, whose exponents are large, lose most.
pub(crate) const FUNCTION_ROUNDING: f64 = 1.0 / (1_u64 << 40) as f64;
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

impl Activation {
    /// `|p|`.
    pub const ABSOLUTE: Activation = Activation::LeakyRelu { slope: -1.0 };
    /// `√p`.
    pub const SQRT: Activation = Activation::Power { exponent: 0.5 };

    /// Name as written in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky-relu",
            Activation::Clip { .. } => "clip",
            Activation::SoftThreshold { .. } => "soft-threshold",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Softplus => "softplus",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu-tanh",
            Activation::Elu { .. } => "elu",
            Activation::Silu => "silu",
            Activation::Mish => "mish",
            Activation::HardSwish => "hard-swish",
            Activation::Softsign => "softsign",
            Activation::Atan => "atan",
            Activation::Square => "square",
            Activation::Exp => "exp",
            Activation::Reciprocal => "reciprocal",
            Activation::SQRT => "sqrt",
            Activation::Power { .. } => "power",
            Activation::Quantize(q) => q.name(),
        }
    }

    /// The function; of a quantizer what the operator's text says. NaN gives NaN.
    pub fn apply(self, p: f64) -> f64 {
        self.value(p)
    }

    #[inline(always)]
    fn value(self, p: f64) -> f64 {
        match self {
            Activation::Relu => {
                if p < 0.0 {
                    0.0
                } else {
                    p
                }
            }
            Activation::LeakyRelu { slope } => {
                if p < 0.0 {
                    slope * p
                } else {
                    p
                }
            }
            Activation::Clip { low, high } => clamp(p, low, high),
            Activation::SoftThreshold { lambda } => p - clamp(p, -lambda, lambda),
            Activation::Sigmoid => sigmoid(p),
            Activation::Tanh => p.tanh(),
            Activation::Softplus => softplus(p),
            Activation::Gelu => gaussian_cdf_times(p),
            Activation::GeluTanh => {
                if p.is_infinite() {
                    return if p > 0.0 { p } else { 0.0 };
                }
                p * sigmoid(2.0 * gelu_tanh_inner(p))
            }
            Activation::Elu { alpha } => {
                if p < 0.0 {
                    alpha * p.exp_m1()
                } else {
                    p
                }
            }
            Activation::Silu => times(p, sigmoid(p)),
            Activation::Mish => times(p, softplus(p).tanh()),
            Activation::HardSwish => {
                if p <= -3.0 {
                    0.0
                } else if p >= 3.0 {
                    p
                } else {
                    p * (p + 3.0) / 6.0
                }
            }
            Activation::Softsign => {
                if p.is_infinite() {
                    p.signum()
                } else {
                    p / (1.0 + p.abs())
                }
            }
            Activation::Atan => p.atan(),
            Activation::Square => p * p,
            Activation::Exp => p.exp(),
            Activation::Reciprocal => 1.0 / p,
            Activation::Power { .. } if p < 0.0 => f64::NAN,
            Activation::SQRT => p.sqrt(),
            Activation::Power { exponent } => p.powf(exponent),
            Activation::Quantize(q) => q.apply(p),
        }
    }

    /// The derivative (at a kink: the one from the right); of a quantizer that of the clip which it rounds.
    pub fn derivative(self, p: f64) -> f64 {
        self.slope_at(p)
    }

    #[inline(always)]
    fn slope_at(self, p: f64) -> f64 {
        match self {
            Activation::Relu => f64::from(u8::from(p >= 0.0)),
            Activation::LeakyRelu { slope } => {
                if p < 0.0 {
                    slope
                } else {
                    1.0
                }
            }
            Activation::Clip { low, high } => f64::from(u8::from((p >= low) & (p < high))),
            Activation::SoftThreshold { lambda } => f64::from(u8::from((p >= lambda) | (p < -lambda))),
            Activation::Sigmoid => sigmoid(p) * sigmoid(-p),
            Activation::Tanh => {
                let s = sigmoid(2.0 * p) * sigmoid(-2.0 * p);
                4.0 * s
            }
            Activation::Softplus => sigmoid(p),
            Activation::Gelu => gaussian_cdf(p) + p * gaussian_density(p),
            Activation::GeluTanh => {
                let s = sigmoid(2.0 * gelu_tanh_inner(p));
                let inner = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * p * p);
                s + p * s * (1.0 - s) * inner
            }
            Activation::Elu { alpha } => {
                if p < 0.0 {
                    alpha * p.exp()
                } else {
                    1.0
                }
            }
            Activation::Silu => {
                let s = sigmoid(p);
                s + times(p, s * sigmoid(-p))
            }
            Activation::Mish => {
                let t = softplus(p).tanh();
                t + times(p, (1.0 - t) * (1.0 + t) * sigmoid(p))
            }
            Activation::HardSwish => {
                if p < -3.0 {
                    0.0
                } else if p >= 3.0 {
                    1.0
                } else {
                    (2.0 * p + 3.0) / 6.0
                }
            }
            Activation::Softsign => 1.0 / ((1.0 + p.abs()) * (1.0 + p.abs())),
            Activation::Atan => 1.0 / (1.0 + p * p),
            Activation::Square => 2.0 * p,
            Activation::Exp => p.exp(),
            Activation::Reciprocal => -1.0 / (p * p),
            Activation::Power { .. } if p < 0.0 => f64::NAN,
            Activation::Power { exponent } => exponent * p.powf(exponent - 1.0),
            Activation::Quantize(q) => {
                let (low, high) = q.slanted();
                f64::from(u8::from((p >= low) & (p < high)))
            }
        }
    }

    /// Where the function has its only minimum, and its value there (rounded down), unless it is monotone.
    #[inline(always)]
    fn minimum(self) -> Option<(f64, f64)> {
        match self {
            Activation::Gelu => Some(GELU_MINIMUM),
            Activation::GeluTanh => Some(GELU_TANH_MINIMUM),
            Activation::Silu => Some(SILU_MINIMUM),
            Activation::Mish => Some(MISH_MINIMUM),
            Activation::HardSwish => Some(HARD_SWISH_MINIMUM),
            Activation::LeakyRelu { slope } => (slope < 0.0).then_some((0.0, 0.0)),
            Activation::Square => Some((0.0, 0.0)),
            Activation::Relu
            | Activation::Clip { .. }
            | Activation::SoftThreshold { .. }
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Elu { .. }
            | Activation::Softsign
            | Activation::Atan
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. }
            | Activation::Quantize(_) => None,
        }
    }

    /// Whether the function falls wherever it is defined.
    #[inline(always)]
    fn is_falling(self) -> bool {
        matches!(self, Activation::Reciprocal)
            || matches!(self, Activation::Power { exponent } if exponent < 0.0)
    }

    /// Whether the function never falls.
    pub fn is_monotone(self) -> bool {
        self.minimum().is_none() && !self.is_falling()
    }

    /// Whether the function has a finite value everywhere on `[lower, upper]`, but for what is too large for a number.
    #[inline(always)]
    pub fn is_defined_on(self, lower: f64, upper: f64) -> bool {
        if let Activation::Power { exponent } = self {
            return lower > 0.0 || (exponent > 0.0 && lower == 0.0);
        }
        self != Activation::Reciprocal || lower > 0.0 || upper < 0.0
    }

    /// Whether it is a quantizer.
    pub fn is_quantizer(self) -> bool {
        matches!(self, Activation::Quantize(_))
    }

    /// `run` of this activation with the best instructions of the machine, in code of its own for every kind whose formula is so short
    /// that a loop over it becomes vectors. Closures that are given to it are `#[inline(always)]`, and their loops are no calls.
    #[inline(always)]
    pub(crate) fn by_kind<R>(self, run: impl FnOnce(Self) -> R) -> R {
        vectorized!(|| match self {
            Activation::Relu => run(Activation::Relu),
            Activation::LeakyRelu { slope } => run(Activation::LeakyRelu { slope }),
            Activation::Clip { low, high } => run(Activation::Clip { low, high }),
            Activation::SoftThreshold { lambda } => run(Activation::SoftThreshold { lambda }),
            Activation::Quantize(q) => match q.jumps {
                Jumps::HalfWay => run(Activation::Quantize(Staircase { jumps: Jumps::HalfWay, ..q })),
                Jumps::AtZero => run(Activation::Quantize(q)),
            },
            other @ (Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Atan
            | Activation::Square
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. }) => run(other),
        })
    }

    /// [`Activation::apply`] in the precision of the engine; ReLU stays in `T`.
    #[inline(always)]
    pub fn apply_scalar<T: Scalar>(self, p: T) -> T {
        if self == Activation::Relu {
            return if p < T::zero() { T::zero() } else { p };
        }
        T::from_f64(self.value(p.to_f64()))
    }

    /// `g ρ'(p)`; nothing of `g` where the function is flat.
    #[inline(always)]
    fn gradient<T: Scalar>(self, g: T, p: T) -> T {
        let slope = T::from_f64(self.slope_at(p.to_f64()));
        if slope == T::zero() { slope } else { g * slope }
    }

    /// `out_i = ρ(p_i)`.
    pub fn apply_all<T: Scalar>(self, out: &mut [T], p: &[T]) {
        self.by_kind(
            #[inline(always)]
            |f| {
                for (out, &p) in out.iter_mut().zip(p) {
                    *out = f.apply_scalar(p);
                }
            },
        );
    }

    /// `g_i ← g_i ρ'(p_i)`: a gradient behind the function becomes that in front of it.
    pub fn pull_back<T: Scalar>(self, g: &mut [T], p: &[T]) {
        self.by_kind(
            #[inline(always)]
            |f| {
                for (g, &p) in g.iter_mut().zip(p) {
                    *g = f.gradient(*g, p);
                }
            },
        );
    }

    /// `back_i ← back_i + g_i ρ'(p_i)`, see [`Activation::pull_back`].
    pub(crate) fn add_gradients<T: Scalar>(self, back: &mut [T], g: &[T], p: &[T]) {
        self.by_kind(
            #[inline(always)]
            |f| {
                for ((back, &g), &p) in back.iter_mut().zip(g).zip(p) {
                    *back += f.gradient(g, p);
                }
            },
        );
    }

    /// The exact range of the function on `[lower, upper]`; of a quantizer that of all that may come out, and everything where the
    /// function is not defined everywhere.
    #[inline(always)]
    pub fn range(self, lower: f64, upper: f64) -> (f64, f64) {
        if let Activation::Quantize(q) = self {
            return q.range(lower, upper);
        }
        if !self.is_defined_on(lower, upper) {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let (at_lower, at_upper) = (self.apply(lower), self.apply(upper));
        match self.minimum() {
            None if self.is_falling() => (at_upper, at_lower),
            None => (at_lower, at_upper),
            Some((argmin, min)) => {
                let low = if lower <= argmin && argmin <= upper { min } else { at_lower.min(at_upper) };
                (low, at_lower.max(at_upper))
            }
        }
    }

    /// [`Activation::range`] rounded outward: it holds the values of the function in real arithmetic.
    ///
    /// # Guarantee
    /// For a mathematical library whose results are within two units of the last place.
    #[inline(always)]
    pub fn enclosed_range(self, lower: f64, upper: f64) -> (f64, f64) {
        let (low, high) = self.range(lower, upper);
        // Zero comes without rounding from zero; from another number it comes by underflow.
        let lost = |value: f64, from_zero: bool| {
            let p = if value == 0.0 && from_zero { 0.0 } else { f64::NAN };
            self.rounding(p, value)
        };
        // Squares on both sides of zero are above it; all others that are zero there are not.
        let high_from_zero = upper == 0.0 && (self != Activation::Square || lower == 0.0);
        let (low, high) = (low - lost(low, lower == 0.0), high + lost(high, high_from_zero));
        (if self.is_non_negative() && low < 0.0 { 0.0 } else { low }, high)
    }

    /// What [`Activation::apply`] may be off by at `p`, where it gives `value`.
    #[inline(always)]
    pub fn rounding(self, p: f64, value: f64) -> f64 {
        match self {
            Activation::Relu | Activation::Clip { .. } | Activation::Quantize(_) => 0.0,
            // One sum, whose result is exact where it is zero or subnormal.
            Activation::SoftThreshold { .. } => f64::EPSILON * value.abs(),
            Activation::Square | Activation::SQRT if p == 0.0 => 0.0,
            // One operation that is rounded correctly.
            Activation::Square | Activation::Reciprocal | Activation::SQRT => {
                f64::EPSILON * value.abs() + f64::MIN_POSITIVE
            }
            Activation::LeakyRelu { .. }
            | Activation::Tanh
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Atan
                if p == 0.0 =>
            {
                0.0
            }
            Activation::LeakyRelu { .. }
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Exp
            | Activation::Power { .. }
            | Activation::Atan => FUNCTION_ROUNDING * value.abs() + f64::MIN_POSITIVE,
        }
    }

    /// Whether the function never returns a negative number.
    #[inline(always)]
    pub fn is_non_negative(self) -> bool {
        match self {
            Activation::Relu
            | Activation::Sigmoid
            | Activation::Softplus
            | Activation::Square
            | Activation::Exp
            | Activation::Power { .. } => true,
            Activation::LeakyRelu { slope } => slope <= 0.0,
            Activation::Clip { low, .. } => low >= 0.0,
            Activation::Elu { alpha } => alpha == 0.0,
            Activation::SoftThreshold { .. }
            | Activation::Tanh
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Reciprocal
            | Activation::Atan => false,
            Activation::Quantize(q) => q.low >= q.zero,
        }
    }

    /// Whether a mathematical library evaluates the function.
    pub fn is_library_function(self) -> bool {
        match self {
            Activation::Relu
            | Activation::LeakyRelu { .. }
            | Activation::Clip { .. }
            | Activation::SoftThreshold { .. }
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Square
            | Activation::Reciprocal
            | Activation::SQRT
            | Activation::Quantize(_) => false,
            Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::Exp
            | Activation::Power { .. }
            | Activation::Atan => true,
        }
    }

    /// Whether the function is linear on both sides of zero (which a clip and a soft threshold, with their two kinks, are not).
    pub fn is_piecewise_linear(self) -> bool {
        match self {
            Activation::Relu | Activation::LeakyRelu { .. } => true,
            Activation::Clip { .. }
            | Activation::SoftThreshold { .. }
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Atan
            | Activation::Square
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. }
            | Activation::Quantize(_) => false,
        }
    }

    /// A Lipschitz constant (the smallest one, rounded up in the last digit given); infinite for a quantizer, see
    /// [`Activation::variation`], and where slopes grow without end, see [`Activation::steepest`].
    pub fn lipschitz(self) -> f64 {
        match self {
            Activation::Relu
            | Activation::Clip { .. }
            | Activation::SoftThreshold { .. }
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Softsign
            | Activation::Atan => 1.0,
            Activation::LeakyRelu { slope } => slope.abs().max(1.0),
            Activation::Elu { alpha } => alpha.max(1.0),
            Activation::Silu => 1.099_839_4,
            Activation::Mish => 1.088_498_2,
            Activation::HardSwish => 1.5,
            Activation::Sigmoid => 0.25,
            Activation::Gelu => 1.128_904_2,
            Activation::GeluTanh => 1.128_993_1,
            Activation::Square
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. }
            | Activation::Quantize(_) => f64::INFINITY,
        }
    }

    /// A Lipschitz constant on `[lower, upper]`, rounded up; NaN for NaN.
    pub fn steepest(self, lower: f64, upper: f64) -> f64 {
        if self.lipschitz().is_finite() {
            return self.lipschitz();
        }
        if self.is_quantizer() || !self.is_defined_on(lower, upper) {
            return f64::INFINITY;
        }
        // The slopes of what is left are monotone.
        let (first, last) = (self.derivative(lower).abs(), self.derivative(upper).abs());
        let most = if first.is_nan() || first > last { first } else { last };
        most * (1.0 + FUNCTION_ROUNDING) + f64::MIN_POSITIVE
    }

    /// Numbers `(L, J)` with `|ρ(p) − ρ(p')| ≤ L |p − p'| + J`, also when another step than that of the operator's text comes out
    /// at one of the two.
    pub fn variation(self) -> (f64, f64) {
        if let Activation::Quantize(q) = self { (1.0, q.largest_jump()) } else { (self.lipschitz(), 0.0) }
    }

    /// How far `value`, computed for `p`, may be from the function at a point that is at most `error` from `p`. A quantizer
    /// forgets an error that leaves it on its step.
    #[inline(always)]
    pub fn error(self, p: f64, error: f64, value: f64) -> f64 {
        if self == Activation::Relu && p <= -error {
            // Zero, whatever the input really is.
            return 0.0;
        }
        if let Activation::Square | Activation::Exp | Activation::Reciprocal | Activation::Power { .. } = self
        {
            // Their slopes depend on where they are taken.
            let (low, high) =
                if error == 0.0 { (p, p) } else { ((p - error).next_down(), (p + error).next_up()) };
            let (low, high) = self.enclosed_range(low, high);
            let here = self.apply(p);
            return larger(here - low, high - here).next_up();
        }
        let Activation::Quantize(q) = self else {
            return self.lipschitz() * error + self.rounding(p, value);
        };
        let (least, here, most) =
            (q.apply((p - error).next_down()), q.apply(p), q.apply((p + error).next_up()));
        larger(here - least, most - here)
    }

    /// Whether another value than the function's may come out, although the input does not move.
    pub fn is_free(self) -> bool {
        matches!(self, Activation::Quantize(q) if q.freedom() > 0.0)
    }
}

fn sigmoid(p: f64) -> f64 {
    if p >= 0.0 {
        1.0 / (1.0 + (-p).exp())
    } else {
        let e = p.exp();
        e / (1.0 + e)
    }
}

fn softplus(p: f64) -> f64 {
    if p > 0.0 { p + (-p).exp().ln_1p() } else { p.exp().ln_1p() }
}

/// `p · part`, where a part of zero outweighs an infinite `p`.
fn times(p: f64, part: f64) -> f64 {
    if part == 0.0 && p.is_infinite() { 0.0 } else { p * part }
}

fn gelu_tanh_inner(p: f64) -> f64 {
    SQRT_2_OVER_PI * (p + GELU_CUBIC * p * p * p)
}

fn gaussian_cdf(p: f64) -> f64 {
    0.5 * libm::erfc(-p * std::f64::consts::FRAC_1_SQRT_2)
}

fn gaussian_density(p: f64) -> f64 {
    (-0.5 * p * p).exp() * 0.398_942_280_401_432_7
}

fn gaussian_cdf_times(p: f64) -> f64 {
    if p == f64::NEG_INFINITY { 0.0 } else { p * gaussian_cdf(p) }
}

#[cfg(test)]
mod tests {
    use super::super::{Jumps, StepRounding};
    use super::*;

    const ALL: [Activation; 21] = [
        Activation::SoftThreshold { lambda: 0.3 },
        Activation::Atan,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::LeakyRelu { slope: 1.5 },
        Activation::Clip { low: 0.0, high: 6.0 },
        Activation::Clip { low: -0.5, high: 0.7 },
        Activation::Clip { low: f64::NEG_INFINITY, high: 1.25 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::ABSOLUTE,
        Activation::LeakyRelu { slope: -0.3 },
        Activation::Elu { alpha: 1.0 },
        Activation::Elu { alpha: 1.7 },
        Activation::Silu,
        Activation::Mish,
        Activation::HardSwish,
        Activation::Softsign,
    ];

    #[test]
    fn the_range_of_a_soft_threshold_holds_what_its_sum_loses() {
        let (f, lambda) = (Activation::SoftThreshold { lambda: 0.1 }, 0.1);
        let mut lost = 0;
        for p in (1..400).map(|k| 0.1 + 0.01 * f64::from(k)) {
            let value = f.apply(p);
            // What the sum p − λ lost, without an error (Møller and Knuth).
            let back = value - p;
            let error = (p - (value - back)) - (lambda + back);
            let (low, high) = f.enclosed_range(p, p);
            assert!(low - value <= error && error <= high - value, "{p}: {error}");
            lost += usize::from(error != 0.0);
        }
        assert!(lost > 50, "{lost}");
        assert_eq!(f.enclosed_range(-0.1, 0.1), (0.0, 0.0));
    }

    fn grid() -> impl Iterator<Item = f64> {
        (-8000..=8000).map(|i| f64::from(i) * 1e-3)
    }

    #[test]
    fn derivatives_match_differences_and_respect_the_lipschitz_constant() {
        const STEP: f64 = 1e-6;
        for f in ALL {
            let mut kinks = [0.0; 2];
            if let Activation::Clip { low, high } = f {
                kinks = [low, high];
            } else if let Activation::SoftThreshold { lambda } = f {
                kinks = [-lambda, lambda];
            } else if f == Activation::HardSwish {
                kinks = [-3.0, 3.0];
            }
            for p in grid().filter(|p| kinks.iter().all(|kink| (p - kink).abs() > 2.0 * STEP)) {
                let difference = (f.apply(p + STEP) - f.apply(p - STEP)) / (2.0 * STEP);
                assert!((difference - f.derivative(p)).abs() < 1e-7, "{f:?} at {p}");
                assert!(f.derivative(p).abs() <= f.lipschitz(), "{f:?} at {p}: {}", f.derivative(p));
            }
        }
    }

    #[test]
    fn lipschitz_constants_are_not_loose() {
        for f in ALL {
            // Slopes are steepest on both sides of zero, for some.
            let largest = grid().chain([-1e-9, 1e-9]).map(|p| f.derivative(p).abs()).fold(0.0, f64::max);
            assert!(largest > f.lipschitz() - 1e-3, "{f:?}: {largest}");
        }
    }

    #[test]
    fn ranges_contain_the_function_and_are_attained() {
        for f in ALL {
            for (lower, upper) in [(-3.0, -1.0), (-2.0, 0.5), (-0.76, -0.75), (0.1, 2.0), (-1.0, -1.0)] {
                let (low, high) = f.range(lower, upper);
                let values: Vec<f64> =
                    (0..=10_000).map(|i| f.apply(lower + (upper - lower) * f64::from(i) / 1e4)).collect();
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!(low <= least && high >= most, "{f:?} on [{lower}, {upper}]");
                assert!(least - low < 1e-6 && high - most < 1e-6, "{f:?} on [{lower}, {upper}]");
            }
        }
    }

    /// Functions whose slopes have no bound, with intervals that they are defined on.
    const STEEP: [(Activation, [f64; 2]); 8] = [
        (Activation::Square, [-2.0, 1.5]),
        (Activation::Exp, [-3.0, 2.0]),
        (Activation::Reciprocal, [0.25, 4.0]),
        (Activation::Reciprocal, [-4.0, -0.5]),
        (Activation::SQRT, [0.0, 3.0]),
        (Activation::Power { exponent: 1.5 }, [0.0, 3.0]),
        (Activation::Power { exponent: -0.5 }, [0.125, 2.0]),
        (Activation::Power { exponent: -0.75 }, [0.5, 9.0]),
    ];

    #[test]
    fn steep_functions_keep_what_is_said_of_them() {
        const STEP: f64 = 1e-6;
        for (f, [l, u]) in STEEP {
            assert!(f.is_defined_on(l, u) && f.lipschitz() == f64::INFINITY, "{f:?}");
            let at = |k: i32| l + (u - l) * f64::from(k) / 64.0;
            for (j, k) in (0..64).flat_map(|j| (j..=64).map(move |k| (j, k))) {
                let (a, b) = (at(j), at(k));
                let (low, high) = f.range(a, b);
                let values = (0..=16).map(|i| f.apply(a + (b - a) * f64::from(i) / 16.0));
                let inside = |v: f64| low - 1e-12 <= v && v <= high + 1e-12;
                assert!(values.into_iter().all(inside), "{f:?} on [{a}, {b}]");
                let (rise, steepest) = ((f.apply(b) - f.apply(a)).abs(), f.steepest(a, b));
                assert!(
                    a == b || rise <= steepest * (b - a) * (1.0 + 1e-12),
                    "{f:?} on [{a}, {b}]: {steepest}"
                );
                // From the middle both ends are within half of the interval.
                let (p, error) = (0.5 * (a + b), 0.5 * (b - a));
                let most = f.error(p, error, f64::NAN);
                assert!([a, b].iter().all(|q| (f.apply(*q) - f.apply(p)).abs() <= most), "{f:?} at {p}");
            }
            for p in (1..64).map(at).filter(|p| p.abs() > 0.01) {
                let difference = (f.apply(p + STEP) - f.apply(p - STEP)) / (2.0 * STEP);
                assert!((difference - f.derivative(p)).abs() < 1e-5, "{f:?} at {p}");
                assert!(f.error(p, 0.0, f.apply(p)) < 1e-9, "{f:?} at {p}");
            }
            assert!(f.apply(f64::NAN).is_nan() && f.error(1.0, f64::INFINITY, 1.0) == f64::INFINITY, "{f:?}");
        }
    }

    #[test]
    fn a_value_that_underflows_is_not_zero() {
        for (f, p) in [(Activation::Square, 1e-200), (Activation::Gelu, 5e-324), (Activation::Silu, 5e-324)] {
            assert_eq!(f.apply(p), 0.0, "{f:?}");
            assert!(f.enclosed_range(0.0, p).1 > 0.0, "{f:?}");
            assert_eq!(f.enclosed_range(0.0, 0.0), (0.0, 0.0), "{f:?}");
        }
        assert!(Activation::Square.enclosed_range(-1e-200, 0.0).1 > 0.0);
        assert_eq!(Activation::Square.enclosed_range(-1e-200, 0.0).0, 0.0);
        assert_eq!(Activation::Silu.enclosed_range(-1.0, 0.0).1, 0.0);
    }

    #[test]
    fn nothing_is_known_where_a_domain_is_left() {
        for f in [Activation::Reciprocal, Activation::SQRT, Activation::Power { exponent: -0.5 }] {
            for (l, u) in [(-1.0, 1.0), (-0.5, 0.0), (f64::NAN, 1.0)] {
                assert!(!f.is_defined_on(l, u), "{f:?} on [{l}, {u}]");
                assert_eq!(f.range(l, u), (f64::NEG_INFINITY, f64::INFINITY), "{f:?} on [{l}, {u}]");
                assert_eq!(f.enclosed_range(l, u).1, f64::INFINITY, "{f:?} on [{l}, {u}]");
                assert_eq!(f.steepest(l, u), f64::INFINITY, "{f:?} on [{l}, {u}]");
            }
        }
        assert!(Activation::SQRT.is_defined_on(0.0, 1.0) && !Activation::Reciprocal.is_defined_on(0.0, 1.0));
        assert!(!Activation::Power { exponent: -0.5 }.is_defined_on(0.0, 1.0));
        assert_eq!(Activation::SQRT.error(0.25, 0.5, 0.5), f64::INFINITY);
    }

    #[test]
    fn a_quantizer_forgets_errors_that_leave_it_on_its_step() {
        let rounding = StepRounding::NearestEven;
        let jumps = Jumps::HalfWay;
        let q = Activation::Quantize(Staircase { step: 0.25, zero: 0, low: 0, high: 255, rounding, jumps });
        assert_eq!(q.error(0.3, 0.05, 0.25), 0.0);
        assert_eq!(q.error(0.37, 0.01, 0.25), 0.25);
        assert_eq!(q.error(0.38, 0.01, 0.5), 0.25);
        assert_eq!(q.error(-5.0, 1.0, 0.0), 0.0);
        assert!(q.error(0.3, f64::NAN, 0.25).is_nan());
        assert_eq!(q.error(0.3, f64::INFINITY, 0.25), 63.5);
    }

    #[test]
    fn nan_stays_nan_and_infinities_do_not_become_nan() {
        for f in ALL {
            assert!(f.apply(f64::NAN).is_nan(), "{f:?}");
            assert!(f.apply_scalar(f32::NAN).is_nan(), "{f:?}");
            assert!(!f.apply(f64::NEG_INFINITY).is_nan(), "{f:?}");
            assert!(!f.apply(f64::INFINITY).is_nan(), "{f:?}");
        }
    }
}
