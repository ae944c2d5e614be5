//! Operations on every number on its own.

use super::loops::{Spread, accumulate, combine, fill, update};
use super::{At, Op, Operation, Sink, Var};
use std::ops::{Add, Mul, Neg, Sub};
use weightproof::kernels::Scalar;
use weightproof::network::Activation;

/// A function of one number.
#[derive(Clone, Copy)]
pub(super) enum Map<T> {
    /// `factor · x + shift`
    Affine {
        factor: T,
        shift: T,
    },
    Abs,
    /// `max(x, 0)`, with the slope 0 at zero.
    Relu,
    /// `x` kept in `[low, high]`.
    Clamp {
        low: T,
        high: T,
    },
    /// 1 where `x > 0`, else 0.
    Step,
    /// `1 / x`
    Recip,
    Square,
    /// `√x` for `x > 0`.
    Sqrt,
    Activation(Activation),
}

/// The function, or the product of a gradient with its slope.
enum Pass<'a, T> {
    Forward(&'a mut [T]),
    Backward(&'a mut [T]),
}

impl<T: Scalar> Pass<'_, T> {
    fn run(self, x: &[T], value: impl Fn(T) -> T, slope: impl Fn(T) -> T) {
        match self {
            Pass::Forward(out) => fill(out, [x], move |[x]| value(x)),
            Pass::Backward(g) => update(g, [x], move |g, [x]| g * slope(x)),
        }
    }
}

impl<T: Scalar> Map<T> {
    fn run(self, x: &[T], pass: Pass<'_, T>) {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Map::Affine { factor, shift } => pass.run(x, move |x| factor * x + shift, move |_| factor),
            Map::Abs => pass.run(x, num_traits::Float::abs, move |x| if x < zero { -one } else { one }),
            Map::Relu => pass.run(
                x,
                move |x| if x < zero { zero } else { x },
                move |x| if x > zero { one } else { zero },
            ),
            Map::Clamp { low, high } => {
                let value = move |x| {
                    let x = if x > high { high } else { x };
                    if x < low { low } else { x }
                };
                pass.run(x, value, move |x| if x < low || x > high { zero } else { one });
            }
            Map::Step => pass.run(x, move |x| if x > zero { one } else { zero }, move |_| zero),
            Map::Recip => pass.run(x, move |x| one / x, move |x| -one / (x * x)),
            Map::Square => pass.run(x, |x| x * x, |x| x + x),
            Map::Sqrt => pass.run(x, num_traits::Float::sqrt, move |x| one / (x.sqrt() + x.sqrt())),
            Map::Activation(f) => match pass {
                Pass::Forward(out) => f.apply_all(out, x),
                Pass::Backward(g) => f.pull_back(g, x),
            },
        }
    }
}

impl<T: Scalar> Operation<T> for Map<T> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        self.run(at.input(0).data, Pass::Forward(out));
    }

    fn backward(&self, at: &At<'_, '_, T>, mut g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        self.run(at.input(0).data, Pass::Backward(&mut g));
        sink.give(0, g);
    }
}

/// `x₀ · v + x₁ · w`, operands spread over the result.
#[derive(Clone, Copy)]
pub(super) struct Blend<T>(pub(super) [T; 2]);

impl<T: Scalar> Operation<T> for Blend<T> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let [v, w] = [0, 1].map(|k| Spread::new(at.input(k), [at.rows, at.cols]));
        let [x, y] = self.0;
        combine(out, v, w, move |v, w| x * v + y * w);
    }

    fn backward(&self, at: &At<'_, '_, T>, mut g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let [v, w] = [0, 1].map(|k| Spread::new(at.input(k), [at.rows, at.cols]));
        let [x, y] = self.0;
        if let Some(slot) = sink.slot(1) {
            if w.whole() { accumulate(slot, [&g], move |[g]| y * g) } else { w.reduce(slot, y, &g, None) }
        }
        if v.whole() {
            if x != T::one() {
                update(&mut g, [], move |g, []| x * g);
            }
            return sink.give(0, g);
        }
        if let Some(slot) = sink.slot(0) {
            v.reduce(slot, x, &g, None);
        }
        sink.pool.give(g);
    }
}

