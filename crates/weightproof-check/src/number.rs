//! Numbers of 128 bits without rounding but for sums, which are rounded down.

use serde::Deserialize;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// Bits of the mantissa of a double: those of the ends of boxes.
const BITS: u32 = 53;
/// Bits of the terms of a sum.
const TERM_BITS: u32 = 120;
/// Bits behind the point of a slope or another fraction.
pub const FRACTION_BITS: u32 = 60;
/// The fraction one.
pub const FRACTION: i64 = 1 << FRACTION_BITS;

/// `value · 2^exponent`. Finite numbers of IEEE 754 are exact, and so are products: what does not fit is an error. Sums and
/// differences are lower bounds: what does not fit into 120 bits is rounded down. An upper bound is the opposite of a lower
/// bound of the opposite.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Number {
    /// Signed integer.
    pub value: i128,
    /// Power of two.
    pub exponent: i32,
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number { value: 0, exponent: 0 };
    /// One.
    pub const ONE: Number = Number { value: 1, exponent: 0 };

    /// `value · 2^exponent`.
    pub fn new(value: impl Into<i128>, exponent: i32) -> Number {
        Number { value: value.into(), exponent }
    }

    /// The number with these bits in single precision; `None` for NaN and infinities.
    pub fn from_single(bits: u32) -> Option<Number> {
        Self::from_fields(bits.into(), 23, 8)
    }

    /// The number with these bits in double precision; `None` for NaN and infinities.
    pub fn from_double(bits: u64) -> Option<Number> {
        Self::from_fields(bits, 52, 11)
    }

    fn from_fields(bits: u64, fraction_bits: i32, exponent_bits: i32) -> Option<Number> {
        let special = (1 << exponent_bits) - 1;
        let (fraction, field) = (bits & ((1 << fraction_bits) - 1), (bits >> fraction_bits) as i32 & special);
        // Subnormal numbers have the exponent of field 1 and no leading one.
        let leading = if field == 0 { 0 } else { 1 << fraction_bits };
        let magnitude = Number::new(fraction + leading, field.max(1) - special / 2 - fraction_bits);
        let is_negative = bits >> (fraction_bits + exponent_bits) == 1;
        (field != special).then_some(if is_negative { -magnitude } else { magnitude })
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.value < 0
    }

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.value > 0
    }

    /// `|x|`.
    pub fn magnitude(self) -> Number {
        Number { value: self.value.abs(), ..self }
    }

    /// The power of two above the magnitude: `|x| < 2^magnitude_bits`. For zero less than for any other number.
    pub fn magnitude_bits(self) -> i32 {
        let bits = (i128::BITS - self.value.unsigned_abs().leading_zeros()) as i32;
        if bits == 0 { i32::MIN >> 10 } else { bits + self.exponent }
    }

    /// The largest integer `m` with `m · 2^exponent ≤ x`; it must fit.
    pub fn floor(self, exponent: i32) -> i128 {
        let shift = self.exponent - exponent;
        // Shifting a negative integer to the right rounds down, too.
        if shift > 0 && self.value != 0 { self.value << shift } else { self.value >> (-shift).clamp(0, 127) }
    }

    /// The integer `m` for which `m · 2^exponent` is nearest, the even one of two; it must fit.
    pub fn nearest(self, exponent: i32) -> i128 {
        let twice = self.floor(exponent - 1);
        let (up, is_tie) = ((twice + 1) >> 1, twice % 2 != 0 && Number::new(twice, exponent - 1) == self);
        if is_tie { up - (up & 1) } else { up }
    }

    /// The nearest number of 24 bits, as single precision has them, of any exponent; an even one of two.
    pub fn single(self) -> Number {
        self.rounded(24)
    }

    /// The nearest number of so many bits, of any exponent; an even one of two.
    pub fn rounded(self, bits: i32) -> Number {
        let exponent = self.magnitude_bits() - bits;
        if self.value == 0 { Number::ZERO } else { Number::new(self.nearest(exponent), exponent) }
    }

    /// `x / divisor`, rounded to 24 bits, for a divisor above zero that has no more.
    pub fn divided(self, divisor: Number) -> Number {
        // Without zeros behind the 24 bits, which would be taken from the quotient.
        let (dividend, divisor) = (self.single(), divisor.single());
        // A quotient of two numbers of 24 bits is half way between two others, or further from there than by 2⁻⁵⁰ of it.
        let quotient = (dividend.value << 60).div_euclid(divisor.value);
        Number::new(quotient, dividend.exponent - divisor.exponent - 60).single()
    }

    /// The integer that it is `step` times.
    ///
    /// # Errors
    /// When there is none of 40 bits.
    pub fn in_steps(self, step: Number) -> Result<i64, String> {
        let quotient = (self.value << 64).checked_div_euclid(step.value).unwrap_or(i128::MAX);
        let quotient = Number::new(quotient, self.exponent - step.exponent - 64);
        if quotient.magnitude_bits() < 40 {
            let integer = quotient.nearest(0) as i64;
            if step * Number::new(integer, 0) == self {
                return Ok(integer);
            }
        }
        Err(format!("{self} is no multiple of the step {step}"))
    }

    /// The same number with a value of so many bits, rounded down if it has more.
    pub fn with_bits(self, bits: u32) -> Number {
        let exponent = self.magnitude_bits() - bits as i32;
        if self.value == 0 { Number::ZERO } else { Number::new(self.floor(exponent), exponent) }
    }

    /// The largest number of 53 bits that is at most `x`.
    pub fn down(self) -> Number {
        self.with_bits(BITS)
    }

    /// A number of 53 bits that is at least the square root of `x ≥ 0`.
    pub fn root_up(self) -> Number {
        let exponent = (self.magnitude_bits() - 120).div_euclid(2);
        let root = self.floor(2 * exponent).unsigned_abs().isqrt() as i128 + 1;
        if self.value == 0 { self } else { -Number::new(-root, exponent).down() }
    }

    /// A number that is at most `1/x`, nearer than the 53 bits of `x ≠ 0`: exact for powers of two.
    pub fn inverse_down(self) -> Number {
        let x = self.down();
        // A quotient of a positive divisor that is rounded down, and of a negative one that is rounded away from zero.
        let quotient = (1_i128 << 120).div_euclid(x.value.abs());
        let exact = quotient * x.value.abs() == 1 << 120;
        let value = if x.is_negative() { -quotient - i128::from(!exact) } else { quotient };
        Number::new(value, -120 - x.exponent)
    }
}

