//! Matrix products on one thread, in multiply-adds per second.

mod settings;
mod wave;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use settings::settings;
use std::hint::black_box;
use wave::wave;
use weightproof_kernels::{Matrix, Scalar, product, product_transposed};

/// Shapes (m, k, n) of a product of an (m, k) and a (k, n) matrix.
const SHAPES: [(usize, usize, usize); 6] = [
    // The plain product that `weightproof bench` compares bounds with.
    (512, 1024, 1024),
    // A block of samples through layers of the embedded network.
    (64, 784, 128),
    (64, 128, 64),
    (64, 32, 10),
    // Few rows: the weights are what is read.
    (4, 1024, 1024),
    (1, 1024, 1024),
];

fn of_precision<T: Scalar>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for (m, k, n) in SHAPES {
        let (a, b) = (wave::<T>(m, k, 0.3), wave::<T>(k, n, 0.9));
        let transposed = b.transposed();
        let mut out = Matrix::default();
        let id = |name: &str| BenchmarkId::new(format!("{name}-{}", T::NAME), format!("{m}x{k}x{n}"));
        group.throughput(Throughput::Elements((m * k * n) as u64));
        group.bench_function(id("plain"), |bencher| {
            bencher.iter(|| product(&mut out, black_box(&a), black_box(&b)));
        });
        group.bench_function(id("transposed"), |bencher| {
            bencher.iter(|| product_transposed(&mut out, black_box(&a), black_box(&transposed)));
        });
    }
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("products");
    of_precision::<f32>(&mut group);
    of_precision::<f64>(&mut group);
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = products }
criterion_main!(benches);
