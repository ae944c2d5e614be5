//! The oracle: every sample is settled a second time, by a mixed-integer solver that takes nothing from the search
//! (`weightproof::exact::oracle` says what the two share).

use crate::RunError;
use crate::threat::SetAt;
use std::str::FromStr;
use weightproof::exact::ExactOptions;
use weightproof::network::Network;
use weightproof_report::OracleRecord;

/// Who settles samples a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OracleKind {
    /// A mixed-integer linear program for each sample and class, solved by HiGHS; only in builds with the feature `milp`.
    Milp,
}

impl FromStr for OracleKind {
    type Err = RunError;
    fn from_str(text: &str) -> Result<Self, RunError> {
        match text {
            "milp" => Ok(OracleKind::Milp),
            other => {
                let found: String = other.chars().take(60).collect();
                Err(RunError::setting("oracle", "milp", found))
            }
        }
    }
}

/// What the solver says about a sample: number of the set, input, label.
pub type Oracle<'a> = Box<dyn Fn(usize, &[f64], Option<u32>) -> Result<OracleRecord, RunError> + Sync + 'a>;

/// The solver for `sets`, about the property and with the limits of the search. The time for a sample is as long as that of the
/// search; samples that are left when a run ends are unknown.
///
/// # Errors
/// A build without the solver; a property that it has no program for. The oracle itself fails where a set has no program.
pub fn oracle<'a>(
    kind: OracleKind,
    network: &'a Network,
    sets: &'a [SetAt],
    options: &ExactOptions,
) -> Result<Oracle<'a>, RunError> {
    match kind {
        OracleKind::Milp => milp(network, sets, options),
    }
}

#[cfg(feature = "milp")]
fn milp<'a>(network: &'a Network, sets: &'a [SetAt], options: &ExactOptions) -> Result<Oracle<'a>, RunError> {
    use weightproof::exact::oracle::{Judge, Judgement, OracleOptions};
    use weightproof::property::Property;
    use weightproof::verdict::Verdict;
    let (property, budget, stop) = (options.certify.property, options.budget, options.certify.stop.clone());
    if property == Property::Deviation {
        return Err(RunError::setting("oracle", "the property label or prediction", property.name()));
    }
    // Seeds of the solver have 31 bits.
    let seed = (options.attack.seed & 0x7fff_ffff) as u32;
    let options = OracleOptions { time: budget.time, seed, ..OracleOptions::default() };
    let judge = |at: &'a SetAt| Judge::new(network, &at.set, property, options);
    let judges: Vec<Judge<'a>> = sets.iter().map(judge).collect();
    Ok(Box::new(move |k, x, label| {
        let start = std::time::Instant::now();
        let verdict = if stop.is_set() || budget.ended().is_some() {
            Verdict::Unknown
        } else {
            match judges[k].settle(x, label) {
                Ok(Judgement::Proved) => Verdict::Verified,
                Ok(Judgement::Broken(_)) => Verdict::Falsified,
                Ok(Judgement::Open) => Verdict::Unknown,
                Err(error) => return Err(RunError::misfit(format!("oracle: {error}"))),
            }
        };
        Ok(OracleRecord { verdict, seconds: start.elapsed().as_secs_f64() })
    }))
}

#[cfg(not(feature = "milp"))]
fn milp<'a>(_: &'a Network, _: &'a [SetAt], _: &ExactOptions) -> Result<Oracle<'a>, RunError> {
    Err(weightproof_figure::features::NotBuilt { what: "oracle", feature: "milp" }.into())
}
