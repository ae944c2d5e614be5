//! One sample searched in regions, as a cluster does: sound, the same in every order, and in the end what one search finds (theory.md §6).

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use weightproof::certify::CertifyOptions;
use weightproof::exact::cover::{Cover, CoverError, FoundPoint, Region, RowLower, Searched, Side};
use weightproof::exact::{Budget, ExactCertificate, ExactCertifier, ExactOptions};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, SampleCertificate, Samples, Verdict};
use weightproof_testkit::networks::{Blueprint, Design, arbitrary, input, rng};
use weightproof_testkit::oracle::{Tried, margin};
use weightproof_testkit::threats::sets;

/// Domains of a search of regions: few, so that there are several rounds.
const NODES: usize = 6;
/// Domains of a hard sample.
const MANY: usize = 60;
/// Most rounds.
const ROUNDS: usize = 8;

fn certifier<'n>(
    network: &'n Network,
    set: &PerturbationSet,
    nodes: usize,
    precision: Precision,
) -> ExactCertifier<'n> {
    let certify = CertifyOptions { precision, ..CertifyOptions::new("exact", Property::Label) };
    let budget = Budget { nodes: Some(nodes), ..Budget::default() };
    ExactCertifier::new(network, slice::from_ref(set), ExactOptions { budget, ..ExactOptions::new(certify) })
}

/// The certificate after rounds of at most `groups` searches, whose answers come in the order of `order`, and their number.
fn divided(
    certifier: &ExactCertifier<'_>,
    sample: Samples<'_>,
    groups: usize,
    order: impl Fn(&mut Vec<Searched>),
) -> (ExactCertificate, usize) {
    let (mut cover, mut rounds) = (Cover::default(), 0);
    while !cover.is_settled() && rounds < ROUNDS {
        let search =
            |regions: &Vec<Region>| certifier.search_regions(0, sample, regions).expect("own regions");
        let mut answers = cover.groups(groups).iter().map(search).collect();
        order(&mut answers);
        cover.take(answers).expect("regions that partition the set");
        rounds += 1;
    }
    (certifier.conclude(0, sample, &cover).expect("own witness"), rounds)
}

/// Without times.
fn what(found: &ExactCertificate) -> (SampleCertificate, f64, usize) {
    (found.certificate, found.worst_margin, found.nodes)
}

/// Covers that took several rounds, and those that were settled then.
static SEVERAL: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

fn is_sound(blueprint: &Blueprint) -> Result<(), String> {
    let network = blueprint.build();
    let mut rng = rng(blueprint.seed() ^ 0xc0de);
    for (name, set) in sets(&network) {
        let Tried { x, label, worst, size, .. } = Tried::new(&network, &set, 6, &mut rng);
        let labels = [label as u32];
        let sample = Samples { first: 0, inputs: &x, labels: Some(&labels) };
        for (precision, slack) in [(Precision::F64, 1e-11), (Precision::F32, 2e-5)] {
            let local = certifier(&network, &set, 400, precision).certify(sample).remove(0).remove(0);
            if local.certificate.margin_lower == f64::NEG_INFINITY {
                continue;
            }
            let certifier = certifier(&network, &set, NODES, precision);
            let (found, rounds) = divided(&certifier, sample, 3, |_| {});
            let bound = found.certificate.margin_lower;
            if !(bound <= worst + slack * size && bound <= found.worst_margin + slack * size) {
                return Err(format!(
                    "{precision:?} {name}: bound {bound} > {worst} or {}",
                    found.worst_margin
                ));
            }
            let (own, other) = (found.certificate.verdict, local.certificate.verdict);
            if own != other && own != Verdict::Unknown && other != Verdict::Unknown {
                return Err(format!("{precision:?} {name}: {own:?}, but {other:?} by one search"));
            }
            let again = divided(&certifier, sample, 3, |answers| answers.reverse()).0;
            if what(&again) != what(&found) {
                return Err(format!("{precision:?} {name}: {again:?} in another order than {found:?}"));
            }
            SEVERAL[0].fetch_add(usize::from(rounds > 1), Ordering::Relaxed);
            SEVERAL[1].fetch_add(usize::from(rounds > 1 && own != Verdict::Unknown), Ordering::Relaxed);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, rng_seed: RngSeed::Fixed(1640), failure_persistence: None, ..ProptestConfig::default() })]

    fn nothing_beats_a_cover(blueprint in arbitrary()) {
        prop_assert_eq!(is_sound(&blueprint), Ok(()));
    }
}

