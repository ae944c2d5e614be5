//! Numbers without rounding: the bits of IEEE 754 as integers, sums of products, and dyadic rationals of any size.

use num_bigint::{BigInt, BigUint, Sign};
use serde::Deserialize;
use std::cmp::Ordering;

/// Bits of the mantissa of a [`Number`].
pub const BITS: u32 = 53;
/// Bits behind the point of a slope or another fraction: `FRACTION = 2^FRACTION_BITS` is one.
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

    /// `mantissa · 2^exponent` for a mantissa of at most [`BITS`] bits.
    pub fn new(mantissa: i64, exponent: i32) -> Number {
        if mantissa == 0 {
            return Number::ZERO;
        }
        let length = u64::BITS - mantissa.unsigned_abs().leading_zeros();
        assert!(length <= BITS, "a mantissa has at most {BITS} bits, found {length}");
        let shift = BITS - length;
        Number { mantissa: mantissa << shift, exponent: exponent - shift as i32 }
    }

    /// The number with these bits in single precision; `None` for NaN and infinities.
    pub fn from_single(bits: u32) -> Option<Number> {
        let (field, fraction) = ((bits >> 23 & 0xff) as i32, i64::from(bits & 0x7f_ffff));
        Self::from_fields(bits >> 31 == 1, field, fraction, [23, 0xff, 150])
    }

    /// The number with these bits in double precision; `None` for NaN and infinities.
    pub fn from_double(bits: u64) -> Option<Number> {
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, (bits & ((1 << 52) - 1)) as i64);
        Self::from_fields(bits >> 63 == 1, field, fraction, [52, 0x7ff, 1075])
    }

    fn from_fields(negative: bool, field: i32, fraction: i64, format: [i32; 3]) -> Option<Number> {
        let [fraction_bits, special, bias] = format;
        if field == special {
            return None;
        }
        // Subnormal numbers have the exponent of field 1 and no leading one.
        let leading = if field == 0 { 0 } else { 1 << fraction_bits };
        let mantissa = if negative { -(fraction + leading) } else { fraction + leading };
        Some(Number::new(mantissa, field.max(1) - bias))
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.mantissa > 0
    }

    /// `−x`.
    pub fn negated(self) -> Number {
        Number { mantissa: -self.mantissa, ..self }
    }

    /// `|x|`.
    pub fn magnitude(self) -> Number {
        Number { mantissa: self.mantissa.abs(), ..self }
    }

    /// The largest multiple of `2^-FRACTION_BITS` that is at most `x`, for `|x| ≤ 1`.
    pub fn fraction(self) -> i64 {
        let shift = self.exponent + FRACTION_BITS as i32;
        // |x| ≤ 1 leaves at most 60 bits.
        if shift >= 0 { self.mantissa << shift } else { self.mantissa >> (-shift).min(63) }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let by_sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        let by_size = self.exponent.cmp(&other.exponent);
        let by_size = if self.mantissa < 0 { by_size.reverse() } else { by_size };
        by_sign.then(by_size).then(self.mantissa.cmp(&other.mantissa))
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
    let apart = i64::from(a.exponent) - i64::from(b.exponent);
    let shift = |x: Number, by: i64| (i128::from(x.mantissa) << 10) >> by.clamp(0, 127);
    let (a, b) = (shift(a, -apart), shift(b, apart));
    ((a << FRACTION_BITS) / (a + b)) as i64
}

/// Bits of the terms of a [`Sum`].
const TERM_BITS: u32 = 110;

/// A lower bound of a sum of products of integers with exponents: what does not fit is rounded down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    value: i128,
    exponent: i32,
}

