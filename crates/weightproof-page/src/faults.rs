//! Faults in memory: which bits of which layers matter, and what to protect.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn, full};
use super::section::{Block, Chapter, Section, badge};
use super::settings::{facts, hash, json, layers, rows};
use maud::{Markup, html};
use weightproof_figure::number::{grouped, percent};
use weightproof_figure::{Axis, Chart, Ink, Matrix, MatrixCell, Scale, Series};
use weightproof_report::WordsReport;
use weightproof_report::reading::FaultsFile;
use weightproof_report::{BitReport, WordReport};

/// The chapter of a file.
pub(super) fn chapter(file: &FaultsFile) -> Chapter {
    let s = &file.summary;
    let lead = html! {
        "Every hit on every stored word, settled for " strong { (grouped(s.samples)) } " samples of " strong { (file.data.description) }
        ": " (grouped(s.hits as usize)) " pairs. " strong { (grouped(s.critical as usize)) } " of "
        (grouped(s.hits_per_sample as usize)) " hits change a sample."
        @if file.partial { " The run was interrupted before its last sample." }
    };
    let mut sections = vec![Section {
        id: "summary",
        title: "In brief",
        blocks: vec![html! { div class="cards" { @for card in cards(file) { (card) } } }.into()],
    }];
    if file.by_words.len() > 1 {
        sections.push(Section { id: "curve", title: "Several words at once", blocks: vec![curve(file)] });
    }
    if !file.by_bit.is_empty() {
        sections.push(Section { id: "bits", title: "Bits that matter", blocks: vec![bits(file)] });
    }
    if !file.critical_words.is_empty() {
        sections.push(Section { id: "words", title: "Words that matter", blocks: vec![words(file)] });
    }
    if !file.protection.is_empty() {
        sections.push(Section { id: "protection", title: "What to protect", blocks: vec![protection(file)] });
    }
    sections.push(settings(file));
    Chapter { title: format!("Faults in the memory of {}", file.model.name), lead, sections }
}

fn cards(file: &FaultsFile) -> Vec<Markup> {
    let s = &file.summary;
    let card = |name: &str, field: &str, v: Option<f64>, guarantee: &str, detail: String| {
        let v = v?;
        Some(html! {
            div class="card" {
                div class="card-name" { (name) }
                div class="card-number" data-field=(field) data-value=(full(v)) { (percent(v)) }
                div class="card-detail" { (badge(guarantee)) span { (detail) } }
            }
        })
    };
    let of = format!("{} of {} samples", grouped(s.certified), grouped(s.samples));
    let cards = [
        card("accuracy", "accuracy", s.accuracy, "measured", "without faults".into()),
        card("certified", "certified_accuracy", Some(s.certified_accuracy), &file.guarantee, of),
        card(
            "worst hit leaves",
            "least_accuracy",
            s.least_accuracy,
            &file.guarantee,
            "one hit, all samples".into(),
        ),
        card(
            "mean over hits",
            "mean_accuracy",
            s.mean_accuracy,
            &file.guarantee,
            "one hit, all samples".into(),
        ),
    ];
    cards.into_iter().flatten().collect()
}

