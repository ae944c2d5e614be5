//! What bounds and measures are made of, layer by layer and radius by radius.

use super::radius;
use crate::grid::{Grid, GridCell, GridColumn};
use crate::section::Block;
use maud::html;
use weightproof_figure::number::{grouped, percent, value};
use weightproof_report::{
    CompressionReport, EnsembleAt, EnsembleReport, LayerCapacityReport, LayerUtilizationReport, MeasuresAt,
    RademacherReport, UtilizationReport,
};

/// What the sum of norms of truncation is worth.
const NORMS: &str = "real-arithmetic";

/// What the terms of the Rademacher bound are worth: what the file says of their sum.
fn worth<'r>(bounds: &[(&'r MeasuresAt, &RademacherReport)]) -> &'r str {
    let bound = bounds.first().and_then(|(at, _)| at.measure("rademacher-bound"));
    bound.map_or("real-arithmetic", |bound| &bound.guarantee)
}

/// A table under a heading.
fn table(title: &str, words: &str, columns: Vec<GridColumn>, rows: Vec<Vec<GridCell>>) -> Block {
    let mut grid = Grid { caption: title.into(), columns, rows };
    grid.drop_empty();
    html! { h3 { (title) } p class="note" { (words) } (grid.html()) }.into()
}

/// The terms of the bound, a row for each set.
pub(super) fn terms(bounds: &[(&MeasuresAt, &RademacherReport)], delta: f64) -> Block {
    let proved = worth(bounds);
    let columns = vec![
        GridColumn::words("perturbation"),
        GridColumn::number("margin γ", "", "rademacher.gamma"),
        GridColumn::number("certified margin ≤ γ", proved, "rademacher.empirical"),
        GridColumn::number("capacity", proved, "rademacher.capacity"),
        GridColumn::number("confidence", proved, "rademacher.confidence"),
        GridColumn::number("bound", proved, "rademacher.bound"),
        GridColumn::words("says"),
    ];
    let row = |&(at, r): &(&MeasuresAt, &RademacherReport)| {
        vec![
            GridCell::words(radius(at.radius)),
            GridCell::value(r.gamma),
            GridCell::percent(Some(r.empirical)),
            GridCell::value(r.capacity),
            GridCell::value(r.confidence),
            GridCell::value(r.bound),
            GridCell::words(if r.vacuous { "vacuous: nothing" } else { "a bound" }),
        ]
    };
    let samples = bounds.first().map_or(0, |(_, r)| r.samples);
    let words = format!(
        "The error of every network of the set is at most the sum of the three terms, with probability {} over the {} training samples. \
         A bound above 1 is vacuous: an error is never larger.",
        percent(1.0 - delta),
        grouped(samples)
    );
    table("Terms of the bound", &words, columns, bounds.iter().map(row).collect())
}

/// What each layer adds to the capacity, and how far the radius enlarges it.
pub(super) fn capacities(bounds: &[(&MeasuresAt, &RademacherReport)]) -> Block {
    let proved = worth(bounds);
    let columns = vec![
        GridColumn::words("layer"),
        GridColumn::words("perturbation"),
        GridColumn::number("row norm", proved, "layer.row_norm"),
        GridColumn::number("over the set", proved, "layer.row_norm_reached"),
        GridColumn::number("enlarged by", "", ""),
        GridColumn::number("bias", proved, "layer.bias"),
        GridColumn::number("bias over the set", proved, "layer.bias_reached"),
        GridColumn::number("row norm of the class", proved, "layer.class_row_norm"),
        GridColumn::number("bias of the class", proved, "layer.class_bias"),
        GridColumn::number("complexity up to here", proved, "layer.complexity"),
    ];
    let row = |at: &MeasuresAt, layer: &LayerCapacityReport| {
        let enlarged = (layer.row_norm > 0.0).then(|| layer.row_norm_reached / layer.row_norm - 1.0);
        vec![
            GridCell::words(&*layer.name),
            GridCell::words(radius(at.radius)),
            GridCell::value(Some(layer.row_norm)),
            GridCell::value(Some(layer.row_norm_reached)),
            GridCell::percent(enlarged),
            GridCell::value(Some(layer.bias)),
            GridCell::value(Some(layer.bias_reached)),
            GridCell::value(Some(layer.class_row_norm)),
            GridCell::value(Some(layer.class_bias)),
            GridCell::value(layer.complexity),
        ]
    };
    let count = bounds.first().map_or(0, |(_, r)| r.layers.len());
    let layer = |k: usize| bounds.iter().filter_map(move |(at, r)| Some(row(at, r.layers.get(k)?)));
    let words = "The capacity grows with the product of the largest ℓ1 norms of a row. The radius enlarges each of them; the class is \
                 what is reached over the set, rounded up to a grid that pays for norms that depend on the samples.";
    table("Capacity by layer", words, columns, (0..count).flat_map(layer).collect())
}

