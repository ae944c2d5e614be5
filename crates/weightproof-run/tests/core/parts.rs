//! What other processes write: parts of runs, and regions of one sample. Damaged bytes give an error or a result, never a panic.

use std::fs;
use std::path::Path;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Precision, Verdict};
use weightproof_report::{BudgetReport, CertifyRecord, ExactRecord, Format, Report, features};
use weightproof_run::config::{Config, DataConfig, MethodConfig, ModelConfig};
use weightproof_run::divide::{Answer, Division, Question, search};
use weightproof_run::exact::ExactConfig;
use weightproof_run::merge::{AnyMerged, merge};
use weightproof_run::run::{BatchSize, Run, Watch, pool};
use weightproof_run::session::Session;
use weightproof_run::shard::Shard;
use weightproof_run::threat::{SetAt, ThreatConfig};
use weightproof_run::{RunError, certify, exact};
use weightproof_testkit::damage::damaged;

struct Quiet;

impl Watch for Quiet {}

/// The embedded network and images.
fn session(samples: usize, radius: f64) -> Session {
    let data = DataConfig { samples: Some(samples), ..DataConfig::default() };
    let config = Config {
        model: ModelConfig::default(),
        data,
        threat: ThreatConfig::new(ThreatModel::new(Kind::Absolute, radius), Vec::new(), None),
        property: None,
        outputs: None,
        tolerance: None,
        logits: false,
        precision: None,
        seed: 0,
    };
    Session::open(config).expect("what is embedded")
}

fn config(method: &str, journal: Option<&Path>) -> ExactConfig {
    ExactConfig {
        method: MethodConfig::new(method, None).expect("a method"),
        budget: BudgetReport { max_nodes: Some(40), ..BudgetReport::default() },
        journal: journal.map(Into::into),
        witness: None,
        certificate: None,
        oracle: None,
    }
}

/// The only part of a run.
fn part(journal: Option<&Path>) -> Report<CertifyRecord> {
    let mut session = session(12, 0.001);
    let batch = BatchSize::Fixed(4);
    session.take(Shard::new(1, 1).unwrap(), batch).unwrap();
    let sets = sets(&session);
    let run = Run::new(pool(Some(1)).unwrap(), Quiet, batch, (0, Precision::F32));
    certify::run(&mut session, &sets, &config("interval", journal), None, run).expect("a run")
}

fn sets(session: &Session) -> Vec<SetAt> {
    session.config.threat.sets(&session.network, session.input_range()).expect("a set")
}

/// Reads what `merge` makes of a file; whether it is a result.
fn joined(path: &Path) -> bool {
    let found = merge(&[path.into()]).and_then(|merged| match merged {
        AnyMerged::Certify(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Exact(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Noise(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Attack(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Draws(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Radius(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::ExactRadius(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Faults(merged) => merged.load().map(|report| report.results.len()),
        AnyMerged::Measure(report) => Ok(report.results.len()),
    });
    match found {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// A short fuzz of every form.
#[test]
fn mutated_parts_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, whole) = (folder.path().join("journal"), folder.path().join("damaged"));
    let report = part(Some(&journal));
    let mut json = Vec::new();
    report.write(Format::Json, &mut json).unwrap();
    for bytes in [json, fs::read(&journal).unwrap()] {
        let text = String::from_utf8(bytes).unwrap();
        fs::write(&whole, &text).unwrap();
        assert!(joined(&whole));
        let mut taken = 0;
        for damaged in damaged(&text, 700) {
            fs::write(&whole, damaged).unwrap();
            taken += usize::from(joined(&whole));
        }
        assert!((30..670).contains(&taken), "both happen: {taken}");
    }
    if features::parquet().is_err() {
        eprintln!("skipped: parts in Parquet, which this build does not have");
        return;
    }
    let mut bytes = Vec::new();
    report.write(Format::Parquet, &mut bytes).unwrap();
    fs::write(&whole, &bytes).unwrap();
    assert!(joined(&whole));
    let mut taken = 0;
    for k in 0..700_usize {
        let mut damaged = bytes.clone();
        let place = (k * 7919 + 13) * 104_729 % damaged.len();
        match k % 4 {
            0 => damaged.truncate(place),
            1 => damaged[place] ^= 1 << (k % 8),
            2 => damaged[place] = 0xff,
            _ => drop(damaged.splice(place..(place + 9).min(bytes.len()), *b"99999999999")),
        }
        fs::write(&whole, damaged).unwrap();
        taken += usize::from(joined(&whole));
    }
    assert!((1..670).contains(&taken), "both happen: {taken}");
}

/// The place of a sample whose verdict is open, its record, and the network.
fn hard() -> (Session, ExactConfig, usize, ExactRecord) {
    let (mut session, config) = (session(60, 0.002), config("exact", None));
    let sets = sets(&session);
    let run = Run::new(pool(Some(1)).unwrap(), Quiet, exact::BATCH, (0, Precision::F32));
    let report = exact::run(&mut session, &sets, &config, run).expect("a run");
    let records = &report.results[0].samples;
    let is_open =
        |record: &&ExactRecord| record.certify.reason.is_some_and(|reason| reason.name() == "node-limit");
    let record = records.iter().find(is_open).expect("a hard sample").clone();
    (self::session(60, 0.002), config, record.certify.index, record)
}

/// A new session for every question, as every process has one.
fn answer(session: &dyn Fn() -> Session, config: &ExactConfig, question: &str) -> Result<String, RunError> {
    let mut session = session();
    let sets = sets(&session);
    search(&mut session, &sets, config, question)
}

/// Questions and answers read back as they are, and damaged ones are an error or regions that are a partition.
#[test]
fn mutated_questions_and_answers_never_panic() {
    let (mut first, config, place, record) = hard();
    let own = || self::session(60, 0.002);
    let sets = sets(&first);
    let mut division = Division::new(&mut first, &sets, &config, (place, 0)).unwrap();
    let mut rounds = 0;
    while !division.is_settled() && rounds < 20 {
        let questions = division.questions(3).unwrap();
        let answers: Vec<String> = questions.iter().map(|q| answer(&own, &config, q).unwrap()).collect();
        let read: Question = serde_json::from_str(&questions[0]).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), questions[0]);
        let read: Answer = serde_json::from_str(&answers[0]).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), answers[0]);
        if rounds == 1 {
            let mut errors = 0;
            for damaged in damaged(&answers[0], 1000) {
                let mut other = division.clone();
                let text = String::from_utf8_lossy(&damaged).into_owned();
                let round: Vec<String> = [text].into_iter().chain(answers[1..].iter().cloned()).collect();
                errors += usize::from(other.take(&round).is_err());
                // Whatever was taken has a conclusion.
                assert!(other.questions(3).unwrap().len() <= 3);
            }
            assert!((300..1000).contains(&errors), "both happen: {errors}");
            let mut errors = 0;
            for damaged in damaged(&questions[0], 200) {
                let text = String::from_utf8_lossy(&damaged).into_owned();
                errors += usize::from(answer(&own, &config, &text).is_err());
            }
            assert!((100..=200).contains(&errors), "{errors}");
        }
        division.take(&answers).unwrap();
        rounds += 1;
    }
    assert!(rounds > 1 && division.is_settled());
    let found = division.conclude(&mut own(), &sets, &config, &record).unwrap();
    assert_eq!(found.certify.verdict, Verdict::Verified);
    assert!(
        found.certify.margin_lower > 0.0
            && found.nodes > record.nodes
            && found.worst_margin <= record.worst_margin
    );
}
