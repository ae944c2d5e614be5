//! Numbers without rounding: the bits of IEEE 754 as integers; and sums of products, rounded to the safe side.

use serde::Deserialize;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Neg;

/// Bits of the mantissa of a [`Number`].
const BITS: u32 = 53;
/// Bits behind the point of a slope or another fraction.
pub const FRACTION_BITS: u32 = 60;
/// The fraction one.
pub const FRACTION: i64 = 1 << FRACTION_BITS;

/// `mantissa · 2^exponent`: every finite number of IEEE 754 single and double precision.
///
/// The mantissa is 0, then the exponent is 0, too, or its magnitude is in [2⁵², 2⁵³): equal numbers have equal fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Number {
    /// Signed mantissa.
    pub mantissa: i64,
    /// Power of two.
    pub exponent: i32,
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number { mantissa: 0, exponent: 0 };
    /// One.
    pub const ONE: Number = Number { mantissa: 1 << 52, exponent: -52 };

    /// `mantissa · 2^exponent` for a mantissa of at most 53 bits.
    fn new(mantissa: i64, exponent: i32) -> Number {
        if mantissa == 0 {
            return Number::ZERO;
        }
        let shift = mantissa.unsigned_abs().leading_zeros() as i32 - (u64::BITS - BITS) as i32;
        assert!(shift >= 0, "a mantissa of more than {BITS} bits");
        Number { mantissa: mantissa << shift, exponent: exponent - shift }
    }

    /// The number with these bits in single precision; `None` for NaN and infinities.
    pub fn from_single(bits: u32) -> Option<Number> {
        Self::from_fields(bits >> 31 == 1, (bits >> 23 & 0xff) as i32, (bits & 0x7f_ffff).into(), [23, 0xff])
    }

    /// The number with these bits in double precision; `None` for NaN and infinities.
    pub fn from_double(bits: u64) -> Option<Number> {
        let fraction = (bits & ((1 << 52) - 1)) as i64;
        Self::from_fields(bits >> 63 == 1, (bits >> 52 & 0x7ff) as i32, fraction, [52, 0x7ff])
    }

    fn from_fields(negative: bool, field: i32, fraction: i64, format: [i32; 2]) -> Option<Number> {
        let [fraction_bits, special] = format;
        // Subnormal numbers have the exponent of field 1 and no leading one.
        let leading = if field == 0 { 0 } else { 1 << fraction_bits };
        let number = Number::new(fraction + leading, field.max(1) - special / 2 - fraction_bits);
        (field != special).then_some(if negative { -number } else { number })
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.mantissa > 0
    }

    /// `|x|`.
    pub fn magnitude(self) -> Number {
        Number { mantissa: self.mantissa.abs(), ..self }
    }

    /// The largest multiple of `2^-FRACTION_BITS` that is at most `x`, for `|x| ≤ 1`.
    pub fn fraction(self) -> i64 {
        let shift = self.exponent + FRACTION_BITS as i32;
        if shift >= 0 { self.mantissa << shift } else { self.mantissa >> (-shift).min(63) }
    }

    /// `1/x` for powers of two.
    pub fn exact_inverse(self) -> Option<Number> {
        let is_power = self.mantissa.abs() == 1 << 52;
        is_power.then(|| Number { exponent: -self.exponent - 104, ..self })
    }
}

impl Neg for Number {
    type Output = Number;

