//! `faithful`: whether one network is a rounding of another.

use super::Status;
use crate::args::FaithfulArgs;
use crate::config::ModelConfig;
use crate::error::Failure;
use crate::{output, source};
use std::path::Path;
use std::time::Instant;
use weightproof::verdict::Precision;
use weightproof_formats::tensors::TensorFile;
use weightproof_report::{FaithfulFile, FaithfulReport};
use weightproof_run::faithful::{layers, smallest_sets};
use weightproof_run::run::environment;
use weightproof_run::tensors;

/// Runs the command.
pub fn run(args: &FaithfulArgs) -> Result<Status, Failure> {
    output::check_written(&args.output, "faithful")?;
    let start = Instant::now();
    let environment = |start: Instant| environment(start.elapsed(), 1, 0, Precision::F64);
    let report = if [&args.float, &args.rounded].iter().all(|path| has_tensors(path)) {
        let (mut float, mut second) = (TensorFile::open(&args.float)?, TensorFile::open(&args.rounded)?);
        let (layers, sets) = tensors::compare((&args.float, &mut float), (&args.rounded, &mut second))?;
        let described = |path, file| tensors::describe(path, file).map(FaithfulFile::Tensors);
        let (model, rounded) = (described(&args.float, &float)?, described(&args.rounded, &second)?);
        FaithfulReport { layers, sets, model, rounded, environment: environment(start) }
    } else {
        let load = |path: &Path| {
            source::load_model(&ModelConfig { path: Some(path.to_owned()), ..ModelConfig::default() })
        };
        let ((network, model), (second, rounded)) = (load(&args.float)?, load(&args.rounded)?);
        let (layers, sets) = (layers(&network, &second)?, smallest_sets(&network, &second)?);
        let file = |model| FaithfulFile::Network(Box::new(model));
        let (model, rounded) = (file(model), file(rounded));
        FaithfulReport { layers, sets, model, rounded, environment: environment(start) }
    };
    output::written(&args.output, &report)?;
    Ok(Status::of(report.holds()))
}

/// Whether a file is compared tensor by tensor: GGUF, and safetensors without an architecture beside it.
fn has_tensors(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    match extension.as_deref().and_then(|e| e.to_str()) {
        Some("gguf") => true,
        Some("safetensors") => !path.with_extension("toml").exists(),
        _ => false,
    }
}