/// `v ∘ w`, operands spread over the result.
#[derive(Clone, Copy)]
pub(super) struct Product;

impl<T: Scalar> Operation<T> for Product {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let [v, w] = [0, 1].map(|k| Spread::new(at.input(k), [at.rows, at.cols]));
        combine(out, v, w, |v, w| v * w);
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let operands = [0, 1].map(|k| Spread::new(at.input(k), [at.rows, at.cols]));
        for (k, of) in operands.iter().enumerate() {
            let Some(slot) = sink.slot(k) else { continue };
            let other = operands[1 - k];
            if of.whole() && other.whole() {
                accumulate(slot, [&g, at.input(1 - k).data], |[g, other]| g * other);
            } else {
                of.reduce(slot, T::one(), &g, Some(other));
            }
        }
        sink.pool.give(g);
    }
}

impl<'p, T: Scalar> Var<'p, T> {
    /// `factor · x + shift`.
    fn affine(self, factor: f64, shift: f64) -> Self {
        let [factor, shift] = [factor, shift].map(T::from_f64);
        self.record(Map::Affine { factor, shift }, self.shape())
    }

    /// `factor · x`.
    pub fn scale(self, factor: f64) -> Self {
        self.affine(factor, 0.0)
    }

    /// `x + shift`.
    pub fn shift(self, shift: f64) -> Self {
        self.affine(1.0, shift)
    }

    /// `|x|`; the slope at zero is that from the right.
    pub fn abs(self) -> Self {
        self.record(Map::Abs, self.shape())
    }

    /// `max(x, 0)`; the slope at zero is 0.
    pub fn relu(self) -> Self {
        self.record(Map::Relu, self.shape())
    }

    /// `x` kept in `[low, high]`, ends that may be infinite.
    pub fn clamp(self, low: f64, high: f64) -> Self {
        let [low, high] = [low, high].map(T::from_f64);
        self.record(Map::Clamp { low, high }, self.shape())
    }

    /// 1 where `x > 0`, else 0: a constant for gradients.
    pub fn step(self) -> Self {
        let step = self.record(Map::Step, self.shape());
        self.tape.nodes.borrow_mut()[step.index].tracked = false;
        step
    }

    /// `1 / x`.
    pub fn recip(self) -> Self {
        self.record(Map::Recip, self.shape())
    }

    /// `x²`.
    pub fn square(self) -> Self {
        self.record(Map::Square, self.shape())
    }

    /// `√x` for `x > 0`.
    pub fn sqrt(self) -> Self {
        self.record(Map::Sqrt, self.shape())
    }

    /// A function of the core.
    pub fn activation(self, f: Activation) -> Self {
        if f == Activation::Relu { self.relu() } else { self.record(Map::Activation(f), self.shape()) }
    }

    /// `a · x + b · y` for `y` = `other`. Rows and columns as for `+`.
    pub fn blend(self, other: Self, [a, b]: [f64; 2]) -> Self {
        self.join(other, Blend([a, b].map(T::from_f64)))
    }

    fn join(self, other: Self, op: impl Operation<T> + 'static) -> Self {
        let shape = [self.rows.max(other.rows), self.cols.max(other.cols)];
        self.tape.record(Op::own(op), [Some(self), Some(other)], shape)
    }
}

/// `-x`.
impl<T: Scalar> Neg for Var<'_, T> {
    type Output = Self;
    fn neg(self) -> Self {
        self.scale(-1.0)
    }
}

/// `x + y`. A row of the operand with fewer rows serves as many rows of the other that follow each other; a single column serves
/// all columns.
impl<T: Scalar> Add for Var<'_, T> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.blend(other, [1.0, 1.0])
    }
}

/// `x − y`, rows and columns as for `+`.
impl<T: Scalar> Sub for Var<'_, T> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.blend(other, [1.0, -1.0])
    }
}

/// `x ∘ y`, rows and columns as for `+`.
impl<T: Scalar> Mul for Var<'_, T> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.join(other, Product)
    }
}