/// Certified and attacked share over the number of words that are hit.
fn curve(file: &FaultsFile) -> Block {
    let samples = file.summary.samples.max(1) as f64;
    let series = |name: &str, ink: Ink, share: &dyn Fn(&WordsReport) -> f64| Series {
        name: name.into(),
        ink,
        points: file.by_words.iter().map(|at| (f64::from(at.words), share(at))).collect(),
    };
    let by_gradient = |at: &WordsReport| 1.0 - at.broken_by_gradient as f64 / samples;
    let chart = Chart {
        name: "fault-words".into(),
        title: "Samples over the number of words that are hit".into(),
        x: Axis::new("words hit at once", Scale::Count),
        y: Axis::new("share of samples", Scale::Percent),
        series: vec![
            series("certified", Ink::Proved, &|at| at.certified_accuracy),
            series("attacked", Ink::Attacked, &|at| at.attacked_accuracy),
            series("progressive bit search", Ink::Other(0), &by_gradient),
        ],
        joined: true,
        bands: Vec::new(),
    };
    let row = |at: &WordsReport| {
        vec![
            GridCell::count(at.words as usize),
            GridCell::percent(Some(at.certified_accuracy)),
            GridCell::percent(Some(at.attacked_accuracy)),
            GridCell::count(at.broken),
            GridCell::count(at.broken_by_gradient),
        ]
    };
    let table = Grid {
        caption: "Words hit at once".into(),
        columns: vec![
            GridColumn::number("words", "", "by_words.words"),
            GridColumn::number("certified", &file.guarantee, "by_words.certified_accuracy"),
            GridColumn::number("attacked", "measured", "by_words.attacked_accuracy"),
            GridColumn::number("broken", "measured", "by_words.broken"),
            GridColumn::number("by bit search", "measured", "by_words.broken_by_gradient"),
        ],
        rows: file.by_words.iter().map(row).collect(),
    };
    let caption = format!(
        "Proved ({}): share of samples that no set of at most so many hits on different words breaks. Measured: share that the attack did not break, and that progressive bit search did not. The truth is between the first two.",
        file.guarantee
    );
    Figure::of_chart(chart, caption, table).into()
}

/// The heat map of layers and bits.
fn bits(file: &FaultsFile) -> Block {
    let mut names: Vec<&str> = Vec::new();
    for count in &file.by_bit {
        if !names.contains(&count.layer.as_str()) {
            names.push(&count.layer);
        }
    }
    let highest = file.by_bit.iter().map(|c| c.bit).max().unwrap_or(0);
    let columns: Vec<u32> = (0..=highest).rev().collect();
    let cell = |layer: &str, bit: u32| {
        let count = file.by_bit.iter().find(|c| c.layer == layer && c.bit == bit);
        count.filter(|c| c.critical + c.not_finite > 0).map_or_else(MatrixCell::default, |c| MatrixCell {
            weight: ((c.critical + c.not_finite) as f64).ln_1p(),
            first: grouped((c.critical + c.not_finite) as usize),
            second: format!("of {}", grouped(c.hits as usize)),
            tip: format!(
                "{layer}, bit {bit}: {} of {} hits break {} samples",
                grouped(c.critical as usize),
                grouped(c.hits as usize),
                grouped(c.samples)
            ),
        })
    };
    let matrix = Matrix {
        row_label: "layer".into(),
        column_label: "bit, the highest first".into(),
        rows: names.iter().map(|name| (*name).to_owned()).collect(),
        columns: columns.iter().map(u32::to_string).collect(),
        cells: names
            .iter()
            .flat_map(|name| columns.iter().map(move |&bit| (*name, bit)))
            .map(|(n, b)| cell(n, b))
            .collect(),
    };
    let number = |name: &str, field| GridColumn::number(name, &file.guarantee, field);
    let row = |c: &BitReport| {
        vec![
            GridCell::words(c.layer.clone()),
            GridCell::count(c.bit as usize),
            GridCell::count(c.hits as usize),
            GridCell::count(c.critical as usize),
            GridCell::count(c.breaking as usize),
            GridCell::count(c.not_finite as usize),
            GridCell::count(c.samples),
        ]
    };
    let table = Grid {
        caption: "Hits by layer and bit".into(),
        columns: vec![
            GridColumn::words("layer"),
            GridColumn::number("bit", "", "by_bit.bit"),
            GridColumn::number("hits", "", "by_bit.hits"),
            number("critical hits", "by_bit.critical"),
            number("breaking pairs", "by_bit.breaking"),
            number("not finite", "by_bit.not_finite"),
            number("samples", "by_bit.samples"),
        ],
        rows: file.by_bit.iter().map(row).collect(),
    };
    Figure {
        name: "fault-bits".into(),
        title: "Hits that change a sample, by layer and bit".into(),
        caption: format!("Proved ({}): hits that break at least one sample, or leave no finite number. Empty cells have none: any single hit there is harmless for all of these samples, up to what is too close to call.", file.guarantee),
        drawing: matrix.draw(),
        table,
    }
    .into()
}

