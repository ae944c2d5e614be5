//! Every operation against finite differences, over shapes, in both precisions.

use super::{Pool, Tape, Var};
use std::sync::Arc;
use weightproof::kernels::{Scalar, Window};
use weightproof::network::{Activation, Gather};

/// Half the distance of the points of a difference, and what it may be off by as a fraction of the larger size.
fn tolerance<T: Scalar>() -> (f64, f64) {
    if T::NAME == "f64" { (1e-5, 1e-6) } else { (1e-2, 2e-2) }
}

/// Numbers in ±1 that keep away from zero, where slopes jump, and from each other.
fn wave<T: Scalar>(count: usize, phase: f64) -> Vec<T> {
    let number = |i: usize| {
        let v = (1.7 * i as f64 + phase).sin();
        T::from_f64(v + 0.15 * v.signum())
    };
    (0..count).map(number).collect()
}

/// What is checked; behind a pointer, because one copy of the check for each of them doubled the time that the tests compile.
type Operator<'f, T> = &'f dyn for<'t> Fn(&[Var<'t, T>], &'t Fixed) -> Var<'t, T>;

/// Checks the derivative of `Σ c ∘ f(operands)` along a direction, for each of the operands on its own and for all together.
fn check<T: Scalar>(what: &str, shapes: &[[usize; 2]], f: Operator<'_, T>, fixed: &Fixed) {
    let pool = Arc::new(Pool::default());
    let (step, most) = tolerance::<T>();
    let operands: Vec<Vec<T>> =
        shapes.iter().zip(0..).map(|(s, k)| wave(s[0] * s[1], 0.3 + f64::from(k))).collect();
    let directions: Vec<Vec<T>> =
        shapes.iter().zip(0..).map(|(s, k)| wave(s[0] * s[1], 7.1 + f64::from(k))).collect();
    let all: Vec<bool> = vec![true; shapes.len()];
    let single = (0..shapes.len()).map(|k| (0..shapes.len()).map(|j| j == k).collect());
    for tracked in single.chain([all]).collect::<Vec<Vec<bool>>>() {
        let loss = |along: f64, slope: &mut f64| {
            let moved = |k: usize| {
                let along = if tracked[k] { T::from_f64(along) } else { T::zero() };
                operands[k].iter().zip(&directions[k]).map(|(&x, &d)| x + along * d).collect::<Vec<T>>()
            };
            let values: Vec<Vec<T>> = (0..shapes.len()).map(moved).collect();
            let tape = Tape::new(&pool);
            let vars: Vec<Var<'_, T>> = (0..shapes.len())
                .map(|k| {
                    if tracked[k] {
                        tape.parameter(&values[k], shapes[k])
                    } else {
                        tape.input(&values[k], shapes[k])
                    }
                })
                .collect();
            let result = f(&vars, fixed);
            let weights = wave::<T>(result.shape()[0] * result.shape()[1], 2.9);
            let scaled = result * tape.constant(weights.iter().copied(), result.shape());
            let loss = scaled.mean();
            tape.backward(loss, T::one());
            *slope = 0.0;
            for (k, var) in vars.iter().enumerate().filter(|(k, _)| tracked[*k]) {
                let gradient = var.gradient();
                let terms = gradient.iter().zip(&directions[k]).map(|(&g, &d)| Scalar::to_f64(g * d));
                *slope += terms.sum::<f64>();
                pool.give(gradient);
            }
            Scalar::to_f64(loss.numbers()[0])
        };
        let (mut slope, mut unused) = (0.0, 0.0);
        loss(0.0, &mut slope);
        let difference = (loss(step, &mut unused) - loss(-step, &mut unused)) / (2.0 * step);
        let name = T::NAME;
        assert!(
            (slope - difference).abs() <= most * (0.1 + slope.abs()),
            "{what}, {name}, {shapes:?}, {tracked:?}: {slope} against {difference}"
        );
    }
}

/// What operations refer to.
struct Fixed {
    labels: Vec<u32>,
    windows: Vec<Window>,
    gather: Gather,
}

