//! A finished drawing, as part of a page or as a file.

use maud::{Markup, html};

/// Characters on a line below a figure in a file.
const LINE: usize = 112;
/// Ink of words, and a lighter one.
pub(super) const TEXT: &str = "#222222";
pub(super) const FAINT: &str = "#5f6770";
/// Lines behind the marks.
pub(super) const GRID: &str = "#e3e6ea";

/// Marks in a coordinate system of `width` × `height` pixels.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
    /// The elements.
    pub body: Markup,
    /// Attributes that scripts of a page read: names without `data-`, values.
    pub data: Vec<(&'static str, String)>,
}

impl Drawing {
    /// As part of a page; `label` is what screen readers say.
    pub fn inline(&self, id: &str, label: &str) -> Markup {
        let data = |name: &str| self.data.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        html! {
            svg class="drawing" id=(id) viewBox=(self.view(0.0)) role="img" aria-label=(label)
                data-kind=[data("kind")] data-left=[data("left")] data-right=[data("right")] data-top=[data("top")]
                data-bottom=[data("bottom")] data-percent=[data("percent")] data-x-label=[data("x-label")] { (self.body) }
        }
    }

    fn view(&self, more: f64) -> String {
        format!("0 0 {:.0} {:.0}", self.width, self.height + more)
    }

    /// As a file, with its title above and what it shows below.
    pub fn file(&self, title: &str, caption: &str) -> String {
        const HEAD: f64 = 38.0;
        let lines = wrap(caption, LINE);
        let foot = 14.0 + 17.0 * lines.len() as f64;
        let body = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(format!("{:.0}", self.width))
                height=(format!("{:.0}", self.height + HEAD + foot)) viewBox=(self.view(HEAD + foot))
                font-family="Roboto, Helvetica, Arial, sans-serif" {
                title { (title) }
                desc { (caption) }
                rect width="100%" height="100%" fill="#ffffff" {}
                text x="16" y="25" font-size="16" fill=(TEXT) font-weight="600" { (title) }
                g transform=(format!("translate(0 {HEAD})")) { (self.body) }
                @for (k, line) in lines.iter().enumerate() {
                    text x="16" y=(format!("{:.0}", self.height + HEAD + 16.0 + 17.0 * k as f64)) font-size="12" fill=(FAINT) { (line) }
                }
            }
        };
        body.into_string()
    }
}

/// Breaks text into lines of at most `most` characters, at blanks.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Words at a place; `anchor` is `start`, `middle` or `end`.
pub(super) fn words(class: &str, (x, y): (f64, f64), anchor: &str, size: f64, text: &str) -> Markup {
    let fill = if class == "label" { TEXT } else { FAINT };
    html! {
        text class=(class) x=(format!("{x:.1}")) y=(format!("{y:.1}")) text-anchor=(anchor) font-size=(size) fill=(fill) { (text) }
    }
}

/// A straight line behind the marks.
pub(super) fn rule(class: &str, from: (f64, f64), to: (f64, f64)) -> Markup {
    let color = if class == "axis" { "#9aa2ab" } else { GRID };
    html! {
        line class=(class) x1=(format!("{:.1}", from.0)) y1=(format!("{:.1}", from.1)) x2=(format!("{:.1}", to.0))
            y2=(format!("{:.1}", to.1)) stroke=(color) stroke-width="1" {}
    }
}

/// About as wide as `text` is in a sans-serif font of this size.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    0.56 * size * text.chars().count() as f64
}

/// At most `most` characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_escapes_its_words_and_is_xml() {
        let body = html! { g { (words("label", (1.0, 2.0), "end", 12.0, "<script>")) } };
        let drawing = Drawing { width: 100.0, height: 50.0, body, data: Vec::new() };
        let file = drawing.file("a < b & \"c\"", "one two");
        assert!(file.contains("a &lt; b &amp; &quot;c&quot;") && file.contains("&lt;script&gt;"), "{file}");
        assert!(!file.contains("<script"));
        // Without the feature there is no renderer to ask.
        #[cfg(feature = "raster")]
        assert!(crate::png(&file, 1.0).is_ok());
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(cut("weights", 5), "weig…");
    }
}
