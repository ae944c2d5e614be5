//! `report` as its users see it: the page in a real browser, its words without one, figures, comparisons, and what is refused.

use crate::browser::{Browser, Picture};
use crate::snapshot;
use crate::snapshot::{Output, Run};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const FEW: [&str; 4] = ["--samples", "60", "--format", "json"];

/// A folder with results of all commands about the same samples.
fn results() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str], file: &str| {
        let run = Run::new(args.iter().chain(&FEW).chain(&["--output", file]).copied())
            .within(folder.path())
            .output();
        assert!(run.code.is_some_and(|code| code < 2), "{run:?}");
    };
    run(&["certify", "--radius", "0.0005,0.001,0.002"], "certify.json");
    run(&["certify", "--radius", "0.0005,0.001,0.002", "--method", "interval"], "interval.json");
    run(&["attack", "--radius", "0.001,0.002", "--steps", "20"], "attack.json");
    run(&["radius", "--by-layer", "--steps", "20", "--restarts", "1", "--width", "0.1"], "radius.json");
    folder
}

fn report(folder: &Path, args: &[&str]) -> Output {
    Run::new(["report"].iter().chain(args).copied()).within(folder).output()
}

fn read(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
}

/// Numbers of the page's elements with this field.
fn numbers(browser: &Browser, field: &str) -> Vec<f64> {
    let script = format!(
        "return [...document.querySelectorAll('[data-field=\"{field}\"][data-value]')].map(e => Number(e.dataset.value))"
    );
    browser.run(&script).as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn the_page_shows_the_numbers_of_the_files() {
    let Some(browser) = Browser::start() else { return };
    let folder = results();
    let files = ["certify.json", "interval.json", "attack.json", "radius.json"];
    let made = report(folder.path(), &[&files[..], &["-o", "report.html", "--figures", "figures"]].concat());
    assert_eq!((made.code, made.stdout.as_str(), made.stderr.as_str()), (Some(0), "", ""));
    browser.open(&folder.path().join("report.html"));
    assert_eq!(browser.run("return document.documentElement.dataset.ready"), "true");
    assert_eq!(browser.run("return document.querySelectorAll('h1').length"), 1, "one question");
    for file in files {
        let result = read(folder.path(), file);
        let summaries: Vec<&Value> = match result["results"].as_array() {
            Some(results) => results.iter().map(|r| &r["summary"]).collect(),
            None => vec![&result["summary"]],
        };
        for (field, value) in summaries.iter().flat_map(|s| s.as_object().unwrap()) {
            // Not shown in the table of results.
            if ["correct", "certified", "robust", "curve", "layers"].contains(&field.as_str()) {
                continue;
            }
            let Some(value) = value.as_f64() else { continue };
            assert!(numbers(&browser, field).contains(&value), "{file}: {field} {value}");
        }
    }
    let radius = read(folder.path(), "radius.json");
    for point in radius["summary"]["curve"].as_array().unwrap() {
        for (field, value) in point.as_object().unwrap() {
            assert!(
                numbers(&browser, &format!("curve.{field}")).contains(&value.as_f64().unwrap()),
                "{field}"
            );
        }
    }
    let layers = radius["summary"]["layers"].as_array().unwrap();
    let shown = numbers(&browser, "layer.median_certified_radius");
    let medians: Vec<f64> = layers.iter().map(|l| l["median_certified_radius"].as_f64().unwrap()).collect();
    assert!(!medians.is_empty());
    assert_eq!(shown, medians);
    answers(&browser, folder.path());
    works(&browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    for name in
        ["answer", "curve", "radii", "layers", "radii-by-class", "margins-linear-0.001", "pairs-linear-0.001"]
    {
        let file = |end: &str| fs::read(folder.path().join(format!("figures/{name}.{end}"))).unwrap();
        assert!(file("svg").starts_with(b"<svg") && file("png").starts_with(b"\x89PNG"), "{name}");
    }
}

/// The answer is that of the best proof and the best attack of all results, counted here in another way; and it comes first.
fn answers(browser: &Browser, folder: &Path) {
    let samples = |file: &str, k: usize| {
        let result = read(folder, file);
        let result = if result["results"].is_array() { result["results"][k].clone() } else { result };
        result["samples"].as_array().unwrap().clone()
    };
    let radii = samples("radius.json", 0);
    let number = |sample: &Value, field: &str| sample[field].as_f64();
    let radius = 0.001;
    let proofs = [samples("certify.json", 1), samples("certify.json", 2), samples("interval.json", 1)];
    let attacks = samples("attack.json", 0);
    let (mut proved, mut broken) = (0, 0);
    for k in 0..radii.len() {
        let is_proved = proofs.iter().any(|proof| proof[k]["verdict"] == "verified")
            || number(&radii[k], "certified_radius").is_some_and(|r| r >= radius);
        let is_broken = attacks[k]["verdict"] == "falsified"
            || number(&radii[k], "attacked_radius").is_some_and(|r| r <= radius)
            || number(&radii[k], "margin").unwrap() <= 0.0;
        proved += usize::from(is_proved);
        broken += usize::from(is_broken);
    }
    let at = numbers(browser, "answer.radius").iter().position(|r| *r == radius).unwrap();
    let shown = |field: &str| numbers(browser, &format!("answer.at.{field}"))[at];
    let expected = [proved, radii.len() - proved - broken, broken].map(|n| n as f64);
    assert_eq!(["proved", "open", "broken"].map(shown), expected);
    let first = browser.run("return document.querySelector('main section').textContent");
    let first = first.as_str().unwrap();
    assert!(
        first.contains("Half of the samples are proved up to radius")
            && first.contains("weightproof certify --radius"),
        "{first}"
    );
    let date = read(folder, "attack.json")["environment"]["date"].as_str().unwrap().to_owned();
    assert!(first.contains(&date), "{first}");
}

/// Images, series, tables and the theme.
fn works(browser: &Browser) {
    let images = browser.run("return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt])");
    let images = images.as_array().unwrap();
    assert!(
        !images.is_empty() && images.iter().all(|i| i[0] == true && i[1] == 28 && i[2] != ""),
        "{images:?}"
    );
    let loaded = "return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).map(r => r.name)";
    assert_eq!(browser.run(loaded), json!([]));
    let toggled = browser.run(
        "const chart = document.querySelector('svg[data-kind=chart]');
         const key = chart.querySelector('.key[data-series=\"0\"]'), series = chart.querySelector('.series[data-series=\"0\"]');
         const state = () => [key.getAttribute('aria-pressed'), getComputedStyle(series).display];
         const states = [state()];
         key.dispatchEvent(new MouseEvent('click', {bubbles: true})); states.push(state());
         key.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true})); states.push(state());
         return states",
    );
    assert_eq!(toggled, json!([["true", "inline"], ["false", "none"], ["true", "inline"]]));
    let tip = browser.run(
        "const chart = document.querySelector('svg[data-kind=chart]');
         chart.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
         const tip = document.getElementById('tip');
         return [tip.hidden, tip.textContent]",
    );
    assert!(tip[0] == false && tip[1].as_str().unwrap().contains("proved by linear"), "{tip}");
    let sorted = browser.run(
        "const table = [...document.querySelectorAll('table')].find(t => t.querySelector('td[data-field=radius]'));
         const column = [...table.querySelectorAll('th')].findIndex(h => h.textContent.startsWith('radius'));
         const head = table.querySelectorAll('th')[column];
         head.querySelector('button').click(); head.querySelector('button').click();
         return [head.getAttribute('aria-sort'), [...table.tBodies[0].rows].map(r => r.cells[column].dataset.value ?? null)]",
    );
    let radii: Vec<Option<f64>> =
        sorted[1].as_array().unwrap().iter().map(|v| v.as_str().map(|v| v.parse().unwrap())).collect();
    assert_eq!(sorted[0], "descending");
    let known: Vec<f64> = radii.iter().flatten().copied().collect();
    assert!(known.is_sorted_by(|a, b| a >= b) && radii.last() == Some(&None), "{radii:?}");
    let themes = browser.run(
        "const theme = document.getElementById('theme'), paper = () => getComputedStyle(document.body).backgroundColor;
         const papers = [paper()];
         theme.click(); papers.push(paper()); theme.click(); papers.push(paper());
         return papers",
    );
    assert!(themes[0] == themes[2] && themes[0] != themes[1], "{themes}");
    // Every figure has a name, every control can be reached, ids differ.
    let unnamed = browser.run(
        "const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
         return [
           document.querySelectorAll('svg.drawing:not([aria-label])').length,
           document.querySelectorAll('img:not([alt])').length,
           ids.length - new Set(ids).size,
           [...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.getAttribute('href'))).length,
           document.querySelectorAll('th:not([scope])').length,
         ]",
    );
    assert_eq!(unnamed, json!([0, 0, 0, 0, 0]));
}

