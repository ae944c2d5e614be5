//! Number formats: what rounding of parameters, values and sums does to a layer, as radii of its parameters (theory.md §9).
//!
//! ```text
//! weight w    ((1 + u_w)(1 + u)(1 + γ) − 1) |w| + (1 + u)(1 + γ) η_w      u_w = u, η_w = η, or both 0 where the format holds w
//! bias b      ((1 + u_b)(1 + γ) − 1) |b| + (1 + γ) η_b + (1 + γ) η Σ_j (|w_j| + E_j) + n 2⁻¹⁴⁹
//! a sum       ((1 + u)(1 + γ) − 1) of each summand, and (1 + γ) η F + n 2⁻¹⁴⁹, F the sum of their factors
//! ```
//! u is the unit roundoff of the format and η half of its smallest number; n terms are added in single precision, γ = n / (2²⁴ − n).
//! All of it is multiplied by the radius of the set. Every number here is at most the opposite of what it stands for, until it is given out.

use crate::certificate::Kind;
use crate::network::Affine;
use crate::number::Number;
use crate::set::LayerSet;

/// Kinds of sets that are about a format: its bits, the power of two of its smallest number, the largest number with its power of two.
const FORMATS: [(Kind, i32, i32, [i32; 2]); 6] = [
    (Kind::Fp32, 24, -149, [(1 << 24) - 1, 104]),
    (Kind::TensorFloat, 11, -136, [(1 << 11) - 1, 117]),
    (Kind::Bf16, 8, -133, [(1 << 8) - 1, 120]),
    (Kind::Fp16, 11, -24, [(1 << 11) - 1, 5]),
    (Kind::Fp8E4M3, 4, -9, [7, 6]),
    (Kind::Fp8E5M2, 3, -16, [7, 13]),
];

/// A format of values and weights, and the multiple of its rounding that the set allows.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bits of a number.
    bits: i32,
    /// Power of two of the smallest number above zero.
    least: i32,
    /// The largest number.
    pub largest: Number,
    times: Number,
}

/// Sums of a number of terms.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    format: Format,
    terms: i64,
    /// At most `−(1 + γ)`.
    gamma: Number,
}

impl Format {
    /// The format that a kind of set is about, if it is about one.
    pub fn new(kind: Kind, times: Number) -> Option<Format> {
        let &(_, bits, least, [value, exponent]) = FORMATS.iter().find(|format| format.0 == kind)?;
        Some(Format { bits, least, largest: Number::new(value, exponent), times })
    }

    /// Whether the number is one of the format.
    fn holds(self, x: Number) -> bool {
        let zeros = x.value.trailing_zeros() as i32;
        x.value == 0
            || (x.magnitude_bits() - x.exponent - zeros <= self.bits && x.exponent + zeros >= self.least)
    }

    /// Whether the radii of a layer are at least what rounding in the format does to it.
    ///
    /// # Errors
    /// Names a radius that is not, or a parameter that is out of the range of the format.
    pub fn holds_all(self, layer: &LayerSet, affine: &Affine) -> Result<(), String> {
        let (columns, sums) = (affine.columns(), self.sums(affine.columns() + 1)?);
        if affine.window.is_some() && !layer.per_use {
            return Err("expected uses that move on their own".into());
        }
        let enough = |what: &dyn Fn() -> String, x: Number, own: Number, needed: Number| {
            if x.magnitude() > self.largest {
                Err(format!("{} is {x}, out of the range of the format", what()))
            } else if own < needed {
                Err(format!("radius of {}: expected {needed}, found {own}", what()))
            } else {
                Ok(())
            }
        };
        for (i, row) in affine.weight.0.chunks(columns).enumerate() {
            let mut opposite = Number::ZERO;
            for (j, &w) in row.iter().enumerate() {
                let needed = sums.weight(w);
                opposite += -w.magnitude() - needed;
                enough(&|| format!("weight ({i}, {j})"), w, layer.radius(affine, i * columns + j), needed)?;
            }
            let b = affine.bias(i);
            enough(&|| format!("bias {i}"), b, layer.bias(i), sums.bias(b, -opposite))?;
        }
        Ok(())
    }

    /// Sums of so many terms in single precision.
    ///
    /// # Errors
    /// When there are too many.
    pub fn sums(self, terms: usize) -> Result<Sums, String> {
        let rest = (1_i64 << 24) - terms.min(1 << 24) as i64;
        if rest <= 1 << 23 {
            return Err(format!("a sum of {terms} terms in single precision"));
        }
        let (terms, inverse) = (terms as i64, Number::new(-rest, 0).inverse_down().down());
        Ok(Sums { format: self, terms, gamma: (Number::new(terms, 0) * inverse - Number::ONE).down() })
    }
}

impl Sums {
    fn eta(&self) -> Number {
        Number::new(1, self.format.least - 1)
    }

