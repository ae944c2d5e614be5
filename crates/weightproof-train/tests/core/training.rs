//! The training loop: it learns, it resumes with the same bits, and it says where it diverged.

use rand::RngExt;
use std::ops::ControlFlow;
use weightproof::network::Activation;
use weightproof_train::adversary::Adversary;
use weightproof_train::config::Term;
use weightproof_train::graph::Graph;
use weightproof_train::objective::{Evaluation, OBJECTIVES};
use weightproof_train::optimizer::Rule;
use weightproof_train::random::{Purpose, generator};
use weightproof_train::schedule::{Decay, LearningRate, Ramp};
use weightproof_train::threat::{NoiseThreat, Threat};
use weightproof_train::{
    EpochRecord, Labelled, Observer, Outcome, Silent, TrainConfig, TrainError, Trainer, checkpoint,
};

/// What rounding of another order of sums may change of a step.
const ROUNDING: f32 = 2e-6;

/// Three clusters in [0, 1]⁴.
fn clusters(count: usize) -> Labelled {
    let mut rng = generator(5, Purpose::Data, 0, 0);
    let centers = [[0.2, 0.8, 0.2, 0.5], [0.8, 0.2, 0.5, 0.2], [0.5, 0.5, 0.9, 0.9]];
    let mut data = Labelled { width: 4, ..Labelled::default() };
    for s in 0..count {
        let label = s % 3;
        data.labels.push(label as u32);
        data.inputs.extend(centers[label].map(|c: f32| c + rng.random_range(-0.15f32..0.15)));
    }
    data
}

fn config(objectives: &[&str]) -> TrainConfig {
    let mut config = TrainConfig::plain(&[4, 12, 10, 3], 4);
    config.batch = 32;
    config.threat = Threat { radius: 0.01, input_radius: 0.01, ..Threat::default() };
    config.radius_ramp = Some(Ramp::Constant(1.0));
    config.terms =
        objectives.iter().map(|o| Term { objective: (*o).into(), weight: Ramp::Constant(0.5) }).collect();
    config.learning_rate = LearningRate { rate: 0.01, warm_up: 1.0, decay: Decay::Cosine { floor: 0.1 } };
    config.validation.samples = 60;
    config
}

fn adversaries() -> Vec<Adversary> {
    vec![
        Adversary::Noise { deviation: 0.01, relative: false },
        Adversary::Sam { rho: 0.02 },
        Adversary::Awp { gamma: 0.01 },
        Adversary::Pgd { radius: 0.01, input_radius: 0.02, steps: 4 },
    ]
}

fn trained(config: TrainConfig) -> Trainer {
    let mut trainer = Trainer::new(config).unwrap();
    assert_eq!(trainer.run(&clusters(360), &mut Silent).unwrap(), Outcome::Finished);
    trainer
}

/// What must not depend on the clock.
fn timeless(history: &[EpochRecord]) -> Vec<EpochRecord> {
    let still = |r: &EpochRecord| EpochRecord { seconds: 0.0, validation_seconds: 0.0, ..r.clone() };
    history.iter().map(still).collect()
}

#[test]
fn every_objective_and_adversary_learns_the_clusters() {
    for objective in OBJECTIVES {
        let mut config = config(&["cross-entropy", objective.name]);
        config.terms[1].weight = Ramp::Constant(0.01);
        config.epochs = 8;
        let trainer = trained(config);
        let last = trainer.history().last().unwrap();
        assert!(last.validation_accuracy.unwrap() > 0.9, "{}: {last:?}", objective.name);
    }
    for adversary in adversaries() {
        let mut config = config(&["cross-entropy"]);
        config.epochs = 8;
        config.adversaries = vec![adversary.clone()];
        let trainer = trained(config);
        let last = trainer.history().last().unwrap();
        assert!(last.validation_accuracy.unwrap() > 0.9, "{adversary:?}: {last:?}");
    }
}

