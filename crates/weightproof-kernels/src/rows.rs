//! Fused loops over one row of coefficients. Every loop keeps sixteen partial sums, so the compiler may use vectors
//! and the result does not depend on how wide they are; `vectorized!` picks the widest instructions at run time.

use super::Scalar;

/// Number of partial sums of a reduction.
const LANES: usize = 16;

/// Runs a closure compiled for the best instruction set of this machine. Kernels inlined into it profit; the closure itself
/// must be inlined for that, too, which a function could not ask for. With `move` the compiler knows that no store changes what the
/// closure captures.
#[macro_export]
macro_rules! vectorized {
    (|| $body:expr) => {
        $crate::vectorized!(@ [] $body)
    };
    (move || $body:expr) => {
        $crate::vectorized!(@ [move] $body)
    };
    (@ [$($move:tt)?] $body:expr) => {{
        let once = $crate::rows::Once;
        $crate::pulp::Arch::new().dispatch(
            #[inline(always)]
            $($move)? || {
                let _moved = once;
                $body
            },
        )
    }};
}
pub use vectorized;

/// What [`vectorized`] moves out of its closure, which can then be called once only. Others are called through a function of the
/// standard library, which is compiled for the oldest machine.
#[derive(Debug)]
pub struct Once;

/// `max(a, 0)`, but NaN stays NaN: it must reach the bound and spoil it.
#[inline(always)]
fn positive<T: Scalar>(a: T) -> T {
    if a < T::zero() { T::zero() } else { a }
}

/// `min(a, 0)`; NaN gives 0 here because [`positive`] keeps it.
#[inline(always)]
fn negative<T: Scalar>(a: T) -> T {
    if a < T::zero() { a } else { T::zero() }
}

/// The sum of all partial sums, by halves.
#[inline(always)]
fn total<T: Scalar>(lanes: [T; LANES], tail: T) -> T {
    let mut half = [T::zero(); LANES / 2];
    for i in 0..LANES / 2 {
        half[i] = lanes[i] + lanes[i + LANES / 2];
    }
    // Else the compiler makes vectors from here backwards, pairs of numbers, of the whole loop that the sums come from.
    let mut half = std::hint::black_box(half);
    let mut width = LANES / 4;
    while width > 0 {
        for i in 0..width {
            half[i] += half[i + width];
        }
        width /= 2;
    }
    half[0] + tail
}

/// `Σ f(a_i, b_i, c_i)`.
#[inline(always)]
pub fn sum3<T: Scalar>(a: &[T], b: &[T], c: &[T], f: impl Fn(T, T, T) -> T) -> T {
    let ((a, ta), (b, tb), (c, tc)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let mut lanes = [T::zero(); LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i], c[i]);
        }
    }
    let mut tail = T::zero();
    for ((&a, &b), &c) in ta.iter().zip(tb).zip(tc) {
        tail += f(a, b, c);
    }
    total(lanes, tail)
}

/// `f(0)` to `f(count − 1)`. A loop of its own: what an iterator collects is a call, which has not the instructions of [`vectorized`], and so
/// is a closure that is not `#[inline(always)]`.
#[inline(always)]
pub fn each<R>(count: usize, mut f: impl FnMut(usize) -> R) -> Vec<R> {
    let mut out = Vec::with_capacity(count);
    for k in 0..count {
        out.push(f(k));
    }
    out
}

/// `z` kept in `[lower, upper]`; NaN stays NaN. Two choices that follow each other, which vectors can make.
#[inline(always)]
pub fn clamp<T: Scalar>(z: T, lower: T, upper: T) -> T {
    let z = if z > upper { upper } else { z };
    if z < lower { lower } else { z }
}

/// `a_i ← a_i + b_i`.
#[inline(always)]
pub fn add<T: Scalar>(a: &mut [T], b: &[T]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `a_i ← a_i − b_i`.
#[inline(always)]
pub fn subtract<T: Scalar>(a: &mut [T], b: &[T]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a -= b;
    }
}

/// `Σ a_i`.
#[inline(always)]
pub fn sum<T: Scalar>(a: &[T]) -> T {
    sum3(a, a, a, |a, _, _| a)
}

