//! How certified and attacked radii are distributed over the samples.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::{Block, Section};
use super::study::{Standing, Study, samples};
use weightproof_figure::number::{exact, grouped, value};
use weightproof_figure::{Axis, Bar, BarGroup, Bars, Ink, Scale};
use weightproof_report::reading::{Command, RunFile};

/// Bins for a factor of ten.
const PER_DECADE: f64 = 10.0;
/// Most bins.
const MOST: usize = 60;

/// The section, when radii were searched or several were tried: a figure for each way of proving them, because a radius that a bound
/// was searched for and one that was only tried are different things, and so are those of two methods.
pub(super) fn section(study: &Study<'_>) -> Option<Section> {
    let searched: Vec<Study<'_>> =
        of_command(study, Command::Radius).map(|run| Study { runs: vec![run] }).collect();
    let figures: Vec<Figure> = match searched.is_empty() {
        false => searched.iter().filter_map(|one| searched_radii(one, &one.standings())).collect(),
        true => by_method(study).iter().filter_map(|one| tried_radii(one, &one.standings())).collect(),
    };
    let block = |(k, figure)| if k == 0 { Block::Figure(figure) } else { Block::Folded(figure) };
    let blocks: Vec<Block> = figures.into_iter().map(Box::new).enumerate().map(block).collect();
    (!blocks.is_empty()).then_some(Section { id: "radii", title: "Radii of the samples", blocks })
}

fn of_command<'s, 'a: 's>(study: &'s Study<'a>, command: Command) -> impl Iterator<Item = &'a RunFile> + 's {
    study.runs.iter().copied().filter(move |run| run.command == command)
}

/// Results of `certify` by method and guarantee, whatever file they are in.
fn by_method<'a>(study: &Study<'a>) -> Vec<Study<'a>> {
    let kind = |run: &RunFile| (run.method_name().to_owned(), run.guarantee.clone());
    let mut groups: Vec<Study<'a>> = Vec::new();
    for run in of_command(study, Command::Certify) {
        match groups.iter_mut().find(|group| kind(group.first()) == kind(run)) {
            Some(group) => group.runs.push(run),
            None => groups.push(Study { runs: vec![run] }),
        }
    }
    groups
}

fn searched_radii(study: &Study<'_>, standings: &[Standing]) -> Option<Figure> {
    let certified: Vec<f64> = standings.iter().filter_map(|s| s.certified).collect();
    let broken: Vec<f64> = standings.iter().filter_map(|s| s.broken).filter(|r| *r > 0.0).collect();
    let all = || certified.iter().chain(&broken).copied().filter(|r| r.is_finite());
    let (least, most) = all().fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), r| (a.min(r), b.max(r)));
    if !(most > 0.0) {
        return None;
    }
    let (first, last) = ((PER_DECADE * least.log10()).floor(), (PER_DECADE * most.log10()).floor() + 1.0);
    let coarse = ((last - first) / MOST as f64).ceil().max(1.0);
    let count = (((last - first) / coarse).ceil() as usize).max(1);
    let end = |k: usize| 10f64.powf((first + coarse * k as f64) / PER_DECADE);
    let bin = |r: f64| (((PER_DECADE * r.log10() - first) / coarse) as usize).min(count - 1);
    let group = |name: &str, ink: Ink, radii: &[f64]| {
        let mut counts = vec![0; count];
        radii.iter().filter(|r| r.is_finite()).for_each(|&r| counts[bin(r)] += 1);
        let bar = |(k, &count): (usize, &usize)| Bar {
            bin: (end(k), end(k + 1)),
            count,
            tip: format!(
                "{name} from {} to {}: {} samples",
                value(end(k)),
                value(end(k + 1)),
                grouped(count)
            ),
        };
        BarGroup { name: name.into(), ink, bars: counts.iter().enumerate().map(bar).collect() }
    };
    let mut groups = vec![group("certified radius", Ink::Proved, &certified)];
    if !broken.is_empty() {
        groups.push(group("attacked radius", Ink::Attacked, &broken));
    }
    let wrong = standings.iter().filter(|s| s.wrong).count();
    let never = standings.iter().filter(|s| s.certified.is_none() && !s.wrong).count();
    let unbroken = standings.iter().filter(|s| s.broken.is_none()).count();
    let mut caption = format!(
        "Proved ({}): below its certified radius no perturbation breaks a sample. ",
        study.guarantee()
    );
    if !broken.is_empty() {
        caption += "Witnessed: at its attacked radius a checked perturbation does. ";
    }
    caption += &format!("Not in the bars: {} wrong without perturbation", samples(wrong));
    if never > 0 {
        caption += &format!(", {} without any certified radius", grouped(never));
    }
    if !broken.is_empty() && unbroken > 0 {
        caption += &format!(", and {} attacked radii that were not found", grouped(unbroken));
    }
    caption.push('.');
    let rows = (0..count).filter(|&k| groups.iter().any(|g| g.bars[k].count > 0)).map(|k| {
        let ends = [GridCell::value(Some(end(k))), GridCell::value(Some(end(k + 1)))];
        ends.into_iter().chain(groups.iter().map(|g| GridCell::count(g.bars[k].count))).collect()
    });
    let mut columns = vec![GridColumn::number("from", "", ""), GridColumn::number("to", "", "")];
    columns.push(GridColumn::number("certified", study.guarantee(), "bin.certified"));
    if groups.len() > 1 {
        columns.push(GridColumn::number("attacked", "witness", "bin.attacked"));
    }
    let table = Grid { caption: "Samples by radius".into(), columns, rows: rows.collect() };
    let bars = Bars {
        x: Axis::new(study.radius_label(), Scale::Logarithmic),
        names: Vec::new(),
        y: "samples".into(),
        groups,
    };
    let title = format!("Distribution of radii, {}", study.first().method_name());
    Some(Figure { name: "radii".into(), title, caption, drawing: bars.draw(), table })
}