/// Layers as sums of components, errors with fewer of them, and the truncated network.
pub(super) fn compression(c: &CompressionReport) -> Vec<Block> {
    let columns = vec![
        GridColumn::words("layer"),
        GridColumn::number("components", "", "compression.components"),
        GridColumn::number("kept", "", "compression.rank"),
        GridColumn::number("tensorization factor", "computed", "compression.tensorization_factor"),
        GridColumn::number("noise bound", "computed", "compression.noise_bound"),
        GridColumn::number("cushion", "measured", "compression.cushion"),
    ];
    let rows = c.layers.iter().map(|layer| {
        vec![
            GridCell::words(&*layer.name),
            GridCell::count(layer.components),
            layer.rank.map_or_else(|| GridCell::words("as it is"), GridCell::count),
            GridCell::value(layer.tensorization_factor),
            GridCell::value(layer.noise_bound),
            GridCell::value(layer.cushion),
        ]
    });
    let allowed = c.gamma.map_or_else(
        || "A share of the components of every layer is kept".into(),
        |gamma| format!("Ranks such that no margin moves by more than {}", value(gamma)),
    );
    let words = format!(
        "{allowed}; capacity of what is left {} (measured). Factors and bounds are computed from the weights, in floating point.",
        c.capacity.map_or_else(|| "–".into(), value)
    );
    let errors = vec![
        GridColumn::number("share of the components", "", "compression.share"),
        GridColumn::number("error", "measured", "compression.error"),
    ];
    let shares = c.shares.iter().map(|s| vec![GridCell::percent(Some(s.share)), GridCell::percent(s.error)]);
    let mut blocks = vec![
        table("Layers as sums of components", &words, columns, rows.collect()),
        table("Errors with fewer components", "On the training samples.", errors, shares.collect()),
    ];
    let Some(t) = &c.truncation else { return blocks };
    let proved = &*t.certified_guarantee;
    let columns = vec![
        GridColumn::number("error", "measured", "truncation.error"),
        GridColumn::number("margins move by at most", NORMS, "truncation.moved_most"),
        GridColumn::number("seen to move by", "measured", "truncation.moved_seen"),
        GridColumn::number("outputs move by at most", proved, "truncation.certified_deviation"),
        GridColumn::number("in the median", proved, "truncation.certified_deviation_median"),
    ];
    let row = vec![
        GridCell::percent(t.error),
        GridCell::value(t.moved_most),
        GridCell::value(t.moved_seen),
        GridCell::value(t.certified_deviation),
        GridCell::value(t.certified_deviation_median),
    ];
    let words = format!(
        "Written to {}. Outputs: for this and every other network whose weights are as close to the original.",
        t.path
    );
    blocks.push(table("The truncated network", &words, columns, vec![row]));
    blocks
}

/// What each layer contributes, and errors on the way from the start.
pub(super) fn utilization(u: &UtilizationReport) -> Vec<Block> {
    let columns = vec![
        GridColumn::words("layer"),
        GridColumn::number("distance", "computed", "utilization.distance"),
        GridColumn::number("relative distance", "computed", "utilization.relative_distance"),
        GridColumn::number("probe, training", "measured", "utilization.probe_training"),
        GridColumn::number("probe, held out", "measured", "utilization.probe_held_out"),
        GridColumn::number("error when set back from here", "measured", "utilization.reset_error"),
    ];
    let row = |layer: &LayerUtilizationReport| {
        vec![
            GridCell::words(&*layer.name),
            GridCell::value(Some(layer.distance)),
            GridCell::value(layer.relative_distance),
            GridCell::percent(Some(layer.probe_training)),
            GridCell::percent(layer.probe_held_out),
            GridCell::percent(Some(layer.reset_error)),
        ]
    };
    let way = vec![
        GridColumn::number("share of the way", "", "rewind.way"),
        GridColumn::number("error", "measured", "rewind.error"),
    ];
    let rewind = u
        .rewind
        .iter()
        .map(|&(way, error)| vec![GridCell::percent(Some(way)), GridCell::percent(Some(error))]);
    let words = "How far each layer went, how well the nearest class mean behind it tells the classes, and the error when it and all later layers go back to their start.";
    vec![
        table("What each layer contributes", words, columns, u.layers.iter().map(row).collect()),
        table(
            "On the straight way from the start",
            "The error at points between start and result.",
            way,
            rewind.collect(),
        ),
    ]
}

/// Losses in two parts, a row for each set.
pub(super) fn ensemble(e: &EnsembleReport) -> Vec<Block> {
    let number = |name, field| GridColumn::number(name, "estimate", field);
    let columns = vec![
        GridColumn::words("perturbation"),
        number("cross-entropy", "ensemble.cross_entropy.loss"),
        number("its bias", "ensemble.cross_entropy.bias"),
        number("its variance", "ensemble.cross_entropy.variance"),
        number("squared loss", "ensemble.squared.loss"),
        number("its bias", "ensemble.squared.bias"),
        number("its variance", "ensemble.squared.variance"),
    ];
    let row = |at: &EnsembleAt| {
        let parts = [at.cross_entropy, at.squared].into_iter().flat_map(|p| [p.loss, p.bias, p.variance]);
        std::iter::once(GridCell::words(radius(at.radius))).chain(parts.map(GridCell::value)).collect()
    };
    let words = format!(
        "{} networks on {} samples, each at the worst that was found for it. Bias is what all of them get wrong, variance how much they differ.",
        e.members,
        grouped(e.samples)
    );
    vec![table("Losses in two parts", &words, columns, e.results.iter().map(row).collect())]
}