impl Add for Number {
    type Output = Number;

    fn add(self, other: Number) -> Number {
        if self.value == 0 || other.value == 0 {
            return if self.value == 0 { other } else { self };
        }
        // All bits are used, so that what is rounded is small beside the larger one.
        let (a, b) = (self.with_bits(TERM_BITS), other.with_bits(TERM_BITS));
        let exponent = a.exponent.max(b.exponent);
        Number::new(a.floor(exponent) + b.floor(exponent), exponent)
    }
}

impl Sub for Number {
    type Output = Number;

    fn sub(self, other: Number) -> Number {
        self + -other
    }
}

impl AddAssign for Number {
    fn add_assign(&mut self, other: Number) {
        *self = *self + other;
    }
}

impl Mul for Number {
    type Output = Number;

    fn mul(self, other: Number) -> Number {
        Number::new(self.value * other.value, self.exponent + other.exponent)
    }
}

impl Neg for Number {
    type Output = Number;

    fn neg(self) -> Number {
        Number { value: -self.value, ..self }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let (a, b) = (self.with_bits(126), other.with_bits(126));
        let by_size = if a.value < 0 { b.exponent.cmp(&a.exponent) } else { a.exponent.cmp(&b.exponent) };
        a.value.signum().cmp(&b.value.signum()).then(by_size).then(a.value.cmp(&b.value))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

/// `a / (a + b)` for numbers that are not negative, rounded to a fraction: any value near it will do, because no proof rests on it.
pub fn share(a: Number, b: Number) -> i64 {
    if !(a.is_positive() && b.is_positive()) {
        return if a.is_positive() { FRACTION } else { 0 };
    }
    let exponent = a.magnitude_bits().max(b.magnitude_bits()) - 62;
    let (a, b) = (a.floor(exponent), b.floor(exponent));
    ((a << FRACTION_BITS) / (a + b)) as i64
}

/// All numbers from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Lower end.
    pub low: Number,
    /// Upper end.
    pub high: Number,
}

impl Interval {
    /// Around a number of which lower bounds are known, and of its opposite. The ends have 53 bits.
    pub fn around(least: Number, least_of_opposite: Number) -> Interval {
        Interval { low: least.down(), high: -least_of_opposite.down() }
    }