#[test]
fn nothing_beats_a_cover_of_several_rounds() {
    nothing_beats_a_cover();
    let [several, settled] = SEVERAL.each_ref().map(|n| n.load(Ordering::Relaxed));
    assert!(several >= 20 && settled >= 5, "{settled} of {several} covers of several rounds are settled");
}

/// A network and a sample that one search of few domains leaves open, and that more domains prove.
fn hard() -> (Network, PerturbationSet, Vec<f64>, u32) {
    for seed in 0..100 {
        let network = Blueprint::new(&[8, 16, 16, 16, 3], Activation::Relu, seed).build();
        let x = input(8, false, &mut rng(seed));
        let clean = network.forward(&x);
        let label = (0..3).max_by(|&a, &b| clean[a].total_cmp(&clean[b])).expect("outputs") as u32;
        let sample = Samples { first: 0, inputs: &x, labels: Some(&[label]) };
        for radius in (0..60).map(|k| 0.0004 * 1.1_f64.powi(k)) {
            let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
            let found = certifier(&network, &set, 3000, Precision::F32).certify(sample).remove(0).remove(0);
            if found.certificate.verdict != Verdict::Verified {
                break;
            }
            if found.nodes > MANY {
                return (network, set, x, label);
            }
        }
    }
    panic!("no sample is hard");
}

/// Groups and threads change who searches what, and no verdict.
#[test]
fn a_hard_sample_is_proved_by_any_number_of_searches() {
    let (network, set, x, label) = hard();
    let labels = [label];
    let sample = Samples { first: 7, inputs: &x, labels: Some(&labels) };
    for precision in [Precision::F32, Precision::F64] {
        let certifier = certifier(&network, &set, 8, precision);
        let mut bounds = Vec::new();
        for groups in [1, 4, 64] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| divided_to_the_end(&certifier, sample, groups))
            };
            let (one, three) = (run(1), run(3));
            assert_eq!(what(&one), what(&three));
            assert_eq!((one.certificate.verdict, one.certificate.reason), (Verdict::Verified, None));
            assert_eq!(one.certificate.clean.index, 7);
            bounds.push(one.certificate.margin_lower);
        }
        assert!(bounds.iter().all(|bound| *bound > 0.0), "{bounds:?}");
    }
}

fn divided_to_the_end(
    certifier: &ExactCertifier<'_>,
    sample: Samples<'_>,
    groups: usize,
) -> ExactCertificate {
    let mut cover = Cover::default();
    for _ in 0..10_000 {
        if cover.is_settled() {
            break;
        }
        let answers =
            cover.groups(groups).iter().map(|g| certifier.search_regions(0, sample, g).unwrap()).collect();
        cover.take(answers).unwrap();
    }
    certifier.conclude(0, sample, &cover).unwrap()
}

/// What is not of this network is refused before it is searched.
#[test]
fn regions_of_other_networks_are_refused() {
    let (network, set, x, label) = hard();
    let labels = [label];
    let sample = Samples { first: 0, inputs: &x, labels: Some(&labels) };
    let certifier = certifier(&network, &set, 8, Precision::F32);
    let own = certifier.search_regions(0, sample, &[Region::whole()]).unwrap();
    let region = own.regions.iter().find(|region| region.is_open()).expect("an open region").clone();
    let refused = |change: &dyn Fn(&mut Region)| {
        let mut other = region.clone();
        change(&mut other);
        let error = certifier.search_regions(0, sample, &[other]).unwrap_err();
        assert!(matches!(error, CoverError::Foreign(_)), "{error}");
    };
    refused(&|region| region.sides[0].node = 0);
    refused(&|region| region.sides[0].node = 1000);
    refused(&|region| region.sides[0].element = 16);
    refused(&|region| region.sides[0].value = f64::NAN);
    refused(&|region| region.open.as_mut().unwrap()[0].row = 2);
}

