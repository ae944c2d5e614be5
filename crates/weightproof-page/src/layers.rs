//! Which layer limits the certificate: radii with one layer perturbed.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::Section;
use super::study::Study;
use maud::html;
use weightproof_figure::{Axis, Ink, Quantiles, RangeRow, Ranges, Scale};
use weightproof_report::LayerSummary;
use weightproof_report::reading::RunFile;

/// Most layers in the figure.
const MOST: usize = 40;

/// The section, when a result of `radius --by-layer` is there, or a remark how to get it.
pub(super) fn section(study: &Study<'_>) -> Option<Section> {
    let run = study.runs.iter().copied().find(|run| !run.results[0].summary.layers.is_empty());
    let Some(run) = run else {
        let single = study.first().threat.perturbed_layers.len() < 2;
        let remark = html! { p class="note" { "Not measured in these results. " code { "weightproof radius … --by-layer --format json" } " perturbs one layer at a time." } };
        return (!single).then_some(Section {
            id: "layers",
            title: "Sensitivity by layer",
            blocks: vec![remark.into()],
        });
    };
    Some(Section { id: "layers", title: "Sensitivity by layer", blocks: vec![figure(study, run).into()] })
}

fn figure(study: &Study<'_>, run: &RunFile) -> Figure {
    let samples = &run.results[0].samples;
    let right: Vec<usize> = (0..samples.len()).filter(|&s| !samples[s].is_wrong()).collect();
    let layers = &run.results[0].summary.layers;
    let certified = |k: usize| Quantiles::new(right.iter().map(|&s| samples[s].layer_certified_radius[k]));
    let attacked =
        |k: usize| Quantiles::new(right.iter().filter_map(|&s| samples[s].layer_attacked_radius[k]));
    let searched = (0..layers.len()).any(|k| attacked(k).is_some());
    let mut kinds = vec![("certified radius, this layer only".to_owned(), Ink::Proved)];
    if searched {
        kinds.push(("attacked radius, this layer only".to_owned(), Ink::Attacked));
    }
    let row = |(k, layer): (usize, &LayerSummary)| RangeRow {
        name: layer.layer.clone(),
        ranges: [certified(k).filter(|q| q.at[4] > 0.0), attacked(k)][..kinds.len()].to_vec(),
    };
    let mut rows: Vec<RangeRow> = layers.iter().enumerate().take(MOST).map(row).collect();
    rows.push(RangeRow {
        name: "all together".into(),
        ranges: [
            Quantiles::new(right.iter().filter_map(|&s| samples[s].certified_radius))
                .filter(|q| q.at[4] > 0.0),
            Quantiles::new(right.iter().filter_map(|&s| samples[s].attacked_radius)),
        ][..kinds.len()]
            .to_vec(),
    });
    let ranges = Ranges { x: Axis::new(study.radius_label(), Scale::Logarithmic), kinds, rows, mark: None };
    let mut columns = vec![
        GridColumn::words("layer"),
        GridColumn::number("median certified radius", &run.guarantee, "layer.median_certified_radius"),
        GridColumn::number("limits samples", &run.guarantee, "layer.limits"),
    ];
    if searched {
        columns.insert(
            2,
            GridColumn::number("median attacked radius", "estimate", "layer.median_attacked_radius"),
        );
    }
    let rows = layers.iter().map(|layer| {
        let mut row = vec![
            GridCell::words(&*layer.layer),
            GridCell::value(layer.median_certified_radius),
            GridCell::count(layer.limits),
        ];
        if searched {
            row.insert(2, GridCell::value(layer.median_attacked_radius));
        }
        row
    });
    let table = Grid { caption: "Radii by layer".into(), columns, rows: rows.collect() };
    let most = layers.iter().max_by_key(|layer| layer.limits).filter(|layer| layer.limits > 0);
    let answer = most.map_or_else(String::new, |LayerSummary { layer, limits, .. }| {
        format!(
            " Layer {layer} limits {limits} of {} samples: its own certified radius is the smallest.",
            right.len()
        )
    });
    let caption = format!(
        "Radii of the samples that are right without perturbation, when the parameters of one layer move and all others stay. \
         Proved ({}): certified radii. Witnessed: attacked radii.{answer}",
        run.guarantee
    );
    let title = "Radii with one layer perturbed".to_owned();
    Figure { name: "layers".into(), title, caption, drawing: ranges.draw(), table }
}
