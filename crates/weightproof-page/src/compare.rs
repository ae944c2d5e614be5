//! The page of a comparison.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn, full};
use super::section::{Block, Chapter, Section, badge, words};
use maud::{Markup, html};
use weightproof_figure::number::{exact, grouped, percent, value};
use weightproof_figure::{Axis, Bar, BarGroup, Bars, Ink, Matrix, MatrixCell, Scale};
use weightproof_report::compare::{Change, Compared, Comparison};

/// Samples in a table.
const LISTED: usize = 200;
/// Bins of changes.
const BINS: usize = 41;

/// The page.
pub fn comparison(c: &Comparison) -> String {
    super::page::html("weightproof comparison", vec![chapter(c)], &words())
}

/// The figures of the page.
pub fn comparison_figures(c: &Comparison) -> Vec<Figure> {
    super::section::figures(vec![chapter(c)])
}

fn chapter(c: &Comparison) -> Chapter {
    let lead = html! {
        "What changed from A, " strong { (c.files[0]) } ", to B, " strong { (c.files[1]) } ", sample by sample. Both are results of "
        code { (c.command) } " about the same data."
    };
    let mut sections: Vec<Section> = Vec::new();
    if !c.differences.is_empty() {
        let columns = vec![GridColumn::words("setting"), GridColumn::words("A"), GridColumn::words("B")];
        let rows = c.differences.iter().map(|d| {
            vec![GridCell::words(d.what), GridCell::words(&*d.values[0]), GridCell::words(&*d.values[1])]
        });
        let grid = Grid { caption: "Settings that differ".into(), columns, rows: rows.collect() };
        sections.push(Section {
            id: "settings",
            title: "What else differs",
            blocks: vec![grid.html().into()],
        });
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (k, result) in c.results.iter().enumerate() {
        blocks.push(html! { h3 { (at(result)) (grouped(result.samples)) " samples" } (cards(c, result)) @if result.only_in != [0, 0] {
            p class="note" { (result.only_in[0]) " samples are in A only, " (result.only_in[1]) " in B only." }
        } }.into());
        blocks.push(transitions(result, k).into());
        blocks.extend(changes(c, result, k).map(Block::from));
        blocks.push(list("Lost", "They hold in A and not in B.", c, &result.lost, true));
        blocks.push(list("Gained", "They hold in B and not in A.", c, &result.gained, true));
        blocks.push(list("All that changed", "Largest loss first.", c, &result.changed, false));
    }
    sections.insert(0, Section { id: "samples", title: "Samples", blocks });
    Chapter { title: format!("{} against {}", c.files[0], c.files[1]), lead, sections }
}

fn at(result: &Compared) -> String {
    match result.radii {
        [Some(a), Some(b)] if a == b => format!("Radius {}: ", exact(a)),
        [Some(a), Some(b)] => format!("Radius {} against {}: ", exact(a), exact(b)),
        [_, _] => String::new(),
    }
}

fn cards(c: &Comparison, result: &Compared) -> Markup {
    let guarantee = if c.command == "attack" { "estimate" } else { c.worth() };
    let share = |n: usize| n as f64 / result.samples.max(1) as f64;
    let card = |name: String, field: &str, text: String, v: f64, detail: String| {
        html! {
            div class="card" {
                div class="card-name" { (name) }
                div class="card-number" data-field=(field) data-value=(full(v)) { (text) }
                div class="card-detail" { (badge(guarantee)) span { (detail) } }
            }
        }
    };
    let [a, b] = result.holds;
    html! {
        div class="cards" {
            (card(format!("{} in A", c.word()), "holds.a", percent(share(a)), a as f64, grouped(a)))
            (card(format!("{} in B", c.word()), "holds.b", percent(share(b)), b as f64, grouped(b)))
            (card("gained".into(), "gained", grouped(result.gained.len()), result.gained.len() as f64, String::new()))
            (card("lost".into(), "lost", grouped(result.lost.len()), result.lost.len() as f64, String::new()))
        }
    }
}

fn transitions(result: &Compared, k: usize) -> Figure {
    let all = ["verified", "certified", "unknown", "falsified", "not certified"];
    let used = |name: &&str| result.transitions.iter().any(|t| t.from == *name || t.to == *name);
    let names: Vec<&str> = all.into_iter().filter(used).collect();
    let count = |from: &str, to: &str| {
        result.transitions.iter().find(|t| t.from == from && t.to == to).map_or(0, |t| t.samples)
    };
    let cell = |from: &str, to: &str| match count(from, to) {
        0 => MatrixCell::default(),
        n => MatrixCell {
            weight: n as f64,
            first: grouped(n),
            second: String::new(),
            tip: format!("{from} in A, {to} in B: {} samples", grouped(n)),
        },
    };
    let matrix = Matrix {
        row_label: "A".into(),
        column_label: "B".into(),
        rows: names.iter().map(|n| (*n).into()).collect(),
        columns: names.iter().map(|n| (*n).into()).collect(),
        cells: names
            .iter()
            .flat_map(|a| names.iter().map(move |b| (a, b)))
            .map(|(a, b)| cell(a, b))
            .collect(),
    };
    let columns =
        vec![GridColumn::words("A"), GridColumn::words("B"), GridColumn::number("samples", "", "transition")];
    let row = |t: &weightproof_report::compare::Transition| {
        vec![GridCell::words(t.from), GridCell::words(t.to), GridCell::count(t.samples)]
    };
    let table = Grid {
        caption: "Verdicts in A and B".into(),
        columns,
        rows: result.transitions.iter().map(row).collect(),
    };
    let caption =
        "Samples by their verdict in A (rows) and in B (columns). What is off the diagonal changed.".into();
    Figure {
        name: format!("verdicts-{}", k + 1),
        title: "Verdicts".into(),
        caption,
        drawing: matrix.draw(),
        table,
    }
}

/// Where the changes of the number lie.
fn changes(c: &Comparison, result: &Compared, k: usize) -> Option<Figure> {
    let numbers: Vec<f64> =
        result.changed.iter().filter_map(Change::difference).filter(|d| *d != 0.0).collect();
    let summary = result.change?;
    let most = numbers.iter().map(|d| d.abs()).fold(0.0, f64::max);
    if !(most > 0.0) {
        return None;
    }
    let width = 2.0 * most / BINS as f64;
    let mut counts = [0; BINS];
    numbers.iter().for_each(|d| counts[(((d + most) / width) as usize).min(BINS - 1)] += 1);
    let end = |b: usize| -most + width * b as f64;
    let bar = |wanted: bool| {
        let bars = counts.iter().enumerate().map(|(b, &count)| Bar {
            bin: (end(b), end(b + 1)),
            count: if (end(b) + 0.5 * width > -0.25 * width) == wanted { count } else { 0 },
            tip: format!(
                "change from {} to {}: {} samples",
                value(end(b)),
                value(end(b + 1)),
                grouped(count)
            ),
        });
        bars.collect()
    };
    let quantity = match result.quantity {
        "margin_lower" => "margin bound",
        "worst_margin" => "worst margin found",
        _ => "certified radius",
    };
    let bars = Bars {
        x: Axis::new(format!("{quantity} in B minus A"), Scale::Linear),
        names: Vec::new(),
        y: "samples".into(),
        groups: vec![
            BarGroup { name: "larger in B".into(), ink: Ink::Proved, bars: bar(true) },
            BarGroup { name: "smaller in B".into(), ink: Ink::Attacked, bars: bar(false) },
        ],
    };
    let [larger, same, smaller] = result.moved;
    let columns = vec![
        GridColumn::number("larger", "", "moved.larger"),
        GridColumn::number("the same", "", "moved.same"),
        GridColumn::number("smaller", "", "moved.smaller"),
        GridColumn::number("least change", c.worth(), "change.least"),
        GridColumn::number("median change", c.worth(), "change.median"),
        GridColumn::number("mean change", c.worth(), "change.mean"),
        GridColumn::number("greatest change", c.worth(), "change.most"),
    ];
    let mut row: Vec<GridCell> = [larger, same, smaller].map(GridCell::count).into();
    row.extend([summary.least, summary.median, summary.mean, summary.most].map(|v| GridCell::value(Some(v))));
    let table = Grid { caption: format!("Changes of {quantity}"), columns, rows: vec![row] };
    let caption = format!(
        "Change of the {quantity} ({}) of each sample: {} larger, {} the same, {} smaller in B.",
        c.worth(),
        grouped(larger),
        grouped(same),
        grouped(smaller)
    );
    let title = format!("Change of the {quantity}");
    Some(Figure { name: format!("changes-{}", k + 1), title, caption, drawing: bars.draw(), table })
}

fn list(title: &str, what: &str, c: &Comparison, changes: &[Change], open: bool) -> Block {
    let guarantee = c.worth();
    let columns = vec![
        GridColumn::number("sample", "", "index"),
        GridColumn::number("label", "", "label"),
        GridColumn::words("A"),
        GridColumn::words("B"),
        GridColumn::number("in A", guarantee, "a"),
        GridColumn::number("in B", guarantee, "b"),
        GridColumn::number("change", "", "difference"),
    ];
    let row = |c: &Change| {
        vec![
            GridCell::number(Some(c.index as f64), exact),
            GridCell::number(c.label.map(f64::from), exact),
            GridCell::words(c.verdicts[0]),
            GridCell::words(c.verdicts[1]),
            GridCell::value(c.values[0]),
            GridCell::value(c.values[1]),
            GridCell::value(c.difference()),
        ]
    };
    let rows = changes.iter().take(LISTED).map(row).collect();
    let grid = Grid { caption: title.into(), columns, rows };
    let first = if changes.len() > LISTED { format!(", the first {LISTED}") } else { String::new() };
    html! {
        @if !changes.is_empty() {
            details class="numbers" open[open] { summary { (title) ": " (grouped(changes.len())) " samples" (first) } p class="note" { (what) } (grid.html()) }
        }
    }
    .into()
}
