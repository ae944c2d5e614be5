//! Figures as PNG; the renderer comes with the feature `raster`.

use crate::features::{self, NotBuilt};
use thiserror::Error;

/// A figure that cannot be painted.
#[derive(Debug, Error)]
pub enum RasterError {
    /// The renderer is not there.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// SVG that cannot be read, or that is too large.
    #[error("figure: {0}")]
    Figure(String),
}

/// Paints an SVG file of this crate with `scale` pixels for one of its own.
///
/// # Errors
/// SVG that cannot be read, or that is too large, and a build without the renderer.
pub fn png(svg: &str, scale: f32) -> Result<Vec<u8>, RasterError> {
    features::raster()?;
    painted(svg, scale).map_err(RasterError::Figure)
}

#[cfg(not(feature = "raster"))]
fn painted(_: &str, _: f32) -> Result<Vec<u8>, String> {
    unreachable!("`png` asks first")
}

#[cfg(feature = "raster")]
fn painted(svg: &str, scale: f32) -> Result<Vec<u8>, String> {
    use resvg::tiny_skia::{Pixmap, Transform};
    use resvg::usvg::{Options, Tree, fontdb::Database};
    use std::sync::{Arc, LazyLock};

    /// Roboto (Apache-2.0), the letters of European languages and mathematics: files look the same on every machine.
    const FONT: &[u8] = include_bytes!("../assets/roboto-regular-subset.ttf");
    static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
        let mut fonts = Database::new();
        fonts.load_font_data(FONT.to_vec());
        let family = fonts.faces().next().and_then(|f| f.families.first()).map(|f| f.0.clone());
        fonts.set_sans_serif_family(family.unwrap_or_default());
        Arc::new(fonts)
    });

    let options = Options { fontdb: Arc::clone(&FONTS), font_family: "Roboto".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size().to_int_size().scale_by(scale).ok_or("no pixels")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("too many pixels")?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}