impl Fixed {
    fn new() -> Self {
        let plain = Window::new([2, 5, 4], 3, [3, 2]);
        let windows = vec![
            plain.clone(),
            Window { padding: [[1, 2]; 2], stride: [2, 1], ..plain.clone() },
            Window { groups: 2, channels: 4, dilation: [2, 1], padding: [[1, 0]; 2], ..plain.clone() },
            Window { groups: 2, channels: 2, ..plain },
        ];
        let gather = Gather { source: vec![Some(3), None, Some(0), Some(3), Some(4)], constant: 0.5 };
        Fixed { labels: vec![2, 0, 1, 2], windows, gather }
    }
}

fn elementwise<T: Scalar>() {
    let fixed = &Fixed::new();
    for shape in [[1, 1], [3, 5], [4, 40]] {
        check::<T>("neg", &[shape], &|v, _| -v[0], fixed);
        check::<T>("scale", &[shape], &|v, _| v[0].scale(-1.5).shift(0.25), fixed);
        check::<T>("abs", &[shape], &|v, _| v[0].abs(), fixed);
        check::<T>("relu", &[shape], &|v, _| v[0].relu(), fixed);
        check::<T>("clamp", &[shape], &|v, _| v[0].scale(3.0).clamp(-0.3, f64::INFINITY), fixed);
        check::<T>("step", &[shape], &|v, _| v[0].step() * v[0], fixed);
        check::<T>("recip", &[shape], &|v, _| v[0].abs().shift(0.5).recip(), fixed);
        check::<T>("sqrt", &[shape], &|v, _| v[0].abs().shift(0.5).sqrt(), fixed);
        check::<T>("square", &[shape], &|v, _| v[0].square(), fixed);
        check::<T>("used twice", &[shape], &|v, _| v[0] * v[0].relu() + v[0], fixed);
        for activation in [
            Activation::LeakyRelu { slope: 0.1 },
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Softplus,
            Activation::Gelu,
            Activation::GeluTanh,
        ] {
            check::<T>("activation", &[shape], &move |v, _| v[0].activation(activation), fixed);
        }
    }
    let shapes = [[6, 20], [6, 1], [1, 20], [1, 1], [2, 20], [3, 1]];
    for other in shapes {
        for pair in [[[6, 20], other], [other, [6, 20]]] {
            check::<T>("+", &pair, &|v, _| v[0] + v[1], fixed);
            check::<T>("-", &pair, &|v, _| v[0] - v[1], fixed);
            check::<T>("*", &pair, &|v, _| v[0] * v[1], fixed);
            check::<T>("blend", &pair, &|v, _| v[0].blend(v[1], [0.5, -2.0]), fixed);
        }
    }
    check::<T>("column + row", &[[6, 1], [1, 20]], &|v, _| v[0] + v[1], fixed);
    check::<T>("column * row", &[[6, 1], [1, 20]], &|v, _| v[0] * v[1], fixed);
}

fn reductions<T: Scalar>() {
    let fixed = &Fixed::new();
    for shape in [[4, 6], [4, 39]] {
        check::<T>("sum of rows", &[shape], &|v, _| v[0].sum_rows(), fixed);
        check::<T>("sum of columns", &[shape], &|v, _| v[0].sum_columns(), fixed);
        check::<T>("max of columns", &[shape], &|v, _| v[0].max_columns(), fixed);
        check::<T>("max", &[shape], &|v, _| v[0].max(), fixed);
        check::<T>("mean", &[shape], &|v, _| v[0].mean(), fixed);
        check::<T>("block", &[shape], &|v, f| v[0].block(&f.labels, v[0].shape()[1] / 3), fixed);
        check::<T>("cross-entropy", &[shape], &|v, f| v[0].scale(3.0).cross_entropy(&f.labels), fixed);
        check::<T>("rows", &[shape], &|v, _| v[0].rows(1, 2) * v[0].rows(2, 2), fixed);
        check::<T>("reshape", &[shape], &|v, _| v[0].reshape([2, v[0].shape()[1] * 2]).rows(1, 1), fixed);
    }
    check::<T>("block of one row", &[[1, 12]], &|v, f| v[0].block(&f.labels, 4), fixed);
    check::<T>("spread", &[[2, 1]], &|v, _| v[0].spread([4, 3]), fixed);
}