/// Nothing sticks out of the page but what scrolls in a box of its own, which shows a shadow where there is more; and words differ from
/// what is behind them by the contrast that WCAG 2 asks for.
#[test]
fn pages_fit_into_every_window_in_every_look() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results");
    let file = |name: &str| stored.join(format!("{name}.json")).display().to_string();
    let all = ["attack", "certify-several", "exact", "exact-radius", "radius", "measure"].map(file);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (page, arguments) in [("all.html", all.clone()), ("compared.html", vec!["--compare", all[1], all[1]])]
    {
        let made = report(folder.path(), &[&arguments[..], &["--quiet", "-o", page]].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
        let looks = [("screen", "light"), ("screen", "dark"), ("print", "light")];
        for (width, (media, scheme)) in
            [390, 680, 1280, 1920].iter().flat_map(|w| looks.map(|look| (*w, look)))
        {
            // Paper is never as narrow as a telephone.
            if media == "print" && width == 390 {
                continue;
            }
            browser.look(width, media, scheme);
            browser.open(&folder.path().join(page));
            let found = browser.run(
                "const wide = document.documentElement.scrollWidth - innerWidth;
                 const outside = [...document.querySelectorAll('main *')].filter(e => {
                     const box = e.getBoundingClientRect();
                     return box.width && box.right > innerWidth + 1 && !e.parentElement.closest('.scroll, .figure, pre');
                 }).map(e => e.tagName + '.' + e.className);
                 const channels = color => color.match(/[\\d.]+/g).map(Number);
                 const light = color => channels(color).slice(0, 3).map(c => c / 255)
                     .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
                     .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
                 const behind = e => {
                     for (; e; e = e.parentElement) {
                         const color = getComputedStyle(e).backgroundColor;
                         if ((channels(color)[3] ?? 1) > 0.99) return color;
                     }
                     return matchMedia('print').matches || matchMedia('(prefers-color-scheme: light)').matches ? 'rgb(255,255,255)' : 'rgb(0,0,0)';
                 };
                 const faint = [...document.querySelectorAll('body *')].filter(e => {
                     const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
                     return own && e.checkVisibility() && !e.closest('svg, script, style, .skip, .visually-hidden');
                 }).map(e => {
                     const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => a - b);
                     return [(b + 0.05) / (a + 0.05), e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 40)];
                 }).filter(([contrast]) => contrast < 4.5);
                 const shadows = [...document.querySelectorAll('.scroll, .figure')].filter(e => {
                     const images = getComputedStyle(e).backgroundImage.split('linear-gradient').length - 1;
                     return e.scrollWidth > e.clientWidth + 1 && images !== 4;
                 }).length;
                 return [Math.max(wide, 0), outside, faint, shadows];",
            );
            assert_eq!(found, json!([0, [], [], 0]), "{page} at {width} pixels, {media}, {scheme}");
        }
    }
}

