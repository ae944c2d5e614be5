//! What a page about results needs from outside: the images of samples, and names of files for its figures.

use crate::{RunError, pictures};
use std::path::Path;
use weightproof_figure::features;
use weightproof_figure::png;
use weightproof_page::{Figure, Page};

/// Pixels of a PNG for one of the SVG.
const PNG_SCALE: f32 = 2.0;

/// Adds the images of samples, from `data` if it is given. Data that a result names and that are no longer there, or are others,
/// give a remark on the page and no images.
///
/// # Errors
/// When `data` is given and cannot be read, or is not what a result was about.
pub fn add_pictures(page: &mut Page<'_>, data: Option<&Path>) -> Result<(), RunError> {
    for (study, wanted) in page.wanted().into_iter().enumerate() {
        page.set_pictures(study, pictures::load(&wanted, data)?);
    }
    Ok(())
}

/// Names and bytes of the files of figures: SVG, and PNG where this build has the renderer.
///
/// # Errors
/// A drawing that cannot be rendered.
pub fn figure_files(figures: &[Figure]) -> Result<Vec<(String, Vec<u8>)>, RunError> {
    let mut files = Vec::new();
    for figure in figures {
        let (stem, svg) = (file_name(&figure.name), figure.svg());
        if features::raster().is_ok() {
            let png = png(&svg, PNG_SCALE).map_err(|error| RunError::misfit(error.to_string()))?;
            files.push((format!("{stem}.png"), png));
        }
        files.push((format!("{stem}.svg"), svg.into_bytes()));
    }
    Ok(files)
}

/// A name of letters, digits, points and dashes: results come from outside, and their names must stay in the folder.
fn file_name(name: &str) -> String {
    const MOST: usize = 80;
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    let name: String = name.chars().take(MOST).map(plain).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "figure".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_figures_stay_in_their_folder() {
        for (name, file) in
            [("curve", "curve"), ("../../etc/passwd", "-..-etc-passwd"), ("..", "figure"), ("a b", "a-b")]
        {
            assert_eq!(file_name(name), file);
        }
    }
}
