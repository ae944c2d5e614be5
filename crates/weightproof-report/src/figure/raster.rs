//! Figures as PNG.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};
use std::sync::{Arc, LazyLock};
use thiserror::Error;

/// Roboto (Apache-2.0), the letters of European languages and mathematics: files look the same on every machine.
const FONT: &[u8] = include_bytes!("../../assets/roboto-regular-subset.ttf");

/// A figure that cannot be painted.
#[derive(Debug, Error)]
#[error("figure: {0}")]
pub struct RasterError(String);

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    let family = fonts.faces().next().and_then(|f| f.families.first()).map(|f| f.0.clone());
    fonts.set_sans_serif_family(family.unwrap_or_default());
    Arc::new(fonts)
});

/// Paints an SVG file of this crate with `scale` pixels for one of its own.
///
/// # Errors
/// SVG that cannot be read, or that is too large.
pub fn png(svg: &str, scale: f32) -> Result<Vec<u8>, RasterError> {
    let fail = |what: &dyn std::fmt::Display| RasterError(what.to_string());
    let options = Options { fontdb: Arc::clone(&FONTS), font_family: "Roboto".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| fail(&error))?;
    let size = tree.size().to_int_size().scale_by(scale).ok_or_else(|| fail(&"no pixels"))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| fail(&"too many pixels"))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| fail(&error))
}