/// How far pictures of a page may lie apart. Pages of other results differ by twice as much and more, another theme by far more.
const PICTURES_APART: f64 = 0.012;

/// Light, dark, narrow, and on paper. `UPDATE_SNAPSHOTS=1` records the pictures anew.
#[test]
fn pages_look_as_recorded() {
    let Some(browser) = Browser::start() else { return };
    let looks = [
        (1280, "screen", "light"),
        (1280, "screen", "dark"),
        (390, "screen", "light"),
        (680, "print", "light"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let alone = ["certify-several", "radius", "attack", "exact", "exact-radius", "measure"];
    // Pages name files as they were named.
    let file = |name: &str| format!("{name}.json");
    for name in alone.map(file) {
        fs::copy(tests.join("results").join(&name), folder.path().join(&name)).unwrap();
    }
    let mut pages: Vec<(&str, Vec<String>)> = alone.map(|name| (name, vec![file(name)])).into();
    pages.push(("together", alone.map(file).into()));
    pages.push(("compared", vec!["--compare".into(), file("attack"), file("attack")]));
    for (name, arguments) in pages {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let made = report(folder.path(), &[&arguments[..], &["--quiet", "-o", "page.html"]].concat());
        assert_eq!(made.code, Some(0), "{name}: {made:?}");
        let pictures = looks.map(|(width, media, scheme)| {
            browser.look(width, media, scheme);
            browser.open(&folder.path().join("page.html"));
            browser.picture(width)
        });
        let path = tests.join(format!("pictures/{name}.png"));
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, Picture::write(&pictures)).unwrap();
        }
        let recorded = Picture::read(&fs::read(&path).unwrap());
        assert_eq!(recorded.len(), looks.len());
        for ((found, expected), look) in pictures.iter().zip(&recorded).zip(looks) {
            let apart = found.distance(expected);
            assert!(apart < PICTURES_APART, "{name}, {look:?}: {apart} from {}", path.display());
        }
    }
}

