//! `measure --shard I/N`: what parts of the samples say, and what `merge` makes of it.
//!
//! ```text
//! the same in all parts: depends on the network alone      mean over samples: Σ n_k v_k / Σ n_k      else: refused, by name
//! ```

use crate::RunError;
use crate::merge::{Part, environment, ordered, requested};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use weightproof_measure::{MEASURES, Measure, Parts};
use weightproof_report::reading::part::PartEnvironment;
use weightproof_report::reading::{self, Loaded, MeasureFile};
use weightproof_report::{DataReport, ErrorReport, MeasureRecord, MeasureReport, MeasuresAt, ShardReport};

/// Why a number is refused for a part.
pub(super) const REFUSED: &str =
    "parts of the samples do not tell what all of them say; without --shard it is measured";

/// Why a measure is refused for a part; searches look at so many samples at most.
pub(super) fn refusal(measure: &Measure, shard: Option<&ShardReport>, searched: usize) -> Option<String> {
    let shard = shard?;
    if measure.parts == Parts::Nothing {
        return Some(REFUSED.into());
    }
    let cuts = measure.needs.search && shard.total > searched;
    cuts.then(|| {
        format!("parts tell it when all samples are searched: search-samples of at least {}", shard.total)
    })
}

/// The result of `measure` for a part of the samples, in a file.
pub(crate) struct MeasurePart {
    path: PathBuf,
    file: MeasureFile,
    shard: ShardReport,
    environment: PartEnvironment,
}

/// The parts in these files, where the first is one of `measure`.
///
/// # Errors
/// Files that cannot be read or are something else.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Option<Vec<MeasurePart>>, RunError> {
    let parts = paths.iter().map(|path| one(path));
    let mut found = Vec::new();
    for (k, part) in parts.enumerate() {
        match part? {
            Some(part) => found.push(part),
            None if k == 0 => return Ok(None),
            None => {
                let path = paths[k].display();
                return Err(RunError::misfit(format!(
                    "{path}: expected a part of measure, found another result"
                )));
            }
        }
    }
    Ok(Some(found))
}

/// Bytes among which the schema of a result is.
const HEAD: usize = 200;

fn one(path: &Path) -> Result<Option<MeasurePart>, RunError> {
    // Parts of other commands need not fit into memory.
    let mut head = [0; HEAD];
    let io = |error| RunError::misfit(format!("{}: {error}", path.display()));
    let length = std::io::Read::read(&mut fs::File::open(path).map_err(io)?, &mut head).map_err(io)?;
    if !String::from_utf8_lossy(&head[..length]).contains("\"weightproof/measure/1\"") {
        return Ok(None);
    }
    let name = path.display().to_string();
    let wrong = |what: String| RunError::misfit(format!("{name}: {what}"));
    let loaded = reading::read(&name, &fs::read(path).map_err(io)?);
    let Loaded::Measure(file) = loaded.map_err(|error| wrong(error.to_string()))? else { return Ok(None) };
    let file = *file;
    let Some(shard) = file.shard.clone() else {
        return Err(wrong(
            "shard: expected a part of a result, of a run with --shard I/N, found none".into(),
        ));
    };
    let environment = serde_json::from_value(Value::Object(file.environment.clone()));
    let environment = environment.map_err(|error| wrong(format!("environment: {error}")))?;
    Ok(Some(MeasurePart { path: path.into(), file, shard, environment }))
}

impl Part for MeasurePart {
    fn path(&self) -> &Path {
        &self.path
    }

    fn shard(&self) -> &ShardReport {
        &self.shard
    }

    fn is_partial(&self) -> bool {
        self.file.partial
    }

    fn samples(&self) -> usize {
        self.file.data.samples
    }

    fn identity(&self) -> Value {
        let MeasureFile { model, data, threat, method, delta, config, .. } = &self.file;
        let PartEnvironment { version, seed, precision, .. } = &self.environment;
        let names =
            |records: &[MeasureRecord]| records.iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
        let results: Vec<_> = self.file.results.iter().map(|at| (at.radius, names(&at.measures))).collect();
        let mut fields = Map::new();
        for (name, value) in [
            ("model", json!(model)),
            ("data", json!([data.sha256, data.description, data.shape, data.scale, data.classes])),
            ("threat", json!(threat)),
            ("method", json!(method)),
            ("delta", json!(delta)),
            ("config", config.clone()),
            ("measures", json!([names(&self.file.measures), results])),
            ("shard", json!([self.shard.of, self.shard.total])),
            ("environment", json!([version, seed, precision])),
        ] {
            fields.insert(name.into(), value);
        }
        Value::Object(fields)
    }
}

/// The result for all samples.
///
/// # Errors
/// Parts that are missing, overlap or are of different runs; numbers that must be the same in all parts and are not.
pub(crate) fn join(parts: Vec<MeasurePart>) -> Result<MeasureReport, RunError> {
    let parts = ordered(parts)?;
    let Some(first) = parts.first() else {
        return Err(RunError::misfit("expected at least one part, found none"));
    };
    let environments: Vec<&PartEnvironment> = parts.iter().map(|part| &part.environment).collect();
    let environment = environment(&first.path, &environments)?;
    let MeasureFile { model, data, threat, method, delta, config, .. } = first.file.clone();
    let data = DataReport {
        samples: first.shard.total,
        labels_sha256: None,
        requested: requested(&config, first.shard.total),
        ..data
    };
    let results = first.file.results.iter().enumerate().map(|(k, at)| {
        let measures = joined(&parts, |file| &file.results[k].measures)?;
        Ok(MeasuresAt { measures, ..at.clone() })
    });
    Ok(MeasureReport {
        model,
        data,
        shard: None,
        train_data: None,
        threat,
        method,
        delta,
        errors: ErrorReport { training: error(&parts), held_out: None, gap: None },
        measures: joined(&parts, |file| &file.measures)?,
        results: results.collect::<Result<_, RunError>>()?,
        utilization: None,
        ensemble: None,
        compression: None,
        compression_refusal: first.file.compression_refusal.clone(),
        config,
        partial: false,
        environment,
    })
}

/// The share of errors, from their numbers.
fn error(parts: &[MeasurePart]) -> Option<f64> {
    let wrong = |part: &MeasurePart| {
        part.file.errors.training.map(|error| (error * part.shard.samples as f64).round())
    };
    let wrong: Option<f64> = parts.iter().map(wrong).sum();
    wrong.map(|wrong| wrong / parts[0].shard.total as f64)
}

/// Each measure of a list that all parts have, for all samples.
fn joined(
    parts: &[MeasurePart],
    list: impl Fn(&MeasureFile) -> &[MeasureRecord],
) -> Result<Vec<MeasureRecord>, RunError> {
    let of = |(k, record): (usize, &MeasureRecord)| {
        let values = parts.iter().map(|part| Some((part.shard.samples, list(&part.file)[k].value?)));
        let Some(values) = values.collect::<Option<Vec<_>>>() else {
            let refused = parts.iter().find_map(|part| list(&part.file)[k].refusal.clone());
            return Ok(MeasureRecord { value: None, refusal: refused, ..record.clone() });
        };
        let measure = MEASURES.iter().find(|measure| measure.name == record.name);
        let value = measure.and_then(|measure| measure.parts.joined(&values)).ok_or_else(|| {
            let (name, path) = (&record.name, parts[0].path.display());
            RunError::misfit(format!("{path}: {name}: expected a number that parts tell, the same where it depends on the network alone, found {values:?}"))
        })?;
        Ok(MeasureRecord { value: Some(value), ..record.clone() })
    };
    list(&parts[0].file).iter().enumerate().map(of).collect()
}
