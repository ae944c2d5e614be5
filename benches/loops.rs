//! What bounds do beside products, on one thread: fused loops over rows of coefficients, pooling, and lines through a matrix. Rates
//! are coefficients, taps of windows, or weights times lines per second.

mod settings;
mod wave;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use settings::settings;
use std::hint::black_box;
use wave::wave;
use weightproof_kernels::lines::{add_lines, extent_of_products, moving};
use weightproof_kernels::rows::{
    Lines, add, centered_sized, concretized, concretized_sized, dot, l1, magnitudes, relax, squares,
    subtract_products, vectorized, weighted_l1, weighted_squares,
};
use weightproof_kernels::{
    Matrix, Scalar, Window, add_average_pool_transposed, add_by_row, add_max_pool_gradient, average_pool,
    max_pool_row,
};

/// Rows of coefficients.
const ROWS: usize = 64;
/// Their widths: a hidden layer of the embedded network, and the first one of resnet_2b.
const WIDTHS: [usize; 2] = [128, 2048];

/// Measures a loop over rows in one block of vector code, as bounds have it: the macro `vectorized` inlines what it calls.
macro_rules! of_rows {
    ($group:ident, $width:ident, $name:literal, |$r:ident| $body:expr) => {
        let id = BenchmarkId::new(format!("{}-{}", $name, T::NAME), $width);
        $group.bench_function(id, |bencher| {
            bencher.iter(|| {
                vectorized!(|| {
                    for $r in 0..ROWS {
                        black_box($body);
                    }
                })
            });
        });
    };
}

/// Loops over rows that share the boxes and lines of one sample.
fn of_precision<T: Scalar>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for width in WIDTHS {
        let a = wave::<T>(ROWS, width, 0.3);
        let g = wave::<T>(ROWS, width, 1.1);
        let [lower, bias] = [0.9, 1.7].map(|phase| wave::<T>(1, width, phase));
        let (lower, bias) = (lower.row(0), bias.row(0));
        let upper: Vec<T> = lower.iter().map(|&l| l + T::one()).collect();
        let radius: Vec<T> = bias.iter().map(|&b| b.abs()).collect();
        let variance: Vec<f64> = radius.iter().map(|&r| Scalar::to_f64(r)).collect();
        // Slopes of one keep the coefficients as they are, from one call to the next.
        let slope = vec![T::one(); width];
        let lines = Lines {
            lower_slope: &slope,
            lower_offset: lower,
            upper_slope: &slope,
            upper_offset: &upper,
            magnitude: &radius,
        };
        let mut moved = a.clone();
        group.throughput(Throughput::Elements((ROWS * width) as u64));
        of_rows!(group, width, "relax", |r| relax(moved.row_mut(r), T::zero(), lines, T::one()));
        of_rows!(group, width, "concretized", |r| concretized(a.row(r), lower, &upper));
        of_rows!(group, width, "concretized_sized", |r| concretized_sized(a.row(r), lower, &upper));
        of_rows!(group, width, "magnitudes", |r| magnitudes(a.row(r), lower, &upper));
        of_rows!(group, width, "centered_sized", |r| centered_sized(a.row(r), bias, &radius, &upper));
        of_rows!(group, width, "weighted_l1", |r| weighted_l1(a.row(r), &radius));
        of_rows!(group, width, "dot", |r| dot(a.row(r), bias));
        of_rows!(group, width, "l1", |r| l1(a.row(r)));
        of_rows!(group, width, "squares", |r| squares(a.row(r)));
        of_rows!(group, width, "weighted_squares", |r| weighted_squares(a.row(r), &variance));
        of_rows!(group, width, "add", |r| add(moved.row_mut(r), g.row(r)));
        of_rows!(group, width, "subtract_products", |r| {
            subtract_products(moved.row_mut(r), g.row(r), bias)
        });
        let id = BenchmarkId::new(format!("add_by_row-{}", T::NAME), width);
        group.bench_function(id, |bencher| bencher.iter(|| add_by_row(&mut moved, black_box(bias))));
    }
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    of_precision::<f32>(&mut group);
    of_precision::<f64>(&mut group);
    group.finish();
}

/// Pooling of 16 images of 16×16×16 numbers, each number in one window.
fn pooling_of_precision<T: Scalar>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let window = Window { stride: [2; 2], ..Window::pooling([16, 16, 16], [2; 2]) };
    let z = wave::<T>(16, window.input_width(), 0.3);
    let mut back = z.clone();
    let factor = vec![T::from_f64(0.25); window.positions()];
    let mut most = average_pool(&z, &window, &factor);
    let a = most.clone();
    group.throughput(Throughput::Elements(z.as_slice().len() as u64));
    let id = |name: &str| BenchmarkId::new(format!("{name}-{}", T::NAME), "16x16x16-2x2-stride2/16");
    group.bench_function(id("max_pool_row"), |bencher| {
        bencher
            .iter(|| (0..z.rows()).for_each(|s| max_pool_row(most.row_mut(s), black_box(z.row(s)), &window)));
    });
    // The first call uses the gradient up; a gradient of zeros takes as long.
    let mut gradient = a.clone();
    group.bench_function(id("add_max_pool_gradient"), |bencher| {
        bencher.iter(|| {
            for s in 0..z.rows() {
                let (back, gradient) = (back.row_mut(s), gradient.row_mut(s));
                add_max_pool_gradient(back, gradient, black_box(z.row(s)), most.row(s), &window);
            }
        });
    });
    group.bench_function(id("average_pool"), |bencher| {
        bencher.iter(|| average_pool(black_box(&z), &window, &factor));
    });
    group.bench_function(id("add_average_pool_transposed"), |bencher| {
        bencher.iter(|| add_average_pool_transposed(&mut back, black_box(&a), &window, &factor));
    });
}

fn pooling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pooling");
    pooling_of_precision::<f32>(&mut group);
    pooling_of_precision::<f64>(&mut group);
    group.finish();
}

/// Lines of a fault in memory, which are in f64 only, through the second layer of the embedded network.
fn lines(criterion: &mut Criterion) {
    let (count, inputs, width) = (8, 128, 64);
    let mut group = criterion.benchmark_group("lines");
    let weight = wave::<f64>(inputs, width, 0.3);
    let from: [Matrix<f64>; 3] = [0.3, 0.9, 1.7].map(|phase| wave(count, inputs, phase));
    let mut to = [(); 3].map(|()| Matrix::zeros(count, width));
    group.throughput(Throughput::Elements((count * inputs * width) as u64));
    let shape = format!("{count}x{inputs}x{width}");
    group.bench_function(BenchmarkId::new("add_lines-f64", &shape), |bencher| {
        bencher.iter(|| add_lines(to.each_mut(), black_box(from.each_ref()), &weight, 1e-15));
    });
    group.throughput(Throughput::Elements((3 * count * inputs) as u64));
    group.bench_function(BenchmarkId::new("moving-f64", format!("{count}x{inputs}")), |bencher| {
        bencher.iter(|| moving(black_box(from.each_ref())));
    });
    let x = wave::<f64>(1, 784, 0.3);
    let high: Vec<f64> = x.row(0).iter().map(|v| v.abs()).collect();
    let low: Vec<f64> = high.iter().map(|v| -v).collect();
    group.throughput(Throughput::Elements(784));
    group.bench_function(BenchmarkId::new("extent_of_products-f64", 784), |bencher| {
        bencher.iter(|| extent_of_products(black_box(x.row(0)), &low, &high));
    });
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = rows, pooling, lines }
criterion_main!(benches);