#[test]
fn curves_of_several_networks_are_one_figure() {
    let folder = tempfile::tempdir().unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-conv-8-16-10.onnx");
    let assets = assets.to_str().unwrap();
    let certify = |file: &str, more: &[&str]| {
        let own =
            ["--method", "interval", "--samples", "12", "--format", "json", "--quiet", "--output", file];
        let run = Run::new([&["certify"], more, &own].concat()).within(folder.path()).output();
        assert!(run.code.is_some_and(|code| code < 2), "{run:?}");
    };
    certify("dense.json", &["--radius", "0.0005,0.001"]);
    certify("conv.json", &[assets, "--data", "embedded", "--radius", "0.0005,0.001"]);
    certify("relative.json", &["--radius", "0.01,0.02", "--threat", "relative"]);
    let page = |made: &Output| made.stdout.contains("Results together");
    let both = report(folder.path(), &["dense.json", "conv.json", "--figures", "figures"]);
    assert!(both.code == Some(0) && page(&both) && both.stderr.is_empty(), "{}", both.stderr);
    for (file, name) in [("dense.json", "dense: proved"), ("conv.json", "conv: proved")] {
        let start = format!("data-name=\"{name}\" data-points=\"");
        let points = both.stdout.split(&start).nth(1).unwrap().split('"').next().unwrap();
        let shown: Vec<[f64; 2]> = points
            .split(' ')
            .map(|point| point.split(',').map(|v| v.parse().unwrap()).collect::<Vec<f64>>())
            .map(|point| [point[2], point[3]])
            .collect();
        let results = read(folder.path(), file)["results"].clone();
        let number = |v: &Value| v.as_f64().unwrap();
        let told = results.as_array().unwrap().iter();
        let told = told.map(|r| [number(&r["radius"]), number(&r["summary"]["certified_accuracy"])]);
        assert!(
            shown.iter().flatten().zip(told.flatten()).all(|(a, b)| (a - b).abs() < 1e-5),
            "{file}: {points}"
        );
    }
    assert!(folder.path().join("figures/together.svg").exists());
    let named = report(folder.path(), &["dense.json", "conv.json", "--name", "A & B,other"]);
    assert!(named.stdout.contains("A &amp; B: proved") && named.stdout.contains("other: proved"));
    // What does not fit is said, and where nothing fits, a figure that was asked for is refused.
    let why = "relative.json: expected the same kind of set as dense.json, absolute, found relative";
    let three = report(folder.path(), &["dense.json", "conv.json", "relative.json"]);
    assert!(page(&three) && three.stderr == format!("note: not in one figure: {why}\n"), "{}", three.stderr);
    assert!(three.stdout.contains(&format!("Not in this figure: {why}.")));
    let none = report(folder.path(), &["dense.json", "relative.json"]);
    assert!(!page(&none) && none.stderr.is_empty() && none.code == Some(0));
    let refused = report(folder.path(), &["dense.json", "relative.json", "--name", "a,b"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.starts_with(&format!("error: {why}\nhint: ")), "{}", refused.stderr);
    let few = report(folder.path(), &["dense.json", "conv.json", "--name", "one"]);
    assert_eq!(few.stderr, "error: name: expected 2 names, one for each result, found 1\n");
}

/// A result with this many samples at three radii, made from a real one.
fn many(folder: &Path, count: usize) {
    let made = ["certify", "--radius", "0.0005,0.001,0.002", "--format", "json", "--output", "all.json"];
    assert_eq!(Run::new(made).within(folder).output().code, Some(1));
    let mut result = read(folder, "all.json");
    result["data"]["samples"] = count.into();
    for at in result["results"].as_array_mut().unwrap() {
        let samples = at["samples"].as_array().unwrap().clone();
        let times = count / samples.len();
        let sample = |k: usize| {
            let mut sample = samples[k % samples.len()].clone();
            sample["index"] = k.into();
            sample
        };
        at["samples"] = (0..count).map(sample).collect();
        for field in ["samples", "correct", "certified"] {
            at["summary"][field] = (at["summary"][field].as_u64().unwrap() * times as u64).into();
        }
    }
    fs::write(folder.join("many.json"), result.to_string()).unwrap();
}

#[test]
fn ten_thousand_samples_are_small_and_open_fast() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    many(folder.path(), 10_000);
    let made = report(folder.path(), &["many.json", "-o", "report.html"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let bytes = fs::metadata(folder.path().join("report.html")).unwrap().len();
    browser.open(&folder.path().join("report.html"));
    let milliseconds =
        browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd").as_f64().unwrap();
    println!("10,000 samples: {bytes} bytes, loaded in {milliseconds:.0} ms");
    assert!(bytes < 3_000_000, "{bytes}");
    // A second on an idle machine; tests run beside others.
    assert!(milliseconds < 5000.0, "{milliseconds}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Words of results are words on the page, whatever is in them.
#[test]
fn hostile_names_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut result = stored("certify-several");
    let evil =
        "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>\u{202e}\"'&";
    result["model"]["name"] = evil.into();
    result["model"]["layers"][0]["name"] = evil.into();
    result["data"]["description"] = evil.into();
    result["threat"]["kind"] = evil.into();
    result["method"]["name"] = evil.into();
    result["results"][0]["samples"][0]["reason"] = evil.into();
    fs::write(folder.path().join("evil.json"), result.to_string()).unwrap();
    let made = report(folder.path(), &["evil.json", "-o", "report.html", "--figures", "."]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(!page.contains("<script>window") && !page.contains("<img src=x"));
    assert_eq!(page.matches("<script").count(), 1);
    let Some(browser) = Browser::start() else { return };
    browser.open(&folder.path().join("report.html"));
    assert_eq!(
        browser.run("return [window.broken ?? null, document.documentElement.dataset.ready]"),
        json!([null, "true"])
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A result that an earlier version wrote, and that must stay readable.
fn stored(name: &str) -> Value {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results"), &format!("{name}.json"))
}

/// The words of a page, without its style and script.
fn words(page: &str) -> String {
    let without = |text: &str, tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let (before, rest) = text.split_once(&open).unwrap();
        format!("{before}{}", rest.split_once(&close).unwrap().1)
    };
    let page = without(&without(page, "style"), "script");
    let text = page.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text.trim());
    let lines: Vec<&str> = text.filter(|text| !text.is_empty()).collect();
    lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION") + "\n"
}

#[test]
fn pages_of_small_results() {
    for name in ["certify-several", "radius", "attack", "exact", "exact-radius", "measure"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("r.json"), stored(name).to_string()).unwrap();
        let made = report(folder.path(), &["r.json"]);
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{name}");
        snapshot::check_text(&format!("report-page-{name}"), &words(&made.stdout));
    }
}

#[test]
fn results_that_cannot_be_shown() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let whole = stored("certify-several").to_string();
    write("empty.json", "");
    write("cut.json", &whole[..whole.len() / 2]);
    write("text.json", "radius,index\n");
    write("other.json", "{\"a\": 1}");
    write("newer.json", &whole.replace("certify/1", "certify/2"));
    write("wrong.json", &whole.replace("\"certified\":", "\"certified\": 99, \"was\":"));
    write("good.json", &whole);
    for name in ["empty", "cut", "text", "other", "newer", "wrong", "missing"] {
        snapshot::check(
            &format!("report-{name}"),
            &Run::new(["report".to_owned(), format!("{name}.json")]).within(folder.path()),
        );
    }
    let run = |args: &[&str]| Run::new(["report"].iter().chain(args).copied()).within(folder.path());
    snapshot::check("report-format", &run(&["good.json", "--format", "text"]));
    snapshot::check("report-compare-one", &run(&["--compare", "good.json"]));
    snapshot::check("report-none", &run(&[]));
    snapshot::check("report-output", &run(&["good.json", "-o", "no/such/folder.html"]));
}

#[test]
fn images_come_from_the_data_of_the_result_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let images =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-test-1000-images.idx3-ubyte.gz");
    let labels =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-test-1000-labels.idx1-ubyte.gz");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-784-128-64-32-10.onnx");
    let (moved, model) = (folder.path().join("images.idx3-ubyte.gz"), model.to_string_lossy().into_owned());
    fs::copy(&images, &moved).unwrap();
    let labels = labels.to_string_lossy().into_owned();
    let some =
        ["--labels", &labels, "--offset", "36", "--samples", "4", "--radius", "0.001", "--format", "json"];
    let certify = ["certify", &model, "images.idx3-ubyte.gz", "--output", "r.json"];
    assert_eq!(Run::new(certify.iter().chain(&some).copied()).within(folder.path()).output().code, Some(1));
    let page = || report(folder.path(), &["r.json"]).stdout;
    assert!(page().contains("data:image/png;base64"));
    fs::write(&moved, fs::read(&images).unwrap().split_last().unwrap().1).unwrap();
    assert!(!page().contains("data:image/png") && page().contains("No images"));
    fs::remove_file(&moved).unwrap();
    assert!(page().contains("No images: the data cannot be read (images.idx3-ubyte.gz"), "{}", page());
    let given = images.to_string_lossy().into_owned();
    assert!(report(folder.path(), &["r.json", "--data", &given]).stdout.contains("data:image/png;base64"));
    let other = report(folder.path(), &["r.json", "--data", "missing.npz"]);
    assert_eq!(other.code, Some(2), "{other:?}");
    let other = report(folder.path(), &["r.json", "--data", &labels]);
    assert_eq!(other.code, Some(2), "{other:?}");
}

