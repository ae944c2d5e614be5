//! Quantiles of the margins of the training samples, `m_i = f_y(x_i) − max_{j≠y} f_j(x_i)`.
//!
//! The quantile at p is the least margin that at least p of the samples do not exceed. Margins grow with the last layer, so they
//! are no measure of their own; other measures are divided by them.

use crate::context::Context;
use crate::error::Refusal;
use crate::measures::{Direction, Measure, Needs, Parts};
use weightproof::verdict::Worth;

/// The margin that one sample in ten does not exceed.
pub const TENTH: Measure = Measure {
    name: "margin-10",
    quantity: "10% quantile of f_y - max f_j on the training samples",
    source: "Jiang et al., arXiv 1912.02178",
    needs: Needs::LABELS,
    parts: Parts::Nothing,
    guarantee: Worth::Measured,
    direction: Direction::BetterLarger,
    value: |context| quantile_of(context, 0.1),
};

/// The median margin.
pub const MEDIAN: Measure = Measure {
    name: "margin-50",
    quantity: "median of f_y - max f_j on the training samples",
    source: "Jiang et al., arXiv 1912.02178",
    needs: Needs::LABELS,
    parts: Parts::Nothing,
    guarantee: Worth::Measured,
    direction: Direction::BetterLarger,
    value: |context| quantile_of(context, 0.5),
};

fn quantile_of(context: &Context<'_>, p: f64) -> Result<f64, Refusal> {
    Ok(quantile(context.margins()?, p))
}

/// The least of `values` that at least the share `p` of them does not exceed; NaN of none.
pub fn quantile(mut values: Vec<f64>, p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (p * values.len() as f64).ceil().max(1.0) as usize - 1;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_hand() {
        let values = vec![3.0, 1.0, 2.0, 4.0];
        assert_eq!(quantile(values.clone(), 0.5), 2.0);
        assert_eq!(quantile(values.clone(), 0.1), 1.0);
        assert_eq!(quantile(values.clone(), 0.75), 3.0);
        assert_eq!(quantile(values, 1.0), 4.0);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }
}