    fn neg(self) -> Number {
        Number { mantissa: -self.mantissa, ..self }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        Sum::from(*self).cmp(&Sum::from(*other))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `a / (a + b)` for numbers that are not negative, rounded to a fraction: any value near it will do, because no proof rests on it.
pub fn share(a: Number, b: Number) -> i64 {
    if !(a.is_positive() && b.is_positive()) {
        return if a.is_positive() { FRACTION } else { 0 };
    }
    let apart = a.exponent - b.exponent;
    let shift = |x: Number, by: i32| (i128::from(x.mantissa) << 10) >> by.clamp(0, 127);
    let (a, b) = (shift(a, -apart), shift(b, apart));
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
    /// Around a number of which lower bounds are known, and of its opposite.
    pub fn around(least: Sum, least_of_opposite: Sum) -> Interval {
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

    /// Both ends moved outward.
    pub fn widened(self, radius: Number) -> Interval {
        let r = Sum::from(-radius);
        Interval::around(Sum::from(self.low).plus(r), Sum::from(-self.high).plus(r))
    }

    /// Where a multiple of the numbers is least, by the sign of the factor.
    pub fn worst(self, is_positive: bool) -> Number {
        if is_positive { self.low } else { self.high }
    }
}

/// Bits of the terms of a [`Sum`]. Its value may have ten more.
const TERM_BITS: u32 = 110;

/// `value · 2^exponent`, a lower bound of a sum: what does not fit is rounded down, by at most `2^-109` of the largest term.
/// Products of two numbers fit, and are exact. An upper bound is the opposite of a lower bound of the opposite.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Signed integer.
    pub value: i128,
    /// Power of two.
    pub exponent: i32,
}

impl Sum {
    /// Zero.
    pub const ZERO: Sum = Sum { value: 0, exponent: 0 };

    /// `value · 2^exponent`.
    pub fn new(value: impl Into<i128>, exponent: i32) -> Sum {
        Sum { value: value.into(), exponent }
    }

    /// `a · 2^exponent · x`, exactly.
    pub fn multiple(a: i64, exponent: i32, x: Number) -> Sum {
        Sum::new(i128::from(a) * i128::from(x.mantissa), exponent + x.exponent)
    }

    /// `x · y`, exactly.
    pub fn product(x: Number, y: Number) -> Sum {
        Sum::multiple(x.mantissa, x.exponent, y)
    }

    /// Adds `term`, or a little less.
    pub fn add(&mut self, term: Sum) {
        let term = term.with_bits(TERM_BITS);
        if term.value == 0 || self.value == 0 {
            *self = if term.value == 0 { *self } else { term };
            return;
        }
        let exponent = self.exponent.max(term.exponent);
        let value = self.floor(exponent) + term.floor(exponent);
        let is_long = value.unsigned_abs() >> (TERM_BITS + 10) != 0;
        *self =
            if is_long { Sum::new(value, exponent).with_bits(TERM_BITS) } else { Sum::new(value, exponent) };
    }

    /// `self + other`, or a little less.
    pub fn plus(mut self, other: Sum) -> Sum {
        self.add(other);
        self
    }

    /// The same number with a value of so many bits, rounded down if it has more.
    fn with_bits(self, bits: u32) -> Sum {
        let exponent = self.magnitude_bits() - bits as i32;
        if self.value == 0 { self } else { Sum::new(self.floor(exponent), exponent) }
    }

    /// The power of two above the magnitude: `|self| < 2^magnitude_bits`. For zero less than for any other number.
    pub fn magnitude_bits(self) -> i32 {
        let bits = (i128::BITS - self.value.unsigned_abs().leading_zeros()) as i32;
        if bits == 0 { i32::MIN >> 10 } else { bits + self.exponent }
    }

    /// The largest integer `m` with `m · 2^exponent ≤ self`; it must fit.
    pub fn floor(self, exponent: i32) -> i128 {
        let shift = self.exponent - exponent;
        // Shifting a negative integer to the right rounds down, too.
        if shift > 0 && self.value != 0 { self.value << shift } else { self.value >> (-shift).clamp(0, 127) }
    }

    /// The largest number of 53 bits that is at most `self`.
    pub fn down(self) -> Number {
        let Sum { value, exponent } = self.with_bits(BITS);
        // Rounding down may have led to −2⁵³.
        let is_long = value.unsigned_abs() >> BITS != 0;
        if is_long {
            Number::new((value >> 1) as i64, exponent + 1)
        } else {
            Number::new(value as i64, exponent)
        }
    }

    /// A number that is at least the square root of `self ≥ 0`.
    pub fn root_up(self) -> Number {
        let exponent = (self.magnitude_bits() - 120).div_euclid(2);
        let root = self.floor(2 * exponent).unsigned_abs().isqrt() as i128 + 1;
        if self.value == 0 { Number::ZERO } else { -Sum::new(-root, exponent).down() }
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.value < 0
    }

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.value > 0
    }
}

impl From<Number> for Sum {
    fn from(x: Number) -> Sum {
        Sum::new(x.mantissa, x.exponent)
    }
}

impl Neg for Sum {
    type Output = Sum;

    fn neg(self) -> Sum {
        Sum { value: -self.value, ..self }
    }
}

impl Ord for Sum {
    fn cmp(&self, other: &Sum) -> Ordering {
        let (a, b) = (self.with_bits(126), other.with_bits(126));
        let by_size = if a.value < 0 { b.exponent.cmp(&a.exponent) } else { a.exponent.cmp(&b.exponent) };
        a.value.signum().cmp(&b.value.signum()).then(by_size).then(a.value.cmp(&b.value))
    }
}

impl PartialOrd for Sum {
    fn partial_cmp(&self, other: &Sum) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Sum) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sum {}

/// About six decimal digits, for readers.
impl fmt::Display for Sum {
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

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sum::from(*self).fmt(f)
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
