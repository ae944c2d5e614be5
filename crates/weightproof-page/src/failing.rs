//! The samples that fail first, with their images.

use super::grid::{Grid, GridCell, GridColumn, full};
use super::pictures::{Picture, Pictures};
use super::section::{Block, Section};
use super::study::{Standing, Study};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use weightproof_figure::number::{exact, value};

/// Samples with images.
const PICTURED: usize = 24;
/// Samples that are wrong without perturbation, with images.
const WRONG: usize = 12;
/// Samples in the table.
const LISTED: usize = 100;

/// Samples that are right without perturbation, those that fail at the smallest radius first; then those that are wrong.
fn order(study: &Study<'_>) -> (Vec<Standing>, Vec<Standing>) {
    let (wrong, mut right): (Vec<_>, Vec<_>) = study.standings().into_iter().partition(|s| s.wrong);
    let key = |s: &Standing| {
        let bound = s.open.and_then(|o| o.1).unwrap_or(f64::NEG_INFINITY);
        (
            s.certified.unwrap_or(0.0),
            s.broken.unwrap_or(f64::INFINITY),
            bound,
            s.margin.unwrap_or(f64::NEG_INFINITY),
        )
    };
    right.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        let places = [a.0.total_cmp(&b.0), a.1.total_cmp(&b.1), a.2.total_cmp(&b.2), a.3.total_cmp(&b.3)];
        places.into_iter().find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    // With tried radii, those that are certified at the largest one do not fail.
    let tried = study.results().filter_map(|(_, r)| r.radius).fold(f64::NEG_INFINITY, f64::max);
    let searched = study.of(weightproof_report::reading::Command::Radius).is_some();
    let fails = |s: &Standing| {
        searched
            || s.broken.is_some()
            || s.open.is_some() && s.certified.is_none_or(|c| c < tried.max(f64::MIN_POSITIVE))
    };
    right.retain(fails);
    (right, wrong)
}

/// Indices of the samples that are shown with an image, ascending.
pub(super) fn pictured(study: &Study<'_>) -> Vec<usize> {
    let (right, wrong) = order(study);
    let shown = right.iter().take(PICTURED).chain(wrong.iter().take(WRONG));
    let mut indices: Vec<usize> = shown.map(|s| s.index).collect();
    indices.sort_unstable();
    indices
}

/// The section.
pub(super) fn section(study: &Study<'_>, pictures: &Pictures) -> Option<Section> {
    let (right, wrong) = order(study);
    if right.is_empty() && wrong.is_empty() {
        return None;
    }
    let mut blocks: Vec<Block> = Vec::new();
    if let Some(note) = &pictures.note {
        blocks.push(html! { p class="note" { (note) } }.into());
    }
    if right.is_empty() {
        blocks.push(
            html! { p { "Every sample that is right without perturbation holds in all results." } }.into(),
        );
    } else {
        let intro = html! {
            p { "Of the samples that are right without perturbation, those that fail at the smallest radius, in this order." }
        };
        blocks.push(intro.into());
        blocks.push(gallery(study, &right[..right.len().min(PICTURED)], pictures).into());
        blocks.push(html! { details class="numbers" { summary { "The first " (right.len().min(LISTED)) " as a table" } (table(study, &right).html()) } }.into());
    }
    if !wrong.is_empty() {
        let shown = &wrong[..wrong.len().min(WRONG)];
        let all = if wrong.len() > WRONG { format!(", the first {WRONG}") } else { String::new() };
        blocks.push(
            html! {
                details class="numbers" {
                    summary { (super::study::samples(wrong.len())) " wrong without perturbation" (all) }
                    (gallery(study, shown, pictures))
                }
            }
            .into(),
        );
    }
    Some(Section { id: "samples", title: "Samples that fail first", blocks })
}

fn gallery(study: &Study<'_>, standings: &[Standing], pictures: &Pictures) -> Markup {
    html! {
        ol class="gallery" { @for standing in standings { li { (one(study, standing, pictures.by_index.get(&standing.index))) } } }
    }
}

fn one(study: &Study<'_>, s: &Standing, picture: Option<&Picture>) -> Markup {
    let label = s.label.map_or_else(|| "no label".into(), |l| format!("label {l}"));
    html! {
        div class="sample" data-index=(s.index) {
            @if let Some(picture) = picture {
                img src={ "data:image/png;base64," (STANDARD.encode(&picture.png)) } width=(picture.size.0) height=(picture.size.1)
                    alt=(format!("sample {}, {label}, predicted {}", s.index, s.predicted));
            }
            div class="sample-words" {
                strong { "sample " (s.index) }
                span { (label) @if s.wrong { ", predicted " (s.predicted) } @if let Some(rival) = s.runner_up.filter(|r| !s.wrong && *r != s.predicted) { ", towards " (rival) } }
                @if !s.wrong { (fate(study, s)) }
            }
        }
    }
}

/// Up to where the sample is proved, and from where it is broken.
fn fate(study: &Study<'_>, s: &Standing) -> Markup {
    let text = if study.of(weightproof_report::reading::Command::Radius).is_some() { short } else { exact };
    html! {
        @if study.has_radii() {
            @match s.certified {
                Some(radius) => span class="proved" { "proved to " span data-field="certified" data-value=(full(radius)) { (text(radius)) } },
                None => span class="proved" { "proved at no radius" },
            }
            @if let Some(radius) = s.broken { span class="broken" { "broken at " span data-field="broken" data-value=(full(radius)) { (text(radius)) } } }
        } @else {
            @if let Some((_, Some(bound))) = s.open { span class="proved" { "margin at least " (value(bound)) } }
            @if s.broken.is_some() { span class="broken" { "broken" } }
        }
    }
}

/// Three digits.
fn short(v: f64) -> String {
    format!("{v:.2e}").parse().map_or_else(|_| value(v), exact)
}

fn table(study: &Study<'_>, standings: &[Standing]) -> Grid {
    let guarantee = study.guarantee();
    let columns = vec![
        GridColumn::number("sample", "", "index"),
        GridColumn::number("label", "", "label"),
        GridColumn::number("predicted", "measured", "predicted"),
        GridColumn::number("other class", "", "runner_up"),
        GridColumn::number("margin", "measured", "margin"),
        GridColumn::number("margin bound", guarantee, "margin_lower"),
        GridColumn::number("proved to radius", guarantee, "certified_radius"),
        GridColumn::number("broken at radius", "witness", "attacked_radius"),
    ];
    let class = |c: Option<u32>| GridCell::number(c.map(f64::from), exact);
    let row = |s: &Standing| {
        vec![
            GridCell::number(Some(s.index as f64), exact),
            class(s.label),
            class(Some(s.predicted)),
            class(s.runner_up),
            GridCell::value(s.margin),
            GridCell::value(s.open.and_then(|o| o.1)),
            GridCell::value(s.certified.filter(|_| study.has_radii())),
            GridCell::value(s.broken.filter(|_| study.has_radii())),
        ]
    };
    let rows = standings.iter().take(LISTED).map(row).collect();
    let mut grid = Grid { caption: "Samples that fail first".into(), columns, rows };
    grid.drop_empty();
    grid
}