#[test]
fn interval_training_certifies_more_than_cross_entropy() {
    let certified = |objectives: &[&str]| {
        let mut config = config(objectives);
        config.threat = Threat { radius: 0.06, ..Threat::default() };
        config.radius_ramp = Some(Ramp::linear(0.0, 1.0, 0.0, 10.0));
        config.epochs = 30;
        trained(config).history().last().unwrap().validation_certified.unwrap()
    };
    let (plain, interval) = (certified(&["cross-entropy"]), certified(&["cross-entropy", "interval"]));
    assert!(interval > plain + 0.2, "{interval} against {plain}");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let data = clusters(16);
    for objective in OBJECTIVES {
        let trainer = Trainer::new(config(&[objective.name])).unwrap();
        let noise = Some(NoiseThreat { sigma: 0.02, ..NoiseThreat::default() });
        let threat = &Threat { noise, ..trainer.config().threat.clone() };
        let graph = Graph::new(&trainer.network());
        let start = trainer.parameters().clone();
        let loss = |at: &weightproof_train::parameters::Parameters, gradient: bool| {
            let tape = graph.tape();
            let (weights, x) = (graph.track(&tape, at), graph.batch(&tape, &data.inputs));
            let value = (objective.loss)(&Evaluation::new(&graph, &weights, threat, x, &data.labels));
            let slopes = gradient.then(|| {
                tape.backward(value, 1.0);
                graph.gradient(&weights)
            });
            (f64::from(value.numbers()[0]), slopes)
        };
        // Along the gradient: the loss must grow by its squared length.
        let gradient = loss(&start, true).1.unwrap();
        let norm = gradient.norm();
        assert!(norm > 1e-3, "{}: the gradient vanishes", objective.name);
        let step = 2e-3 / norm;
        let moved = |sign: f64| start.zip(&gradient, |w, g| w + (sign * step) as f32 * g);
        let slope = (loss(&moved(1.0), false).0 - loss(&moved(-1.0), false).0) / (2.0 * step);
        let ratio = slope / (norm * norm);
        assert!((ratio - 1.0).abs() < 0.03, "{}: {ratio}", objective.name);
    }
}

/// The loss of what random weights leave makes more certain at the same noise than cross-entropy does.
#[test]
fn training_against_noise_certifies_more_than_cross_entropy() {
    let certified = |objectives: &[&str]| {
        let mut config = config(objectives);
        let noise = Some(NoiseThreat { sigma: 0.06, ..NoiseThreat::default() });
        config.threat = Threat { noise, ..Threat::default() };
        config.radius_ramp = Some(Ramp::linear(0.0, 1.0, 0.0, 10.0));
        config.epochs = 30;
        let last = trained(config).history().last().unwrap().clone();
        assert!(last.validation_certified <= last.validation_accuracy);
        last.validation_certified.unwrap()
    };
    let plain = certified(&["cross-entropy"]);
    for objective in ["noise-certified", "noise-certified-hinge"] {
        let found = certified(&["cross-entropy", objective]);
        assert!(found > plain + 0.2, "{objective}: {found} against {plain}");
    }
}

/// Stops after a number of batches.
struct Stop(usize);

impl Observer for Stop {
    fn batch(&mut self, _: &Trainer, _: usize, _: usize) -> ControlFlow<()> {
        self.0 -= 1;
        if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn epoch(&mut self, _: &Trainer, _: &EpochRecord) -> Result<(), TrainError> {
        Ok(())
    }
}

#[test]
fn a_run_resumes_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let data = clusters(360);
    let mut config = config(&["cross-entropy", "interval"]);
    config.adversaries = adversaries();
    config.radius_ramp = Some(Ramp::linear(0.0, 1.0, 0.0, 3.0));
    let whole = trained(config.clone());
    // In the middle of an epoch, and at its end.
    for batches in [14, 20] {
        let mut first = Trainer::new(config.clone()).unwrap();
        assert_eq!(first.run(&data, &mut Stop(batches)).unwrap(), Outcome::Stopped);
        checkpoint::save(&first, &path).unwrap();
        let mut second = Trainer::new(config.clone()).unwrap();
        checkpoint::load(&mut second, &path).unwrap();
        second.run(&data, &mut Silent).unwrap();
        assert_eq!(second.parameters(), whole.parameters(), "stopped after {batches} batches");
        assert_eq!(timeless(second.history()), timeless(whole.history()));
    }
}

