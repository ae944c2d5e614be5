//! An experiment: what was found, its tables and its lines.

use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::{Block, Chapter, Section};
use super::settings::{json, rows};
use maud::html;
use serde_json::Value;
use weightproof_figure::number::{exact, percent, value};
use weightproof_report::reading::{ExperimentColumn, ExperimentFile, ExperimentTable};

/// The chapter of a file.
pub(super) fn chapter(file: &ExperimentFile) -> Chapter {
    let lead = html! {
        (file.summary)
        @if file.partial { p class="warning" { strong { "Not finished: " } "models are missing in " (file.file) "." } }
    };
    let findings = html! { ul class="findings" { @for finding in &file.findings { li { (finding) } } } };
    let mut sections = vec![Section { id: "findings", title: "Findings", blocks: vec![findings.into()] }];
    let figure = |chart: &weightproof_figure::Chart| {
        let (name, title) = (chart.name.clone(), chart.title.clone());
        let caption = format!(
            "{} over {}. The numbers and what they are worth are in the tables.",
            chart.y.label, chart.x.label
        );
        Block::from(Figure { name, title, caption, drawing: chart.draw(), table: points(chart) })
    };
    if !file.charts.is_empty() {
        sections.push(Section {
            id: "plots",
            title: "Plots",
            blocks: file.charts.iter().map(figure).collect(),
        });
    }
    sections.push(Section { id: "tables", title: "Tables", blocks: file.tables.iter().map(table).collect() });
    sections.push(settings(file));
    Chapter { title: format!("Experiment {}", file.experiment), lead, sections }
}

fn points(chart: &weightproof_figure::Chart) -> Grid {
    let columns = vec![
        GridColumn::words("line"),
        GridColumn::number(&chart.x.label, "", ""),
        GridColumn::number(&chart.y.label, "", ""),
    ];
    let of_series = |s: &weightproof_figure::Series| {
        let row = |&(x, y): &(f64, f64)| {
            vec![GridCell::words(&*s.name), GridCell::value(Some(x)), GridCell::value(Some(y))]
        };
        s.points.iter().map(row).collect::<Vec<_>>()
    };
    Grid { caption: chart.title.clone(), columns, rows: chart.series.iter().flat_map(of_series).collect() }
}

fn table(table: &ExperimentTable) -> Block {
    let column = |c: &ExperimentColumn| {
        let guarantee = if c.guarantee == "setting" { "" } else { &c.guarantee };
        GridColumn {
            numeric: c.unit != "plain" || c.guarantee != "setting",
            ..GridColumn::number(&c.head, guarantee, "")
        }
    };
    let rows = table.rows.iter().map(|row| row.iter().zip(&table.columns).map(|(v, c)| cell(v, c)).collect());
    let grid = Grid {
        caption: table.caption.clone(),
        columns: table.columns.iter().map(column).collect(),
        rows: rows.collect(),
    };
    html! { div class="table" id={ "table-" (table.name) } { p class="table-title" { (table.caption) } (grid.html()) } }.into()
}

/// Words, a number, or a mean with the least and the greatest value behind it.
fn cell(cell: &Value, column: &ExperimentColumn) -> GridCell {
    let text = |v: f64| match column.unit.as_str() {
        "fraction" => percent(v),
        "plain" => exact(v),
        _ => value(v),
    };
    match cell {
        Value::String(words) => GridCell::words(&**words),
        Value::Array(spread) => {
            let number = |k: usize| spread.get(k).and_then(Value::as_f64);
            let ends = number(1)
                .zip(number(2))
                .map_or_else(String::new, |(a, b)| format!(" ({} to {})", text(a), text(b)));
            GridCell::number(number(0), |v| format!("{}{ends}", text(v)))
        }
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Object(_) => {
            GridCell::number(cell.as_f64(), text)
        }
    }
}

fn settings(file: &ExperimentFile) -> Section {
    let blocks = vec![
        html! {
            dl class="facts" {
                dt { "result" } dd { (file.file) } dt { "version" } dd { (file.version) }
                (rows(&file.options)) (rows(&file.environment))
            }
            @for source in &file.data { dl class="facts" { (rows(source)) } }
        }
        .into(),
        json("Numbers that the experiment fixes, as JSON", &file.settings).into(),
    ];
    Section { id: "settings", title: "Settings and origin", blocks }
}
