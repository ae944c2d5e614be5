//! Settings of a run, which come from Python as JSON, and threat models.

use crate::error::{SettingError, ThreatError, raise};
use pyo3::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use weightproof::property::Property;
use weightproof::threat::ThreatModel;
use weightproof::verdict::{Guarantee, Precision};
use weightproof_formats::data::Scale;
use weightproof_report::BudgetReport;
use weightproof_run::RunError;
use weightproof_run::config::{AttackConfig, Config, DataConfig, MethodConfig, Outputs, check_property};
use weightproof_run::threat::{self, ThreatConfig};

/// Settings that `certify`, `attack` and `radius` share.
#[derive(Deserialize)]
pub struct Shared {
    threat: ThreatModel,
    radii: Vec<f64>,
    #[serde(default)]
    scale_radius: bool,
    property: Option<String>,
    tolerance: Option<f64>,
    threshold: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    #[serde(default)]
    logits: bool,
    precision: Option<String>,
    pub seed: u64,
    pub threads: Option<usize>,
    /// Number of a part of the samples, and of all parts.
    #[serde(default)]
    pub shard: Option<(usize, usize)>,
    /// Place of the first sample that is given, and number of all samples, of which the others are elsewhere.
    #[serde(default)]
    pub among: Option<(usize, usize)>,
    #[serde(flatten)]
    data: Data,
}

/// How samples become inputs.
#[derive(Deserialize)]
pub struct Data {
    batch: Option<usize>,
    layout: Option<String>,
    #[serde(default)]
    scale: Option<String>,
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
}

/// Settings of a bound method or of branch and bound.
#[derive(Deserialize)]
pub struct Method {
    method: String,
    intermediate: Option<String>,
    #[serde(default)]
    guarantee: Option<String>,
    time_limit: Option<f64>,
    time_limit_total: Option<f64>,
    max_nodes: Option<usize>,
    max_memory: Option<usize>,
    gap: Option<f64>,
}

/// Settings of an attack.
#[derive(Deserialize)]
pub struct Attack {
    attack: String,
    steps: usize,
    restarts: usize,
    step_size: Option<f64>,
}

impl Shared {
    /// The settings of a run on this network and these data.
    pub fn config(
        &self,
        network: &crate::network::Network,
        data: Option<&DataConfig>,
    ) -> Result<Config, RunError> {
        let name = self.property.as_deref();
        let outputs = Outputs::new(name, self.threshold, self.lower, self.upper)?;
        let property = name.filter(|_| outputs.is_none()).map(str::parse::<Property>).transpose();
        let property = property.map_err(|error| RunError::misfit(error.to_string()))?;
        check_property(property, self.tolerance)?;
        Ok(Config {
            model: network.config.clone(),
            data: self.data.config(data)?,
            threat: ThreatConfig::new(self.threat.clone(), self.radii.clone(), None)
                .scale_radius(self.scale_radius),
            property,
            outputs,
            tolerance: self.tolerance,
            logits: self.logits,
            precision: self.precision()?,
            seed: self.seed,
        })
    }

    /// The floating-point type, if it was said.
    pub fn precision(&self) -> Result<Option<Precision>, RunError> {
        match self.precision.as_deref() {
            None => Ok(None),
            Some("f32") => Ok(Some(Precision::F32)),
            Some("f64") => Ok(Some(Precision::F64)),
            Some(other) => Err(RunError::setting("precision", "f32 or f64", other)),
        }
    }
}

impl Data {
    /// The same with the settings of the reader of `data`, where they are of a file.
    pub fn config(&self, data: Option<&DataConfig>) -> Result<DataConfig, RunError> {
        let layout = match self.layout.as_deref() {
            None => None,
            Some("nchw") => Some("nchw"),
            Some("nhwc") => Some("nhwc"),
            Some(other) => return Err(RunError::setting("layout", "nchw or nhwc", other)),
        };
        let scale = self.scale.as_deref().map(scale).transpose()?;
        if scale.is_some() && data.is_some() {
            let expected = "none beside Data, which is scaled when it is loaded";
            return Err(RunError::setting("scale", expected, "one"));
        }
        Ok(DataConfig {
            layout,
            mean: self.mean.clone(),
            std: self.std.clone(),
            batch: self.batch,
            scale: scale.or(data.and_then(|data| data.scale)),
            ..data.cloned().unwrap_or_default()
        })
    }
}

impl Method {
    /// The method and its limits.
    pub fn config(&self) -> Result<(MethodConfig, BudgetReport), RunError> {
        let guarantee = match self.guarantee.as_deref() {
            None | Some("rigorous") => Guarantee::Rigorous,
            Some("real-arithmetic") => Guarantee::RealArithmetic,
            Some(other) => {
                return Err(RunError::setting("guarantee", "rigorous or real-arithmetic", other));
            }
        };
        let method = MethodConfig::new(&self.method, self.intermediate.as_deref())?;
        let method = MethodConfig { guarantee, ..method };
        let budget = BudgetReport {
            time_limit: self.time_limit,
            time_limit_total: self.time_limit_total,
            max_nodes: self.max_nodes,
            max_memory: self.max_memory,
            gap: self.gap,
        };
        Ok((method, budget))
    }
}

impl Attack {
    /// The search.
    pub fn config(&self) -> Result<AttackConfig, RunError> {
        AttackConfig::new(&self.attack, self.steps, self.restarts, self.step_size)
    }
}

/// A factor of data, as it was written.
pub fn scale(text: &str) -> Result<Scale, RunError> {
    text.parse().map_err(|()| {
        let found: String = text.chars().take(60).collect();
        RunError::setting("scale", "a number above 0, or a ratio such as 1/255", found)
    })
}

/// Settings that Python wrote.
pub fn parse<T: DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(|error| SettingError::new_err(format!("settings: {error}")))
}

/// A threat model in TOML as JSON.
#[pyfunction]
pub fn parse_threat(text: &str) -> PyResult<String> {
    json(&threat::parse(text).map_err(raise)?)
}

/// A threat model of a TOML file as JSON.
#[pyfunction]
pub fn read_threat(path: PathBuf) -> PyResult<String> {
    json(&threat::read(&path).map_err(raise)?)
}

/// A threat model in JSON, checked, as TOML.
#[pyfunction]
pub fn write_threat(text: &str) -> PyResult<String> {
    let fail = |error: &dyn std::fmt::Display| ThreatError::new_err(format!("threat: {error}"));
    let model: ThreatModel = serde_json::from_str(text).map_err(|error| {
        // Without the place in a text that no user wrote.
        let message = error.to_string();
        fail(&message.split(" at line ").next().unwrap_or(&message))
    })?;
    toml::to_string(&model).map_err(|error| fail(&error))
}

fn json(model: &ThreatModel) -> PyResult<String> {
    serde_json::to_string(model).map_err(|error| ThreatError::new_err(error.to_string()))
}