impl Sum {
    /// Adds `value · 2^exponent`, or a little less: at most `2^-109` of the largest term. Sums of up to 2¹⁶ terms do not overflow.
    pub fn add(&mut self, value: i128, exponent: i32) {
        if value == 0 {
            return;
        }
        // All bits are used, so that what is rounded is small beside the largest term.
        let shift = (value.unsigned_abs().leading_zeros()).saturating_sub(i128::BITS - TERM_BITS);
        let (value, exponent) = (value << shift, exponent - shift as i32);
        if self.value == 0 {
            self.exponent = exponent;
        }
        let apart = i64::from(exponent) - i64::from(self.exponent);
        let down = |v: i128, by: i64| v >> by.min(127);
        if apart > 0 {
            self.value = down(self.value, apart);
            self.exponent = exponent;
        }
        self.value += down(value, (-apart).max(0));
    }

    /// Adds the least of some values with exponents, or a little less.
    pub fn add_least(&mut self, values: impl Iterator<Item = (i128, i32)>) {
        let values: Vec<(i128, i32)> = values.collect();
        let top = values.iter().filter(|(value, _)| *value != 0).map(|(_, e)| *e).max().unwrap_or(0);
        let down = |(value, e): &(i128, i32)| if *value == 0 { 0 } else { value >> (top - e).min(127) };
        self.add(values.iter().map(down).min().unwrap_or(0), top);
    }

    /// `a·x − c·y`, or a little less, with its exponent.
    pub fn difference(a: i64, x: Number, c: i64, y: Number) -> (i128, i32) {
        let mut sum = Sum::default();
        sum.add_product(a, 0, x);
        sum.add_product(-c, 0, y);
        sum.parts()
    }

    /// The sum as an integer and its exponent.
    pub fn parts(&self) -> (i128, i32) {
        (self.value, self.exponent)
    }

    /// Adds the product of an integer and a number, or a little less.
    pub fn add_product(&mut self, a: i64, exponent: i32, x: Number) {
        self.add(i128::from(a) * i128::from(x.mantissa), exponent + x.exponent);
    }

    /// The sum.
    pub fn total(&self) -> Dyadic {
        Dyadic::new(BigInt::from(self.value), i64::from(self.exponent))
    }
}

/// `mantissa · 2^exponent` with a mantissa of any size; sums and products are exact.
#[derive(Clone, Debug)]
pub struct Dyadic {
    mantissa: BigInt,
    exponent: i64,
}

impl Dyadic {
    /// `mantissa · 2^exponent`.
    pub fn new(mantissa: BigInt, exponent: i64) -> Dyadic {
        Dyadic { mantissa, exponent }
    }

    /// Zero.
    pub fn zero() -> Dyadic {
        Dyadic::new(BigInt::ZERO, 0)
    }

    fn is_zero(&self) -> bool {
        self.mantissa.sign() == Sign::NoSign
    }

    /// The mantissas of both with one exponent.
    fn aligned(&self, other: &Dyadic) -> (BigInt, BigInt, i64) {
        if self.is_zero() || other.is_zero() {
            let exponent = if self.is_zero() { other.exponent } else { self.exponent };
            return (self.mantissa.clone(), other.mantissa.clone(), exponent);
        }
        let exponent = self.exponent.min(other.exponent);
        let up = |x: &Dyadic| &x.mantissa << (x.exponent - exponent);
        (up(self), up(other), exponent)
    }

    /// `self + other`.
    pub fn plus(&self, other: &Dyadic) -> Dyadic {
        let (a, b, exponent) = self.aligned(other);
        Dyadic::new(a + b, exponent)
    }

    /// `self − other`.
    pub fn minus(&self, other: &Dyadic) -> Dyadic {
        self.plus(&other.negated())
    }

    /// `self · other`.
    pub fn times(&self, other: &Dyadic) -> Dyadic {
        Dyadic::new(&self.mantissa * &other.mantissa, self.exponent + other.exponent)
    }

    /// `−self`.
    pub fn negated(&self) -> Dyadic {
        Dyadic::new(-&self.mantissa, self.exponent)
    }

    /// `|self|`.
    pub fn magnitude(&self) -> Dyadic {
        if self.is_negative() { self.negated() } else { self.clone() }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }

    /// Whether it is above zero.
    pub fn is_positive(&self) -> bool {
        self.mantissa.sign() == Sign::Plus
    }

    /// The power of two above the magnitude: `|self| < 2^magnitude_bits`. Least possible for zero.
    pub fn magnitude_bits(&self) -> i64 {
        if self.is_zero() { i64::from(i32::MIN) } else { self.mantissa.bits() as i64 + self.exponent }
    }

    /// The largest integer `m` with `m · 2^exponent ≤ self`.
    pub fn floor_at(&self, exponent: i64) -> BigInt {
        let shift = self.exponent - exponent;
        // Shifting a negative integer to the right rounds down, too.
        if shift >= 0 { &self.mantissa << shift } else { &self.mantissa >> -shift }
    }

    /// The largest number of [`BITS`] bits that is at most `self`.
    pub fn down(&self) -> Number {
        let mut exponent = self.magnitude_bits() - i64::from(BITS);
        let mut mantissa = self.floor_at(exponent);
        if mantissa.bits() > u64::from(BITS) {
            // −2⁵³ from rounding.
            mantissa >>= 1;
            exponent += 1;
        }
        let digits = mantissa.iter_u64_digits().next().unwrap_or(0) as i64;
        Number::new(if mantissa.sign() == Sign::Minus { -digits } else { digits }, exponent as i32)
    }

    /// The least number of [`BITS`] bits that is at least `self`.
    pub fn up(&self) -> Number {
        self.negated().down().negated()
    }

    /// The least number of some sixty bits that is at least the square root of `self ≥ 0`.
    pub fn root_up(&self) -> Dyadic {
        if !self.is_positive() {
            return Dyadic::zero();
        }
        let exponent = (self.magnitude_bits() - 128).div_euclid(2);
        let square: BigUint = self.floor_at(2 * exponent).magnitude() + BigUint::from(1_u32);
        Dyadic::new(BigInt::from(square.sqrt() + BigUint::from(1_u32)), exponent)
    }

    /// About six decimal digits, for readers.
    pub fn text(&self) -> String {
        if self.is_zero() {
            return "0".into();
        }
        // log10(2) is about 30103/100000, so there are seven or eight digits, of which six are printed.
        let power = ((self.magnitude_bits() - 1) * 30103).div_euclid(100_000) - 6;
        let ten = Dyadic::new(BigInt::from(10).pow(power.unsigned_abs() as u32), 0);
        let (top, bottom) = (self.magnitude(), Dyadic::new(1.into(), 0));
        let (top, bottom) = if power >= 0 { (top, bottom.times(&ten)) } else { (top.times(&ten), bottom) };
        let (top, bottom, _) = top.aligned(&bottom);
        let digits: BigInt = top / bottom;
        let digits = digits.to_string();
        let (point, sign) = (power + digits.len() as i64, if self.is_negative() { "-" } else { "" });
        match point {
            -3..=0 => format!("{sign}0.{}{}", "0".repeat(point.unsigned_abs() as usize), &digits[..6]),
            1..=5 => format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..6]),
            _ => format!("{sign}{}.{}e{}", &digits[..1], &digits[1..6], point - 1),
        }
    }
}

impl From<Number> for Dyadic {
    fn from(x: Number) -> Dyadic {
        Dyadic::new(BigInt::from(x.mantissa), i64::from(x.exponent))
    }
}

impl PartialEq for Dyadic {
    fn eq(&self, other: &Dyadic) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Dyadic {}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Dyadic) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Dyadic) -> Ordering {
        let (a, b, _) = self.aligned(other);
        a.cmp(&b)
    }
}

impl std::fmt::Display for Dyadic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Dyadic::from(*self).text())
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
        if self.0.len() == count {
            Ok(&self.0)
        } else {
            Err(format!("expected {count} numbers, found {}", self.0.len()))
        }
    }
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Number, String> {
        Ok(Numbers::try_from(text)?.exactly(1)?[0])
    }
}