/// One batch of several shards, one step of plain descent.
#[test]
fn shards_add_up_to_the_batch() {
    for objective in OBJECTIVES {
        let mut config = config(&[objective.name]);
        (config.batch, config.epochs) = (300, 1);
        config.optimizer = Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        config.learning_rate = LearningRate { rate: 0.1, warm_up: 0.0, decay: Decay::Constant };
        let mut trainer = Trainer::new(config.clone()).unwrap();
        let start = trainer.parameters().clone();
        let (batch, _) = clusters(360).split(60);
        let graph = Graph::new(&trainer.network());
        let tape = graph.tape();
        let (weights, x) = (graph.track(&tape, &start), graph.batch(&tape, &batch.inputs));
        let whole = (objective.loss)(&Evaluation::new(&graph, &weights, &config.threat, x, &batch.labels));
        tape.backward(whole, 0.5);
        let gradient = graph.gradient(&weights);
        trainer.run(&clusters(360), &mut Silent).unwrap();
        let expected = start.zip(&gradient, |w, g| w - 0.1 * g);
        let off = trainer.parameters().zip(&expected, |a, b| (a - b).abs());
        let most = off.arrays.iter().flatten().fold(0.0, |most: f32, d| most.max(*d));
        assert!(most < ROUNDING && trainer.parameters() != &start, "{}: {most}", objective.name);
    }
}

#[test]
fn threads_do_not_matter() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut config = config(&["cross-entropy", "linear"]);
        config.network.sizes = Some(vec![4, 300, 200, 3]);
        // More than one shard.
        config.batch = 300;
        pool.install(|| trained(config).parameters().clone())
    };
    let one = with(1);
    for threads in [2, 3, 4] {
        assert_eq!(one, with(threads), "{threads} threads");
    }
}

#[test]
fn checkpoints_of_other_settings_and_damaged_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let trainer = Trainer::new(config(&["cross-entropy"])).unwrap();
    checkpoint::save(&trainer, &path).unwrap();
    let mut other = config(&["cross-entropy"]);
    other.batch = 33;
    let error = checkpoint::load(&mut Trainer::new(other).unwrap(), &path).unwrap_err().to_string();
    assert!(error.ends_with("expected a checkpoint of these settings, found another batch"), "{error}");
    let mut started = Trainer::new(config(&["cross-entropy"])).unwrap();
    started.run(&clusters(360), &mut Stop(2)).unwrap();
    let (begun, mut other) = (folder.path().join("begun.safetensors"), clusters(360));
    checkpoint::save(&started, &begun).unwrap();
    other.inputs[7] += 1e-6;
    checkpoint::load(&mut started, &begun).unwrap();
    let error = started.run(&other, &mut Silent).unwrap_err().to_string();
    assert!(error.starts_with("data: expected the samples of the checkpoint, sha256 "), "{error}");
    let mut longer = config(&["cross-entropy"]);
    longer.epochs += 1;
    checkpoint::load(&mut Trainer::new(longer).unwrap(), &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let mut trainer = Trainer::new(config(&["cross-entropy"])).unwrap();
    assert!(checkpoint::load(&mut trainer, &path).is_err());
}