fn words(file: &FaultsFile) -> Block {
    let row = |word: &WordReport| {
        vec![
            GridCell::words(word.worst.layer.clone()),
            GridCell::count(word.worst.row),
            word.worst.column.map_or_else(|| GridCell::words("bias"), GridCell::count),
            GridCell::count(word.worst.bit as usize),
            GridCell::value(Some(word.worst.before)),
            GridCell::value(Some(word.worst.after).filter(|after| after.is_finite())),
            GridCell::count(word.samples as usize),
        ]
    };
    let grid = Grid {
        caption: "Words whose hits break most".into(),
        columns: vec![
            GridColumn::words("layer"),
            GridColumn::number("row", "", "critical_words.row"),
            GridColumn::number("column", "", "critical_words.column"),
            GridColumn::number("bit", "", "critical_words.bit"),
            GridColumn::number("before", "", "critical_words.before"),
            GridColumn::number("after", "", "critical_words.after"),
            GridColumn::number("samples broken", &file.guarantee, "critical_words.samples"),
        ],
        rows: file.critical_words.iter().map(row).collect(),
    };
    grid.html().into()
}

/// Certified share over the protected bits.
fn protection(file: &FaultsFile) -> Block {
    let samples = file.summary.samples.max(1) as f64;
    let mut bits = 0.0;
    let mut points = vec![(0.0, file.summary.certified as f64 / samples)];
    let mut rows = Vec::new();
    for step in &file.protection {
        bits += step.bits as f64;
        points.push((bits, step.certified as f64 / samples));
        rows.push(vec![
            GridCell::words(step.layer.clone()),
            GridCell::count(step.bit as usize),
            GridCell::count(step.bits as usize),
            GridCell::count(bits as usize),
            GridCell::percent(Some(step.certified as f64 / samples)),
        ]);
    }
    let chart = Chart {
        name: "fault-protection".into(),
        title: "Certified samples over protected bits".into(),
        x: Axis::new("protected bits", Scale::Count),
        y: Axis::new("share of samples", Scale::Percent),
        series: vec![Series { name: "certified".into(), ink: Ink::Proved, points }],
        joined: true,
        bands: Vec::new(),
    };
    let table = Grid {
        caption: "What to protect".into(),
        columns: vec![
            GridColumn::words("layer"),
            GridColumn::number("bit", "", "protection.bit"),
            GridColumn::number("bits", "", "protection.bits"),
            GridColumn::number("bits so far", "", ""),
            GridColumn::number("certified", &file.guarantee, "protection.certified"),
        ],
        rows,
    };
    let caption = format!(
        "Proved ({}): share of samples that no single hit breaks, when the positions of the table are protected from the first to this one.",
        file.guarantee
    );
    Figure::of_chart(chart, caption, table).into()
}

fn settings(file: &FaultsFile) -> Section {
    let blocks = vec![
        html! { h3 { "Fault model" } dl class="facts" { (rows(&file.faults)) } }.into(),
        facts(&[
            ("network", html! { (file.model.name) ", " (grouped(file.model.parameters)) " parameters" }),
            ("network SHA-256", hash(&file.model.sha256)),
            ("layers", layers(&file.model)),
            ("data", html! { (file.data.description) " (" (file.data.format) "), " (grouped(file.data.samples)) " samples" }),
            ("data SHA-256", hash(&file.data.sha256)),
            ("result", html! { (file.file) }),
        ])
        .into(),
        html! { dl class="facts" { (rows(&file.environment)) } }.into(),
        json("Settings as JSON", &file.config).into(),
    ];
    Section { id: "settings", title: "Settings and origin", blocks }
}