/// `Σ |a_i|`.
#[inline(always)]
pub fn l1<T: Scalar>(a: &[T]) -> T {
    sum3(a, a, a, |a, _, _| a.abs())
}

/// `Σ a_i²`.
#[inline(always)]
pub fn squares<T: Scalar>(a: &[T]) -> T {
    sum3(a, a, a, |a, _, _| a * a)
}

/// `Σ a_i² v_i`, summed in f64.
#[inline(always)]
pub fn weighted_squares<T: Scalar>(a: &[T], v: &[f64]) -> f64 {
    let v = &v[..a.len()];
    let ((a, ta), (v, tv)) = (a.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, v) in a.iter().zip(v) {
        for i in 0..LANES {
            let a = Scalar::to_f64(a[i]);
            lanes[i] += a * a * v[i];
        }
    }
    let tail = ta.iter().zip(tv).map(|(&a, &v)| Scalar::to_f64(a) * Scalar::to_f64(a) * v).sum();
    total(lanes, tail)
}

/// `Σ a_i b_i`.
#[inline(always)]
pub fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    sum3(a, b, b, |a, b, _| a * b)
}

/// `Σ |a_i| e_i`.
#[inline(always)]
pub fn weighted_l1<T: Scalar>(a: &[T], e: &[T]) -> T {
    sum3(a, e, e, |a, e, _| a.abs() * e)
}

/// `Σ a_i b_i − |a_i| e_i`: the worst value of `a·v` for `v` in the box `b ± e`.
#[inline(always)]
pub fn centered<T: Scalar>(a: &[T], b: &[T], e: &[T]) -> T {
    sum3(a, b, e, |a, b, e| a * b - a.abs() * e)
}