fn products<T: Scalar>() {
    let fixed = &Fixed::new();
    for (rows, n, m) in [(1, 1, 1), (3, 4, 5), (20, 33, 18)] {
        let shapes = [[rows, n], [m, n], [1, m]];
        check::<T>("W x", &shapes[..2], &|v, _| v[0].linear(v[1], None, None), fixed);
        check::<T>("W x + b", &shapes, &|v, _| v[0].linear(v[1], None, Some(v[2])), fixed);
        let shapes = [[rows, m], [m, n], [rows, n]];
        check::<T>("Wᵀ a", &shapes[..2], &|v, _| v[0].linear_transposed(v[1], None, None), fixed);
        check::<T>("s + Wᵀ a", &shapes, &|v, _| v[0].linear_transposed(v[1], None, Some(v[2])), fixed);
    }
    for (index, window) in fixed.windows.iter().enumerate() {
        for rows in [1, 19] {
            let kernels = [window.channels, window.patch()];
            let shapes = [[rows, window.input_width()], kernels, [1, window.output_width()]];
            let name = format!("convolution {window:?}");
            check::<T>(&name, &shapes[..2], &|v, f| v[0].linear(v[1], Some(&f.windows[index]), None), fixed);
            check::<T>(&name, &shapes, &|v, f| v[0].linear(v[1], Some(&f.windows[index]), Some(v[2])), fixed);
            let shapes = [[rows, window.output_width()], kernels, [rows, 1]];
            let name = format!("transposed {name}");
            check::<T>(
                &name,
                &shapes,
                &|v, f| v[0].linear_transposed(v[1], Some(&f.windows[index]), Some(v[2])),
                fixed,
            );
        }
    }
}

fn boxes<T: Scalar>() {
    let fixed = &Fixed::new();
    for cols in [1, 5, 40] {
        check::<T>("halves", &[[6, cols]], &|v, _| v[0].halves(), fixed);
        for push in [[3, cols], [3, 1], [1, cols], [1, 1]] {
            check::<T>("ends", &[[3, cols], push], &|v, _| v[0].ends(v[1], None), fixed);
        }
        let shapes = [[3, cols], [3, 1], [3, cols], [3, cols]];
        check::<T>("all ends", &shapes, &|v, _| v[0].ends(v[1], Some([v[2], v[3]])), fixed);
        for rows in [1, 2, 6] {
            let shapes = [[6, cols], [rows, cols], [rows, cols]];
            check::<T>("split", &shapes, &|v, _| v[0].split(v[1], v[2]), fixed);
            check::<T>("split sum", &shapes, &|v, _| v[0].split_sum(v[1], v[2]), fixed);
        }
        check::<T>("pairs", &[[3, cols]], &|v, _| v[0].pairs([1.0, -0.5]), fixed);
    }
}

fn images<T: Scalar>() {
    let fixed = &Fixed::new();
    check::<T>("below", &[[2, 5], [3, 5]], &|v, _| v[0].below(v[1]), fixed);
    check::<T>("beside", &[[3, 5], [3, 2]], &|v, _| v[0].beside(v[1]), fixed);
    check::<T>("repeat", &[[2, 5]], &|v, _| v[0].repeat(3), fixed);
    check::<T>("pick", &[[3, 5]], &|v, f| v[0].pick(&f.gather), fixed);
    for (index, window) in fixed.windows.iter().enumerate() {
        // Pooling reads every channel on its own.
        if [window.groups, window.channels] != [window.input[0]; 2] {
            continue;
        }
        let shapes = [[3, window.input_width()]];
        check::<T>("max pool", &shapes, &|v, f| v[0].max_pool(&f.windows[index]), fixed);
        check::<T>("window sums", &shapes, &|v, f| v[0].window_sums(&f.windows[index]), fixed);
    }
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    elementwise::<f64>();
    reductions::<f64>();
    products::<f64>();
    boxes::<f64>();
    images::<f64>();
}

