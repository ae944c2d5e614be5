//! Exact numbers for the tests, of any size: an arithmetic of their own.

use num_bigint::{BigInt, Sign};
use std::cmp::Ordering;
use weightproof_check::number::Number;

/// `mantissa · 2^exponent`.
#[derive(Clone)]
pub struct Rational {
    mantissa: BigInt,
    exponent: i64,
}

pub fn rational(x: f64) -> Rational {
    Number::from_double(x.to_bits()).unwrap().into()
}

impl Rational {
    pub fn new(mantissa: impl Into<BigInt>, exponent: i32) -> Self {
        Rational { mantissa: mantissa.into(), exponent: exponent.into() }
    }

    fn aligned(&self, other: &Self) -> (BigInt, BigInt, i64) {
        let exponent = self.exponent.min(other.exponent);
        let up = |x: &Self| &x.mantissa << (x.exponent - exponent);
        (up(self), up(other), exponent)
    }

    pub fn plus(&self, other: &Self) -> Self {
        let (a, b, exponent) = self.aligned(other);
        Rational { mantissa: a + b, exponent }
    }

    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&Rational { mantissa: -&other.mantissa, exponent: other.exponent })
    }

    pub fn times(&self, other: &Self) -> Self {
        Rational { mantissa: &self.mantissa * &other.mantissa, exponent: self.exponent + other.exponent }
    }

    pub fn magnitude(&self) -> Self {
        if self.is_negative() { rational(0.0).minus(self) } else { self.clone() }
    }

    pub fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }
}

impl From<Number> for Rational {
    fn from(x: Number) -> Self {
        Rational::new(x.value, x.exponent)
    }
}

impl PartialEq for Rational {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rational {}

impl PartialOrd for Rational {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rational {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b, _) = self.aligned(other);
        a.cmp(&b)
    }
}

/// For messages of failing tests only.
impl std::fmt::Debug for Rational {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} · 2^{}", self.mantissa, self.exponent)
    }
}
