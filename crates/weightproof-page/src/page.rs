//! The frame of a page: head, contents, chapters.

use super::section::{Block, Chapter, Section};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page as text; `foot` stands at its end.
pub(super) fn html(kicker: &str, chapters: Vec<Chapter>, foot: &Markup) -> String {
    let title = chapters.first().map_or_else(|| kicker.to_owned(), |c| c.title.clone());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("weightproof ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                header class="top" {
                    span class="kicker" { (kicker) }
                    button type="button" id="theme" hidden aria-label="Switch between dark and light" { "◐" }
                }
                div class="layout" {
                    nav aria-label="Contents" { (contents(&chapters)) }
                    main id="main" tabindex="-1" {
                        @for (k, chapter) in chapters.iter().enumerate() { (one(k, chapter)) }
                        footer {
                            h2 { "What the labels mean" }
                            (foot)
                            p class="note" { "Written by weightproof " (env!("CARGO_PKG_VERSION")) ". This page loads nothing from the network." }
                        }
                    }
                }
                div id="tip" role="status" aria-live="polite" hidden {}
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Nothing from outside, and no script or style but those of this page.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn address(chapter: usize, section: &Section) -> String {
    if chapter == 0 { section.id.into() } else { format!("{}-{}", section.id, chapter + 1) }
}

fn contents(chapters: &[Chapter]) -> Markup {
    html! {
        @for (k, chapter) in chapters.iter().enumerate() {
            @if chapters.len() > 1 { p class="nav-title" { a href=(format!("#part-{}", k + 1)) { (chapter.title) } } }
            ol { @for section in &chapter.sections { li { a href={ "#" (address(k, section)) } { (section.title) } } } }
        }
    }
}

fn one(k: usize, chapter: &Chapter) -> Markup {
    html! {
        article id=(format!("part-{}", k + 1)) {
            @if k == 0 { h1 { (chapter.title) } } @else { h1 class="part" { (chapter.title) } }
            div class="lead" { (chapter.lead) }
            @for section in &chapter.sections {
                @let id = address(k, section);
                section id=(id) aria-labelledby={ (id) "-title" } {
                    h2 id={ (id) "-title" } { (section.title) }
                    @for (n, block) in section.blocks.iter().enumerate() {
                        @match block {
                            Block::Html(markup) => (markup),
                            Block::Figure(figure) => (figure.html(&format!("{id}-figure-{n}"))),
                            Block::Folded(figure) => details class="folded" { summary { (figure.title) } (figure.html(&format!("{id}-figure-{n}"))) },
                        }
                    }
                }
            }
        }
    }
}
