//! Convolutions, their transposed and the gradients of their kernels on one thread, in multiply-adds per second. Taps in the
//! padding count, too.

mod settings;
mod wave;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use settings::settings;
use std::hint::black_box;
use wave::wave;
use weightproof_kernels::{
    ConvScratch, Matrix, Scalar, Window, add_kernel_gradient, add_linear_transposed, linear,
};

/// Numbers of images.
const ROWS: [usize; 3] = [1, 16, 64];

/// Convolutions of resnet_2b (VNN-COMP 2021), and one of MNIST images, with their names.
fn windows() -> Vec<(String, Window)> {
    let window = |input: [usize; 3], channels: usize, kernel: usize, stride: usize, padding: usize| {
        let window = Window {
            stride: [stride; 2],
            padding: [[padding; 2]; 2],
            ..Window::new(input, channels, [kernel; 2])
        };
        let [from, height, width] = input;
        (format!("{from}x{height}x{width}-{channels}-{kernel}x{kernel}-stride{stride}"), window)
    };
    vec![
        window([3, 32, 32], 8, 3, 2, 1),
        window([8, 16, 16], 16, 3, 2, 1),
        window([16, 8, 8], 16, 3, 1, 1),
        window([8, 16, 16], 16, 1, 2, 0),
        window([1, 28, 28], 8, 3, 1, 0),
    ]
}

fn of_precision<T: Scalar>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for (name, window) in windows() {
        let weight = wave::<T>(window.channels, window.patch(), 0.3);
        let id = |work: &str, rows: usize| {
            BenchmarkId::new(format!("{work}-{}", T::NAME), format!("{name}/{rows}"))
        };
        let of_image = window.output_width() * window.patch();
        for rows in ROWS {
            let z = wave::<T>(rows, window.input_width(), 0.9);
            let a = wave::<T>(rows, window.output_width(), 1.7);
            group.throughput(Throughput::Elements((rows * of_image) as u64));
            let mut out = Matrix::default();
            group.bench_function(id("linear", rows), |bencher| {
                bencher.iter(|| linear(&mut out, black_box(&z), &weight, Some(&window)));
            });
            let mut out = z.clone();
            group.bench_function(id("add_linear_transposed", rows), |bencher| {
                bencher.iter(|| add_linear_transposed(&mut out, black_box(&a), &weight, Some(&window)));
            });
            let mut gradient = weight.clone();
            let (a, z) = (a.as_slice(), z.as_slice());
            group.bench_function(id("add_kernel_gradient", rows), |bencher| {
                bencher.iter(|| add_kernel_gradient(gradient.as_mut_slice(), black_box(a), z, &window));
            });
        }
        let z = wave::<T>(1, window.input_width(), 0.9);
        let a = wave::<T>(1, window.output_width(), 1.7);
        let (kernels, mut scratch) = (weight.as_slice(), ConvScratch::default());
        group.throughput(Throughput::Elements(of_image as u64));
        let mut out = a.clone();
        group.bench_function(id("ConvScratch::convolve", 1), |bencher| {
            bencher.iter(|| scratch.convolve(out.as_mut_slice(), black_box(z.row(0)), kernels, &window));
        });
        let mut out = z.clone();
        group.bench_function(id("ConvScratch::add_transposed", 1), |bencher| {
            bencher
                .iter(|| scratch.add_transposed(out.as_mut_slice(), black_box(a.row(0)), kernels, &window));
        });
    }
}

fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolutions");
    of_precision::<f32>(&mut group);
    of_precision::<f64>(&mut group);
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = convolutions }
criterion_main!(benches);