/// A checkpoint in the middle of the second epoch that was written when gradients came from another library.
#[test]
fn a_checkpoint_of_version_0_1_0_resumes() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoint-0.1.0.safetensors");
    let mut config = config(&["cross-entropy", "interval"]);
    config.network.sizes = Some(vec![4, 6, 3]);
    let mut trainer = Trainer::new(config).unwrap();
    checkpoint::load(&mut trainer, &path).unwrap();
    assert_eq!((trainer.history().len(), trainer.parameters().arrays[0][0]), (1, 0.22945623));
    assert_eq!(trainer.run(&clusters(360), &mut Silent).unwrap(), Outcome::Finished);
    // What that version ended with, up to rounding.
    let last = trainer.history().last().unwrap();
    assert!((last.loss - 0.985_959_159_135_818_4).abs() < 1e-5, "{last:?}");
    assert!((trainer.parameters().arrays[0][0] - 0.347_380_76).abs() < 1e-4);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let mut trainer = Trainer::new(config(&["cross-entropy"])).unwrap();
    checkpoint::save(&trainer, &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    trainer.run(&clusters(360), &mut Silent).unwrap();
    // A folder in the place of the file that is written first.
    std::fs::create_dir(path.with_extension("safetensors.part")).unwrap();
    let error = checkpoint::save(&trainer, &path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn divergence_names_epoch_batch_and_term() {
    let mut config = config(&["cross-entropy", "interval"]);
    config.learning_rate = LearningRate { rate: 1e30, warm_up: 0.0, decay: Decay::Constant };
    let mut trainer = Trainer::new(config).unwrap();
    let error = trainer.run(&clusters(360), &mut Silent).unwrap_err().to_string();
    assert!(error.starts_with("epoch 1, batch ") && error.contains("diverged"), "{error}");
}

#[test]
fn data_and_settings_that_do_not_fit_are_named() {
    let run = |data: Labelled| {
        Trainer::new(config(&["cross-entropy"])).unwrap().run(&data, &mut Silent).unwrap_err().to_string()
    };
    assert_eq!(run(Labelled::default()), "data: expected at least one sample to train on, found none");
    let mut data = clusters(9);
    data.labels[4] = 3;
    assert_eq!(run(data), "data: expected a label below 3 for sample 4, found 3");
    let mut data = clusters(9);
    data.inputs[5] = f32::NAN;
    assert_eq!(run(data), "data: expected finite values in sample 1, found NaN");
    let wrong = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = config(&["cross-entropy"]);
        change(&mut config);
        Trainer::new(config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(wrong(&|c| c.batch = 0), "batch: expected a number above 0, found 0");
    assert!(
        wrong(&|c| c.terms[0].objective = "crown".into())
            .starts_with("term: expected one of cross-entropy, ")
    );
    assert!(wrong(&|c| c.threat.layers = Some(vec!["fc9".into()])).starts_with("threat: "));
    assert!(wrong(&|c| c.threat.radius = f64::NAN).starts_with("threat: "));
    let tanh = |c: &mut TrainConfig| {
        c.network.activation = Some(Activation::Tanh);
        c.terms[0].objective = "robust-hinge".into();
    };
    assert!(wrong(&tanh).starts_with("term robust-hinge: tanh1: expected a chain"), "{}", wrong(&tanh));
}

#[test]
fn a_configuration_reads_back_as_it_was_written() {
    let mut config = config(&["cross-entropy", "linear"]);
    config.adversaries = adversaries();
    config.radius_ramp = Some(Ramp::linear(0.0, 1.0, 1.0, 2.0));
    let text = toml::to_string(&config).unwrap();
    assert_eq!(TrainConfig::parse(&text).unwrap(), config);
    let error = TrainConfig::parse("epochs = 1\nbatch = 2\nrate = 3\n").unwrap_err().to_string();
    assert!(error.starts_with("line 3: unknown field `rate`"), "{error}");
}

#[test]
fn a_convolutional_network_is_trained() {
    let text = "
        epochs = 6
        batch = 32
        [network]
        input = [1, 2, 2]
        layer = [
            { type = 'conv', channels = 6, kernel = 2, padding = 1 },
            { type = 'relu' },
            { type = 'conv', channels = 6, kernel = 3, padding = 1 },
            { type = 'relu' },
            { type = 'add', layer = 2 },
            { type = 'dense', outputs = 3 },
        ]
        [threat]
        radius = 0.01
        [[term]]
        objective = 'cross-entropy'
        [[term]]
        objective = 'linear'
        weight = 0.5
        [optimizer]
        kind = 'adam'
        [learning-rate]
        rate = 0.01
        [validation]
        samples = 60
        method = 'linear'
    ";
    let trainer = trained(TrainConfig::parse(text).unwrap());
    let last = trainer.history().last().unwrap();
    assert!(last.validation_accuracy.unwrap() > 0.9 && last.validation_certified.unwrap() > 0.8, "{last:?}");
}
