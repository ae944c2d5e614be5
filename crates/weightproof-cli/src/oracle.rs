//! `--oracle milp`: every sample is settled a second time, by a mixed-integer solver that takes nothing from the search
//! (`weightproof::exact::oracle` says what the two share).

use crate::error::Failure;
use crate::threat::SetAt;
use weightproof::exact::Budget;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof_report::OracleRecord;

/// What the solver says about a sample: number of the set, input, label.
pub type Oracle<'a> = Box<dyn Fn(usize, &[f64], Option<u32>) -> Result<OracleRecord, Failure> + Sync + 'a>;

/// The solver for `sets`. `budget.time` is for each sample, as for the search; what is left when the budget ends is unknown.
#[cfg(feature = "milp")]
pub fn milp<'a>(
    network: &'a Network,
    sets: &'a [SetAt],
    (property, seed): (Property, u64),
    budget: Budget,
) -> Result<Oracle<'a>, Failure> {
    use weightproof::exact::oracle::{Judge, Judgement, OracleOptions};
    use weightproof::verdict::Verdict;
    if property == Property::Deviation {
        return Err(Failure::new("oracle: expected the property label or prediction, found deviation")
            .hint("leave out --oracle"));
    }
    // Seeds of the solver have 31 bits.
    let seed = (seed & 0x7fff_ffff) as u32;
    let options = OracleOptions { time: budget.time, seed, ..OracleOptions::default() };
    let judge = |at: &'a SetAt| Judge::new(network, &at.set, property, options);
    let judges: Vec<Judge<'a>> = sets.iter().map(judge).collect();
    Ok(Box::new(move |k, x, label| {
        let start = std::time::Instant::now();
        let verdict = match budget.ended() {
            Some(_) => Verdict::Unknown,
            None => match judges[k].settle(x, label) {
                Ok(Judgement::Proved) => Verdict::Verified,
                Ok(Judgement::Broken(_)) => Verdict::Falsified,
                Ok(Judgement::Open) => Verdict::Unknown,
                Err(error) => return Err(Failure::new(format!("oracle: {error}"))),
            },
        };
        Ok(OracleRecord { verdict, seconds: start.elapsed().as_secs_f64() })
    }))
}

/// There is no solver in this build.
#[cfg(not(feature = "milp"))]
pub fn milp<'a>(
    _: &'a Network,
    _: &'a [SetAt],
    _: (Property, u64),
    _: Budget,
) -> Result<Oracle<'a>, Failure> {
    Err(Failure::new("oracle: expected a build with HiGHS, found one without")
        .hint("cargo build --release -p weightproof-cli --features milp"))
}