/// [`centered`] and `Σ |a_i| m_i`.
#[inline(always)]
pub fn centered_sized<T: Scalar>(a: &[T], b: &[T], e: &[T], m: &[T]) -> (T, T) {
    let (m, b, e) = (&m[..a.len()], &b[..a.len()], &e[..a.len()]);
    let ((a, ta), (b, tb)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let ((e, te), (m, tm)) = (e.as_chunks::<LANES>(), m.as_chunks::<LANES>());
    let (mut values, mut sizes) = ([T::zero(); LANES], [T::zero(); LANES]);
    for (((a, b), e), m) in a.iter().zip(b).zip(e).zip(m) {
        for i in 0..LANES {
            let size = a[i].abs();
            values[i] += a[i] * b[i] - size * e[i];
            sizes[i] += size * m[i];
        }
    }
    let (mut value, mut size) = (T::zero(), T::zero());
    for (((&a, &b), &e), &m) in ta.iter().zip(tb).zip(te).zip(tm) {
        value += a * b - a.abs() * e;
        size += a.abs() * m;
    }
    (total(values, value), total(sizes, size))
}

/// `min a·v` for `v` in the box `[l, u]`: `Σ a_i⁺ l_i + a_i⁻ u_i`.
#[inline(always)]
pub fn concretized<T: Scalar>(a: &[T], lower: &[T], upper: &[T]) -> T {
    sum3(a, lower, upper, |a, l, u| positive(a) * l + negative(a) * u)
}

/// `Σ |a_i| max(|l_i|, |u_i|)`: what a relative error of every term of [`concretized`] is a part of.
#[inline(always)]
pub fn magnitudes<T: Scalar>(a: &[T], lower: &[T], upper: &[T]) -> T {
    sum3(a, lower, upper, |a, l, u| a.abs() * larger(l.abs(), u.abs()))
}

/// [`concretized`] and [`magnitudes`].
#[inline(always)]
pub fn concretized_sized<T: Scalar>(a: &[T], lower: &[T], upper: &[T]) -> (T, T) {
    let (lower, upper) = (&lower[..a.len()], &upper[..a.len()]);
    let of = |a: T, l: T, u: T| (positive(a) * l + negative(a) * u, a.abs() * larger(l.abs(), u.abs()));
    let ((a, ta), (l, tl), (u, tu)) =
        (a.as_chunks::<LANES>(), lower.as_chunks::<LANES>(), upper.as_chunks::<LANES>());
    let (mut values, mut sizes) = ([T::zero(); LANES], [T::zero(); LANES]);
    for ((a, l), u) in a.iter().zip(l).zip(u) {
        for i in 0..LANES {
            let (value, size) = of(a[i], l[i], u[i]);
            values[i] += value;
            sizes[i] += size;
        }
    }
    let (mut value, mut size) = (T::zero(), T::zero());
    for ((&a, &l), &u) in ta.iter().zip(tl).zip(tu) {
        let (of_one, magnitude) = of(a, l, u);
        value += of_one;
        size += magnitude;
    }
    (total(values, value), total(sizes, size))
}

/// The larger of two numbers; the first one when one is NaN.
#[inline(always)]
pub fn larger<T: Scalar>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// `out_i ← f(of_i)`, element by element of some rows.
///
/// # Panics
/// When a row is shorter than `out`.
#[inline(always)]
pub fn fill<T: Scalar, const N: usize>(out: &mut [T], of: [&[T]; N], f: impl Fn([T; N]) -> T) {
    let of = of.map(|row| &row[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(column(of, i));
    }
}

/// Number `i` of each row; a loop, because `array::map` is a function of its own where the compiler does not inline it.
#[inline(always)]
pub fn column<T: Scalar, const N: usize>(of: [&[T]; N], i: usize) -> [T; N] {
    let mut column = [T::zero(); N];
    for k in 0..N {
        column[k] = of[k][i];
    }
    column
}

/// Lower and upper lines of the activations of one sample.
#[derive(Clone, Copy)]
pub struct Lines<'a, T> {
    /// Slopes of the lower lines.
    pub lower_slope: &'a [T],
    /// Offsets of the lower lines.
    pub lower_offset: &'a [T],
    /// Slopes of the upper lines.
    pub upper_slope: &'a [T],
    /// Offsets of the upper lines.
    pub upper_offset: &'a [T],
    /// What the second sum of [`relax`] takes for a unit of each coefficient.
    pub magnitude: &'a [T],
}

/// Replaces coefficients of activations by coefficients of pre-activations, after subtracting `shift` from each:
///
/// ```text
/// c_i = a_i − shift      a_i ← c_i⁺ α_i + c_i⁻ β_i      returns Σ c_i⁺ a₀_i + c_i⁻ b₀_i − radius |c_i|  and  Σ |c_i| m_i
/// ```
#[inline(always)]
pub fn relax<T: Scalar>(a: &mut [T], shift: T, lines: Lines<'_, T>, radius: T) -> (T, T) {
    let step = |a: &mut T, ls: T, lo: T, us: T, uo: T, m: T| {
        let c = *a - shift;
        let (p, n) = (positive(c), negative(c));
        *a = p * ls + n * us;
        (p * lo + n * uo - radius * (p - n), (p - n) * m)
    };
    let (a, ta) = a.as_chunks_mut::<LANES>();
    let (ls, tls) = lines.lower_slope.as_chunks::<LANES>();
    let (lo, tlo) = lines.lower_offset.as_chunks::<LANES>();
    let (us, tus) = lines.upper_slope.as_chunks::<LANES>();
    let (uo, tuo) = lines.upper_offset.as_chunks::<LANES>();
    let (m, tm) = lines.magnitude.as_chunks::<LANES>();
    let (mut constants, mut sizes) = ([T::zero(); LANES], [T::zero(); LANES]);
    for (((((a, ls), lo), us), uo), m) in a.iter_mut().zip(ls).zip(lo).zip(us).zip(uo).zip(m) {
        for i in 0..LANES {
            let (constant, size) = step(&mut a[i], ls[i], lo[i], us[i], uo[i], m[i]);
            constants[i] += constant;
            sizes[i] += size;
        }
    }
    let (mut constant, mut size) = (T::zero(), T::zero());
    for (((((a, &ls), &lo), &us), &uo), &m) in ta.iter_mut().zip(tls).zip(tlo).zip(tus).zip(tuo).zip(tm) {
        let (of_one, magnitude) = step(a, ls, lo, us, uo, m);
        constant += of_one;
        size += magnitude;
    }
    (total(constants, constant), total(sizes, size))
}

/// `a_i ← a_i − g_i s_i`.
#[inline(always)]
pub fn subtract_products<T: Scalar>(a: &mut [T], g: &[T], s: &[T]) {
    for ((a, &g), &s) in a.iter_mut().zip(g).zip(s) {
        *a -= g * s;
    }
}

/// `a_i ← a_i − g s_i`.
#[inline(always)]
pub fn subtract_scaled<T: Scalar>(a: &mut [T], g: T, s: &[T]) {
    for (a, &s) in a.iter_mut().zip(s) {
        *a -= g * s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: f64 = 1e-12;

    fn vector(n: usize, phase: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 0.7 + phase).sin()).collect()
    }

    #[test]
    fn sums_match_their_definitions_at_every_length() {
        for n in [0, 1, 15, 16, 17, 40] {
            let (a, l) = (vector(n, 0.1), vector(n, 0.5));
            let u: Vec<f64> = l.iter().map(|l| l + 0.3).collect();
            let worst: f64 = (0..n).map(|i| (a[i] * l[i]).min(a[i] * u[i])).sum();
            assert!((vectorized!(|| concretized(&a, &l, &u)) - worst).abs() < TOLERANCE);
            let sized = vectorized!(|| concretized_sized(&a, &l, &u));
            assert_eq!(sized, (concretized(&a, &l, &u), magnitudes(&a, &l, &u)));
            let centre: Vec<f64> = l.iter().map(|l| l + 0.15).collect();
            assert!((centered(&a, &centre, &vec![0.15; n]) - worst).abs() < TOLERANCE);
            let (value, size) = centered_sized(&a, &centre, &vec![0.15; n], &u);
            assert!((value - worst).abs() < TOLERANCE);
            assert!((size - (0..n).map(|i| a[i].abs() * u[i]).sum::<f64>()).abs() < TOLERANCE);
            let weighted: f64 = (0..n).map(|i| a[i] * a[i] * u[i]).sum();
            assert!((weighted_squares(&a, &u) - weighted).abs() < TOLERANCE);
        }
    }

    #[test]
    fn filling_takes_each_element_of_every_row() {
        for n in [0, 1, 15, 16, 17, 40] {
            let (a, b, mut out) = (vector(n, 0.1), vector(n, 0.5), vec![f64::NAN; n]);
            vectorized!(|| fill(&mut out, [&a, &b], |[a, b]| if a > b { a - b } else { 2.0 * b }));
            for i in 0..n {
                assert_eq!(out[i], if a[i] > b[i] { a[i] - b[i] } else { 2.0 * b[i] });
            }
        }
    }

    #[test]
    fn relaxing_picks_the_line_by_sign() {
        let (mut a, shift, radius) = (vec![2.0_f64, -1.0, 0.25], 0.5_f64, 0.1_f64);
        let lines = Lines {
            lower_slope: &[0.0, 1.0, 0.5],
            lower_offset: &[-0.1, -0.2, -0.3],
            upper_slope: &[0.5, 0.75, 1.0],
            upper_offset: &[1.0, 2.0, 3.0],
            magnitude: &[1.0, 10.0, 100.0],
        };
        let (offset, size) = relax(&mut a, shift, lines, radius);
        assert_eq!(a, vec![0.0, -1.5 * 0.75, -0.25]);
        let expected = 1.5 * -0.1 - 1.5 * 2.0 - 0.25 * 3.0 - radius * (1.5 + 1.5 + 0.25);
        assert!((offset - expected).abs() < TOLERANCE);
        assert!((size - (1.5 + 15.0 + 25.0)).abs() < TOLERANCE);
    }

    #[test]
    fn nan_reaches_the_result() {
        let ones = [1.0_f64; 20];
        let mut a = ones;
        a[3] = f64::NAN;
        assert!(concretized(&a, &ones, &ones).is_nan());
        let (size, nan) = (&ones[..], centered_sized(&a, &ones, &ones, &ones));
        assert!(nan.0.is_nan() && nan.1.is_nan());
        let lines = Lines {
            lower_slope: size,
            lower_offset: size,
            upper_slope: size,
            upper_offset: size,
            magnitude: size,
        };
        let (constant, size) = relax(&mut a, 0.0, lines, 0.0);
        assert!(constant.is_nan() && size.is_nan());
    }
}