/// `f(x) = (max(w x, 0), 0)` at x = 1 with w ∈ [0.5, 1.5]: the least margin where `w x ≥ t` is t, and where `w x ≤ t` it is 0.5.
#[test]
fn the_bound_of_a_region_is_its_least_margin() {
    let mut builder = NetworkBuilder::new(vec![1]);
    let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![1.0]), Vec::new()).unwrap();
    let z = builder.activation("relu", p, Activation::Relu).unwrap();
    builder.dense("second", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), Vec::new()).unwrap();
    let network = builder.finish().unwrap();
    let layers = Some(vec!["first".into()]);
    let set = ThreatModel { layers, ..ThreatModel::new(Kind::Absolute, 0.5) }.resolve(&network).unwrap();
    let sample = Samples { first: 0, inputs: &[1.0], labels: Some(&[0]) };
    for (precision, near) in [(Precision::F32, 1e-5), (Precision::F64, 1e-12)] {
        let certifier = certifier(&network, &set, 40, precision);
        for value in [0.7, 1.0, 1.3] {
            for (above, least) in [(true, value), (false, 0.5)] {
                let open = Some(vec![RowLower { row: 0, lower: None }]);
                let sides = vec![Side { node: p, element: 0, value, above }];
                let found = certifier.search_regions(0, sample, &[Region { sides, open, exhausted: false }]);
                let found = found.unwrap();
                let lower = found.lower[0].lower.unwrap();
                assert!(found.regions.iter().all(Region::is_proved) && found.lower.len() == 1);
                assert!(lower <= least && lower >= least - near, "{precision:?} {value} {above}: {lower}");
            }
        }
    }
}

/// A witness that a search of regions finds breaks the sample, and is checked by whoever concludes.
#[test]
fn a_witness_in_a_region_is_checked_again() {
    let (network, set, x, label) = hard();
    let labels = [label];
    let sample = Samples { first: 0, inputs: &x, labels: Some(&labels) };
    let larger = set.scaled(2.0);
    let certifier = certifier(&network, &larger, 40, Precision::F32);
    let found = certifier.search_regions(0, sample, &[Region::whole()]).unwrap();
    assert!(found.broken, "branch and bound finds what breaks the sample");
    let take = |answer: Searched| {
        let mut cover = Cover::default();
        cover.take(vec![answer]).unwrap();
        assert!(cover.is_settled());
        certifier.conclude(0, sample, &cover)
    };
    let broken = take(found.clone()).unwrap();
    assert_eq!(broken.certificate.verdict, Verdict::Falsified);
    let witness = certifier.witness(0, &x, broken.witness.as_ref().expect("a witness"));
    larger.contains(&network, &x, &witness).unwrap();
    let reached = margin(&network.forward_perturbed(&x, &witness), label as usize);
    assert!(reached <= 0.0 && broken.worst_margin <= 0.0, "{reached}");
    // Whoever says that a point breaks the sample is not believed.
    let point = found.found.clone().expect("a point");
    let nothing = point.units.iter().map(|units| vec![0.0; units.len()]).collect();
    let claimed = FoundPoint { units: nothing, ..point.clone() };
    let unbroken = take(Searched { found: Some(claimed), ..found.clone() }).unwrap();
    assert_ne!(unbroken.certificate.verdict, Verdict::Falsified);
    let foreign = FoundPoint { units: point.units[1..].to_vec(), ..point };
    let error = take(Searched { found: Some(foreign), ..found }).unwrap_err();
    assert_eq!(error, CoverError::Witness);
}