#[test]
fn comparisons() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str], file: &str| {
        let few = ["--offset", "30", "--samples", "40", "--format", "json", "--output", file];
        let run = Run::new(args.iter().chain(&few).copied()).within(folder.path()).output();
        assert!(run.code.is_some_and(|code| code < 2), "{run:?}");
    };
    run(&["certify", "--radius", "0.0005,0.001"], "linear.json");
    run(&["certify", "--radius", "0.0005,0.001", "--method", "interval"], "interval.json");
    run(&["radius", "--no-attack", "--width", "0.1"], "radius.json");
    let compare =
        |args: &[&str]| Run::new(["report", "--compare"].iter().chain(args).copied()).within(folder.path());
    snapshot::check("compare", &compare(&["interval.json", "linear.json"]));
    snapshot::check("compare-command", &compare(&["interval.json", "radius.json"]));
    let json = compare(&["interval.json", "linear.json", "--format", "json"]).output();
    let found: Value = serde_json::from_str(&json.stdout).unwrap();
    let (interval, linear) = (read(folder.path(), "interval.json"), read(folder.path(), "linear.json"));
    for (k, result) in found["results"].as_array().unwrap().iter().enumerate() {
        let certified = |r: &Value| r["results"][k]["summary"]["certified"].clone();
        assert_eq!(result["holds"], json!([certified(&interval), certified(&linear)]));
        let (gained, lost) =
            (result["gained"].as_array().unwrap().len(), result["lost"].as_array().unwrap().len());
        let [a, b] = [&result["holds"][0], &result["holds"][1]].map(|n| n.as_u64().unwrap() as usize);
        assert_eq!(a + gained - lost, b);
        let sum: u64 =
            result["transitions"].as_array().unwrap().iter().map(|t| t["samples"].as_u64().unwrap()).sum();
        assert_eq!(sum, 40);
    }
    let mut other = linear;
    other["data"]["sha256"] = "0".repeat(64).into();
    fs::write(folder.path().join("other.json"), other.to_string()).unwrap();
    snapshot::check("compare-data", &compare(&["interval.json", "other.json"]));
    let page =
        compare(&["interval.json", "linear.json", "-o", "compare.html", "--figures", "figures", "--quiet"])
            .output();
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    assert!(folder.path().join("figures/verdicts-1.png").is_file());
    let Some(browser) = Browser::start() else { return };
    browser.open(&folder.path().join("compare.html"));
    let gained = |k: usize| found["results"][k]["gained"].as_array().unwrap().len() as f64;
    assert_eq!(numbers(&browser, "gained"), [gained(0), gained(1)]);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
