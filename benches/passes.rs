//! Whole passes of 64 embedded images on one thread, in samples per second.

mod settings;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::ThreadPoolBuilder;
use settings::settings;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::{Matrix, Scalar};
use weightproof::model::ForwardPass;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, Samples};
use weightproof_formats::data::{DataOptions, DataSet};
use weightproof_formats::network::read_network;

/// Images of a pass.
const SAMPLES: usize = CertifyOptions::BLOCK;
/// Networks of the folder `assets`, with sets against which linear bounds prove most images.
const NETWORKS: [(&str, Kind, f64); 2] =
    [("mnist-784-128-64-32-10", Kind::Absolute, 0.001), ("mnist-conv-8-16-10", Kind::Relative, 0.01)];

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets").join(name)
}

/// A network with the set that is asked about.
fn case(name: &str, kind: Kind, radius: f64) -> (Network, PerturbationSet) {
    let read = read_network(&asset(&format!("{name}.onnx"))).expect("a network of this repository");
    let set = ThreatModel::new(kind, radius).resolve(&read.network).expect("a set for every layer");
    (read.network, set)
}

/// The first images, row after row.
fn images() -> Vec<f64> {
    let file = asset("mnist-test-1000-images.idx3-ubyte.gz");
    let mut data = DataSet::open(&DataOptions::new(file)).expect("images of this repository");
    data.next_batch(SAMPLES).expect("readable images").expect("images").inputs
}

/// Forward passes that use their memory again.
fn forward<T: Scalar>(
    criterion: &mut Criterion,
    images: &[f64],
    run: fn(&ForwardPass<T>, &mut Vec<Matrix<T>>),
) {
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, kind, radius) in NETWORKS {
        let (network, _) = case(name, kind, radius);
        let pass = ForwardPass::<T>::new(&network);
        let mut values = vec![Matrix::from_vec(SAMPLES, network.input_width(), images.to_vec()).cast::<T>()];
        group.bench_function(BenchmarkId::new(format!("run_from_input-{}", T::NAME), name), |bencher| {
            bencher.iter(|| run(&pass, black_box(&mut values)));
        });
    }
    group.finish();
}

fn certify(criterion: &mut Criterion, images: &[f64]) {
    let samples = Samples { first: 0, inputs: images, labels: None };
    let mut group = criterion.benchmark_group("certify");
    // Some of them take most of a second.
    group.sample_size(10).throughput(Throughput::Elements(SAMPLES as u64));
    for (name, kind, radius) in NETWORKS {
        let (network, set) = case(name, kind, radius);
        for method in ["interval", "linear"] {
            for precision in [Precision::F32, Precision::F64] {
                let options =
                    CertifyOptions { precision, ..CertifyOptions::new(method, Property::Prediction) };
                let certifier = Certifier::new(&network, std::slice::from_ref(&set), options);
                let certifier = certifier.expect("methods of the list");
                let id = BenchmarkId::new(format!("{method}-{}", precision.name()), name);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| certifier.certify(black_box(samples)));
                });
            }
        }
    }
    group.finish();
}

fn passes(criterion: &mut Criterion) {
    let threads = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    threads.build_global().expect("the threads of this process");
    let images = images();
    forward(criterion, &images, ForwardPass::<f32>::run_from_input);
    forward(criterion, &images, ForwardPass::<f64>::run_from_input);
    certify(criterion, &images);
}

criterion_group! { name = benches; config = settings(); targets = passes }
criterion_main!(benches);