/// The largest radius with a proof, of those that were tried.
fn tried_radii(study: &Study<'_>, standings: &[Standing]) -> Option<Figure> {
    let mut radii: Vec<f64> = study
        .results()
        .filter(|(run, _)| run.command == Command::Certify)
        .filter_map(|(_, r)| r.radius)
        .collect();
    radii.sort_by(f64::total_cmp);
    radii.dedup();
    if radii.len() < 2 {
        return None;
    }
    let name = |k: usize| if k == 0 { "none".to_owned() } else { exact(radii[k - 1]) };
    let mut counts = vec![0; radii.len() + 1];
    for standing in standings.iter().filter(|s| !s.wrong) {
        let at = standing.certified.map_or(0, |c| radii.partition_point(|r| *r <= c));
        counts[at] += 1;
    }
    let wrong = standings.iter().filter(|s| s.wrong).count();
    let bars = Bars {
        x: Axis::new(format!("largest certified {}", study.radius_label()), Scale::Linear),
        names: (0..counts.len()).map(name).collect(),
        y: "samples".into(),
        groups: vec![BarGroup {
            name: "largest certified radius".into(),
            ink: Ink::Proved,
            bars: counts
                .iter()
                .enumerate()
                .map(|(k, &count)| Bar {
                    bin: (k as f64 - 0.45, k as f64 + 0.45),
                    count,
                    tip: format!("largest certified radius {}: {} samples", name(k), grouped(count)),
                })
                .collect(),
        }],
    };
    let row = |(k, &count): (usize, &usize)| vec![GridCell::words(name(k)), GridCell::count(count)];
    let table = Grid {
        caption: "Samples by the largest radius with a proof".into(),
        columns: vec![
            GridColumn::words("largest certified radius"),
            GridColumn::number("samples", study.guarantee(), "bin.certified"),
        ],
        rows: counts.iter().enumerate().map(row).collect(),
    };
    let caption = format!(
        "Proved ({}): the largest of the tried radii at which a sample is certified; the command radius would find the place between them. \
         Not in the bars: {} wrong without perturbation.",
        study.guarantee(),
        samples(wrong)
    );
    let title = format!("Distribution of certified radii, {}", study.first().method_name());
    Some(Figure { name: "radii".into(), title, caption, drawing: bars.draw(), table })
}
