//! The documents of the repository: every link leads to a file and a heading, every section of `docs/theory.md` that is cited
//! is there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Kinds of files in which the theory is cited.
const TEXTS: [&str; 4] = ["rs", "py", "md", "toml"];

/// How pages of the book name files of the repository that are no pages.
const OWN: [&str; 2] = [
    "https://github.com/weightproof/weightproof/tree/main/",
    "https://github.com/weightproof/weightproof/blob/main/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Files of the repository with their text, but for hidden folders and what is built or installed.
fn texts() -> Vec<(PathBuf, String)> {
    let (mut folders, mut found) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy();
            let skipped = name.starts_with('.') || name == "target" || path.join("CACHEDIR.TAG").exists();
            if path.is_dir() && !skipped && !path.join("pyvenv.cfg").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| TEXTS.iter().any(|text| e == *text)) {
                let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Lines of a page that are no fenced code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchor that GitHub and mdBook give a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    // Of a link in a heading the text is kept.
    let visible = heading.split("](").enumerate();
    let visible =
        visible.map(|(k, part)| if k == 0 { part } else { part.split_once(')').map_or("", |p| p.1) });
    visible.collect::<String>().trim().to_lowercase().chars().filter_map(kept).collect()
}

/// The anchors of a page; those of a heading that occurs again are numbered.
fn anchors(page: &str) -> HashSet<String> {
    let (mut seen, mut anchors) = (HashMap::new(), HashSet::new());
    for heading in prose(page).filter(|line| line.starts_with('#')) {
        let name = anchor(heading.trim_start_matches('#'));
        let again: &mut usize = seen.entry(name.clone()).or_default();
        anchors.insert(if *again == 0 { name } else { format!("{name}-{again}") });
        *again += 1;
    }
    anchors
}

/// Targets of the links and images of a page.
fn links(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(page) {
        // Every second piece is inline code; links have none inside of their targets.
        for (k, _) in line.match_indices("](") {
            if line[..k].matches('`').count() % 2 == 0 {
                found.extend(line[k + 2..].split([')', ' ']).next());
            }
        }
        // [name]: target
        if let Some((name, target)) = line.split_once("]: ") {
            found.extend((name.starts_with('[') && !name.contains(']')).then(|| target.trim()));
        }
    }
    found
}

/// What is wrong with a link of the page at `from`, if anything.
fn broken(from: &Path, page: &str, link: &str) -> Option<String> {
    if let Some(own) = OWN.iter().find_map(|address| link.strip_prefix(address)) {
        return broken(&root().join("README.md"), "", own).map(|_| format!("there is no {link}"));
    }
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let target = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    if !target.exists() {
        return Some(format!("there is no {link}"));
    }
    if from.starts_with(root().join("docs")) && !target.canonicalize().ok()?.starts_with(root().join("docs"))
    {
        return Some(format!("{link} leaves the book, whose readers have no other files: give its address"));
    }
    let heading = heading?;
    let text = if file.is_empty() { page.to_owned() } else { fs::read_to_string(&target).ok()? };
    (!anchors(&text).contains(heading)).then(|| format!("{link}: there is no such heading"))
}

/// Numbers of the sections of the theory: `4`, `4.3`, `12b`.
fn sections(theory: &str) -> HashSet<String> {
    let headings = prose(theory).filter(|line| line.starts_with("##"));
    let number = |line: &str| line.trim_start_matches('#').split_whitespace().next().map(str::to_owned);
    headings.filter_map(number).map(|number| number.trim_end_matches('.').to_owned()).collect()
}

/// The number behind a `§`.
fn number(cited: &str) -> String {
    let kept: String = cited.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    kept.trim_end_matches('.').to_owned()
}

/// The sections that a text cites as `theory.md §4.2`, `theory.md §3 (Lemma 1), §6` or `theory.md §4.2 and §6`.
fn cited(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (k, name) in text.match_indices("theory.md") {
        // Until the list ends; comments go on behind their signs.
        let words = text[k + name.len()..].split_whitespace();
        for word in words.map(|word| word.trim_matches(['(', ')', ',', ';', ':', '`', ']'])) {
            match word.strip_prefix('§') {
                Some(section) => found.push(number(section)),
                None if ["", "//", "//!", "///", "#", "and", "to", "Lemma", "1"].contains(&word) => {}
                None => break,
            }
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let pages = texts().into_iter().filter(|(path, _)| path.extension().unwrap() == "md");
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, page) in pages {
        for link in links(&page) {
            count += 1;
            wrong.extend(broken(&path, &page, link).map(|what| format!("{}: {what}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 50, "links are found, {count}");
}

#[test]
fn every_cited_section_exists() {
    let theory = fs::read_to_string(root().join("docs/theory.md")).unwrap();
    let sections = sections(&theory);
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in texts() {
        // What is quoted in this file is no citation; the theory cites itself without its name.
        let own = path.ends_with("tests/documents.rs");
        let inside = path.ends_with("docs/theory.md");
        let cited = if inside { theory.split('§').skip(1).map(number).collect() } else { cited(&text) };
        for section in cited.into_iter().filter(|_| !own) {
            count += 1;
            if !sections.contains(&section) {
                wrong.push(format!("{}: there is no section {section}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "citations are found, {count}");
}

/// Without it, versions are chosen anew on the day of the installation, and nobody has tested them together.
#[test]
fn programs_are_installed_with_the_versions_of_their_lock_files() {
    let pages = texts().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "md"));
    let mut seen = 0;
    for (path, page) in pages {
        for line in page.lines().filter(|line| line.contains("cargo install ")) {
            assert!(line.contains("--locked"), "{}: expected --locked, found {line}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn what_is_broken_is_seen() {
    let page = "# A heading\n\n## Why `it`, §4.2\n\n## Why `it`, §4.2\n\n`no[0](link)`\n```\n[no](link)\n# no heading\n```\n[a](b.md) ![b](c.svg)";
    assert_eq!(links(page), ["b.md", "c.svg"]);
    let expected = ["a-heading", "why-it-42", "why-it-42-1"].map(str::to_owned);
    assert_eq!(anchors(page), HashSet::from(expected));
    let here = root().join("README.md");
    assert_eq!(broken(&here, page, "#a-heading"), None);
    assert_eq!(broken(&here, page, "docs/theory.md#1-setting"), None);
    let own = format!("{}benchsuite", OWN[0]);
    assert_eq!(broken(&here, page, &own), None);
    for link in ["#another", "docs/theory.md#17-nothing", "docs/nothing.md", "../nowhere", &format!("{own}2")]
    {
        assert!(broken(&here, page, link).is_some(), "{link}");
    }
    let inside = root().join("docs/theory.md");
    assert!(broken(&inside, page, "../README.md").is_some() && broken(&inside, page, "speed.md").is_none());
    let text = "theory.md §3 (Lemma 1), §6. And theory.md\n//! §13.4; §2 and `theory.md §12b`: §1.";
    assert_eq!(cited(text), ["3", "6", "13.4", "2", "12b", "1"]);
    assert_eq!(
        sections("## 4. Ladder\n### 4.3 Linear\n## 12b. Files\n"),
        ["4", "4.3", "12b"].map(str::to_owned).into()
    );
}