#[test]
fn derivatives_in_single_precision_too() {
    elementwise::<f32>();
    reductions::<f32>();
    products::<f32>();
    boxes::<f32>();
    images::<f32>();
}

/// The definitions, by hand.
#[test]
fn values_by_hand() {
    let pool = Arc::new(Pool::default());
    let (a, b) = ([1.0, -2.0, 3.0, 4.0], [10.0, 20.0]);
    let tape: Tape<'_, f64> = Tape::new(&pool);
    let (v, row) = (tape.parameter(&a, [2, 2]), tape.input(&b, [1, 2]));
    assert_eq!((v + row).numbers(), [11.0, 18.0, 13.0, 24.0]);
    assert_eq!(v.linear(v, None, Some(row)).numbers(), [10.0 + 5.0, 20.0 - 5.0, 10.0 - 5.0, 20.0 + 25.0]);
    assert_eq!(
        v.linear_transposed(v, None, None).numbers(),
        [1.0 - 6.0, -2.0 - 8.0, 3.0 + 12.0, -6.0 + 16.0]
    );
    assert_eq!(v.halves().numbers(), [2.0, 1.0, 1.0, 3.0]);
    assert_eq!(v.rows(0, 1).ends(row, None).numbers(), [-9.0, -22.0, 11.0, 18.0]);
    assert_eq!(v.split(row, row.scale(2.0)).numbers(), [10.0, -80.0, 30.0, 80.0]);
    assert_eq!(v.split_sum(row, row).numbers(), [-30.0, 110.0]);
    assert_eq!(v.pairs([1.0, -1.0]).numbers(), [0.0, 0.0, -2.0, -6.0, 2.0, 6.0, 0.0, 0.0]);
    assert_eq!(v.block(&[1, 0], 1).numbers(), [-2.0, 3.0]);
    assert_eq!(v.sum_rows().numbers(), [4.0, 2.0]);
    assert_eq!(v.max_columns().numbers(), [1.0, 4.0]);
    let expected = ((1.0 + (1.0_f64 + 2.0).exp()).ln() + (1.0 + (1.0_f64).exp()).ln()) / 2.0;
    assert!((v.cross_entropy(&[1, 0]).numbers()[0] - expected).abs() < 1e-12);
}

/// Nothing is computed for inputs, and zeros come back for parameters that the loss does not depend on.
#[test]
fn gradients_are_only_for_parameters() {
    let pool = Arc::new(Pool::default());
    let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
    let tape: Tape<'_, f64> = Tape::new(&pool);
    let (w, unused, x) = (tape.parameter(&a, [1, 2]), tape.parameter(&b, [1, 2]), tape.input(&b, [1, 2]));
    let loss = x.linear(w, None, None);
    tape.backward(loss, 2.0);
    assert_eq!((w.gradient(), unused.gradient()), (vec![6.0, 8.0], vec![0.0, 0.0]));
    assert!(tape.store.borrow().gradients[x.index].is_empty());
}

/// The second step of the same shapes finds all of its memory in the pool.
#[test]
fn memory_returns_to_the_pool() {
    let pool = Arc::new(Pool::default());
    let held = || {
        let free = pool.0.lock().unwrap();
        free.iter()
            .map(|(length, vectors)| (*length, vectors.len()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let a: Vec<f32> = wave(12, 0.1);
    let mut before = None;
    for _ in 0..3 {
        let gradient = {
            let tape = Tape::new(&pool);
            let w = tape.parameter(&a, [3, 4]);
            let z = w.linear(w, None, None).relu();
            tape.backward((z * z + z).mean(), 1.0);
            w.gradient()
        };
        pool.give(gradient);
        let now = held();
        assert!(before.is_none_or(|before| before == now));
        before = Some(now);
    }
}