    /// `(1 + u)^power`.
    fn units(&self, power: i32) -> Number {
        let one = Number::new((1_i64 << self.format.bits) + 1, -self.format.bits);
        (0..power).fold(Number::ONE, |product, _| product * one)
    }

    /// At most `1 − (1 + u)^power (1 + γ)`.
    fn relative(&self, power: i32) -> Number {
        (self.units(power) * self.gamma + Number::ONE).down()
    }

    /// What is lost where sums of numbers underflow.
    fn underflow(&self) -> Number {
        Number::new(-self.terms, -149)
    }

    /// The radius that was added up as its opposite.
    fn radius(&self, opposite: Number) -> Number {
        -(opposite.down() * self.format.times).down()
    }

    /// Radius of a weight.
    pub fn weight(&self, w: Number) -> Number {
        let rounded = !self.format.holds(w);
        let own = (self.relative(1 + i32::from(rounded)) * w.magnitude()).down();
        let eta = if rounded { self.eta() } else { Number::ZERO };
        self.radius(own + self.units(1) * self.gamma * eta)
    }

    /// Radius of the bias of a row whose weights with their radii sum up to `size`.
    pub fn bias(&self, b: Number, size: Number) -> Number {
        let rounded = !self.format.holds(b);
        let own = (self.relative(i32::from(rounded)) * b.magnitude()).down();
        let eta = if rounded { self.eta() } else { Number::ZERO };
        self.radius(own + self.gamma * eta + self.gamma * -(-size).down() * self.eta() + self.underflow())
    }

    /// What each summand of a sum without parameters may lose of itself, and the sum in all; `factors` is the sum of what summands are
    /// multiplied with.
    pub fn sum(&self, factors: Number) -> [Number; 2] {
        let absolute = self.gamma * factors * self.eta() + self.underflow();
        [self.radius(self.relative(1)), self.radius(absolute)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Terms of a weight and a bias: `1 + γ` is `ONE / REST`.
    const ONE: i128 = 1 << 24;
    const REST: i128 = ONE - 2;

    /// Whether a number is at least `p / q`, and by less than a part of 2⁻²⁸ more.
    fn is(found: Number, p: i128, q: i128) -> bool {
        let (over, p) = (found * Number::new(q, 0), Number::new(p, 0));
        p <= over && over <= p + p * Number::new(1, -28)
    }

    fn sums(kind: Kind) -> Sums {
        Format::new(kind, Number::ONE).unwrap().sums(2).unwrap()
    }

    #[test]
    fn radii_of_weights_by_hand() {
        // 1 is a number of eight bits: (1 + 2⁻⁸)(1 + γ) − 1. With nine bits its own rounding comes on top.
        assert!(is(sums(Kind::Bf16).weight(Number::ONE), 257 * ONE - 256 * REST, 256 * REST));
        let w = Number::new(-257, -8);
        assert!(is(
            sums(Kind::Bf16).weight(w),
            (257 * 257 * ONE - 256 * 256 * REST) * 257,
            (256 * 256 * REST) << 8
        ));
        // Half of 2⁻¹⁶, the smallest number of the format, which rounds by η = 2⁻¹⁷: ((9/8)² (1 + γ) − 1 + 9/8 (1 + γ)) 2⁻¹⁷.
        let half = Number::new(1, -17);
        assert!(is(sums(Kind::Fp8E5M2).weight(half), (81 + 72) * ONE - 64 * REST, (64 * REST) << 17));
        // The smallest one is stored exactly: (9/8 (1 + γ) − 1) 2⁻¹⁶.
        assert!(is(sums(Kind::Fp8E5M2).weight(Number::new(1, -16)), 9 * ONE - 8 * REST, (8 * REST) << 16));
    }

    #[test]
    fn radii_of_biases_and_sums_by_hand() {
        // 1 is held: γ, and η (1 + γ) for each unit of the weights, and two terms of 2⁻¹⁴⁹, which are lost in the room.
        let bias = sums(Kind::Fp8E5M2).bias(Number::ONE, Number::new(3, 0));
        assert!(is(bias, ((ONE - REST) << 17) + 3 * ONE, REST << 17));
        // Neither bias nor weights: underflow of the sum alone.
        assert!(is(sums(Kind::Fp32).bias(Number::ZERO, Number::ZERO) * Number::new(1, 149), 2, 1));
        let [relative, absolute] = sums(Kind::Fp8E5M2).sum(Number::new(2, 0));
        assert!(is(relative, 9 * ONE - 8 * REST, 8 * REST) && is(absolute, 2 * ONE, REST << 17));
        assert!(Format::new(Kind::Bf16, Number::ONE).unwrap().sums(1 << 23).is_err());
        assert!(Format::new(Kind::Absolute, Number::ONE).is_none());
        // Twice the rounding.
        let twice = Format::new(Kind::Bf16, Number::new(2, 0)).unwrap().sums(2).unwrap();
        assert!(is(twice.weight(Number::ONE), 257 * ONE - 256 * REST, 128 * REST));
    }
}