    /// One number.
    pub fn point(x: Number) -> Interval {
        Interval { low: x, high: x }
    }

    /// What is in both.
    pub fn meet(self, other: Interval) -> Interval {
        Interval { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    /// What is between two of them, too.
    pub fn hull(self, other: Interval) -> Interval {
        Interval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// What a product is between, exactly.
    pub fn times(self, other: Interval) -> Interval {
        let [low, high] = [other.low, other.high];
        let corners = [self.low * low, self.low * high, self.high * low, self.high * high];
        corners.map(Interval::point).into_iter().reduce(Interval::hull).expect("there are four")
    }

    /// Both ends moved outward.
    pub fn widened(self, radius: Number) -> Interval {
        Interval::around(self.low - radius, -self.high - radius)
    }

    /// The largest magnitude of the numbers.
    pub fn size(self) -> Number {
        self.low.magnitude().max(self.high.magnitude())
    }

    /// Where a multiple of the numbers is least, by the sign of the factor.
    pub fn worst(self, is_positive: bool) -> Number {
        if is_positive { self.low } else { self.high }
    }
}

impl Neg for Interval {
    type Output = Interval;

    fn neg(self) -> Interval {
        Interval { low: -self.high, high: -self.low }
    }
}

/// About six decimal digits, for readers.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value == 0 {
            return f.write_str("0");
        }
        // value · 2^exponent · 10^power stays the same, up to what divisions cut off.
        let zeros = self.value.trailing_zeros();
        let (mut value, mut power) = (self.value.unsigned_abs() >> zeros, 0);
        for _ in 0..self.exponent + zeros as i32 {
            (value, power) = if value >> 120 == 0 { (value, power) } else { (value / 10, power + 1) };
            value *= 2;
        }
        for _ in self.exponent + zeros as i32..0 {
            while value >> 120 == 0 {
                (value, power) = (value * 10, power - 1);
            }
            value /= 2;
        }
        while value < 100_000 {
            (value, power) = (value * 10, power - 1);
        }
        let (digits, sign) = (value.to_string(), if self.is_negative() { "-" } else { "" });
        let point = power + digits.len() as i32;
        match point {
            -3..=0 => write!(f, "{sign}0.{}{}", "0".repeat(point.unsigned_abs() as usize), &digits[..6]),
            1..=5 => write!(f, "{sign}{}.{}", &digits[..point as usize], &digits[point as usize..6]),
            _ => write!(f, "{sign}{}.{}e{}", &digits[..1], &digits[1..6], point - 1),
        }
    }
}

/// Numbers of a certificate: `s` and 8 hexadecimal digits for each in single precision, or `d` and 16 for each in double.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Numbers(pub Vec<Number>);

impl TryFrom<String> for Numbers {
    type Error = String;

    fn try_from(text: String) -> Result<Numbers, String> {
        let size = match text.as_bytes().first() {
            Some(b's') => 8,
            Some(b'd') => 16,
            _ => return Err(r#"expected numbers that begin with "s" or "d""#.into()),
        };
        let digits = &text.as_bytes()[1..];
        if !digits.len().is_multiple_of(size) {
            return Err(format!("expected {size} digits for each number, found {} in all", digits.len()));
        }
        let read = |(place, digits): (usize, &[u8])| {
            let value = |bits: u64, &digit: &u8| Some(bits << 4 | u64::from(char::from(digit).to_digit(16)?));
            let bits = digits.iter().try_fold(0, value);
            let bits = bits.ok_or_else(|| format!("number {place}: not a hexadecimal digit"))?;
            let number = if size == 8 { Number::from_single(bits as u32) } else { Number::from_double(bits) };
            number.ok_or_else(|| format!("number {place} is NaN or infinite"))
        };
        digits.chunks(size).enumerate().map(read).collect::<Result<_, _>>().map(Numbers)
    }
}

impl Numbers {
    /// The numbers, when there are `count` of them.
    ///
    /// # Errors
    /// When there are more or fewer.
    pub fn exactly(&self, count: usize) -> Result<&[Number], String> {
        let found = self.0.len();
        if found == count { Ok(&self.0) } else { Err(format!("expected {count} numbers, found {found}")) }
    }
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Number, String> {
        Ok(Numbers::try_from(text)?.exactly(1)?[0])
    }
}
