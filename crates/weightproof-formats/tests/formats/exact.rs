//! Branch and bound on the embedded network: limits, and what results depend on.

use std::path::Path;
use std::time::{Duration, Instant};
use weightproof::certify::CertifyOptions;
use weightproof::exact::{Budget, ExactCertificate, ExactCertifier, ExactOptions};
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Precision, Reason, Samples, Verdict};
use weightproof_formats::data::{DataOptions, DataSet};
use weightproof_formats::network::read_network;

/// Linear bounds certify about half of the images, attacks break a quarter.
const RADIUS: f64 = 0.0018;

fn options(precision: Precision) -> ExactOptions {
    ExactOptions::new(CertifyOptions { precision, ..CertifyOptions::new("exact", Property::Label) })
}

fn settle_all(options: ExactOptions) -> Vec<ExactCertificate> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    let network = read_network(&assets.join("mnist-784-128-64-32-10.onnx")).unwrap().network;
    let data = DataOptions::new(assets.join("mnist-test-1000-images.idx3-ubyte.gz"));
    let labels = Some(assets.join("mnist-test-1000-labels.idx1-ubyte.gz"));
    let mut data = DataSet::open(&DataOptions { labels, ..data }).unwrap();
    let batch = data.next_batch(48).unwrap().unwrap();
    let set = ThreatModel::new(Kind::Absolute, RADIUS).resolve(&network).unwrap();
    let certifier = ExactCertifier::new(&network, std::slice::from_ref(&set), options);
    certifier.certify(Samples { first: 0, inputs: &batch.inputs, labels: batch.labels.as_deref() }).remove(0)
}

#[test]
fn results_depend_neither_on_threads_nor_on_chance() {
    let limited =
        |nodes| ExactOptions { budget: Budget { nodes, ..Budget::default() }, ..options(Precision::F32) };
    let run = |threads, nodes| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| settle_all(limited(nodes)));
        found.into_iter().map(|c| (c.certificate, c.worst_margin, c.witness, c.nodes)).collect::<Vec<_>>()
    };
    for nodes in [Some(20), None] {
        assert!(run(1, nodes) == run(4, nodes));
    }
    let settled = run(2, None);
    assert!(settled.iter().all(|(c, ..)| c.verdict != Verdict::Unknown));
    assert!(settled.iter().filter(|(_, _, _, nodes)| *nodes > 1).count() > 5, "some samples have trees");
}

#[test]
fn limits_leave_unknown_with_their_reason() {
    let full = settle_all(options(Precision::F64));
    let cases = [
        (Budget { nodes: Some(3), ..Budget::default() }, Reason::NodeLimit),
        (Budget { time: Some(Duration::ZERO), ..Budget::default() }, Reason::TimeLimit),
        (Budget { deadline: Some(Instant::now()), ..Budget::default() }, Reason::TimeLimit),
        (Budget { bytes: Some(1), ..Budget::default() }, Reason::MemoryLimit),
    ];
    for (budget, reason) in cases {
        let found = settle_all(ExactOptions { budget, ..options(Precision::F64) });
        let unknown: Vec<_> = found.iter().filter(|c| c.certificate.verdict == Verdict::Unknown).collect();
        assert!(
            !unknown.is_empty() && unknown.iter().all(|c| c.certificate.reason == Some(reason)),
            "{reason:?}"
        );
        assert!(found.iter().all(|c| c.nodes <= budget.nodes.unwrap_or(usize::MAX)));
        for (limited, full) in found.iter().zip(&full) {
            let (limited, full) = (limited.certificate, full.certificate);
            assert!(limited.verdict == Verdict::Unknown || limited.verdict == full.verdict);
        }
    }
}
