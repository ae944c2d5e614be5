//! Evidence: what was proved, in the words of an assessment, and what it rests on.

use super::page;
use super::section::{self, Chapter, Section};
use super::settings::{facts, hash, threat};
use super::{Loaded, Page};
use maud::{Markup, html};
use serde_json::Value;
use weightproof::verdict::Verdict;
use weightproof_figure::number::{exact, grouped, upper};
use weightproof_report::reading::RunFile;

/// What a checker said about a certificate.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The command that was run.
    pub command: String,
    /// Whether it accepts every record.
    pub accepted: bool,
    /// Its first and its last lines.
    pub lines: Vec<String>,
}

/// A file of the archive.
#[derive(Clone, Debug)]
pub struct Enclosed {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The page of an archive about one result of `certify`.
pub fn evidence(run: &RunFile, checked: Option<&Checked>, files: &[Enclosed]) -> String {
    let loaded = [Loaded::Run(Box::new(run.clone()))];
    let chapter = Chapter {
        title: format!("Evidence about {}", run.model.name),
        lead: html! { (claim(run)) },
        sections: vec![scope(run), basis(run, checked), contents(files, checked.is_some())],
    };
    let chapters = [chapter].into_iter().chain(Page::new(&loaded).chapters()).collect();
    page::html("weightproof evidence", chapters, &html! { (section::words()) })
}

fn verified(run: &RunFile) -> usize {
    run.results[0].samples.iter().filter(|s| s.verdict == Some(Verdict::Verified)).count()
}

/// The largest proved change of an output over the verified samples.
fn largest_deviation(run: &RunFile) -> Option<f64> {
    let verified = run.results[0].samples.iter().filter(|s| s.verdict == Some(Verdict::Verified));
    verified.filter_map(|s| s.deviation_upper).reduce(f64::max)
}

fn claim(run: &RunFile) -> Markup {
    let (proved, all) = (verified(run), run.results[0].samples.len());
    let count = html! {
        strong data-field="evidence.proved" data-value=(proved) { (grouped(proved)) } " of " (grouped(all)) " inputs"
    };
    html! {
        @match (run.property(), largest_deviation(run)) {
            ("deviation", Some(deviation)) => {
                "For " (count) ", no output of any network of the set differs from that of the network in the file by more than ε = "
                strong data-field="evidence.deviation" data-value=(exact(deviation)) { (upper(deviation)) }
                ": on these inputs, whatever network of the set is deployed is a replica of the one that was tested, up to ε."
            }
            ("prediction", _) => {
                "For " (count) ", every network of the set gives the class that the network in the file gives: on these inputs, whatever network of the set is deployed decides as the one that was tested."
            }
            _ => { "For " (count) ", every network of the set gives the class of the label." }
        }
    }
}

fn scope(run: &RunFile) -> Section {
    let radius = run.results[0].radius.map_or_else(|| "those of the layers".to_owned(), exact);
    let all = run.results[0].samples.len();
    let count = |verdict| run.results[0].samples.iter().filter(|s| s.verdict == Some(verdict)).count();
    let blocks = vec![
        html! {
            p { "The set contains every network that has the structure of the file and parameters within these radii; the claim holds for all of them at once." }
            (facts(&[("radius", html! { (radius) })]))
            (threat(&run.threat))
        }
        .into(),
        html! {
            h3 { "Not claimed" }
            ul {
                li { "Anything about inputs that are not in the list, or about the " (grouped(all - verified(run))) " inputs that are not verified: "
                    (grouped(count(Verdict::Falsified))) " for which a network of the set is known that breaks the property, "
                    (grouped(count(Verdict::Unknown))) " left open." }
                li { "That the hardware stays within the set: this is to be shown by measurement or by its documentation." }
                li { "What the deployed program does in floating point, unless the set is that of a number format." }
                li { "That the inputs stand for those of operation, or that the labels are right." }
            }
        }
        .into(),
    ];
    Section { id: "scope", title: "What the claim is about", blocks }
}

fn basis(run: &RunFile, checked: Option<&Checked>) -> Section {
    let list = |name: &str| run.method.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let assumptions: Vec<String> = list("assumptions")
        .iter()
        .map(text)
        .chain(run.threat.assumptions.iter().map(ToString::to_string))
        .collect();
    let blocks = vec![
        html! {
            h3 { "The proof" }
            p { "Guarantee of the numbers: " strong { (run.guarantee) } "." }
            @if !assumptions.is_empty() { p { "Taken for granted:" } ul { @for line in &assumptions { li { (line) } } } }
        }
        .into(),
        html! {
            h3 { "The check" }
            @if let Some(checked) = checked {
                p {
                    "An independent program repeated every proof from the certificate and the file of the network, in integers, without floating point and without code of the program that found them. It "
                    strong data-field="evidence.accepted" data-value=(checked.accepted) { @if checked.accepted { "accepts every record" } @else { "does not accept all records" } } "."
                }
                p { code class="command" { (checked.command) } }
                pre { @for line in &checked.lines { (line) "\n" } }
            } @else {
                p class="warning" { "There is no certificate: the claim rests on the program that made it." }
            }
        }
        .into(),
    ];
    Section { id: "basis", title: "What the claim rests on", blocks }
}

fn contents(files: &[Enclosed], has_certificate: bool) -> Section {
    let rows = html! {
        div class="scroll" {
            table {
                thead { tr { th { "file" } th { "what" } th { "SHA-256" } } }
                tbody { @for file in files { tr { td { (file.name) } td { (file.what) } td { (hash(&file.sha256)) } } } }
            }
        }
        h3 { "To repeat it" }
        p { code class="command" { "sha256sum --check SHA256SUMS" } }
        @if has_certificate { p { code class="command" { "weightproof-check certificate.wpc --model model.onnx" } } }
    };
    Section { id: "files", title: "What is in the archive", blocks: vec![rows.into()] }
}
